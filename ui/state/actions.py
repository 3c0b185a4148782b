"""What the visitor does, and what of it the session remembers."""

from __future__ import annotations

import streamlit as st

from search import Engine
from serving.decoding.taken_uploads import TakenUploads
from serving.settings import settings

from ..i18n.translate import number, tr
from .query_image import forget
from .question import few, leave_question, write_photos

KEPT = ("arrived", "adding", "problem", "notice", "weaker", "question")


def take_uploads(key: str, adding: bool) -> None:
    """Search with the photos just uploaded.

    The uploader is emptied at once, so that Streamlit lets go of the files. What is searched with
    now stays until the new photos have been looked at.

    Args:
        key: of the uploader that changed. On a slow line that can be one that was already
            replaced, and then empty.
        adding: whether they show the same thing as the photos searched with.
    """
    files = st.session_state.get(key)
    if not files:
        return
    most = settings().api_photos
    if adding:
        most -= len(few("upload", most)) + len(few("photo", most))
    if len(files) > most:
        st.session_state.notice = tr(
            "A search takes at most {count} {count:photo|photos}.",
            count=number(settings().api_photos),
        )
    if files[:most]:
        st.session_state.arrived = TakenUploads(
            [(file.getvalue(), file.name) for file in files[:most]],
            sum(file.size for file in files[:most]),
        )
        st.session_state.adding = adding
    st.session_state.pop("problem", None)
    new_uploader()


def search_with(engine: Engine, id: int) -> None:
    """Make a gallery photo the query.

    Its file name goes into the page's address, which can be shared.
    """
    forget_all()
    write_photos(photo=[engine.store.catalogue.photo(id).file])


def start_over() -> None:
    """Back to a page on which nothing has been searched."""
    forget_all()
    leave_question()


def forget_all() -> None:
    """Forget the photos searched with, and everything made of them."""
    forget()
    for name in KEPT:
        st.session_state.pop(name, None)
    new_uploader()


def uploader_key(name: str = "upload") -> str:
    return f"{name}-{st.session_state.get('uploads', 0)}"


def new_uploader() -> None:
    """A fresh key empties the uploader: Streamlit has no other way."""
    st.session_state.uploads = st.session_state.get("uploads", 0) + 1


def show_weaker() -> None:
    """Unfold the weaker hits."""
    st.session_state.weaker = True
