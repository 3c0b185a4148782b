"""The match viewer: query and hit with the matched points joined, or laid over each other."""

from __future__ import annotations

from typing import Any

import streamlit as st

from search import Verification, relative_homography, relative_points

from .results import ASSETS


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
