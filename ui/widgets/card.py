"""The query card: photos, part and feedback."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

import streamlit as st

from search import Engine
from serving.galleries.about import about
from serving.galleries.pictures import thumbnail_url
from serving.settings import settings

from ..i18n.translate import tr, tr_known
from ..state.actions import start_over
from ..state.question import Question, drop_photo, mark_photo, write_part
from .component import component
from .part import WHOLE, choose_part


def query_card(engine: Engine, question: Question, uploader: Callable[..., None]) -> None:
    """Draw the card.

    Args:
        engine: engine of the gallery.
        question: the current question.
        uploader: draws an uploader for another photo of the same thing.
    """
    first = question.subjects[0]
    origin = tr("A part of it") if question.part != WHOLE else tr_known(first.origin)
    with st.container(key="query", gap="small"):
        with st.container(horizontal=True, wrap=False, vertical_alignment="center"):
            st.html(
                f'<div class="query"><img src="{first.small}" alt="{html.escape(tr(PHOTO))}"><div>'
                f"<b>{html.escape(first.title)}</b>"
                f'<span class="small">{html.escape(origin)}</span></div></div>'
            )
            st.button(
                tr("New search"), on_click=start_over, type="tertiary", icon=":material/close:"
            )
        with st.container(horizontal=True, key="query-actions", gap="small"):
            if len(question.subjects) == 1 and first.can_be_cropped:
                with st.popover(
                    tr("Part"),
                    type="tertiary",
                    icon=":material/crop:",
                    help=tr("Search with a part of the photo"),
                ):
                    choose_part(first.image, first.key, question.part, write_part)
            if len(question.subjects) < settings().query_photos:
                with st.popover(
                    tr("Add"),
                    type="tertiary",
                    icon=":material/add_a_photo:",
                    help=tr("Search with several photos of one thing"),
                ):
                    uploader(tr("Another photo of the same thing"), adding=True)
            component("link")(
                data={
                    "label": tr("Copy link"),
                    "done": tr("Copied"),
                    "until": tr("until"),
                    "why": tr("The photo's descriptor is kept until then"),
                    "ends": until(question),
                },
                key="link",
            )
        chips(engine, question)


PHOTO = "The query photo"


def until(question: Question) -> float | None:
    """Expiry of the page's link, seconds since 1970; None if it does not expire."""
    ends = [s.cached.until for s in question.subjects if s.cached is not None]
    return min(ends, default=None)


def chips(engine: Engine, question: Question) -> None:
    """Draw the further photos and the feedback, each with a button to remove it."""
    find = engine.store.catalogue.find
    items: list[dict[str, Any]] = []
    more = question.subjects if len(question.subjects) > 1 else ()
    for number, subject in enumerate(more):
        items.append(
            {"kind": "photo", "name": str(number), "title": subject.title, "src": subject.small}
        )
    for kind, files in (("more", question.more), ("less", question.less)):
        for file in files:
            photo = find(file)
            if photo is not None:
                title = about(engine.store).title(file, photo.title)
                src = thumbnail_url(engine.store, photo.id)
                items.append({"kind": kind, "name": file, "title": title, "src": src})
    if not items:
        return

    def remove_chip() -> None:
        kind, name = (list(st.session_state.chips.remove or ()) + ["", ""])[:2]
        if kind == "photo" and name in {str(n) for n in range(len(more))}:
            drop_photo(more[int(name)])
        elif kind in ("more", "less"):
            mark_photo(str(name), "")

    texts = {"photo": tr("One of the photos"), "more": tr("More like"), "less": tr("Not")}
    component("chips")(
        data={"items": items, "words": texts, "remove": tr("Remove")},
        key="chips",
        on_remove_change=remove_chip,
    )
