"""Page "Search": upload query photos, see photos of the same thing and the evidence."""

from __future__ import annotations

import html
from dataclasses import replace

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from extractor import BadPhoto
from search import Engine, PreparedQuery
from serving.galleries.about import about
from serving.galleries.gallery import Gallery, NoGallery
from serving.refusal import Refused

from ..i18n.translate import number, tr, tr_known
from ..state.actions import search_with, start_over
from ..state.answer import (
    Answer,
    answer_query,
    cache_query,
    cached_query,
    descriptor_answer,
    gallery_for,
    prepare_question,
    prepare_uploads,
    search,
    search_cached,
)
from ..state.options import SearchOptions, choose_options
from ..state.query_image import UploadExpired
from ..state.question import Question, hits_shown, mark_photo, read_question, write_question
from ..state.served import served as galleries_served
from ..widgets.card import query_card
from ..widgets.evidence import evidence
from ..widgets.hits import GRIDS, draw, redraw
from ..widgets.start import start_page
from ..widgets.timing import timing_bar
from ..widgets.uploader import file_uploader, uploader

BUSY_ICON = ":material/hourglass_top:"


def render() -> None:
    """Draw the page."""
    try:
        with st.spinner(tr("Opening the gallery…")):
            served = galleries_served()
    except NoGallery as error:
        st.error(tr_known(str(error)))
        return
    gallery = next(iter(served.values()))
    question = read_question(gallery.engine)
    searching = question is not None or "arrived" in st.session_state
    header(gallery.engine, with_uploader=searching)
    if problem := st.session_state.get("problem"):
        st.error(tr_known(problem), icon=":material/broken_image:")
    if notice := st.session_state.pop("notice", ""):
        st.warning(tr_known(notice), icon=BUSY_ICON)
    if searching:
        results_page(served, question)
    else:
        start_page(gallery, list(served)[1:])


def header(engine: Engine, with_uploader: bool) -> None:
    """Draw the title. with_uploader: whether to draw an uploader beside it."""
    brand, right = st.columns([3, 2], vertical_alignment="center")
    title = html.escape(about(engine.store).file.title or "Same Thing")
    searched = tr("search {count} {count:photo|photos} by photo", count=number(len(engine.store)))
    brand.html(f'<div class="brand"><b>{title}</b><span>{html.escape(searched)}</span></div>')
    if with_uploader:
        with right, st.container(key="upload-again"):
            uploader("collapsed")


def results_page(served: dict[str, Gallery], question: Question | None) -> None:
    """Draw the query photos, the toggles and the hits.

    The order by descriptor alone is shown at once and replaced by the full answer when it is ready.

    Args:
        served: galleries by name of their model.
        question: the question; None if the first photo has just arrived.
    """
    st.session_state.pop("counted", None)  # applies to one run only
    was_clicked = clicked()
    with st.container(key="strip"):
        card, switches, clock = st.columns([5, 6, 4], vertical_alignment="top", gap="medium")
        with switches, st.container(horizontal=True, key="toggles", gap="medium"):
            chosen = choose_options(served)
        st.session_state.searched_by = chosen.options.descriptor
        gallery = served[chosen.options.descriptor]  # with its own index
        progress = st.container(key="turn")
    if "arrived" in st.session_state:
        with progress:
            question = process_uploads(gallery, question)
    assert question is not None
    k = hits_shown()
    with card:
        query_card(gallery.engine, question, file_uploader)
    try:
        with progress:
            gallery = gallery_for(served, chosen.options)
            query, problem = prepare_question(gallery, question, chosen.options.matchers)
            answer = completed(query, chosen.options, k + 1) or search_cached(
                gallery, query, chosen.options, k + 1
            )
            if answer is None and chosen.against is None and not was_clicked:
                answer = descriptor_answer(gallery, query, chosen.options, k + 1)
            elif answer is None:
                answer = answer_query(gallery, query, chosen.options, k + 1)
            other = None
            if chosen.against is not None:
                other = other_answer(served, question, chosen.against, k)
    except Refused as refusal:
        st.warning(tr_known(str(refusal)), icon=BUSY_ICON)
        st.button(tr("Try again"))
        handle_clicks(gallery.engine, question, None, redraw())
        return
    except UploadExpired as error:
        st.warning(tr_known(str(error)), icon=":material/link_off:")
        return
    with clock:
        st.html(timing_bar(answer.result))
    if problem:
        st.warning(tr_known(problem), icon=":material/broken_image:")
    grids = draw(question, chosen, answer, other, k)
    handle_clicks(gallery.engine, question, answer, grids)
    if answer.provisional:
        complete(progress, gallery, answer, chosen.options, k + 1)


def process_uploads(gallery: Gallery, question: Question | None) -> Question:
    """Process uploaded photos as a new question, or add them to the current one.

    On failure the page is redrawn unchanged, with a message.
    """
    files, state = st.session_state.arrived, st.session_state
    others = question.subjects if question is not None and state.get("adding") else ()
    try:
        subjects = prepare_uploads(gallery, files, others)
    except (BadPhoto, UploadExpired) as error:
        if not others:
            start_over()
        state.pop("arrived", None)
        state.problem = str(error)
    except Refused as refusal:
        del state.arrived
        advice = tr("Your photo was not processed. Please choose it again.")
        state.notice = f"{tr_known(str(refusal))} {advice}"
    else:
        updated = Question(tuple(subjects))
        query = cached_query(gallery, updated, ("sift",))
        start_over()
        write_question(subjects)
        state.uploaded = {s.token: s for s in subjects if s.token is not None}
        if query is not None:
            cache_query(gallery, updated, query)
        return updated
    st.rerun()


def other_answer(
    served: dict[str, Gallery], question: Question, options: SearchOptions, k: int
) -> Answer:
    """The answer to compare with. Raises as `prepare_question`."""
    gallery = gallery_for(served, options)
    query, _ = prepare_question(gallery, question, options.matchers)
    return answer_query(gallery, query, options, k)


def complete(
    progress: DeltaGenerator, gallery: Gallery, answer: Answer, options: SearchOptions, k: int
) -> None:
    """Compute the full answer while the provisional one is shown, then redraw the page with it."""
    try:
        with progress:
            result = search(gallery, answer.query, options, k)
    except Refused as refusal:
        so_far = tr("These photos are ordered by their descriptors only.")
        st.warning(f"{tr_known(str(refusal))} {so_far}", icon=BUSY_ICON)
        st.button(tr("Try again"))
        return
    # The provisional answer reported the preparation times, and is about to be replaced.
    timings = answer.result.timings_ms | result.timings_ms
    reused = {stage: ms for stage, ms in result.reused_ms.items() if stage not in timings}
    whole = replace(result, timings_ms=timings, reused_ms=reused)
    st.session_state.completed = Answer(gallery, answer.query, whole, options), k
    st.rerun()


def completed(query: PreparedQuery, options: SearchOptions, k: int) -> Answer | None:
    """The full answer from the last run, if it is for this query and these options."""
    answer, hits = st.session_state.pop("completed", (None, 0))
    is_current = (
        answer is not None and answer.query is query and (answer.options, hits) == (options, k)
    )
    return answer if is_current else None


def clicked() -> bool:
    """Whether this run handles a click on a hit, which needs the full answer."""
    return st.session_state.pop("clicked", None) in GRIDS


def handle_clicks(engine: Engine, question: Question, answer: Answer | None, grids: list) -> None:
    """Handle clicks on hits.

    Args:
        engine: the searched engine.
        question: the question.
        answer: the answer; None if the drawn hits are of an earlier one.
        grids: the drawn grids of hits.
    """
    # The browser sends file names, because a build may have reassigned the ids.
    find = engine.store.catalogue.find
    for grid in grids:
        if grid.search and (photo := find(grid.search)):
            search_with(engine, photo.id)
            st.rerun()
        for name in ("more", "less"):
            file = getattr(grid, name)
            if file and find(file):
                mark_photo(file, name)
                st.rerun()
        if answer and grid.open:
            if photo := find(grid.open):
                hits = answer.result.hits
                evidence(
                    engine,
                    question.subjects,
                    answer.query,
                    photo.id,
                    answer.options,
                    search_with,
                    next((hit for hit in hits if hit.id == photo.id), None),
                )
            else:
                st.warning(tr("This photo is no longer in the gallery."))
