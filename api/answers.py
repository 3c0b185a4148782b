"""Answers built from search results and catalogue entries."""

from __future__ import annotations

from typing import Any

from index_store import Store
from index_store.analysis.things import Thing
from index_store.storage.catalogue import Photo
from search import Contradiction, Hit, Verification, relative_homography
from serving.galleries.about import about
from serving.galleries.gallery import Gallery
from serving.galleries.pictures import thumbnail_url, view_url
from serving.galleries.things import KnownThings

from .answer_models import (
    ContradictionAnswer,
    HitAnswer,
    HitThing,
    LinkAnswer,
    PhotoFacts,
    ThingFacts,
)


def served(gallery: Gallery) -> dict[str, str]:
    """Values for the fields of `Served`."""
    return {"generation": gallery.engine.store.version, "model": gallery.name}


def photo_facts(store: Store, photo: Photo, prefix: str) -> PhotoFacts:
    """A photo's entry in the catalogue. prefix: of its links."""
    return PhotoFacts(
        id=photo.id,
        file=photo.file,
        title=photo.title,
        width=photo.width,
        height=photo.height,
        thumbnail=f"{prefix}/{thumbnail_url(store, photo.id)}",
        view=f"{prefix}/{view_url(store, photo.id)}",
        **credited(store, photo.file),
    )


def credited(store: Store, file: str) -> dict[str, Any]:
    """The fields of `Credited` for a photo."""
    facts = about(store).of(file)
    return {
        "credit": facts.credit,
        "licence": facts.licence,
        "link": facts.link,
        "more": dict(facts.more),
    }


def thing_facts(store: Store, number: int, thing: Thing, prefix: str) -> ThingFacts:
    """Facts of a thing. prefix: of its links."""
    face = store.catalogue.photo(thing.ids[0])
    return ThingFacts(
        number=number,
        sure=round(thing.sure, 6),
        count=len(thing.ids),
        face=photo_facts(store, face, prefix),
    )


def hit_thing(things: KnownThings | None, id: int) -> HitThing | None:
    """The thing that a photo shows; None if no other photo shows it."""
    number = None if things is None else things.number_of(id)
    if things is None or number is None:
        return None
    return HitThing(number=number, others=things.others(id))


def hit_answer(store: Store, hit: Hit, things: KnownThings | None, prefix: str) -> HitAnswer:
    """A hit as the API returns it. things: the store's things. prefix: of its links."""
    return HitAnswer(
        id=hit.id,
        file=hit.file,
        title=hit.title,
        thumbnail=f"{prefix}/{thumbnail_url(store, hit.id)}",
        view=f"{prefix}/{view_url(store, hit.id)}",
        **credited(store, hit.file),
        score=round(hit.score, 6),
        similarity=round(hit.similarity, 6),
        probability=None if hit.probability is None else round(hit.probability, 6),
        confidence=hit.confidence or None,
        inliers=hit.inliers,
        verified=hit.verified,
        homography=homography(hit.verification),
        photo=0 if hit.verification is None else hit.verification.photo,
        by_details=hit.by_details,
        identical=hit.identical,
        chain=[
            LinkAnswer(id=link.id, file=link.file, title=link.title, inliers=link.inliers)
            for link in hit.chain
        ],
        contradicted_by=contradiction_answer(hit.contradicted_by),
        thing=hit_thing(things, hit.id),
        stage_ranks=hit.stage_ranks,
    )


def contradiction_answer(found: Contradiction | None) -> ContradictionAnswer | None:
    """A hit's contradiction as the API returns it; None without one."""
    if found is None:
        return None
    return ContradictionAnswer(
        id=found.id,
        file=found.file,
        title=found.title,
        inliers=found.inliers,
        strength=round(found.strength, 6),
    )


def homography(evidence: Verification | None) -> list[float] | None:
    """The homography in fractions of width and height, row by row; None without one."""
    if evidence is None or evidence.homography is None:
        return None
    return [round(value, 9) for value in relative_homography(evidence)]


def rounded(timings_ms: dict[str, float]) -> dict[str, float]:
    """Timings in ms, rounded to a microsecond."""
    return {stage: round(ms, 3) for stage, ms in timings_ms.items()}
