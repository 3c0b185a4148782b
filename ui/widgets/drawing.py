"""A picture that we draw as SVG or HTML: `st.html` would take most of it away."""

from __future__ import annotations

import streamlit as st

from .component import ASSETS


def drawing(body: str, key: str) -> None:
    """Draw it.

    Args:
        body: HTML of our own making, in which everything from outside is escaped.
        key: of the picture.
    """
    component = st.components.v2.component(
        "drawing",
        html='<div class="drawing"></div>',
        css=(ASSETS / "drawing.css").read_text(),
        js=(ASSETS / "drawing.js").read_text(),
    )
    component(data={"body": body}, key=key)
