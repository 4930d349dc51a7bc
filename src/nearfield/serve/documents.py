"""The addresses that add, replace, show and delete documents."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Path, Response

from nearfield.serve.models import (
    Deleted,
    DeleteRequest,
    DocId,
    DocumentOut,
    PostDocuments,
    PutDocuments,
    Stored,
)
from nearfield.serve.service import Service, render
from nearfield.serve.strict import no_parameters, refuse

DocIdPath = Annotated[DocId, Path(description="The doc_id, percent-encoded; it may hold slashes.")]


def add_documents(app: FastAPI, service: Service) -> None:
    """Give the app the addresses of documents."""
    writes = [Depends(refuse("this server is read-only"))] if service.read_only else [Depends(no_parameters)]

    @app.post(
        "/documents",
        response_model=Stored,
        status_code=201,
        dependencies=writes,
        responses={200: {"model": Stored, "description": "Added or replaced"}},
    )
    @app.post("/documents/", status_code=201, include_in_schema=False, dependencies=writes)
    def add(request: PostDocuments) -> Response:
        """Add documents, all or nothing; when the answer comes, they are on disk."""
        return store(service, request, replace=request.replace)

    @app.put("/documents", response_model=Stored, dependencies=writes)
    @app.put("/documents/", include_in_schema=False, dependencies=writes)
    def upsert(request: PutDocuments) -> Response:
        """Add documents, replacing those whose doc_id exists, all or nothing."""
        return store(service, request, replace=True)

    @app.get("/documents/{doc_id:path}", response_model=DocumentOut, dependencies=[Depends(no_parameters)])
    def get(doc_id: DocIdPath) -> Response:
        """Answer a document."""
        return _json(asdict(service.collection.get(doc_id)))

    @app.delete("/documents/{doc_id:path}", response_model=Deleted, dependencies=writes)
    def delete_one(doc_id: DocIdPath) -> Response:
        """Delete a document."""
        return _json({"deleted": service.collection.delete(doc_id)})

    @app.post("/documents/delete", response_model=Deleted, dependencies=writes)
    def delete(request: DeleteRequest) -> Response:
        """Delete documents by their doc_ids, all or nothing, or by a condition."""
        service.check_batch(request.doc_ids or [], "doc_ids")
        return _json({"deleted": service.collection.delete(request.doc_ids, where=request.where)})


def store(service: Service, request: PutDocuments, *, replace: bool) -> Response:
    """Return the answer to storing documents."""
    service.check_batch(request.documents, "documents")
    documents = [document.model_dump(exclude_unset=True) for document in request.documents]
    vectors: Any = request.vectors
    write = service.collection.upsert if replace else service.collection.add
    doc_ids = write(documents, vectors=vectors)
    return _json({"doc_ids": doc_ids}, 200 if replace else 201)


def _json(value: Any, status: int = 200) -> Response:
    return Response(render(value), status, media_type="application/json")
