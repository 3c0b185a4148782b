"""The start page."""

from __future__ import annotations

import html

import streamlit as st

from serving.galleries.about import about
from serving.galleries.gallery import Gallery
from serving.galleries.pictures import thumbnail_url
from serving.settings import settings

from ..i18n.translate import number, tr
from ..state.actions import search_with
from .evidence import escape_markdown
from .headings import hero, small_print
from .uploader import uploader


def start_page(gallery: Gallery, others: list[str]) -> None:
    """Draw the start page, shown before the first search.

    Args:
        gallery: the gallery that the page opens with.
        others: names of the other descriptor models.
    """
    text, drop = st.columns([3, 2], vertical_alignment="bottom", gap="large")
    promise = tr(
        "Upload a photo of a building, a painting, an object. You get the other photos of "
        "that very thing first, with the matching points as evidence."
    )
    with text:
        hero(tr("Find photos of the very same thing"), promise)
    with drop, st.container(key="upload-first"):
        uploader("visible")
        small_print(
            tr(
                "Your photo is deleted when you leave. Its descriptor and keypoints are kept "
                "{minutes} {minutes:minute|minutes} for its link.",
                minutes=number(settings().link_minutes),
            )
        )
    st.html(f'<div class="section">{html.escape(tr("Or start with one of these"))}</div>')
    samples, engine, facts = gallery.samples, gallery.engine, about(gallery.engine.store)
    with st.grid(columns=7, min_column_width=150, gap="small", key="samples"):
        for photo in samples:
            with st.container(key=f"tile-{photo.id}"):
                title = facts.title(photo.file, photo.title)
                st.html(
                    f'<img src="{thumbnail_url(engine.store, photo.id)}"'
                    f' alt="{html.escape(title)}">'
                )
                if st.button(escape_markdown(title), key=f"sample-{photo.id}", width="stretch"):
                    search_with(engine, photo.id)
                    st.rerun()
    if facts.file.note:
        hint = tr("{model} may see it differently.", model=others[0]) if others else ""
        small_print(f"{facts.file.note} {hint}")
