"""The match viewer: query and hit side by side with matched points, or overlaid."""

from __future__ import annotations

from typing import Any

import numpy as np

from extractor import Region
from search import Verification, relative_homography, relative_points

from ..i18n.translate import tr
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
        verification: the evidence; None if the photos were not matched.
        key: key of the component.
        tentative: matches before geometric verification, fractions float (m, 4).
        region: part of the query searched with; its outline is drawn in the hit.
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
            "words": texts(),
        },
        key=key,
    )


def texts() -> dict[str, str]:
    """Labels of the viewer in the visitor's language."""
    return {
        "how": tr("How to show the evidence"),
        "lines": tr("Lines"),
        "overlay": tr("Overlay"),
        "points": tr("Points"),
        "frame": tr("Frame"),
        "frame-help": tr("The outline of the query in the hit"),
        "tentative": tr("Tentative"),
        "tentative-help": tr("All similar points, before their geometry is checked"),
        "query": tr("Query"),
        "opacity": tr("Opacity"),
        "blink": tr("Blink"),
        "zoom": tr("Zoom"),
        "in": tr("Zoom in"),
        "out": tr("Zoom out"),
    }
