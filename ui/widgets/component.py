"""Our own components: each is a name with its HTML, CSS and JavaScript in `assets`."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st

ASSETS = Path(__file__).parents[1] / "assets"


def component(name: str) -> Any:
    """What mounts a component; called with `data`, `key` and callbacks `on_EVENT_change`."""
    return st.components.v2.component(
        name, html=asset(f"{name}.html"), css=asset(f"{name}.css"), js=asset(f"{name}.js")
    )


def key_of(name: str, what: str) -> str:
    """A key for a component about something that visitors or files have named.

    Streamlit refuses two underscores in a row, which names of files and tokens may have.
    """
    return f"{name}-{hashlib.sha256(what.encode()).hexdigest()[:16]}"


@cache
def asset(file: str) -> str:
    """The text of a file in `assets`."""
    return (ASSETS / file).read_text()
