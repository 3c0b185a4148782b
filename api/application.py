"""The API as a FastAPI application, with every error as problem details."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from extractor import BadModel, BadPhoto, ImageTooLarge
from serving.galleries.gallery import NoGallery
from serving.galleries.originals import OriginalGone
from serving.middleware.areas import of_refusal, of_router
from serving.refusal import Refused, busy, problem, problem_of

from .endpoints import no_photo, router

VERSION = "1.0.0"
TITLE = "Same Thing: search by photo"
ABOUT = (
    "Search a gallery with a photo: the other photos of that very thing come first, each with its "
    "evidence. Uploaded photos are used for the request only and never kept."
)
RETRY_SECONDS = 10

log = logging.getLogger(__name__)


async def of_fields(_request: Request, error: RequestValidationError) -> Response:
    """Missing, unknown or wrong fields: 422; an invalid id in the path: 404."""
    problems = error.errors()
    if problems[0]["loc"][0] == "path":
        return problem_of(no_photo())
    errors = [sentence(problem_facts) for problem_facts in problems]
    return problem(422, errors[0], errors=errors)


def sentence(error: dict) -> str:
    """A pydantic error as a sentence, without the rejected value."""
    field = ".".join(str(part) for part in error["loc"][1:2])[:40]  # after "body" or "query"
    message = error["msg"].removeprefix("Value error, ")
    return f"{field}: {message}" if field else message


async def of_extractor(_request: Request, error: Exception) -> Response:
    """A photo that cannot be decoded, or a matcher without its models."""
    if isinstance(error, BadModel):
        return problem(422, "This server has no models for that matcher.")
    return problem(413 if isinstance(error, ImageTooLarge) else 415, str(error))


async def of_gallery(_request: Request, error: Exception) -> Response:
    """A gallery that is not open, or a photo whose file is gone."""
    if isinstance(error, OriginalGone):
        return problem(404, str(error))
    return problem(503, str(error), RETRY_SECONDS)


async def of_disconnect(_request: Request, _error: Exception) -> Response:
    return problem(400, "The connection was closed.")


async def of_system(request: Request, error: Exception) -> Response:
    """An error of the system, such as too many open files or a failing disk."""
    log.error("%s failed", request.url.path, exc_info=error)
    return problem_of(busy("system error", RETRY_SECONDS))


async def of_failure(request: Request, error: Exception) -> Response:
    log.error("%s failed", request.url.path, exc_info=error)
    return problem(500, "Internal error. The log of the server has the details.")


HANDLERS: dict[int | type[Exception], Any] = {
    HTTPException: of_router,
    RequestValidationError: of_fields,
    Refused: of_refusal,
    BadModel: of_extractor,
    BadPhoto: of_extractor,
    NoGallery: of_gallery,
    OriginalGone: of_gallery,
    ClientDisconnect: of_disconnect,
    OSError: of_system,
}

application = FastAPI(
    title=TITLE,
    version=VERSION,
    description=ABOUT,
    openapi_url=None,  # `routes` serves it below the prefix of a proxy
    redirect_slashes=False,  # a redirect would lose that prefix
    exception_handlers=HANDLERS,
    # As a FastAPI handler, this one would raise the error again.
    middleware=[Middleware(ExceptionMiddleware, handlers={Exception: of_failure})],
)
application.include_router(router)
