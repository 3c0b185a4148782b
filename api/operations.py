"""The operations of the API: the one list that routes and OpenAPI document are made from."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from pydantic import BaseModel
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from extractor import BadModel, BadPhoto, ImageTooLarge
from serving.address import address_of
from serving.galleries import NoGallery
from serving.originals import OriginalGone
from serving.refusal import Refused, busy, problem, problem_of, spend

from . import endpoints
from .forms import BadFields
from .models import (
    Lookup,
    MatchAnswer,
    MatchForm,
    PhotoAnswer,
    PhotosAnswer,
    PhotosQuery,
    SearchAnswer,
    SearchForm,
)

ROOT = "/api/v1"
JPEG = "image/jpeg"
WORK = (400, 404, 413, 415, 422, 429, 503)
LOOKUP = (404, 422, 429, 503)
RETRY_SECONDS = 10
Endpoint = Callable[[Request], Awaitable[Response]]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Operation:
    """One thing the API can do.

    Attributes:
        name: for code, unique.
        method: of HTTP.
        path: below ROOT, with names in braces.
        summary: a line for people.
        endpoint: does it. It may raise what `answering` knows.
        form: what is sent, if anything.
        query: what the address may say after "?", if anything.
        answer: what comes back: a model, or a media type.
        problems: other status codes.
    """

    name: str
    method: str
    path: str
    summary: str
    endpoint: Endpoint
    form: type[BaseModel] | None
    query: type[BaseModel] | None
    answer: type[BaseModel] | str
    problems: tuple[int, ...]


OPERATIONS = (
    Operation(
        "search",
        "POST",
        "/search",
        "Search the gallery with photos, or with one of its own.",
        endpoints.search,
        SearchForm,
        None,
        SearchAnswer,
        WORK,
    ),
    Operation(
        "match",
        "POST",
        "/match",
        "Compare two photos point by point.",
        endpoints.match,
        MatchForm,
        None,
        MatchAnswer,
        WORK,
    ),
    Operation(
        "photos",
        "GET",
        "/photos",
        "List the photos of the gallery page by page, or find one by its file.",
        endpoints.photos,
        None,
        PhotosQuery,
        PhotosAnswer,
        (422, 429, 503),
    ),
    Operation(
        "photo",
        "GET",
        "/photos/{id}",
        "What is known of a photo of the gallery.",
        endpoints.photo,
        None,
        Lookup,
        PhotoAnswer,
        LOOKUP,
    ),
    Operation(
        "thumbnail",
        "GET",
        "/photos/{id}/thumbnail",
        "A photo of the gallery, at most 480 pixels a side.",
        endpoints.thumbnail,
        None,
        Lookup,
        JPEG,
        LOOKUP,
    ),
)


def answering(endpoint: Endpoint) -> Endpoint:
    """The endpoint, with every error as problem details, and no other sentence than the page's."""

    async def answer(request: Request) -> Response:
        try:
            spend("request", address_of(request.scope))
            return await endpoint(request)
        except Refused as error:
            return problem_of(error)
        except BadFields as error:
            return problem(422, str(error), errors=error.errors)
        except ImageTooLarge as error:
            return problem(413, str(error))
        except BadPhoto as error:
            return problem(415, str(error))
        except NoGallery as error:
            return problem(503, str(error), RETRY_SECONDS)
        except BadModel:
            return problem(422, "This server has no models for that matcher.")
        except ClientDisconnect:
            return problem(400, "The connection was closed.")
        except OriginalGone as error:
            return problem(404, str(error))
        except OSError:  # too many open files, a disk that fails: nothing that the caller did
            log.exception("%s failed", request.url.path)
            return problem_of(busy("system error", RETRY_SECONDS))
        except Exception:
            log.exception("%s failed", request.url.path)
            return problem(500, "Something went wrong on the server. It is in its log.")

    return answer
