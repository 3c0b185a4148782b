"""The match viewer: query and hit with the matched points joined, or laid over each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import streamlit as st

from search import Verification

from .results import ASSETS


def relative_points(verification: Verification) -> list[list[float]]:
    """Matched points [x, y, x', y'] as fractions of the query's and the hit's width and height."""
    query = verification.query_points / verification.query_size[::-1]
    hit = verification.hit_points / verification.hit_size[::-1]
    return np.hstack([query, hit]).round(5).tolist()


def relative_homography(verification: Verification) -> list[float]:
    """The homography between fractions of width and height, row by row, from query to hit."""
    query = np.diag([verification.query_size[1], verification.query_size[0], 1.0])
    hit = np.diag([1 / verification.hit_size[1], 1 / verification.hit_size[0], 1.0])
    matrix = hit @ verification.homography @ query
    return (matrix / np.abs(matrix).max()).ravel().tolist()


def match_viewer(
    query: dict[str, Any], hit: dict[str, Any], verification: Verification | None, key: str
) -> None:
    """Draw the two photos ({"src", "width", "height", "title"} each) and, if they were matched, the
    evidence.
    """
    matched = verification is not None and verification.homography is not None
    viewer = st.components.v2.component(
        "match_viewer",
        html=(ASSETS / "match.html").read_text(),
        css=(ASSETS / "match.css").read_text(),
        js=(ASSETS / "match.js").read_text(),
    )
    viewer(
        data={
            "query": query,
            "hit": hit,
            "points": relative_points(verification) if matched else [],
            "homography": relative_homography(verification) if matched else None,
        },
        key=key,
    )
