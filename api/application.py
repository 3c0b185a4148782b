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
from serving.middleware.areas import refusal_problem, router_problem
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


async def fields_problem(_request: Request, invalid: RequestValidationError) -> Response:
    """Missing, unknown or wrong fields: 422; an invalid id in the path: 404."""
    errors = invalid.errors()
    if errors[0]["loc"][0] == "path":
        return problem_of(no_photo())
    sentences = [sentence(error) for error in errors]
    return problem(422, sentences[0], errors=sentences)


def sentence(error: dict) -> str:
    """A pydantic error as a sentence, without the rejected value."""
    field = ".".join(str(part) for part in error["loc"][1:2])[:40]  # after "body" or "query"
    message = error["msg"].removeprefix("Value error, ")
    return f"{field}: {message}" if field else message


async def photo_problem(_request: Request, error: Exception) -> Response:
    """A photo that cannot be decoded: 413 or 415; a matcher without its models: 422."""
    if isinstance(error, BadModel):
        return problem(422, "This server has no models for that matcher.")
    return problem(413 if isinstance(error, ImageTooLarge) else 415, str(error))


async def gallery_problem(_request: Request, error: Exception) -> Response:
    """A photo whose file is gone: 404; a gallery that is not open: 503."""
    if isinstance(error, OriginalGone):
        return problem(404, str(error))
    return problem(503, str(error), RETRY_SECONDS)


async def disconnect_problem(_request: Request, _error: Exception) -> Response:
    return problem(400, "The connection was closed.")


async def system_problem(request: Request, error: Exception) -> Response:
    """An error of the system, such as too many open files or a failing disk: 503."""
    log.error("%s failed", request.url.path, exc_info=error)
    return problem_of(busy("system error", RETRY_SECONDS))


async def internal_problem(request: Request, error: Exception) -> Response:
    log.error("%s failed", request.url.path, exc_info=error)
    return problem(500, "Internal error. The log of the server has the details.")


HANDLERS: dict[int | type[Exception], Any] = {
    HTTPException: router_problem,
    RequestValidationError: fields_problem,
    Refused: refusal_problem,
    BadModel: photo_problem,
    BadPhoto: photo_problem,
    NoGallery: gallery_problem,
    OriginalGone: gallery_problem,
    ClientDisconnect: disconnect_problem,
    OSError: system_problem,
}

application = FastAPI(
    title=TITLE,
    version=VERSION,
    description=ABOUT,
    openapi_url=None,  # `routes` serves it below the prefix of a proxy
    redirect_slashes=False,  # a redirect would lose that prefix
    exception_handlers=HANDLERS,
    # Here and not in HANDLERS: FastAPI raises the error again after its own handler for Exception.
    middleware=[Middleware(ExceptionMiddleware, handlers={Exception: internal_problem})],
)
application.include_router(router)
