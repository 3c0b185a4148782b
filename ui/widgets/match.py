"""The match viewer: query and hit with the matched points joined, or laid over each other."""

from __future__ import annotations

from typing import Any

import numpy as np

from extractor import Region
from search import Verification, relative_homography, relative_points

from ..i18n.translate import say
from .component import component


def match_viewer(
    query: dict[str, Any],
    hit: dict[str, Any],
    verification: Verification | None,
    key: str,
    tentative: np.ndarray | None = None,
    region: Region | None = None,
) -> None:
    """Draw the two photos and, if they were matched, the evidence.

    Args:
        query, hit: {"src", "width", "height", "title"} each.
        verification: the evidence.
        key: of the viewer.
        tentative: matches before their geometry was checked, fractions float (m, 4).
        region: the part of the query that counts; its frame is drawn in the hit.
    """
    matched = verification is not None and verification.homography is not None
    component("match")(
        data={
            "query": query,
            "hit": hit,
            "points": relative_points(verification) if matched else [],
            "tentative": [] if tentative is None else tentative.tolist(),
            "homography": relative_homography(verification) if matched else None,
            "frame": region or (0, 0, 1, 1),
            "words": words(),
        },
        key=key,
    )


def words() -> dict[str, str]:
    """What the viewer says, in the visitor's language."""
    return {
        "how": say("How to show the evidence"),
        "lines": say("Lines"),
        "overlay": say("Overlay"),
        "points": say("Points"),
        "frame": say("Frame"),
        "frame-help": say("The outline of the query, as it lies in the hit"),
        "tentative": say("Tentative"),
        "tentative-help": say("All points that look alike, before their geometry was checked"),
        "query": say("Query"),
        "opacity": say("Opacity"),
        "blink": say("Blink"),
        "zoom": say("Zoom"),
        "in": say("Zoom in"),
        "out": say("Zoom out"),
    }
