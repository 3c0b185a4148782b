"""Answers to the visitor's question: from cached evidence at once, else in a turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import streamlit as st

from search import PreparedQuery, SearchResult
from serving import searches
from serving.galleries.gallery import Gallery
from serving.galleries.originals import OriginalGone

from ..i18n.translate import tr
from .options import SearchOptions
from .query_image import QueryImage, prepare, read_uploads
from .question import Question
from .turns import in_turn

MAX_PREPARED = 4  # cached queries: the whole photo and its last few variations
ORIGINAL_GONE = "The file of this photo has changed or is gone, so the whole photo is used."


@dataclass(frozen=True)
class Answer:
    """An answer.

    Attributes:
        gallery: the searched gallery.
        query: the prepared query.
        result: the hits.
        options: the search options used.
        provisional: whether a full answer will replace it.
    """

    gallery: Gallery
    query: PreparedQuery
    result: SearchResult
    options: SearchOptions
    provisional: bool = False


def gallery_for(served: Mapping[str, Gallery], options: SearchOptions) -> Gallery:
    """The gallery that the options name, with the form of index that they name.

    A form that is not cached is built in a turn. Raises Refused.
    """
    gallery = served[options.descriptor]
    cached = gallery.built_for(options.index)
    if cached is not None:
        return cached
    return in_turn(
        lambda: gallery.build_for(options.index), tr("Building the index…"), counted=False
    )


def answer_query(gallery: Gallery, query: PreparedQuery, options: SearchOptions, k: int) -> Answer:
    """Answer a prepared query; in a turn if photos must be compared. Raises Refused."""
    cached = search_cached(gallery, query, options, k)
    if cached is not None:
        return cached

    return Answer(gallery, query, search(gallery, query, options, k), options)


def search(gallery: Gallery, query: PreparedQuery, options: SearchOptions, k: int) -> SearchResult:
    """Search in a turn.

    Counts as one search for the quota, together with preparing the photo if that was necessary.
    Raises Refused.
    """

    def work() -> SearchResult:
        return searches.search(gallery, query, options.rerank, options.matcher, k, "page")

    counted = st.session_state.pop("counted", False)
    return in_turn(work, tr("Matching points…"), counted=not counted, quick=True)


def search_cached(
    gallery: Gallery, query: PreparedQuery, options: SearchOptions, k: int
) -> Answer | None:
    """The answer if no photo must be compared for it, else None."""
    result = searches.search_cached(gallery, query, options.rerank, options.matcher, k, "page")
    return None if result is None else Answer(gallery, query, result, options)


def descriptor_answer(
    gallery: Gallery, query: PreparedQuery, options: SearchOptions, k: int
) -> Answer:
    """The order by descriptor alone, which is nearly free: shown until the full answer is ready and
    not counted as a search.
    """
    descriptor_only = replace(options, rerank=None, matcher=None)
    return Answer(
        gallery, query, gallery.engine.search(query, k=k), descriptor_only, provisional=True
    )


def prepare_question(
    gallery: Gallery, question: Question, matchers: Sequence[str]
) -> tuple[PreparedQuery, str]:
    """Prepare the question as a query, from the session's cache or in a turn.

    Args:
        gallery: the gallery to search.
        question: the question.
        matchers: matchers whose keypoints an upload needs.

    Returns:
        The query, and a message if the whole photo is used because its part cannot be read.

    Raises:
        Refused: the server is too busy, or the system failed to read a file.
        UploadExpired: the cached data of an upload does not suffice.
    """
    query = cached_query(gallery, question, matchers)
    if query is not None:
        return query, ""
    base = question.without_feedback

    def work() -> PreparedQuery:
        return prepare(gallery, base.subjects, base.region, matchers)

    try:
        prepared_query = in_turn(work, tr("Processing the photo…"))
    except OriginalGone:
        return prepare_question(gallery, question.whole, matchers)[0], ORIGINAL_GONE
    st.session_state.counted = True
    cache_query(gallery, base, prepared_query)
    query = cached_query(gallery, question, matchers)
    assert query is not None
    return query, ""


def prepare_uploads(
    gallery: Gallery, files: Sequence[tuple[bytes, str]], others: Sequence[QueryImage]
) -> list[QueryImage]:
    """Decode uploads and prepare a query from them, in one turn.

    Raises:
        Refused: as `prepare_question`.
        BadPhoto: an upload cannot be decoded.
        UploadExpired: as `prepare_question`.
    """
    message = tr("Processing the photo…")
    subjects, query = in_turn(lambda: read_uploads(gallery, files, others), message)
    st.session_state.counted = True
    cache_query(gallery, Question(tuple(subjects)), query)
    return subjects


def cached_query(
    gallery: Gallery, question: Question, matchers: Sequence[str]
) -> PreparedQuery | None:
    """The query if it is cached or cheap to prepare, else None.

    A query of an older generation of the gallery is renewed; whole gallery photos and feedback on
    hits are cheap.

    Args:
        gallery: the gallery to search.
        question: the question.
        matchers: matchers whose keypoints an upload needs.
    """
    engine = gallery.engine
    query = _queries().pop(_key(gallery, question), None)
    if query is not None and query.generation != engine.store.version:
        # A part of a gallery photo would have to be described again.
        cheap = question.region is None or question.subjects[0].file is None
        try:
            query = engine.renew(query) if cheap else None
        except KeyError:
            query = None
    if query is not None:
        uploads = [photo for photo in query.photos if photo.id is None]
        if not all(photo.keypoints.keys() >= set(matchers) for photo in uploads):
            query = None
    find = engine.store.catalogue.find
    if query is None and (question.more or question.less):
        base = cached_query(gallery, question.without_feedback, matchers)
        if base is not None:
            more, less = (
                [find(file).id for file in files] for files in (question.more, question.less)
            )
            query = engine.refine(base, more, less)
    elif query is None and question.region is None:
        if all(subject.file is not None for subject in question.subjects):
            ids = [find(subject.file).id for subject in question.subjects]
            query = gallery.queries.prepare(ids[0]) if len(ids) == 1 else engine.prepare(ids)
    if query is not None:
        cache_query(gallery, question, query)
    return query


def cache_query(gallery: Gallery, question: Question, query: PreparedQuery) -> None:
    """Cache a query in the session; beyond MAX_PREPARED the oldest is dropped."""
    queries = _queries()
    queries.pop(_key(gallery, question), None)
    queries[_key(gallery, question)] = query
    while len(queries) > MAX_PREPARED:
        del queries[next(iter(queries))]


def _queries() -> dict[tuple, PreparedQuery]:
    return st.session_state.setdefault("prepared", {})


def _key(gallery: Gallery, question: Question) -> tuple:
    return question.key, gallery.engine.extractor.fingerprint, gallery.index
