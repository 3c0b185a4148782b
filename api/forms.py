"""A request's query string, or its form, bounded while it is read, as a checked model."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from serving.refusal import Refused
from serving.settings import settings

FormModel = TypeVar("FormModel", bound=BaseModel)
MANY = ("photo", "id")  # fields that may be repeated
MOST_FIELDS = 40
MOST_FIELD_BYTES = 1000


class BadFields(Exception):
    """Fields are missing, unknown or have wrong values; str(error) is a sentence.

    Attributes:
        errors: a sentence on each.
    """

    def __init__(self, errors: list[str]):
        super().__init__(errors[0])
        self.errors = errors


async def read_form(request: Request, model: type[FormModel]) -> FormModel:
    """Read and check a form.

    Raises:
        Refused: it is none, or too large.
        BadFields: it has wrong fields.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        raise Refused(415, "Send the request as multipart/form-data.")
    limits = settings()
    try:
        async with request.form(
            max_files=limits.api_photos, max_fields=MOST_FIELDS, max_part_size=MOST_FIELD_BYTES
        ) as form:
            fields: dict[str, object] = {}
            for name, value in form.multi_items():
                read = await value.read() if isinstance(value, UploadFile) else value
                if isinstance(read, bytes) and len(read) > limits.upload_bytes:
                    raise Refused(413, f"A photo may have {limits.upload_mb} MB at most.")
                if isinstance(read, bytes) != (name == "photo"):
                    raise BadFields([f"{name[:40]}: only photo is a file"])
                if name in MANY:
                    fields.setdefault(name, []).append(read)  # type: ignore[attr-defined]
                elif name in fields:
                    raise BadFields([f"{name[:40]}: only once"])
                else:
                    fields[name] = read
    except HTTPException as error:  # of the form's parser
        raise Refused(400, f"The form cannot be read. {error.detail}") from None
    return checked(fields, model)


def read_query(request: Request, model: type[FormModel]) -> FormModel:
    """Read and check a query string. Raises BadFields."""
    fields: dict[str, object] = {}
    for name, value in request.query_params.multi_items():
        if name in fields:
            raise BadFields([f"{name[:40]}: only once"])
        fields[name] = value
    return checked(fields, model)


def checked(fields: dict[str, object], model: type[FormModel]) -> FormModel:
    """The fields as a model. Raises BadFields."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise BadFields([sentence(one) for one in error.errors()]) from None


def sentence(error: object) -> str:
    """One error of pydantic's, without the value it is about."""
    facts: dict = dict(error)  # type: ignore[call-overload]
    where = str(facts["loc"][0])[:40] if facts["loc"] else ""
    said = facts["msg"].removeprefix("Value error, ")
    return f"{where}: {said}" if where else said
