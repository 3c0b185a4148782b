"""The routes of the API, and those that operators ask."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from .document import document, page
from .health import healthz, metrics_text, readyz
from .operations import OPERATIONS, ROOT, answering


async def openapi(request: Request) -> Response:
    """The description for programs."""
    return JSONResponse(document())


async def described(request: Request) -> Response:
    """The description for people."""
    return HTMLResponse(page())


ROUTES = [
    *(
        Route(ROOT + one.path, answering(one.endpoint), methods=[one.method], name=one.name)
        for one in OPERATIONS
    ),
    Route(f"{ROOT}/openapi.json", openapi),
    Route(ROOT, described),
    Route("/healthz", healthz),
    Route("/readyz", readyz),
    Route("/metrics", metrics_text),
]
