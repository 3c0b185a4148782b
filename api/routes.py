"""Routes of the API and of the endpoints for operators."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from serving.middleware.areas import NOTHING_HERE
from serving.middleware.base_path import prefix_of
from serving.refusal import problem

from .application import application
from .document import document, html_page
from .endpoints import ROOT
from .health import healthz, metrics_text, readyz


async def openapi(request: Request) -> Response:
    """The API's documentation as OpenAPI."""
    return JSONResponse(document(prefix_of(request.scope)))


async def html_documentation(request: Request) -> Response:
    """The API's documentation as HTML."""
    return HTMLResponse(html_page(prefix_of(request.scope)))


application.add_route(f"{ROOT}/openapi.json", openapi)
application.add_route(ROOT, html_documentation)
application.add_route(f"{ROOT}/", html_documentation)
# All of /api, because Streamlit answers any unmatched address with the page.
API = [Route("/api", application), Route("/api/{rest:path}", application)]
# Below a wrong prefix Streamlit would answer with the page, and a monitor would take its 200 for
# health.
ELSEWHERE = [
    Route(f"/{{prefix:path}}/{name}", problem(404, NOTHING_HERE))
    for name in ("healthz", "readyz", "api/{rest:path}")
]
HEALTH = [
    Route("/healthz", healthz),
    Route("/readyz", readyz),
    Route("/metrics", metrics_text),
]
ROUTES = [*API, *HEALTH, *ELSEWHERE]
