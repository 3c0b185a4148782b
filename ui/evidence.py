"""The dialog that shows why a photo is a hit."""

from __future__ import annotations

import re
from collections.abc import Callable

import streamlit as st

from search import Engine, Hit, PreparedQuery
from serving.about import about
from serving.refusal import Refused

from .footer import link
from .match import match_viewer
from .results import credit_line
from .subject import Subject, gallery_subject
from .timing import STAGES
from .turns import in_turn


def plain(text: str) -> str:
    """Text as it is where Streamlit would read Markdown: file names are not ours."""
    return re.sub(r"([^\w\s])", r"\\\1", text)


@st.dialog("The evidence", width="large")
def evidence(
    engine: Engine,
    subject: Subject,
    query: PreparedQuery,
    id: int,
    search_with: Callable[[Engine, int], None],
) -> None:
    """Query and hit side by side with the matched points.

    Args:
        engine: of the gallery that the hit is from.
        subject: the query's photo.
        query: made of it.
        id: of the hit.
        search_with: makes a gallery photo the query.
    """
    try:
        hit = explained(engine, query, id)
    except Refused as refusal:
        st.warning(str(refusal), icon=":material/hourglass_top:")
        return
    st.markdown(verdict(hit))
    shown = gallery_subject(engine, id).image
    match_viewer(subject.image, shown, hit.verification, key=f"match-{id}")
    if credits := credit_html(engine, hit.file):
        st.html(f'<p class="small">{credits}</p>')
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button("Search with this photo", icon=":material/image_search:", type="primary"):
            search_with(engine, id)
            st.rerun()
        ranks = ", ".join(f"{STAGES.get(s, (s,))[0]} {rank}" for s, rank in hit.stage_ranks.items())
        st.caption(
            f"{plain(hit.file)} · similarity {hit.similarity:.3f}"
            + (f" · rank by {ranks}" if ranks else "")
        )


def credit_html(engine: Engine, file: str) -> str:
    """Whom a photo is by and how it may be used, with a link to where it is from."""
    said = about(engine.store)
    text, address = credit_line(said, file), said.of(file).link
    return link(text, address) if text else ""


def explained(engine: Engine, query: PreparedQuery, id: int) -> Hit:
    """`Engine.explain`, in a turn if points must be compared. Raises Refused."""
    if engine.knows(query, id):
        return engine.explain(query, id)
    return in_turn(lambda: engine.explain(query, id), "Comparing points…")


def verdict(hit: Hit) -> str:
    """What the points say, in a sentence of Markdown."""
    if hit.verified:
        return (
            f"**{hit.inliers} points** of the two photos fit together: very likely the same thing."
        )
    if hit.inliers is None:
        return (
            "The points could not be compared: the file of one of the photos has changed or is "
            "gone."
        )
    if hit.inliers:
        return f"Only **{hit.inliers} points** fit together, too few to prove anything."
    return (
        "No points fit together. The two may look alike, or show the same thing from too far apart."
    )
