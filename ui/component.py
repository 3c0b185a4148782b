"""Our own components: each is a name with its HTML, CSS and JavaScript in `assets`."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st

ASSETS = Path(__file__).parent / "assets"


def component(name: str) -> Any:
    """What mounts a component; called with `data`, `key` and callbacks `on_EVENT_change`."""
    return st.components.v2.component(
        name, html=asset(f"{name}.html"), css=asset(f"{name}.css"), js=asset(f"{name}.js")
    )


@cache
def asset(file: str) -> str:
    """The text of a file in `assets`."""
    return (ASSETS / file).read_text()
