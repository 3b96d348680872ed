"""The HTTP application: admission (mutation and validation), two probes, and a sentence for everything else."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import FastAPI
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from trustbind_runtime.logs import Logger
from trustbind_webhook.admission.endpoints import Admission, Lifecycle, Validation
from trustbind_webhook.injection.decision import InjectionSettings
from trustbind_webhook.lookup.interface import Lookup
from trustbind_webhook.metrics import Metrics

__all__ = ["create_app"]


class _Application(FastAPI):
    """FastAPI's application, with a short cut to the routes that the API server calls.

    FastAPI wraps every route in half a dozen layers of middleware, which an admission has no use for; they take longer
    than deciding about it (docs/benchmarks.md).
    """

    short_cuts: Mapping[str, ASGIApp] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        route = self.short_cuts.get(scope["path"]) if scope["type"] == "http" else None
        if route is not None:
            await route(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def create_app(
    lookup: Lookup,
    settings: InjectionSettings,
    *,
    metrics: Metrics,
    log: Logger,
    lifecycle: Lifecycle,
) -> FastAPI:
    """Return the application.

    Args:
        lookup: started and stopped by the caller.
        settings: what is injected.
        metrics: where admissions are counted.
        log: where they are told.
        lifecycle: says when the process is about to stop.
    """
    app = _Application(
        title="trustbind webhook",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers={HTTPException: _refuse},
    )
    admission = Admission(lookup, settings, metrics=metrics, log=log, lifecycle=lifecycle)
    validation = Validation(lookup, metrics=metrics, log=log, lifecycle=lifecycle)
    app.short_cuts = {"/mutate": admission, "/validate": validation}

    @app.get("/healthz")
    async def healthz() -> Response:
        """The process answers; that is all this says."""
        return JSONResponse({"status": "ok"})

    @app.get("/readyz")
    async def readyz() -> Response:
        """Whether to send reviews here."""
        if lifecycle.draining:
            return JSONResponse({"error": "shutting down"}, 503)
        if not lookup.synced:
            return JSONResponse({"error": "the first lists of accounts and bindings are not in yet"}, 503)
        if lifecycle.waiting_for:
            return JSONResponse({"error": lifecycle.waiting_for}, 503)
        # A late watch is no reason to send reviews elsewhere: it is late for all replicas when the API server is in
        # trouble, and without any of them every pod would start without its role.
        return JSONResponse({"status": "ok"} | ({"late": late} if (late := lookup.behind) else {}))

    return app


async def _refuse(request: Request, error: Exception) -> Response:
    """Answer what no route takes, in the same form as everything else here."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for nothing else
    sentence = f"{request.method} {request.url.path}: {error.detail}"
    return JSONResponse({"error": sentence}, error.status_code, headers=error.headers)
