"""Custom components: HTML, CSS and JavaScript of the same name in `assets`."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st

ASSETS = Path(__file__).parents[1] / "assets"


def component(name: str) -> Any:
    """The function that mounts a component, with `data`, `key` and `on_EVENT_change`."""
    return st.components.v2.component(
        name, html=asset(f"{name}.html"), css=asset(f"{name}.css"), js=asset(f"{name}.js")
    )


def key_of(name: str, identity: str) -> str:
    """A component key derived from an untrusted name.

    Streamlit rejects double underscores, which file names and tokens may contain.
    """
    return f"{name}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"


@cache
def asset(file: str) -> str:
    """Text of a file in `assets`."""
    return (ASSETS / file).read_text()


def drawing(body: str, key: str) -> None:
    """Draw an SVG or HTML picture, which `st.html` would sanitise away.

    Args:
        body: trusted HTML, with everything from outside escaped.
        key: key of the component.
    """
    component("drawing")(data={"body": body}, key=key)
