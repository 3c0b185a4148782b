"""Answers built from search results and catalogue entries."""

from __future__ import annotations

from typing import Any

from index_store import Store
from index_store.analysis.things import Thing
from index_store.storage.catalogue import Photo
from search import Contradiction, Hit, Link, Match, relative_homography
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
    return PhotoFacts(width=photo.width, height=photo.height, **pictured(store, photo, prefix))


def named(photo: Photo | Hit | Link | Contradiction) -> dict[str, Any]:
    """The fields of `Named`."""
    return {"id": photo.id, "file": photo.file, "title": photo.title}


def pictured(store: Store, photo: Photo | Hit, prefix: str) -> dict[str, Any]:
    """The fields of `Pictured`. prefix: of its links."""
    facts = about(store).of(photo.file)
    return named(photo) | {
        "thumbnail": f"{prefix}/{thumbnail_url(store, photo.id)}",
        "view": f"{prefix}/{view_url(store, photo.id)}",
        "credit": facts.credit,
        "licence": facts.licence,
        "link": facts.link,
        "more": dict(facts.more),
    }


def judged(found: Hit | Match) -> dict[str, Any]:
    """The fields of `Judged`."""
    evidence = found.verification
    homography = None
    if evidence is not None and evidence.homography is not None:
        # In fractions of width and height, row by row.
        homography = [round(value, 9) for value in relative_homography(evidence)]
    return {
        "similarity": round(found.similarity, 6),
        "probability": None if found.probability is None else round(found.probability, 6),
        "confidence": found.confidence or None,
        "verified": found.verified,
        "homography": homography,
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
        **pictured(store, hit, prefix),
        **judged(hit),
        score=round(hit.score, 6),
        inliers=hit.inliers,
        photo=0 if hit.verification is None else hit.verification.photo,
        by_details=hit.by_details,
        identical=hit.identical,
        chain=[LinkAnswer(inliers=link.inliers, **named(link)) for link in hit.chain],
        contradicted_by=contradiction_answer(hit.contradicted_by),
        thing=hit_thing(things, hit.id),
        stage_ranks=hit.stage_ranks,
    )


def contradiction_answer(found: Contradiction | None) -> ContradictionAnswer | None:
    """A hit's contradiction as the API returns it; None without one."""
    if found is None:
        return None
    strength = round(found.strength, 6)
    return ContradictionAnswer(inliers=found.inliers, strength=strength, **named(found))


def rounded(timings_ms: dict[str, float]) -> dict[str, float]:
    """Timings in ms, rounded to a microsecond."""
    return {stage: round(ms, 3) for stage, ms in timings_ms.items()}
