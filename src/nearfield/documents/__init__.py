"""Documents, and reading them from anything."""

from nearfield.documents.coerce import Documents, each, read_document, read_documents
from nearfield.documents.document import JSON, Document, check_doc_id
from nearfield.documents.files import count_documents, read_files

__all__ = [
    "JSON",
    "Document",
    "Documents",
    "check_doc_id",
    "count_documents",
    "each",
    "read_document",
    "read_documents",
    "read_files",
]
