"""Areas of the address space that are for programs: what is unknown there is a problem document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, Router

from ..refusal import Refused, problem, problem_of

NOTHING_HERE = "There is nothing at this address."


def area(path: str, routes: Sequence[BaseRoute]) -> list[BaseRoute]:
    """Routes for everything at `path` and below it.

    An unknown address is 404 and a wrong method 405, instead of the page, which Streamlit serves at
    every address that nothing else matches. Endpoints may raise Refused.

    Args:
        path: e.g. "/api".
        routes: with whole paths, each of them below `path`.
    """
    router = Router(routes, redirect_slashes=False)  # a redirect would lose a proxy's prefix
    handlers: dict[Any, Any] = {HTTPException: of_router, Refused: of_refusal}
    app = ExceptionMiddleware(router, handlers)
    return [Route(path, app), Route(f"{path}/{{rest:path}}", app)]


def of_router(_request: Request, error: HTTPException) -> Response:
    """What the router or Starlette's form parser refused, as problem details."""
    if error.status_code == 404:
        return problem(404, NOTHING_HERE)
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        sentence = f"This method is not allowed here; allowed: {allowed}."
        return problem(405, sentence, headers={"Allow": allowed})
    return problem(error.status_code, error.detail)


def of_refusal(_request: Request, error: Refused) -> Response:
    """A refusal as problem details."""
    return problem_of(error)
