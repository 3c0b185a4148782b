"""URL areas for programs, in which unknown addresses get a problem document."""

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
    """Routes for `path` and everything below it.

    An unknown address is 404 and a wrong method 405; Streamlit would serve the page, as it does at
    every unmatched address. Endpoints may raise Refused.

    Args:
        path: prefix of the area, e.g. "/api".
        routes: routes with full paths, all below `path`.
    """
    router = Router(routes, redirect_slashes=False)  # a redirect would lose a proxy's prefix
    handlers: dict[Any, Any] = {HTTPException: router_problem, Refused: refusal_problem}
    app = ExceptionMiddleware(router, handlers)
    return [Route(path, app), Route(f"{path}/{{rest:path}}", app)]


def router_problem(_request: Request, error: HTTPException) -> Response:
    """An error of the router or of Starlette's form parser, as problem details."""
    if error.status_code == 404:
        return problem(404, NOTHING_HERE)
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        sentence = f"This method is not allowed here; allowed: {allowed}."
        return problem(405, sentence, headers={"Allow": allowed})
    return problem(error.status_code, error.detail)


def refusal_problem(_request: Request, error: Refused) -> Response:
    """A refusal as problem details."""
    return problem_of(error)
