"""The heading of a page, and its small print."""

from __future__ import annotations

import html

import streamlit as st


def hero(heading: str, text: str = "") -> None:
    """Draw the heading of a page, and the text below it."""
    paragraph = f"<p>{html.escape(text)}</p>" if text else ""
    st.html(f'<div class="hero"><h1>{html.escape(heading)}</h1>{paragraph}</div>')


def small_print(text: str) -> None:
    """Draw a paragraph in small letters."""
    st.html(f'<p class="small">{html.escape(text)}</p>')
