"""The result grid: one pane of tiles, or two side by side that show what reranking moved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st

from index_store import Store
from search import Hit, SearchResult
from serving.about import About, about
from serving.pictures import thumbnail_url

ASSETS = Path(__file__).parent / "assets"


@dataclass(frozen=True)
class Pane:
    """One of two answers to the same question.

    Attributes:
        name: what it is called.
        store: what was searched.
        result: the answer.
    """

    name: str
    store: Store
    result: SearchResult


def movement(rank: int, before: int | None) -> tuple[str, str]:
    """Text and direction of a hit's way to its rank.

    Args:
        rank: with reranking, from 1.
        before: without it; None if the photo was not shown.
    """
    if before is None:
        return "new", "new"
    if before == rank:
        return "", ""
    return (f"▲{before - rank}", "up") if before > rank else (f"▼{rank - before}", "down")


def credit_line(said: About, file: str) -> str:
    """Whom a photo is by and how it may be used, as plain text; "" if nothing is said of it."""
    credit = said.of(file)
    return ", ".join(filter(None, (credit.credit, credit.licence)))


def tile(store: Store, hit: Hit, move: tuple[str, str] = ("", "")) -> dict[str, Any]:
    """What the browser needs to draw one hit. move: as `movement` gives it."""
    said = about(store)
    chance = "" if hit.probability is None else f"{100 * hit.probability:.0f} % the same thing, "
    return {
        "file": hit.file,
        "title": said.title(hit.file, hit.title),
        "credit": credit_line(said, hit.file),
        "thumbnail": thumbnail_url(store, hit.id),
        "confidence": hit.confidence,
        "detail": f"{chance}similarity {hit.similarity:.3f}, score {hit.score:.2f}",
        "points": hit.inliers if hit.verified else None,
        "move": move[0],
        "direction": move[1],
    }


def one_pane(store: Store, hits: Sequence[Hit], heading: str = "") -> list[dict[str, Any]]:
    """The plain grid."""
    return [{"heading": heading, "hits": [tile(store, hit) for hit in hits]}]


def two_panes(before: Pane, after: Pane) -> list[dict[str, Any]]:
    """Two answers side by side, each hit of the second with how far it moved."""
    ranks = {hit.file: rank for rank, hit in enumerate(before.result.hits, 1)}
    moved = [
        tile(after.store, hit, movement(rank, ranks.get(hit.file)))
        for rank, hit in enumerate(after.result.hits, 1)
    ]
    plain = [tile(before.store, hit) for hit in before.result.hits]
    return [
        {"heading": before.name, "hits": plain},
        {"heading": after.name, "hits": moved},
    ]


def results_grid(panes: list[dict[str, Any]], key: str) -> Any:
    """Draw the panes.

    Returns:
        An object whose `open` or `search` is the file of the hit that was just clicked, else None.
    """
    grid = st.components.v2.component(
        "results_grid",
        html='<div class="panes"></div>',
        css=(ASSETS / "results.css").read_text(),
        js=(ASSETS / "results.js").read_text(),
    )
    return grid(
        data={"panes": panes}, key=key, on_open_change=lambda: None, on_search_change=lambda: None
    )
