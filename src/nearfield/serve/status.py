"""The addresses that tell how the server is, and the page for people."""

from __future__ import annotations

import base64
import hashlib
import re
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Response
from fastapi.responses import HTMLResponse

from nearfield.serve.models import Health
from nearfield.serve.service import Service


def add_status(app: FastAPI, service: Service) -> None:
    """Give the app the addresses that tell how the server is."""
    page = files("nearfield.serve").joinpath("page.html").read_text(encoding="utf-8")
    policy = page_policy(page)

    @app.get("/healthz")
    def health() -> Health:
        """Answer that the server is alive and the collection can be read."""
        collection = service.collection
        return Health(status="ok", documents=len(collection), generation=collection.generation)

    @app.get("/stats")
    def stats() -> dict[str, Any]:
        """Answer counts, bytes on disk, the kind of index, and the space that deleted documents take."""
        found = service.collection.stats().to_dict()
        del found["path"]  # of no use to a client, and it tells about the server's disk
        return found

    @app.get("/metrics", response_class=Response)
    def metrics() -> Response:
        """Answer every metric in Prometheus' text format."""
        return Response(service.metrics.render(), headers={"Content-Type": service.metrics.content_type})

    @app.get("/", include_in_schema=False)
    def landing() -> Response:
        return HTMLResponse(page, headers={"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff"})


def page_policy(page: str) -> str:
    """Return the Content-Security-Policy that lets a page use its own script and style, and this server only.

    The hashes are those of Content Security Policy Level 3, section 2.3.1: base64 of the SHA-256 of the
    element's text.

    >>> page_policy("<style>p {}</style>")
    "default-src 'none'; connect-src 'self'; style-src 'sha256-SNJDlN1Iy2mnt7DOjQIyDb2LQE6O5PQiSZomcdzawQ4='"
    """
    policy = "default-src 'none'; connect-src 'self'"
    for element in ("script", "style"):
        for text in re.findall(rf"<{element}>(.*?)</{element}>", page, re.DOTALL):
            digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
            policy += f"; {element}-src 'sha256-{digest}'"
    return policy
