"""Models of requests and answers, for validation, serialisation and the OpenAPI document."""

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
from search import MATCHERS, RERANKERS
from serving.settings import settings

NONE = "none"
LIMITS = settings()


def offered(named: str, known: Collection[str]) -> list[str]:
    """The known names in a comma-separated setting, in the order of `known`."""
    names = {name.strip() for name in named.split(",")}
    return [name for name in known if name in names]


RERANK = [NONE, *offered(LIMITS.api_rerank, RERANKERS)]
VERIFY = [NONE, *offered(LIMITS.api_verify, MATCHERS)]

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


class PhotosQuery(BaseModel):
    """Photos to list."""

    model_config = ConfigDict(extra="forbid")

    descriptor: str | None = Field(None, max_length=100, description=DESCRIPTOR)
    start: int = Field(0, ge=0, lt=10**9, description="Lowest id to list.")
    limit: int = Field(100, ge=1, le=1000, description="Maximum number of photos in a page.")
    file: str | None = Field(
        None,
        max_length=4096,
        description="Only the photo of this file, by its exact path in the gallery.",
    )


class ThingsQuery(BaseModel):
    """Things to list."""

    model_config = ConfigDict(extra="forbid")

    descriptor: str | None = Field(None, max_length=100, description=DESCRIPTOR)
    start: int = Field(0, ge=0, lt=10**9, description="Lowest number to list.")
    limit: int = Field(20, ge=1, le=100, description="Maximum number of things in a page.")


class ThingQuery(BaseModel):
    """Photos of a thing to list."""

    model_config = ConfigDict(extra="forbid")

    descriptor: str | None = Field(None, max_length=100, description=DESCRIPTOR)
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
        "diffusion" if "diffusion" in RERANK else NONE,
        description="Global reranker.",
        json_schema_extra={"enum": list(RERANK)},
    )
    verify: str = Field(
        "sift" if "sift" in VERIFY else NONE,
        description="Matcher that compares the best hits with the query, point by point.",
        json_schema_extra={"enum": list(VERIFY)},
    )
    k: int = Field(20, ge=1, le=LIMITS.api_hits, description="Maximum number of hits.")

    @field_validator("rerank", "verify")
    @classmethod
    def _is_offered(cls, name: str, info: ValidationInfo) -> str:
        names = RERANK if info.field_name == "rerank" else VERIFY
        if name not in names:
            raise ValueError(f"must be one of {', '.join(names)}")
        return name

    @field_validator("region")
    @classmethod
    def _is_a_part(cls, text: str | None) -> str | None:
        if text is not None:
            left, top, right, bottom = map(float, text.split(","))
            if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
                raise ValueError("the region is empty or outside the photo")
        return text

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


Homography = Annotated[list[float], Field(min_length=9, max_length=9)]
HOMOGRAPHY = (
    "Row by row. Maps the first photo to the second, both in fractions of width and height; null "
    "without evidence."
)
PROBABILITY = "Probability that both show the same thing, 0 to 1; null without a calibration."
CONFIDENCE = '"sure", "likely" or "unsure", as on the page; null without a probability.'


class Served(BaseModel):
    """The gallery that answered.

    `generation` changes with each build; ids are valid within one generation.
    """

    generation: str
    model: str = Field(description="Name of the descriptor model.")


class LinkAnswer(BaseModel):
    """A photo in a chain of evidence."""

    id: int
    file: str
    title: str
    inliers: int | None = Field(
        description="Points that match the preceding photo's; null if the two were not compared."
    )


class HitThing(BaseModel):
    """The thing that a photo of the gallery shows."""

    number: int = Field(description="Number for `/things/{number}` in this generation.")
    others: int = Field(description="Number of other photos of the gallery that show it.")


class Credited(BaseModel):
    """Entries of the gallery's tables, lists and manifests for a photo; empty where missing."""

    credit: str = Field(description="Whom the photo is by.")
    licence: str
    link: str = Field(description="Page of origin, canvas of the IIIF manifest, or the licence's.")
    more: dict[str, str] = Field(description="Further columns of the gallery's table, by name.")


class HitAnswer(Credited):
    """A photo of the gallery that may show the same thing."""

    id: int
    file: str
    title: str
    thumbnail: str = Field(description="Address of a small JPEG, from the server's root.")
    view: str = Field(description="Address of a JPEG of at most 1024 pixels a side.")
    score: float = Field(description="Hits are ordered by it; comparable within one answer only.")
    similarity: float = Field(description="Cosine of the descriptors, -1 to 1.")
    probability: float | None = Field(description=PROBABILITY)
    confidence: str | None = Field(description=CONFIDENCE)
    inliers: int | None = Field(
        description="Points that fit together; null if the two were not compared."
    )
    verified: bool = Field(description="Whether the inliers are enough to prove the same thing.")
    homography: Homography | None = Field(description=HOMOGRAPHY)
    photo: int = Field(description="Index of the query photo that the points belong to, from 0.")
    identical: bool = Field(description="Whether it is a query photo, pixel for pixel.")
    by_details: bool = Field(
        description="Whether it was found by its keypoints and not by the descriptor."
    )
    chain: list[LinkAnswer] = Field(
        description="Photos that lead from the query to this one, which is last, where they prove "
        "more than the two alone; else empty."
    )
    thing: HitThing | None = Field(
        description="The thing it shows; null if no other photo is known to show it."
    )
    stage_ranks: dict[str, int] = Field(description="Rank from 1 after each stage that was run.")


class SearchAnswer(Served):
    """The hits, best first."""

    hits: list[HitAnswer]
    timings_ms: dict[str, float] = Field(description="Time of each stage run for this request.")
    reused_ms: dict[str, float] = Field(
        description="Earlier time of stages whose result was reused."
    )
    notes: list[str] = Field(
        description="Sentences for a person: what was skipped, and whether the photos of one "
        "query may show different things."
    )


class MatchAnswer(Served):
    """The comparison of two photos."""

    similarity: float = Field(description="Cosine of the descriptors, -1 to 1.")
    probability: float | None = Field(description=PROBABILITY)
    confidence: str | None = Field(description=CONFIDENCE)
    inliers: int | None = Field(
        description="Points that fit together; null if a photo of the gallery is gone."
    )
    verified: bool = Field(description="Whether the inliers are enough to prove the same thing.")
    points: list[Annotated[list[float], Field(min_length=4, max_length=4)]] = Field(
        description="[x, y, x', y'] in fractions of the first photo's and the second's width and "
        "height, most distinctive first."
    )
    homography: Homography | None = Field(description=HOMOGRAPHY)
    timings_ms: dict[str, float] = Field(description="Time of each stage.")


class PhotoFacts(Credited):
    """A photo's entry in the catalogue."""

    id: int
    file: str
    title: str
    width: int = Field(description="Pixels, upright.")
    height: int
    thumbnail: str = Field(description="Address of a small JPEG, from the server's root.")
    view: str = Field(description="Address of a JPEG of at most 1024 pixels a side.")


class PhotoAnswer(Served, PhotoFacts):
    """A photo of the gallery."""


class PhotosAnswer(Served):
    """A page of the gallery's photos, by ascending id."""

    total: int = Field(description="Photos in all pages.")
    next: int | None = Field(description="`start` of the next page; null on the last.")
    photos: list[PhotoFacts]


class ThingFacts(BaseModel):
    """Photos of the gallery that show the same thing, found without any label."""

    number: int = Field(description="Number of the thing; valid within one generation, as ids are.")
    sure: float = Field(description="Confidence that they do, 0 to 1.")
    count: int = Field(description="Number of photos that show it.")
    face: PhotoFacts = Field(description="The photo with the most evidence.")


class ThingsAnswer(Served):
    """A page of the gallery's things, those with most photos first."""

    compared: bool = Field(
        description="Whether the photos were compared with each other when the gallery was built; "
        "if not, no things are known."
    )
    total: int = Field(description="Things in all pages.")
    next: int | None = Field(description="`start` of the next page; null on the last.")
    things: list[ThingFacts]


class ThingAnswer(Served, ThingFacts):
    """A thing, and a page of its photos, the face first, then by their evidence."""

    next: int | None = Field(description="`start` of the next page; null on the last.")
    photos: list[PhotoFacts]


class Problem(BaseModel):
    """Problem details (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str = Field(description="A sentence for a person.")
    retry_after: int | None = Field(None, description="Seconds to wait, if retrying may help.")
    errors: list[str] | None = Field(None, description="One sentence for each wrong field.")
