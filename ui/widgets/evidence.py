"""The dialog with the evidence for a hit."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import numpy as np
import streamlit as st

from index_store.about import web_address
from search import UNREADABLE, Engine, Hit, PreparedQuery
from serving.galleries.about import About, about
from serving.galleries.things import things_of
from serving.refusal import Refused

from ..i18n.translate import number, tr, tr_known
from ..state.options import SearchOptions
from ..state.query_image import QueryImage, gallery_subject
from ..state.served import opened
from ..state.switch import open_album_of
from ..state.turns import in_turn
from .footer import link
from .match import match_viewer
from .results import credit_line
from .timing import stage_name


@dataclass(frozen=True)
class Pair:
    """Two photos that the dialog can show side by side.

    Attributes:
        name: label of the pair.
        start: gallery id of the left photo; None for the query.
        end: gallery id of the right photo.
    """

    name: str
    start: int | None
    end: int


def escape_markdown(text: str) -> str:
    """Escape Markdown, which Streamlit would render: file names are untrusted."""
    return re.sub(r"([^\w\s])", r"\\\1", text)


def evidence(
    engine: Engine,
    subjects: Sequence[QueryImage],
    query: PreparedQuery,
    id: int,
    options: SearchOptions,
    search_with: Callable[[Engine, int], None],
    hit: Hit | None,
) -> None:
    """Open the dialog: query and hit side by side with the matched points.

    Args:
        engine: engine of the hit's gallery.
        subjects: the query photos. The one whose points match best is shown.
        query: the query prepared from them.
        id: id of the gallery photo.
        options: options of the search. Its matcher is used; SIFT if it has none.
        search_with: function that starts a search with a gallery photo.
        hit: the photo as a hit, whose steps of evidence can be shown as well; None if it is not
            among the hits.
    """
    dialog = st.dialog(tr("The evidence"), width="large")
    dialog(draw)(engine, subjects, query, id, options.matcher or "sift", search_with, hit)


def draw(
    engine: Engine,
    subjects: Sequence[QueryImage],
    query: PreparedQuery,
    id: int,
    matcher: str,
    search_with: Callable[[Engine, int], None],
    hit: Hit | None,
) -> None:
    """Draw the content of the dialog. Arguments as `evidence`; matcher: name of the matcher."""
    pair = chosen_pair(id, hit, about(engine.store))
    id = pair.end
    if pair.start is not None:
        subjects, query = [gallery_subject(engine, pair.start)], engine.prepare(pair.start)
    try:
        hit = explained(engine, query, id, matcher)
    except Refused as refusal:
        st.warning(tr_known(str(refusal)), icon=":material/hourglass_top:")
        return
    st.markdown(verdict(hit))
    hit_image = gallery_subject(engine, id).image
    example = 0 if hit.verification is None else hit.verification.photo
    tentative = tried(engine, query, id, matcher, example)
    image = example_image(engine, subjects, query, example)
    region = query.examples[example].region
    match_viewer(image, hit_image, hit.verification, f"match-{id}", tentative, region)
    if credits := credit_html(engine, hit.file):
        st.html(f'<p class="small">{credits}</p>')
    if facts := facts_html(engine, hit.file):
        st.html(f'<p class="small">{facts}</p>')
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button(tr("Search with this photo"), icon=":material/image_search:", type="primary"):
            search_with(engine, id)
            st.rerun()
        more_photos(hit.file)
        ranks = ", ".join(f"{stage_name(s)} {rank}" for s, rank in hit.stage_ranks.items())
        similarity_text = tr("similarity {similarity}", similarity=number(hit.similarity, 3))
        placed = " · " + tr("rank by {ranks}", ranks=ranks) if ranks else ""
        st.caption(f"{escape_markdown(hit.file)} · {similarity_text}{placed}")


def more_photos(file: str) -> None:
    """Draw a button that opens the album of a photo's thing, if other photos show it.

    The albums are those of Explore, regardless of the descriptor that found the photo.
    """
    if (gallery := opened()) is None:
        return
    store = gallery.engine.store
    things, photo = things_of(store), store.catalogue.find(file)
    others = things.others(photo.id) if things and photo else 0
    if others and st.button(
        tr("{count} more {count:photo|photos} of this thing", count=number(others)),
        icon=":material/photo_library:",
    ):
        open_album_of(file)


def chosen_pair(id: int, hit: Hit | None, facts: About) -> Pair:
    """The pair of photos to show: the query and the hit, unless the visitor chooses a step of the
    evidence. The first step of a chain is chosen at first.

    Args:
        id: id of the gallery photo.
        hit: the photo as a hit; None if it is not among the hits.
        facts: titles of the gallery's photos.
    """
    if hit is None or not (hit.chain or hit.contradicted_by):
        return Pair("", None, id)
    title = facts.title(hit.file, hit.title)
    direct = Pair(pair_name(tr("your photo"), title, hit.inliers), None, id)
    pairs = [*chain_pairs(hit, facts), direct]
    if (other := hit.contradicted_by) is not None:
        other_title = facts.title(other.file, other.title)
        pairs.append(Pair(pair_name(title, other_title, other.inliers), id, other.id))
        st.caption(
            tr(
                "Matches “{title}”, which this search considers a different thing: this counts "
                "against the hit.",
                title=escape_markdown(other_title),
            )
        )
    if hit.chain:
        st.caption(tr("This photo was found through others. Each step:"))
    place = st.pills(
        tr("Step"),
        range(len(pairs)),
        default=0,
        format_func=lambda place: pairs[place].name,
        label_visibility="collapsed",
        key=f"step-{id}",
    )
    return direct if place is None else pairs[place]


def chain_pairs(hit: Hit, facts: About) -> list[Pair]:
    """The steps of a hit's chain; none without one. facts: titles of the gallery's photos."""
    starts = [None, *(link.id for link in hit.chain)]
    titles = [tr("your photo"), *(facts.title(link.file, link.title) for link in hit.chain)]
    return [
        Pair(pair_name(title, end, link.inliers), start, link.id)
        for start, link, title, end in zip(starts, hit.chain, titles, titles[1:])
    ]


def pair_name(start: str, end: str, points: int | None) -> str:
    """Markdown label of a pair: the titles of both photos, and the points that they match."""
    count = f" · {tr('{count} {count:point|points}', count=number(points))}" if points else ""
    return f"{escape_markdown(start)} → {escape_markdown(end)}{count}"


def credit_html(engine: Engine, file: str) -> str:
    """HTML with the credit and licence of a photo, linked to its source."""
    facts = about(engine.store)
    text, url = credit_line(facts, file), facts.of(file).link
    text = text or urlsplit(url).hostname or ""
    return link(text, url) if text else ""


def facts_html(engine: Engine, file: str) -> str:
    """HTML with the further columns of a photo's entry; URLs become links."""
    more = about(engine.store).of(file).more
    return " · ".join(
        f"{html.escape(name)}: {link(value, url_in(value))}" for name, value in more.items()
    )


def url_in(value: str) -> str | None:
    """The value if it is a web URL, else None."""
    try:
        return web_address(value)
    except ValueError:
        return None


def example_image(
    engine: Engine, subjects: Sequence[QueryImage], query: PreparedQuery, number: int
) -> dict:
    """The picture of one of `PreparedQuery.examples`: a query photo, or a hit marked as right."""
    if number < len(subjects):
        return subjects[number].image
    id = query.examples[number].id
    assert id is not None
    return gallery_subject(engine, id).image


def tried(engine: Engine, query: PreparedQuery, id: int, matcher: str, number: int) -> np.ndarray:
    """As `Engine.tentative`; empty if one of the photos cannot be read."""
    try:
        return engine.tentative(query, id, matcher, number)
    except UNREADABLE:
        return np.empty((0, 4))


def explained(engine: Engine, query: PreparedQuery, id: int, matcher: str) -> Hit:
    """`Engine.explain`, in a turn if points must be compared. Raises Refused."""
    if engine.has_evidence(query, id, matcher):
        return engine.explain(query, id, matcher)
    return in_turn(lambda: engine.explain(query, id, matcher), tr("Matching points…"), quick=True)


def verdict(hit: Hit) -> str:
    """Markdown sentence on the matched points."""
    points = number(hit.inliers or 0)
    if hit.verified:
        return tr(
            "**{points} {points:point|points}** of the two photos {points:fits|fit} together: very "
            "likely the same thing.",
            points=points,
        )
    if hit.inliers is None:
        return tr(
            "The points could not be compared: the file of one of the photos has changed or is "
            "gone."
        )
    if hit.inliers:
        return tr(
            "Only **{points} {points:point|points}** {points:fits|fit} together, too few to prove "
            "anything.",
            points=points,
        )
    return tr(
        "No points fit together. The two may look alike, or show the same thing from too far apart."
    )
