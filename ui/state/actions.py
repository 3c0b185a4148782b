"""Actions of the visitor, and their session state."""

from __future__ import annotations

import streamlit as st

from search import Engine
from serving.decoding.taken_uploads import TakenUploads
from serving.settings import settings

from ..i18n.translate import number, tr
from .query_image import clear_query
from .question import clear_question, unique_values, write_photos

SEARCH_STATE = ("arrived", "adding", "problem", "notice", "weaker", "question")


def take_uploads(key: str, adding: bool) -> None:
    """Search with the uploaded photos.

    The uploader is emptied at once, so that Streamlit frees the files. The current question stays
    until the new photos have been processed.

    Args:
        key: key of the uploader that changed. On a slow connection it may already have been
            replaced, and then it is empty.
        adding: whether the photos join the current query photos.
    """
    files = st.session_state.get(key)
    if not files:
        return
    limit = settings().query_photos
    if adding:
        limit -= len(unique_values("upload", limit)) + len(unique_values("photo", limit))
    if len(files) > limit:
        st.session_state.notice = tr(
            "A search takes at most {count} {count:photo|photos}.",
            count=number(settings().query_photos),
        )
    if files[:limit]:
        st.session_state.arrived = TakenUploads(
            [(file.getvalue(), file.name) for file in files[:limit]],
            sum(file.size for file in files[:limit]),
        )
        st.session_state.adding = adding
    st.session_state.pop("problem", None)
    new_uploader()


def search_with(engine: Engine, id: int) -> None:
    """Search with a gallery photo.

    Its file name goes into the URL, which can be shared.
    """
    clear_search()
    write_photos(photo=[engine.store.catalogue.photo(id).file])


def start_over() -> None:
    """Return to the start page."""
    clear_search()
    clear_question()


def clear_search() -> None:
    """Delete the query photos and everything derived from them from the session."""
    clear_query()
    for name in SEARCH_STATE:
        st.session_state.pop(name, None)
    new_uploader()


def uploader_key(name: str = "upload") -> str:
    return f"{name}-{st.session_state.get('uploads', 0)}"


def new_uploader() -> None:
    """Empty the uploader by a new key: Streamlit has no other way."""
    st.session_state.uploads = st.session_state.get("uploads", 0) + 1


def show_weaker() -> None:
    """Show the weaker hits."""
    st.session_state.weaker = True
