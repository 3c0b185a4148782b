"""Models of requests, for validation and the OpenAPI document."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated

from fastapi import UploadFile
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from extractor import Region
from extractor.photo import formats
from extractor.photo.crop import inside_photo
from search import MATCHERS, RERANKERS
from serving.settings import settings

NONE = "none"
LIMITS = settings()


def allowed(setting: str, available: Collection[str]) -> list[str]:
    """The available names in a comma-separated setting, in the order of `available`."""
    names = {name.strip() for name in setting.split(",")}
    return [name for name in available if name in names]


ALLOWED_RERANKERS = [NONE, *allowed(LIMITS.api_rerank, RERANKERS)]
ALLOWED_MATCHERS = [NONE, *allowed(LIMITS.api_verify, MATCHERS)]
Photo = Annotated[UploadFile, WithJsonSchema({"type": "string", "format": "binary"})]
DESCRIPTOR = "Name of the descriptor model if the server has several. Default: the first."
FRACTION = r"(0|1|0?\.\d{1,9}|0\.\d{1,9}|1\.0{1,9})"


class Form(BaseModel):
    """Fields of a multipart form. Unknown fields are an error."""

    model_config = ConfigDict(extra="forbid", title="Form")

    photo: list[Photo] = Field(
        [],
        max_length=LIMITS.query_photos,
        description=f"Photos ({formats.names(LIMITS.uploads.formats)}), files of at most "
        f"{LIMITS.upload_mb} MB. "
        "Repeat the field to send more than one.",
    )
    id: list[Annotated[int, Field(ge=0, lt=10**9)]] = Field(
        [],
        max_length=LIMITS.query_photos,
        description="Photos of the gallery, by their ids in this generation.",
    )
    descriptor: str | None = Field(None, max_length=100, description=DESCRIPTOR)

    @property
    def count(self) -> int:
        """Number of photos in the form."""
        return len(self.photo) + len(self.id)

    def sources(self) -> list[bytes | int]:
        """All photos, uploads first. Uploads can be read only once."""
        return [*(photo.file.read() for photo in self.photo), *self.id]


class PageQuery(BaseModel):
    """A request for a page of a list. Unknown parameters are an error."""

    model_config = ConfigDict(extra="forbid")

    descriptor: str | None = Field(None, max_length=100, description=DESCRIPTOR)


class PhotosQuery(PageQuery):
    """Photos to list."""

    start: int = Field(0, ge=0, lt=10**9, description="Lowest id to list.")
    limit: int = Field(100, ge=1, le=1000, description="Maximum number of photos in a page.")
    file: str | None = Field(
        None,
        max_length=4096,
        description="Only the photo of this file, by its exact path in the gallery.",
    )


class ThingsQuery(PageQuery):
    """Things to list."""

    start: int = Field(0, ge=0, lt=10**9, description="Lowest number to list.")
    limit: int = Field(20, ge=1, le=100, description="Maximum number of things in a page.")


class ThingQuery(PageQuery):
    """Photos of a thing to list."""

    start: int = Field(0, ge=0, lt=10**9, description="Position of the first photo, from 0.")
    limit: int = Field(100, ge=1, le=1000, description="Maximum number of photos in a page.")


class SearchForm(Form):
    """Query photos and search options."""

    region: str | None = Field(
        None,
        pattern=f"^{FRACTION}(,{FRACTION}){{3}}$",
        description="The part of a single photo that counts: left, top, right, bottom as fractions "
        "of its upright width and height, e.g. `0.2,0,0.8,0.5`.",
    )
    rerank: str = Field(
        "diffusion" if "diffusion" in ALLOWED_RERANKERS else NONE,
        description="Global reranker.",
        json_schema_extra={"enum": list(ALLOWED_RERANKERS)},
    )
    matcher: str = Field(
        "sift" if "sift" in ALLOWED_MATCHERS else NONE,
        description="Matcher that compares the best hits with the query, point by point.",
        json_schema_extra={"enum": list(ALLOWED_MATCHERS)},
    )
    verify: str | None = Field(
        None,
        description="Deprecated: the former name of `matcher`.",
        json_schema_extra={"enum": list(ALLOWED_MATCHERS), "deprecated": True},
    )
    k: int = Field(20, ge=1, le=LIMITS.api_hits, description="Maximum number of hits.")

    @field_validator("rerank", "matcher", "verify")
    @classmethod
    def _is_allowed(cls, name: str | None, info: ValidationInfo) -> str | None:
        names = ALLOWED_RERANKERS if info.field_name == "rerank" else ALLOWED_MATCHERS
        if name is not None and name not in names:
            raise ValueError(f"must be one of {', '.join(names)}")
        return name

    @field_validator("region")
    @classmethod
    def _is_a_part(cls, text: str | None) -> str | None:
        if text is not None:
            left, top, right, bottom = map(float, text.split(","))
            inside_photo((left, top, right, bottom))
        return text

    @model_validator(mode="after")
    def _read_deprecated(self) -> SearchForm:
        if self.verify is not None:
            if "matcher" in self.model_fields_set and self.matcher != self.verify:
                raise ValueError("send either matcher or verify, its former name")
            self.matcher = self.verify
        return self

    @model_validator(mode="after")
    def _has_photos(self) -> SearchForm:
        if not self.count:
            raise ValueError("send a photo or the id of a gallery photo")
        if self.region is not None and self.count > 1:
            raise ValueError("a region needs a single photo")
        return self

    @property
    def part(self) -> Region | None:
        """`region` as numbers."""
        if self.region is None:
            return None
        left, top, right, bottom = map(float, self.region.split(","))
        return left, top, right, bottom


class MatchForm(Form):
    """Two photos to compare: two files, a file and an id, or two ids. Files come first."""

    @model_validator(mode="after")
    def _has_two_photos(self) -> MatchForm:
        if self.count != 2:
            raise ValueError("send two photos: files, ids of gallery photos, or one of each")
        return self
