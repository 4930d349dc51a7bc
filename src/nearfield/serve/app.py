"""`build`: the ASGI application of a `Service`."""

from __future__ import annotations

import time

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nearfield._version import __version__
from nearfield.monitor.metrics import Metrics
from nearfield.serve.documents import add_documents
from nearfield.serve.failures import failure, handle_failures, internal_failure
from nearfield.serve.models import Failure
from nearfield.serve.questions import add_questions
from nearfield.serve.service import Service
from nearfield.serve.status import add_status
from nearfield.serve.strict import StrictRoute, check_address
from nearfield.stages import listen

_METHODS = frozenset(("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"))


def build(service: Service) -> FastAPI:
    """Return the application that serves a collection."""
    app = FastAPI(
        title="nearfield",
        version=__version__,
        description="Search, cluster and recommend over one collection of documents.",
        # Both pages load scripts from a CDN; the description that they show is at /openapi.json.
        docs_url=None,
        redoc_url=None,
        # A redirect would lose the body of a POST in some clients; both spellings are addresses of their own.
        redirect_slashes=False,
        responses={status: {"model": Failure, "description": "Refused"} for status in (422, "default")},
    )
    app.router.route_class = StrictRoute
    app.state.max_body = service.limits.body
    handle_failures(app)
    add_questions(app, service)
    add_documents(app, service)
    add_status(app, service)
    app.add_middleware(Gate, metrics=service.metrics)
    return app


class Gate:
    """What every request passes: its address is checked, it is measured, and it gets an answer.

    Args:
        app: What answers.
        metrics: Where it is counted.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        statuses: list[int] = []

        async def watch(message: Message) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])
            await send(message)

        with self._metrics.in_progress.track_inprogress():
            try:
                await self._answer(scope, receive, watch)
            except Exception:
                response = internal_failure(f"{scope['method']} {scope['path']}")
                if not statuses:
                    await response(scope, receive, watch)
            finally:
                method = scope["method"] if scope["method"] in _METHODS else "other"
                status = statuses[0] if statuses else 500
                self._metrics.request(_route(scope), method, status, time.perf_counter() - began)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            check_address(scope)
        except HTTPException as error:
            await failure(error.status_code, "InvalidInput", error.detail)(scope, receive, send)
            return
        with listen(lambda name, seconds: self._metrics.stage(_route(scope), name, seconds)):
            await self._app(scope, receive, send)


def _route(scope: Scope) -> str:
    """Return the template of the address, of which there are few; "unmatched" if the request matched none."""
    path = getattr(scope.get("route"), "path", None)
    return "unmatched" if path is None else path.rstrip("/") or "/"
