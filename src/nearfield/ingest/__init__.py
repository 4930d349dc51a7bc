"""From documents to stored batches with passages and vectors, and back."""

from nearfield.ingest.batch import Written, refuse_existing, write
from nearfield.ingest.ingestion import Ingested, Manner, Progress, run
from nearfield.ingest.records import attach, document, encode, iterate

__all__ = [
    "Ingested",
    "Manner",
    "Progress",
    "Written",
    "attach",
    "document",
    "encode",
    "iterate",
    "refuse_existing",
    "run",
    "write",
]
