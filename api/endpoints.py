"""Endpoints for search, match and photos. Heavy work runs in turns, see `turns`."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Form, Path, Query
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from index_store import Store
from search import Match, SearchResult, relative_points
from serving import searches
from serving.galleries.galleries import galleries
from serving.galleries.gallery import Gallery, NoGallery
from serving.galleries.pictures import parse_id, pictures
from serving.galleries.things import KnownThings, things_of
from serving.middleware.base_path import prefix_of
from serving.refusal import PROBLEM, Refused

from .answer_models import (
    MatchAnswer,
    PhotoAnswer,
    PhotosAnswer,
    SearchAnswer,
    ThingAnswer,
    ThingsAnswer,
)
from .answers import hit_answer, judged, photo_facts, rounded, served, thing_facts
from .forms import BoundedRoute
from .request_models import (
    DESCRIPTOR,
    NONE,
    MatchForm,
    PhotosQuery,
    SearchForm,
    ThingQuery,
    ThingsQuery,
)
from .turns import in_turn

ROOT = "/api/v1"
REFUSALS = {
    400: "The request cannot be read.",
    404: "There is no such photo.",
    413: "The photo has too many bytes or pixels.",
    415: "Not a photo, or not in a supported format.",
    422: "Fields are missing, unknown or wrong.",
    429: "Too many requests from one address; see Retry-After.",
    503: "Busy, or not ready; see Retry-After.",
}
PROBLEM_SCHEMA = {"schema": {"$ref": "#/components/schemas/Problem"}}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI descriptions of an operation's problem answers."""
    return {
        status: {"description": REFUSALS[status], "content": {PROBLEM: PROBLEM_SCHEMA}}
        for status in statuses
    }


WORK = refusals(400, 404, 413, 415, 422, 429, 503)
LIST = refusals(422, 429, 503)
LOOKUP = refusals(404, 422, 429, 503)
JPEG: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}}
}
READ_METHODS = ["GET", "HEAD"]

router = APIRouter(prefix=ROOT, route_class=BoundedRoute)
multipart = Form(media_type="multipart/form-data")
Id = Annotated[int, Path(ge=0)]
Number = Annotated[int, Path(ge=0, description="Number of the thing in this generation.")]
Descriptor = Annotated[str | None, Query(max_length=100, description=DESCRIPTOR)]


@router.post(
    "/search",
    operation_id="search",
    summary="Search the gallery with uploads or with photos of the gallery.",
    responses=WORK,
)
async def search(request: Request, form: Annotated[SearchForm, multipart]) -> SearchAnswer:
    gallery = chosen(form.descriptor)
    check_ids(form.id, gallery.engine.store)
    sources = form.sources()
    rerank = None if form.rerank == NONE else form.rerank
    matcher = None if form.matcher == NONE else form.matcher

    def work() -> tuple[SearchResult, KnownThings | None]:
        query = searches.prepare(gallery, sources, form.part, [matcher] if matcher else [])
        found = searches.search(gallery, query, rerank, matcher, form.k, "api")
        return found, things_of(gallery.engine.store)

    result, things = await in_turn(request, work)
    store, prefix = gallery.engine.store, prefix_of(request.scope)
    return SearchAnswer(
        **served(gallery),
        hits=[hit_answer(store, hit, things, prefix) for hit in result.hits],
        timings_ms=rounded(result.timings_ms),
        reused_ms=rounded(result.reused_ms),
        notes=result.notes,
    )


@router.post(
    "/match", operation_id="match", summary="Compare two photos point by point.", responses=WORK
)
async def match(request: Request, form: Annotated[MatchForm, multipart]) -> MatchAnswer:
    gallery = chosen(form.descriptor)
    check_ids(form.id, gallery.engine.store)
    first, second = form.sources()

    def work() -> Match:
        query = searches.prepare(gallery, [first])
        return searches.compare(gallery, query, second)

    found = await in_turn(request, work)
    evidence = found.verification
    return MatchAnswer(
        **served(gallery),
        **judged(found),
        inliers=None if evidence is None else evidence.inliers,
        points=[] if evidence is None else relative_points(evidence),
        timings_ms=rounded(found.timings_ms),
    )


@router.api_route(
    "/photos",
    methods=READ_METHODS,
    operation_id="photos",
    summary="List the photos of the gallery page by page, or find one by its file.",
    responses=LIST,
)
async def photos(request: Request, query: Annotated[PhotosQuery, Query()]) -> PhotosAnswer:
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
    return PhotosAnswer(
        **served(gallery),
        total=total,
        next=ids[query.limit] if len(ids) > query.limit else None,
        photos=[photo_facts(store, photo, prefix) for photo in listed],
    )


@router.api_route(
    "/photos/{id}",
    methods=READ_METHODS,
    operation_id="photo",
    summary="Describe a photo of the gallery.",
    responses=LOOKUP,
)
async def photo(request: Request, id: Id, descriptor: Descriptor = None) -> PhotoAnswer:
    gallery = chosen(descriptor)
    store = gallery.engine.store
    check_ids([id], store)
    facts = photo_facts(store, store.catalogue.photo(id), prefix_of(request.scope))
    return PhotoAnswer(**served(gallery), **facts.model_dump())


@router.api_route(
    "/photos/{id}/thumbnail",
    methods=READ_METHODS,
    operation_id="thumbnail",
    summary="Thumbnail of a gallery photo, at most 480 pixels a side.",
    response_class=Response,
    responses=LOOKUP | JPEG,
)
async def thumbnail(id: Id, descriptor: Descriptor = None) -> Response:
    gallery = chosen(descriptor)
    check_ids([id], gallery.engine.store)
    response = await pictures().response(gallery, id, "thumbnail")
    response.headers["Cache-Control"] = "no-cache"  # the next build assigns other ids
    return response


@router.api_route(
    "/things",
    methods=READ_METHODS,
    operation_id="things",
    summary="List the things that more than one photo of the gallery shows.",
    responses=LIST,
)
async def things(request: Request, query: Annotated[ThingsQuery, Query()]) -> ThingsAnswer:
    gallery = chosen(query.descriptor)
    store, prefix = gallery.engine.store, prefix_of(request.scope)
    listing = await run_in_threadpool(things_of, store)
    listed = [] if listing is None else listing.listed
    end = query.start + query.limit
    return ThingsAnswer(
        **served(gallery),
        compared=listing is not None,
        total=len(listed),
        next=end if end < len(listed) else None,
        things=[
            thing_facts(store, number, thing, prefix)
            for number, thing in enumerate(listed[query.start : end], query.start)
        ],
    )


@router.api_route(
    "/things/{number}",
    methods=READ_METHODS,
    operation_id="thing",
    summary="List the photos of the gallery that show one thing.",
    responses=LOOKUP,
)
async def thing(
    request: Request, number: Number, query: Annotated[ThingQuery, Query()]
) -> ThingAnswer:
    gallery = chosen(query.descriptor)
    store, prefix = gallery.engine.store, prefix_of(request.scope)
    listing = await run_in_threadpool(things_of, store)
    if listing is None or number >= len(listing.listed):
        raise Refused(404, "The gallery has no such thing.")
    found, end = listing.listed[number], query.start + query.limit
    listed = store.catalogue.photos_of(found.ids[query.start : end])
    return ThingAnswer(
        **served(gallery),
        **thing_facts(store, number, found, prefix).model_dump(),
        next=end if end < len(found.ids) else None,
        photos=[photo_facts(store, photo, prefix) for photo in listed],
    )


def chosen(descriptor: str | None) -> Gallery:
    """The gallery of a descriptor model. Raises NoGallery; Refused for an unknown model."""
    opened = galleries().opened()
    if not opened:
        raise NoGallery
    if descriptor is None:
        return next(iter(opened.values()))
    if descriptor not in opened:
        raise Refused(422, f"There is no such descriptor; available: {', '.join(opened)}.")
    return opened[descriptor]


def check_ids(ids: list[int], store: Store) -> None:
    """Raise Refused if the gallery does not serve one of the photos."""
    for id in ids:
        if parse_id(str(id), store) is None:
            raise no_photo()


def no_photo() -> Refused:
    return Refused(404, "The gallery has no such photo.")
