"""What the visitor does, and what of it the session remembers."""

from __future__ import annotations

import streamlit as st

from search import Engine

from .subject import Subject, forget, gallery_subject

FIRST_PAGE = 24
MORE = 24


def take_upload(key: str) -> None:
    """Search with the photo just uploaded.

    The uploader is emptied at once, so that Streamlit lets go of the file. What is searched with
    now stays until the new photo has been looked at.

    Args:
        key: of the uploader that changed. On a slow line that can be one that was already
            replaced, and then empty.
    """
    file = st.session_state.get(key)
    if file is None:
        return
    st.session_state.arrived = file.getvalue(), file.name
    st.session_state.pop("problem", None)
    new_uploader()


def search_with(engine: Engine, id: int) -> None:
    """Make a gallery photo the query.

    Its file name goes into the page's address, which can be shared.
    """
    start_over()
    st.query_params["photo"] = engine.store.catalogue.photo(id).file


def start_over() -> None:
    """Forget the photo searched with, and everything made of it."""
    forget()
    state = st.session_state
    for name in ("arrived", "problem", "notice", "weaker"):
        state.pop(name, None)
    state.shown = FIRST_PAGE
    st.query_params.pop("photo", None)
    new_uploader()


def uploader_key() -> str:
    return f"upload-{st.session_state.get('uploads', 0)}"


def new_uploader() -> None:
    """A fresh key empties the uploader: Streamlit has no other way."""
    st.session_state.uploads = st.session_state.get("uploads", 0) + 1


def current_subject(engine: Engine) -> Subject | None:
    """The upload, else the photo the page's address names."""
    if "upload" in st.session_state:
        return st.session_state.upload
    if "photo" in st.query_params:
        photo = engine.store.catalogue.find(st.query_params["photo"])
        if photo is not None:
            return gallery_subject(engine, photo.id)
        st.session_state.problem = "The photo this link names is not in the gallery."
        st.query_params.pop("photo")
    return None


def show_more() -> None:
    """As many hits again."""
    st.session_state.shown += MORE


def show_weaker() -> None:
    """Unfold the weaker hits."""
    st.session_state.weaker = True
