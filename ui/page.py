"""The page: a photo in, the photos of the same thing out, with the evidence."""

from __future__ import annotations

import html

import streamlit as st

from extractor import BadPhoto, Region
from search import Engine, SearchResult
from serving.about import about
from serving.galleries import Gallery, NoGallery
from serving.refusal import Refused

from . import actions
from .actions import (
    current_subject,
    search_with,
    show_more,
    show_weaker,
    start_over,
    take_upload,
    uploader_key,
)
from .answer import Answer, ask, ask_with_upload, compared_with
from .evidence import evidence, plain
from .part import choose_part
from .results import Pane, one_pane, results_grid, two_panes
from .served import served as galleries_served
from .stages import OFF, Stages, choose_stages
from .subject import Subject, keep
from .timing import timing_bar

BUSY_ICON = ":material/hourglass_top:"


def render() -> None:
    """Draw the page."""
    try:
        with st.spinner("Opening the gallery…"):
            served = galleries_served()
    except NoGallery as error:
        st.error(str(error))
        return
    st.session_state.setdefault("shown", actions.FIRST_PAGE)
    gallery = next(iter(served.values()))
    subject = current_subject(gallery.engine)
    searching = subject is not None or "arrived" in st.session_state
    header(gallery.engine, with_uploader=searching)
    if problem := st.session_state.get("problem"):
        st.error(problem, icon=":material/broken_image:")
    if notice := st.session_state.pop("notice", ""):
        st.warning(notice, icon=BUSY_ICON)
    if searching:
        results_page(served, subject)
    else:
        start_page(gallery, list(served)[1:])


def header(engine: Engine, with_uploader: bool) -> None:
    brand, right = st.columns([3, 2], vertical_alignment="center")
    title = html.escape(about(engine.store).file.title or "Same Thing")
    brand.html(
        f'<div class="brand"><b>{title}</b>'
        f"<span>search {len(engine.store):,} photos by photo</span></div>"
    )
    if with_uploader:
        with right, st.container(key="upload-again"):
            uploader("collapsed")


def uploader(label_visibility: str) -> None:
    key = uploader_key()
    st.file_uploader(
        "Drop a photo here, or choose one",
        type=["jpg", "jpeg", "png", "webp"],
        key=key,
        on_change=take_upload,
        args=(key,),
        label_visibility=label_visibility,
    )


def start_page(gallery: Gallery, others: list[str]) -> None:
    """What a visitor sees who has not searched yet.

    Args:
        gallery: what the page opens with.
        others: names of the other descriptors.
    """
    text, drop = st.columns([3, 2], vertical_alignment="bottom", gap="large")
    text.html(
        '<div class="hero"><h1>Find photos of the very same thing</h1>'
        "<p>Upload a photo of a building, a painting, an object. You get the other photos of that "
        "very thing first, with the matching points as evidence.</p></div>"
    )
    with drop, st.container(key="upload-first"):
        uploader("visible")
        st.html('<p class="small">Your photo is forgotten when you leave.</p>')
    st.html('<div class="section">Or start with one of these</div>')
    samples, engine, said = gallery.samples, gallery.engine, about(gallery.engine.store)
    with st.grid(columns=7, min_column_width=150, gap="small", key="samples"):
        for photo in samples:
            with st.container(key=f"tile-{photo.id}"):
                title = said.title(photo.file, photo.title)
                st.image(engine.store.thumbnail(photo.id), width="stretch", alt=title)
                if st.button(plain(title), key=f"sample-{photo.id}", width="stretch"):
                    search_with(engine, photo.id)
                    st.rerun()
    if said.file.note:
        tip = f" {html.escape(others[0])} may see it differently." if others else ""
        st.html(f'<p class="small">{html.escape(said.file.note)}{tip}</p>')


def results_page(served: dict[str, Gallery], subject: Subject | None) -> None:
    """The photo searched with, the toggles, and the hits.

    Args:
        served: the galleries by the names of their models.
        subject: None if the first photo has just arrived.
    """
    k = st.session_state.shown
    with st.container(key="strip"):
        card, switches, clock = st.columns([5, 6, 4], vertical_alignment="center", gap="medium")
        with switches, st.container(horizontal=True, key="toggles", gap="medium"):
            asked = choose_stages(served)
        gallery = served[asked.descriptor]
        turn = st.container(key="turn")
    answer = None
    if "arrived" in st.session_state:
        with turn:
            subject, answer = look_at_upload(gallery, asked)
        k = actions.FIRST_PAGE
    assert subject is not None
    with card:
        region = subject_card(subject)
    try:
        with turn:
            if answer is None:
                answer = ask(gallery, subject, region, asked.rerank, asked.verify, k + 1)
            other = None
            if asked.against is not None:
                other = compared_with(served, subject, region, asked, k)
    except Refused as refusal:
        st.warning(str(refusal), icon=BUSY_ICON)
        st.button("Try again")
        react(gallery.engine, subject, None, redraw())
        return
    with clock:
        st.html(timing_bar(answer.result))
    grids = draw(gallery.engine, asked, answer, other, k)
    react(gallery.engine, subject, answer, grids)


def look_at_upload(gallery: Gallery, asked: Stages) -> tuple[Subject, Answer]:
    """Search with the photo that has arrived, and make it the subject.

    The page is drawn again, as it was, with a sentence, if that is not possible.
    """
    data, name = st.session_state.arrived
    try:
        subject, answer = ask_with_upload(gallery, data, name, asked, actions.FIRST_PAGE + 1)
    except BadPhoto as error:
        start_over()
        st.session_state.problem = str(error)
    except Refused as refusal:
        del st.session_state.arrived
        st.session_state.notice = f"{refusal} Your photo was not looked at: choose it again then."
    else:
        start_over()
        st.session_state.upload = subject
        keep(gallery, subject, None, answer.query)
        return subject, answer
    st.rerun()


def draw(engine: Engine, asked: Stages, answer: Answer, other: Pane | None, k: int) -> list:
    """Draw the hits.

    Args:
        engine: that found them.
        asked: the stages that were on.
        answer: one hit more than is shown, if there are more.
        other: what it is compared with, if anything.
        k: how many hits are shown.

    Returns:
        The drawn grids.
    """
    result = answer.result
    more = len(result.hits) > k
    del result.hits[k:]
    if answer.problem:
        st.warning(answer.problem, icon=":material/broken_image:")
    for note in result.notes:
        st.caption(note)
    if not result.hits:
        st.info("This photo is the only one in the gallery.")
        return []
    if other is not None:
        name = asked.stages if asked.against == OFF else f"{asked.descriptor}: {asked.stages}"
        panes = two_panes(other, Pane(name, engine.store, result))
        grids = [grid(panes, "results", first=True)]
    else:
        grids, more = folded_results(engine, result, more)
    if more:
        st.button("Show more", on_click=show_more, width="stretch")
    return grids


def grid(panes: list[dict], key: str, first: bool = False) -> object:
    """Draw panes, and keep what was drawn, for a moment when nothing can be searched.

    Args:
        panes: of `one_pane` or `two_panes`.
        key: of the grid.
        first: whether it is the first of an answer.
    """
    drawn = [] if first else st.session_state.get("drawn", [])
    st.session_state.drawn = [*drawn, (panes, key)]
    return results_grid(panes, key=key)


def redraw() -> list:
    """The hits that were drawn last; none if the subject is new."""
    return [results_grid(panes, key=key) for panes, key in st.session_state.get("drawn", [])]


def react(engine: Engine, subject: Subject, answer: Answer | None, grids: list) -> None:
    """Do what was clicked in a grid. answer: None if these are the hits of another one."""
    # The browser names files: a build may have given the ids to other photos since.
    for clicked in grids:
        if clicked.search and (photo := engine.store.catalogue.find(clicked.search)):
            search_with(engine, photo.id)
            st.rerun()
        if answer and clicked.open and (photo := engine.store.catalogue.find(clicked.open)):
            evidence(engine, subject, answer.query, photo.id, search_with)


def folded_results(engine: Engine, result: SearchResult, more: bool) -> tuple[list, bool]:
    """Draw the hits, the weaker ones only when asked for.

    Args:
        engine: that found them.
        result: the hits to show.
        more: whether there are others.

    Returns:
        The drawn grids, and whether there is more to show in them.
    """
    if result.hits[0].confidence == "unsure":
        st.caption("Nothing here is likely to be the same thing. These look most alike.")
        return [grid(one_pane(engine.store, result.hits), "results", first=True)], more
    strong = [hit for hit in result.hits if not hit.is_weak]
    weak = result.hits[len(strong) :]
    grids = [grid(one_pane(engine.store, strong), "results", first=True)]
    if not weak:
        return grids, more
    if not st.session_state.get("weaker"):
        st.button("Show weaker matches", on_click=show_weaker, width="stretch")
        return grids, False
    grids.append(grid(one_pane(engine.store, weak, "Weaker matches"), "weak-results"))
    return grids, more


def subject_card(subject: Subject) -> Region | None:
    """Draw the photo searched with; the part of it that counts, None for all of it."""
    with st.container(horizontal=True, wrap=False, vertical_alignment="center", key="query"):
        card = st.empty()
        with st.popover(
            "Part", type="tertiary", icon=":material/crop:", help="Search with a part of the photo"
        ):
            region = choose_part(subject.small, uploader_key())
        origin = subject.origin if region is None else "A part of it"
        card.html(
            f'<div class="query"><img src="{subject.small}" alt="The photo searched with"><div>'
            f'<b>{html.escape(subject.title)}</b><span class="small">{origin}</span></div></div>'
        )
        st.button("New search", on_click=start_over, type="tertiary", icon=":material/close:")
    return region
