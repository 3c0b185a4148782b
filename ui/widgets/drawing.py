"""SVG and HTML pictures, which `st.html` would sanitise away."""

from __future__ import annotations

import streamlit as st

from .component import ASSETS


def drawing(body: str, key: str) -> None:
    """Draw a picture.

    Args:
        body: trusted HTML, with everything from outside escaped.
        key: key of the component.
    """
    component = st.components.v2.component(
        "drawing",
        html='<div class="drawing"></div>',
        css=(ASSETS / "drawing.css").read_text(),
        js=(ASSETS / "drawing.js").read_text(),
    )
    component(data={"body": body}, key=key)
