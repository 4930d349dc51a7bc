"""The addresses that ask: search, recommend, similar, clusters."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from fastapi import Depends, FastAPI, Path, Query, Response

from nearfield.errors import NotFound
from nearfield.serve.models import (
    ClusterRequest,
    ClustersOut,
    DocId,
    HitOut,
    RecommendParameters,
    RecommendRequest,
    SearchParameters,
    SearchRequest,
    SimilarParameters,
)
from nearfield.serve.service import Service
from nearfield.serve.strict import no_parameters

Hits = list[HitOut]


def add_questions(app: FastAPI, service: Service) -> None:
    """Give the app the addresses that ask."""
    _add_search(app, service)
    _add_recommend(app, service)
    _add_clusters(app, service)


def _add_search(app: FastAPI, service: Service) -> None:
    @app.get("/search", response_model=Hits)
    @app.get("/search/", response_model=Hits, include_in_schema=False)
    def search_line(parameters: Annotated[SearchParameters, Query()]) -> Response:
        """Answer the documents that match a query best."""
        options = parameters.model_dump(exclude={"q", "top_k"})
        return search(service, SearchRequest(**{**options, "query": parameters.q, "k": parameters.hits}))

    @app.post("/search", response_model=Hits | list[Hits], dependencies=[Depends(no_parameters)])
    @app.post("/search/", include_in_schema=False, dependencies=[Depends(no_parameters)])
    def search_body(request: SearchRequest) -> Response:
        """Answer the documents that match a query best; for a list of queries, a list of such answers."""
        return search(service, request)


def search(service: Service, request: SearchRequest) -> Response:
    """Return the answer to a search."""
    service.check_k(request.k)
    service.check_query(request.query)
    options = request.model_dump(exclude={"query", "vector"})

    def compute() -> Any:
        if isinstance(request.query, list):
            return [hits.to_dicts() for hits in service.collection.search(request.query, **options)]
        query: Any = np.array(request.vector) if request.query is None else request.query
        try:
            return service.collection.search(query, **options).to_dicts()
        except NotFound:  # another process has deleted a hit of a vector before its document was read
            return service.collection.search(query, **options).to_dicts()

    return service.answer("search", request.model_dump(), compute)


def _add_recommend(app: FastAPI, service: Service) -> None:
    @app.get("/recommend", response_model=Hits)
    @app.get("/recommend/", response_model=Hits, include_in_schema=False)
    def recommend_line(parameters: Annotated[RecommendParameters, Query()]) -> Response:
        """Answer the documents nearest to a document."""
        options = parameters.model_dump(exclude={"item_id", "top_k"})
        request = RecommendRequest(**{**options, "liked": [parameters.item_id], "k": parameters.hits})
        return recommend(service, request)

    @app.post("/recommend", response_model=Hits, dependencies=[Depends(no_parameters)])
    @app.post("/recommend/", include_in_schema=False, dependencies=[Depends(no_parameters)])
    def recommend_body(request: RecommendRequest) -> Response:
        """Answer the documents that fit tastes or a wish."""
        return recommend(service, request)

    @app.get("/similar/{doc_id:path}", response_model=Hits)
    def similar(doc_id: Annotated[DocId, Path()], parameters: Annotated[SimilarParameters, Query()]) -> Response:
        """Answer the documents nearest to a document."""
        return recommend(service, RecommendRequest(liked=[doc_id], **parameters.model_dump()))


def recommend(service: Service, request: RecommendRequest) -> Response:
    """Return the answer to a recommendation."""
    service.check_k(request.k)
    service.check_query(request.query)
    service.check_batch([*request.liked, *request.disliked], "doc_ids")
    options = request.model_dump()
    return service.answer("recommend", options, lambda: service.collection.recommend(**options).to_dicts())


def _add_clusters(app: FastAPI, service: Service) -> None:
    @app.post("/clusters", response_model=ClustersOut, dependencies=[Depends(no_parameters)])
    @app.post("/clusters/", include_in_schema=False, dependencies=[Depends(no_parameters)])
    def clusters(request: ClusterRequest) -> Response:
        """Answer the groups that the documents form; one clustering at a time."""

        def compute() -> dict[str, Any]:
            with service.one_clustering():
                found = service.collection.cluster(**request.model_dump(exclude={"labels"})).to_dict()
            if not request.labels:
                del found["labels"]
            return found

        return service.answer("cluster", request.model_dump(), compute)
