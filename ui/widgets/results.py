"""The result grid: one pane of tiles, or two side by side with the movement of each hit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from index_store import Store
from search import Hit, collapse_duplicates
from serving.galleries.about import About, about
from serving.galleries.pictures import thumbnail_url

from ..i18n.translate import number, tr
from .compare import ranks_of
from .component import component

CLICKS = ("open", "search", "more", "less")


def movement(rank: int, before: int | None) -> tuple[str, str]:
    """Text and direction of a hit's movement to its rank.

    Args:
        rank: rank in the second answer, from 1.
        before: rank in the first answer; None if it is not among its hits.
    """
    if before is None:
        return tr("new"), "new"
    if before == rank:
        return "", ""
    return (f"▲{before - rank}", "up") if before > rank else (f"▼{rank - before}", "down")


def credit_line(facts: About, file: str) -> str:
    """Credit and licence of a photo as plain text; "" if it has neither."""
    credit = facts.of(file)
    return ", ".join(filter(None, (credit.credit, credit.licence)))


def tile(
    store: Store,
    hit: Hit,
    move: tuple[str, str] = ("", ""),
    copies: Sequence[Hit] = (),
    reason: str = "",
) -> dict[str, Any]:
    """Data of one hit for the browser.

    Args:
        store: store of the hit.
        hit: the hit.
        move: output of `movement`.
        copies: its near-duplicates among the hits.
        reason: addition to its details, see `compare.similarity_parts`.
    """
    facts = about(store)
    chance = ""
    if hit.probability is not None:
        chance = tr("{percent} % the same thing", percent=number(100 * hit.probability)) + ", "
    detail = tr(
        "similarity {similarity}, score {score}",
        similarity=number(hit.similarity, 3),
        score=number(hit.score, 2),
    )
    return {
        "file": hit.file,
        "title": facts.title(hit.file, hit.title),
        "credit": credit_line(facts, hit.file),
        "thumbnail": thumbnail_url(store, hit.id),
        "confidence": hit.confidence,
        "detail": f"{chance}{detail}{reason}",
        **points_badge(hit),
        "remark": remark(hit, facts),
        "fold": tr("{count} more like it", count=number(len(copies))) if copies else "",
        "move": move[0],
        "direction": move[1],
        "copies": [
            {
                "file": copy.file,
                "title": facts.title(copy.file, copy.title),
                "thumbnail": thumbnail_url(store, copy.id),
            }
            for copy in copies
        ],
    }


def points_badge(hit: Hit) -> dict[str, str]:
    """Badge of a verified hit and the badge's tooltip, both empty otherwise."""
    if not hit.verified:
        return {"points": "", "fit": ""}
    count = number(hit.inliers or 0)
    return {
        "points": tr("{count} {count:point|points}", count=count),
        "fit": tr("{count} matched {count:point fits|points fit} together", count=count),
    }


def remark(hit: Hit, facts: About) -> str:
    """Short text on how a hit was found; "" for most hits."""
    if hit.identical:
        return tr("the same photo")
    if hit.chain:
        through = hit.chain[-2]
        return tr("found through {title}", title=facts.title(through.file, through.title))
    return tr("found by its details") if hit.by_details else ""


def photos_in_words(count: int) -> str:
    """ "12 photos", in the visitor's language."""
    return tr("{count} {count:photo|photos}", count=number(count))


def pane(
    store: Store,
    hits: Sequence[Hit],
    heading: str = "",
    before: Mapping[str, int] | None = None,
    reasons: Mapping[str, str] | None = None,
    time: str = "",
    folded: bool = True,
) -> dict[str, Any]:
    """A grid of tiles.

    Args:
        store: store of the hits.
        hits: the hits, best first.
        heading: heading of the grid.
        before: file -> rank in the answer to compare with; None without one.
        reasons: file -> addition to the hit's details.
        time: formatted duration of the search.
        folded: whether near-duplicates are collapsed under the best of them.
    """
    ranks = ranks_of(hits)
    tiles = []
    for best, *copies in collapse_duplicates(store, hits) if folded else [[hit] for hit in hits]:
        move = ("", "") if before is None else movement(ranks[best.file], before.get(best.file))
        tiles.append(tile(store, best, move, copies, (reasons or {}).get(best.file, "")))
    return {"heading": heading, "time": time, "hits": tiles}


def results_grid(
    panes: list[dict[str, Any]], key: str, feedback: bool = False, busy: bool = False
) -> Any:
    """Draw the panes.

    Args:
        panes: output of `pane`.
        key: key of the component.
        feedback: whether hits have buttons to mark them as right or wrong.
        busy: whether the full answer is still being computed; screen readers wait for it.

    Returns:
        An object whose `open`, `search`, `more` or `less` is the file of the hit that was just
        clicked, else None.
    """
    callbacks = {f"on_{name}_change": lambda: record_click(key) for name in CLICKS}
    data = {"panes": panes, "says": feedback, "busy": busy, "words": texts()}
    return component("results")(data=data, key=key, **callbacks)


def record_click(key: str) -> None:
    """Record which grid was clicked, for the run that the click starts."""
    st.session_state.clicked = key


def texts() -> dict[str, str]:
    """Labels of the tiles in the visitor's language."""
    return {
        "open": tr("Open {title}"),
        "again": tr("Search with this photo"),
        "more": tr("More like this"),
        "less": tr("Not this"),
        "copy": tr("Open the near-duplicate {title}"),
        "sure": tr("sure"),
        "likely": tr("likely"),
        "unsure": tr("unsure"),
    }
