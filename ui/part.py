"""Which part of the query photo counts: two sliders, and a frame on the photo that shows what they
say.
"""

from __future__ import annotations

import streamlit as st

from extractor import Region

LEAST = 5  # percent of width and height


def choose_part(src: str, key: str) -> Region | None:
    """Draw the chooser for the photo at `src`; None is the whole photo. key: another one for
    another photo.
    """
    frame = st.empty()
    left, right = st.slider(
        "From left to right", 0, 100, (0, 100), format="%d %%", key=f"across-{key}"
    )
    top, bottom = st.slider(
        "From top to bottom", 0, 100, (0, 100), format="%d %%", key=f"down-{key}"
    )
    left, right = at_least(left, right)
    top, bottom = at_least(top, bottom)
    edges = f"left:{left}%;top:{top}%;width:{right - left}%;height:{bottom - top}%"
    frame.html(
        f'<div class="part"><img src="{src}" alt="The photo searched with"><i '
        f'style="{edges}"></i></div>'
    )
    if (left, top, right, bottom) == (0, 0, 100, 100):
        return None
    return left / 100, top / 100, right / 100, bottom / 100


def at_least(low: int, high: int) -> tuple[int, int]:
    """The same range of percents, widened to LEAST if it is narrower."""
    low = min(low, 100 - LEAST)
    return low, max(high, low + LEAST)
