"""Chooser for a part of the query photo: a frame drawn on it, or two sliders."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import streamlit as st

from extractor import Region

from ..i18n.translate import tr
from .component import component, key_of

LEAST = 5  # percent, the smallest width and height
WHOLE = (0, 0, 100, 100)
Percents = tuple[int, int, int, int]
"""left, top, right, bottom of a part, in percent of the upright photo's width and height."""


def choose_part(
    image: dict[str, Any], key: str, part: Percents, choose: Callable[[Percents], None]
) -> None:
    """Draw the chooser.

    Args:
        image: {"src", "width", "height", "title"} of the photo.
        key: key that is unique to the photo.
        part: the current part.
        choose: called with the new part before the page is redrawn.
    """
    across, down, frame = f"across-{key}", f"down-{key}", key_of("frame", key)
    gestures = f"gestures-{key}"
    state = st.session_state

    def drawn() -> None:
        gesture = state[frame].drawn
        chosen = as_part(gesture.get("frame")) if isinstance(gesture, Mapping) else None
        if chosen is not None:
            state[gestures] = gesture.get("gesture")
            choose(chosen)

    def slid() -> None:
        choose(widened(state[across], state[down]))

    component("part")(
        data={
            "src": image["src"],
            "alt": tr("The query photo. Draw a frame on it or use the sliders below."),
            "whole": tr("Whole photo"),
            "frame": part,
            "gesture": state.get(gestures, 0),
        },
        key=frame,
        on_drawn_change=drawn,
    )
    for slider, ends in ((across, (part[0], part[2])), (down, (part[1], part[3]))):
        # Only if it differs: setting it overrides a slider that is being moved.
        if state.get(slider) != ends:
            state[slider] = ends
    labels = tr("From left to right"), tr("From top to bottom")
    for label, slider in zip(labels, (across, down)):
        st.slider(label, 0, 100, format="%d %%", key=slider, on_change=slid)


def as_part(values: object) -> Percents | None:
    """Validate a part from a browser or URL: rounded, clamped, widened; None if it is invalid."""
    if not isinstance(values, Sequence) or isinstance(values, str) or len(values) != 4:
        return None
    if not all(isinstance(v, int | float) and math.isfinite(v) for v in values):
        return None
    left, top, right, bottom = (min(100, max(0, round(v))) for v in values)
    if left > right or top > bottom:
        return None
    return widened((left, right), (top, bottom))


def region_of(part: Percents) -> Region | None:
    """The part as fractions, None for the whole photo."""
    left, top, right, bottom = part
    return None if part == WHOLE else (left / 100, top / 100, right / 100, bottom / 100)


def widened(across: tuple[int, int], down: tuple[int, int]) -> Percents:
    """Two ranges as a part, each widened to at least LEAST."""
    left, right = at_least(*across)
    top, bottom = at_least(*down)
    return left, top, right, bottom


def at_least(low: int, high: int) -> tuple[int, int]:
    """A range of percents, widened to LEAST if it is narrower."""
    low = min(low, 100 - LEAST)
    return low, max(high, low + LEAST)
