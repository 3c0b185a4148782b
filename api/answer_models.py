"""Answers of the API as pydantic models, for serialisation and the OpenAPI document."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

STAGES = "`graph` is the matching graph: contradictions and chains."


class Served(BaseModel):
    """The gallery that answered.

    `generation` changes with each build; ids are valid within one generation.
    """

    generation: str
    model: str = Field(description="Name of the descriptor model.")


class Named(BaseModel):
    """A photo of the gallery."""

    id: int
    file: str
    title: str


class LinkAnswer(Named):
    """A photo in a chain of evidence."""

    inliers: int | None = Field(
        description="Points that match the preceding photo's; null if the two were not compared."
    )


class ContradictionAnswer(Named):
    """A photo of the gallery that matches a hit and, to this search, shows another thing."""

    inliers: int = Field(description="Points that match the hit's.")
    strength: float = Field(
        description="Probability that it shows the hit's thing, times the probability that it does "
        "not show the query's, 0.5 to 1."
    )


class HitThing(BaseModel):
    """The thing that a photo of the gallery shows."""

    number: int = Field(description="Number for `/things/{number}` in this generation.")
    others: int = Field(description="Number of other photos of the gallery that show it.")


class Pictured(Named):
    """A photo with its pictures, and with the entries of the gallery's tables, lists and manifests
    for it; empty where missing.
    """

    thumbnail: str = Field(description="Address of a small JPEG, from the server's root.")
    view: str = Field(description="Address of a JPEG of at most 1024 pixels a side.")
    credit: str = Field(description="Credit line of the photo.")
    licence: str
    link: str = Field(description="Page of origin, canvas of the IIIF manifest, or the licence's.")
    more: dict[str, str] = Field(description="Further columns of the gallery's table, by name.")


class Judged(BaseModel):
    """The evidence that two photos show the same thing."""

    similarity: float = Field(description="Cosine of the descriptors, -1 to 1.")
    probability: float | None = Field(
        description="Probability that both show the same thing, 0 to 1; null without a calibration."
    )
    confidence: str | None = Field(
        description='"sure", "likely" or "unsure", as on the page; null without a probability.'
    )
    verified: bool = Field(description="Whether the inliers are enough to prove the same thing.")
    homography: Annotated[list[float], Field(min_length=9, max_length=9)] | None = Field(
        description="Row by row. Maps the first photo to the second, both in fractions of width "
        "and height; null without evidence."
    )


class HitAnswer(Judged, Pictured):
    """A photo of the gallery that may show the same thing."""

    score: float = Field(description="Hits are ordered by it; comparable within one answer only.")
    inliers: int | None = Field(
        description="Points that fit together; null if the two were not compared."
    )
    photo: int = Field(description="Index of the query photo that the points belong to, from 0.")
    identical: bool = Field(description="Whether it is a query photo, pixel for pixel.")
    by_details: bool = Field(
        description="Whether it was found by its keypoints and not by the descriptor."
    )
    chain: list[LinkAnswer] = Field(
        description="Photos that lead from the query to this one, which is last, where they prove "
        "more than the two alone; else empty."
    )
    contradicted_by: ContradictionAnswer | None = Field(
        description="The photo that counts most against it; null if none does much."
    )
    thing: HitThing | None = Field(
        description="The thing it shows; null if no other photo is known to show it."
    )
    stage_ranks: dict[str, int] = Field(description=f"Rank from 1 after each stage. {STAGES}")


class SearchAnswer(Served):
    """The hits, best first."""

    hits: list[HitAnswer]
    timings_ms: dict[str, float] = Field(
        description=f"Time of each stage run for this request. {STAGES}"
    )
    reused_ms: dict[str, float] = Field(
        description="Earlier time of stages whose result was reused."
    )
    notes: list[str] = Field(
        description="Sentences for a person: what was skipped, and whether the photos of one "
        "query may show different things."
    )


class MatchAnswer(Judged, Served):
    """The comparison of two photos."""

    inliers: int | None = Field(
        description="Points that fit together; null if a photo of the gallery is gone."
    )
    points: list[Annotated[list[float], Field(min_length=4, max_length=4)]] = Field(
        description="[x, y, x', y'] in fractions of the first photo's and the second's width and "
        "height, most distinctive first."
    )
    timings_ms: dict[str, float] = Field(description="Time of each stage.")


class PhotoFacts(Pictured):
    """A photo's entry in the catalogue."""

    width: int = Field(description="Pixels, upright.")
    height: int


class PhotoAnswer(Served, PhotoFacts):
    """A photo of the gallery."""


class Page(Served):
    """A page of a list."""

    next: int | None = Field(description="`start` of the next page; null on the last.")


class PhotosAnswer(Page):
    """A page of the gallery's photos, by ascending id."""

    total: int = Field(description="Photos in all pages.")
    photos: list[PhotoFacts]


class ThingFacts(BaseModel):
    """Photos of the gallery that show the same thing, found without any label."""

    number: int = Field(description="Number of the thing; valid within one generation, as ids are.")
    sure: float = Field(description="Confidence that they do, 0 to 1.")
    count: int = Field(description="Number of photos that show it.")
    face: PhotoFacts = Field(description="The photo with the most evidence.")


class ThingsAnswer(Page):
    """A page of the gallery's things, those with most photos first."""

    compared: bool = Field(
        description="Whether the photos were compared with each other when the gallery was built; "
        "if not, no things are known."
    )
    total: int = Field(description="Things in all pages.")
    things: list[ThingFacts]


class ThingAnswer(Page, ThingFacts):
    """A thing, and a page of its photos, the face first, then by their evidence."""

    photos: list[PhotoFacts]


class Problem(BaseModel):
    """Problem details (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str = Field(description="A sentence for a person.")
    retry_after: int | None = Field(None, description="Seconds to wait, if retrying may help.")
    errors: list[str] | None = Field(None, description="One sentence for each wrong field.")
