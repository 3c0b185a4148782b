"""Uploaders of photos: files, the clipboard and the camera."""

from __future__ import annotations

import streamlit as st

from extractor.photo.formats import BY_KEY, suffixes
from serving.settings import settings

from ..i18n.translate import tr
from ..state.actions import take_uploads, uploader_key
from .component import component


def uploader(label_visibility: str) -> None:
    """Draw the uploader of the search page, and accept photos from clipboard and camera."""
    with st.container(key="uploader"):
        file_uploader(tr("Drop photos of one thing here, or choose them"), label_visibility)
    arrivals(key="arrivals")


def file_uploader(label: str, label_visibility: str = "visible", adding: bool = False) -> None:
    """Draw an uploader. adding: whether its photos join the current query photos."""
    key = uploader_key("add" if adding else "upload")
    st.file_uploader(
        label,
        type=accepted_suffixes(),
        accept_multiple_files=True,
        key=key,
        on_change=take_uploads,
        args=(key, adding),
        label_visibility=label_visibility,
    )


def arrivals(key: str) -> None:
    """Accept photos pasted anywhere on the page; draw a camera button on touch screens.

    Both go through the visible uploader, so that its limits apply.
    """
    allowed = [BY_KEY[name] for name in settings().uploads.formats]
    suffix_of = {kind: format.suffixes[0] for format in allowed for kind in format.media_types}
    texts = {"camera": tr("Take a photo"), "hint": tr("or paste one")}
    component("arrivals")(data={**texts, "endings": suffix_of}, key=key)


def accepted_suffixes() -> list[str]:
    """Suffixes of the formats in the settings, without dots.

    The usual suffix of each format comes first: the uploader shows only the beginning of the list.
    """
    usual = [BY_KEY[key].suffixes[0] for key in settings().uploads.formats]
    ordered = dict.fromkeys([*usual, *suffixes(settings().uploads.formats)])
    return [suffix.lstrip(".") for suffix in ordered]
