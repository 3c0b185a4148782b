"""From any page to the search page."""

from __future__ import annotations

import streamlit as st

from .actions import start_over

SEARCH = ""  # its path in the address


def search_for(file: str) -> None:
    """Open the search page with a gallery photo. Does not return: the script begins anew."""
    start_over()
    # Streamlit tells pages by their path: what stands here is not what will be run.
    page = st.Page(lambda: None, title="Search", url_path=SEARCH, default=True)
    st.switch_page(page, query_params={"photo": file})
