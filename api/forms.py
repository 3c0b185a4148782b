"""Limits and checks of requests before FastAPI reads their fields."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from serving.middleware.client_ip import address_of
from serving.refusal import Refused, spend
from serving.settings import settings

MANY = ("photo", "id")  # fields that may be repeated
MAX_FIELDS = 40
MAX_FIELD_BYTES = 1000


class BoundedRoute(APIRoute):
    """A route that counts requests, limits their forms and refuses repeated fields."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def bounded(request: Request) -> Response:
            spend("request", address_of(request.scope))
            check_once(name for name, _ in request.query_params.multi_items())
            if self.body_field is not None:
                await read_form(request)
            return await handle(request)

        return bounded


async def read_form(request: Request) -> None:
    """Read a form within the limits. The request caches it for FastAPI.

    Raises:
        Refused: the body is not a form, or it is too large.
        RequestValidationError: a field is repeated, or is a file where text is expected.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data":
        raise Refused(415, "Send the request as multipart/form-data.")
    # Names in other charsets can decode to text that cannot be encoded in an answer.
    if options.get(b"charset", b"utf-8").lower() not in (b"utf-8", b"utf8"):
        raise Refused(415, "Send the form in UTF-8, without another charset.")
    limits = settings()
    try:
        form = await request.form(
            max_files=limits.query_photos, max_fields=MAX_FIELDS, max_part_size=MAX_FIELD_BYTES
        )
    except HTTPException as error:  # from the form parser
        raise Refused(400, f"The form cannot be read. {error.detail}") from None
    except UnicodeError:
        raise Refused(400, "The form cannot be read. Its names are not UTF-8.") from None
    for name, value in form.multi_items():
        if isinstance(value, UploadFile) != (name == "photo"):
            raise wrong(name, "only photo may be a file")
        if isinstance(value, UploadFile) and (value.size or 0) > limits.upload_bytes:
            raise Refused(413, f"A photo may have at most {limits.upload_mb} MB.")
    check_once(name for name, _ in form.multi_items() if name not in MANY)


def check_once(names: Iterable[str]) -> None:
    """Raise RequestValidationError for the first repeated name."""
    for name, count in Counter(names).items():
        if count > 1:
            raise wrong(name, "may be given only once")


def wrong(name: str, reason: str) -> RequestValidationError:
    """The error for a field that is refused before pydantic validates it."""
    return RequestValidationError([{"loc": ("body", name), "msg": reason}])
