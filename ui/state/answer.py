"""The answer to what the visitor asks: from what is known already at once, else in a turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import streamlit as st

from search import PreparedQuery, SearchResult
from serving import searches
from serving.galleries.galleries import Gallery
from serving.galleries.originals import OriginalGone

from ..i18n.translate import tr
from .options import SearchOptions
from .query_image import QueryImage, prepare, read_uploads
from .question import Question
from .turns import in_turn

PREPARED = 4  # queries kept: of the photo as a whole, and of the last few variations of it
GONE = "The file of this photo has changed or is gone, so the whole photo is used."


@dataclass(frozen=True)
class Answer:
    """One answer.

    Attributes:
        gallery: what was searched.
        query: as it was asked.
        result: the hits.
        way: how they were found.
        provisional: whether a better one is on its way.
    """

    gallery: Gallery
    query: PreparedQuery
    result: SearchResult
    way: SearchOptions
    provisional: bool = False


def gallery_for(served: Mapping[str, Gallery], way: SearchOptions) -> Gallery:
    """What a way searches: one of the served galleries, by the form of index that it names.

    It is built in a turn, if it was not asked for before. Raises Refused.
    """
    gallery = served[way.descriptor]
    known = gallery.built_for(way.index)
    if known is not None:
        return known
    return in_turn(lambda: gallery.build_for(way.index), tr("Building the index…"), counted=False)


def ask(gallery: Gallery, query: PreparedQuery, way: SearchOptions, k: int) -> Answer:
    """The answer to a prepared query; in a turn if anything must be compared. Raises Refused."""
    known = recall(gallery, query, way, k)
    if known is not None:
        return known

    return Answer(gallery, query, search(gallery, query, way, k), way)


def search(gallery: Gallery, query: PreparedQuery, way: SearchOptions, k: int) -> SearchResult:
    """Search in a turn.

    For the visitor's quota it is one search with the looking at its photo, if there was that.
    Raises Refused.
    """

    def work() -> SearchResult:
        return searches.search(gallery, query, way.rerank, way.verify, k, "page")

    counted = st.session_state.pop("counted", False)
    return in_turn(work, tr("Matching points…"), counted=not counted, quick=True)


def recall(gallery: Gallery, query: PreparedQuery, way: SearchOptions, k: int) -> Answer | None:
    """The answer if it costs next to nothing."""
    result = searches.recall(gallery, query, way.rerank, way.verify, k, "page")
    return None if result is None else Answer(gallery, query, result, way)


def plain_answer(gallery: Gallery, query: PreparedQuery, way: SearchOptions, k: int) -> Answer:
    """The order by the descriptor alone, which costs next to nothing: shown until the answer is
    there, and not counted as one.
    """
    plain = replace(way, rerank=None, verify=None)
    return Answer(gallery, query, gallery.engine.search(query, k=k), plain, provisional=True)


def prepared(
    gallery: Gallery, question: Question, matchers: Sequence[str]
) -> tuple[PreparedQuery, str]:
    """The question as a query: the session's own, or made in a turn.

    Args:
        gallery: what is searched.
        question: what is asked.
        matchers: whose keypoints an upload needs.

    Returns:
        The query; and a sentence if the whole photo is searched with, because its part cannot be
        looked at.

    Raises:
        Refused: it is not this visitor's turn, and will not be soon; or the system has failed to
            read a file.
        UploadExpired: only the link of an upload is left, and does not know it like this.
    """
    query = kept_query(gallery, question, matchers)
    if query is not None:
        return query, ""
    base = question.without_feedback

    def work() -> PreparedQuery:
        return prepare(gallery, base.subjects, base.region, matchers)

    try:
        made = in_turn(work, tr("Processing the photo…"))
    except OriginalGone:
        return prepared(gallery, question.whole, matchers)[0], GONE
    st.session_state.counted = True
    keep(gallery, base, made)
    query = kept_query(gallery, question, matchers)
    assert query is not None
    return query, ""


def look_at_uploads(
    gallery: Gallery, files: Sequence[tuple[bytes, str]], others: Sequence[QueryImage]
) -> list[QueryImage]:
    """Decode uploads and make a query of them, in one turn.

    Raises:
        Refused: as `prepared`.
        BadPhoto: one cannot be searched with.
        UploadExpired: as `prepared`.
    """
    doing = tr("Processing the photo…")
    subjects, query = in_turn(lambda: read_uploads(gallery, files, others), doing)
    st.session_state.counted = True
    keep(gallery, Question(tuple(subjects)), query)
    return subjects


def kept_query(
    gallery: Gallery, question: Question, matchers: Sequence[str]
) -> PreparedQuery | None:
    """The session's query, if it is at hand at no great cost.

    A query of an older generation of the gallery is renewed, a whole gallery photo is always at
    hand, and what is said of hits moves a query in no time.

    Args:
        gallery: what is searched.
        question: what is asked.
        matchers: whose keypoints an upload needs.
    """
    engine = gallery.engine
    query = _queries().pop(_key(gallery, question), None)
    if query is not None and query.generation != engine.store.version:
        # A part of a gallery photo would be described anew.
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
        base = kept_query(gallery, question.without_feedback, matchers)
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
        keep(gallery, question, query)
    return query


def keep(gallery: Gallery, question: Question, query: PreparedQuery) -> None:
    """Let the session keep a query, and let go of the oldest beyond PREPARED."""
    kept = _queries()
    kept.pop(_key(gallery, question), None)
    kept[_key(gallery, question)] = query
    while len(kept) > PREPARED:
        del kept[next(iter(kept))]


def _queries() -> dict[tuple, PreparedQuery]:
    return st.session_state.setdefault("prepared", {})


def _key(gallery: Gallery, question: Question) -> tuple:
    return question.key, gallery.engine.extractor.fingerprint, gallery.index
