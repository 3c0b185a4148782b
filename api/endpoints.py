"""Search, match, photos. Nothing here computes: it reads forms, waits for turns, writes answers."""

from __future__ import annotations

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from index_store import Store
from index_store.catalogue import Photo
from search import Hit, Match, SearchResult, Verification, relative_homography, relative_points
from serving import searches
from serving.base_path import prefix_of
from serving.galleries import Gallery, NoGallery, galleries
from serving.pictures import parse_id, pictures, thumbnail_url, view_url
from serving.refusal import Refused

from .forms import read_form, read_query
from .models import (
    NONE,
    HitAnswer,
    LinkAnswer,
    MatchAnswer,
    MatchForm,
    PhotoAnswer,
    PhotoFacts,
    PhotosAnswer,
    PhotosQuery,
    SearchAnswer,
    SearchForm,
)
from .turns import in_turn


async def search(request: Request) -> Response:
    form = await read_form(request, SearchForm)
    gallery = chosen(form.descriptor)
    check_ids(form.id, gallery.engine.store)
    rerank = None if form.rerank == NONE else form.rerank
    verify = None if form.verify == NONE else form.verify

    def work() -> SearchResult:
        matchers = [verify] if verify else []
        query = searches.prepare(gallery, form.sources, form.part, matchers)
        return searches.search(gallery, query, rerank, verify, form.k, "api")

    result = await in_turn(request, work)
    answer = SearchAnswer(
        **served(gallery),
        hits=[
            hit_answer(gallery.engine.store, hit, prefix_of(request.scope)) for hit in result.hits
        ],
        timings_ms=rounded(result.timings_ms),
        reused_ms=rounded(result.reused_ms),
        notes=result.notes,
    )
    return JSONResponse(answer.model_dump())


async def match(request: Request) -> Response:
    form = await read_form(request, MatchForm)
    gallery = chosen(form.descriptor)
    check_ids(form.id, gallery.engine.store)

    def work() -> Match:
        first, second = form.sources
        query = searches.prepare(gallery, [first])
        return searches.compare(gallery, query, second)

    found = await in_turn(request, work)
    evidence = found.verification
    answer = MatchAnswer(
        **served(gallery),
        similarity=round(found.similarity, 6),
        probability=None if found.probability is None else round(found.probability, 6),
        confidence=found.confidence or None,
        inliers=None if evidence is None else evidence.inliers,
        verified=found.verified,
        points=[] if evidence is None else relative_points(evidence),
        homography=homography(evidence),
        timings_ms=rounded(found.timings_ms),
    )
    return JSONResponse(answer.model_dump())


async def photo(request: Request) -> Response:
    gallery = chosen(request.query_params.get("descriptor"))
    store = gallery.engine.store
    found = store.catalogue.photo(known_id(request, store))
    facts = photo_facts(store, found, prefix_of(request.scope))
    answer = PhotoAnswer(**served(gallery), **facts.model_dump())
    return JSONResponse(answer.model_dump())


async def photos(request: Request) -> Response:
    query = read_query(request, PhotosQuery)
    gallery = chosen(query.descriptor)
    store, prefix = gallery.engine.store, prefix_of(request.scope)
    if query.file is None:
        served_ids = store.served_ids
        total = len(served_ids)
        first = np.searchsorted(served_ids, query.start)
        ids = served_ids[first : first + query.limit + 1].tolist()
    else:
        found = store.catalogue.find(query.file)
        total = 0 if found is None else 1
        ids = [found.id] if found is not None and found.id >= query.start else []
    listed = store.catalogue.photos_of(ids[: query.limit])
    answer = PhotosAnswer(
        **served(gallery),
        total=total,
        next=ids[query.limit] if len(ids) > query.limit else None,
        photos=[photo_facts(store, one, prefix) for one in listed],
    )
    return JSONResponse(answer.model_dump())


async def thumbnail(request: Request) -> Response:
    gallery = chosen(request.query_params.get("descriptor"))
    id = known_id(request, gallery.engine.store)
    response = await pictures().response(gallery, id, "thumbnail")
    response.headers["Cache-Control"] = "no-cache"  # ids are others after the next build
    return response


def chosen(descriptor: str | None) -> Gallery:
    """The gallery of a descriptor model. Raises NoGallery, and Refused for an unknown one."""
    opened = galleries().opened()
    if not opened:
        raise NoGallery
    if descriptor is None:
        return next(iter(opened.values()))
    if descriptor not in opened:
        raise Refused(422, f"There is no such descriptor, only {', '.join(opened)}.")
    return opened[descriptor]


def known_id(request: Request, store: Store) -> int:
    """The id in the path. Raises Refused if the gallery has no such photo."""
    id = parse_id(request.path_params["id"], store)
    if id is None:
        raise no_photo()
    return id


def check_ids(ids: list[int], store: Store) -> None:
    """Raise Refused if the gallery serves no such photo."""
    for id in ids:
        if parse_id(str(id), store) is None:
            raise no_photo()


def no_photo() -> Refused:
    return Refused(404, "The gallery has no such photo.")


def served(gallery: Gallery) -> dict[str, str]:
    """The fields of `Served`."""
    return {"generation": gallery.engine.store.version, "model": gallery.name}


def photo_facts(store: Store, photo: Photo, prefix: str) -> PhotoFacts:
    """What the catalogue has on a photo. prefix: of its links."""
    return PhotoFacts(
        id=photo.id,
        file=photo.file,
        title=photo.title,
        width=photo.width,
        height=photo.height,
        thumbnail=f"{prefix}/{thumbnail_url(store, photo.id)}",
        view=f"{prefix}/{view_url(store, photo.id)}",
    )


def hit_answer(store: Store, hit: Hit, prefix: str) -> HitAnswer:
    """One hit. prefix: of its links."""
    return HitAnswer(
        id=hit.id,
        file=hit.file,
        title=hit.title,
        thumbnail=f"{prefix}/{thumbnail_url(store, hit.id)}",
        view=f"{prefix}/{view_url(store, hit.id)}",
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
        stage_ranks=hit.stage_ranks,
    )


def homography(evidence: Verification | None) -> list[float] | None:
    """In fractions of width and height; None without one."""
    if evidence is None or evidence.homography is None:
        return None
    return [round(value, 9) for value in relative_homography(evidence)]


def rounded(timings_ms: dict[str, float]) -> dict[str, float]:
    """To a microsecond."""
    return {stage: round(ms, 3) for stage, ms in timings_ms.items()}
