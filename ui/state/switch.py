"""Switching from any page to the search page."""

from __future__ import annotations

import streamlit as st
from streamlit.navigation.page import StreamlitPage

from .actions import start_over
from .url_params import trust_next_url

SEARCH = ""  # URL path of the search page
EXPLORE = "explore"
THING = "thing"  # URL parameter of Explore: a photo whose album is open


def open_search() -> None:
    """Open the search page unchanged. Does not return: the script reruns."""
    st.switch_page(search_page())


def search_for(file: str) -> None:
    """Open the search page with a gallery photo. Does not return: the script reruns."""
    start_over()
    trust_next_url()
    st.switch_page(search_page(), query_params={"photo": file})


def open_album_of(file: str) -> None:
    """Open Explore with the album of a gallery photo. Does not return: the script reruns."""
    trust_next_url()
    page = st.Page(lambda: None, title="Explore", url_path=EXPLORE)
    st.switch_page(page, query_params={THING: file})


def search_page() -> StreamlitPage:
    """The search page for `st.switch_page`, which identifies pages by path and ignores the body."""
    return st.Page(lambda: None, title="Search", url_path=SEARCH, default=True)
