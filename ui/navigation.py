"""The pages, the navigation bar, and the parts that all pages share."""

from __future__ import annotations

import streamlit as st

from serving.galleries.about import about

from .i18n.translate import keep_language, tr
from .pages import explore, figures, how, own
from .pages import search as page
from .routes import PAGE_PARAMETER
from .state.question import question_parameters, restore_question
from .state.served import opened
from .state.switch import EXPLORE, SEARCH
from .state.url_params import values
from .widgets.component import ASSETS
from .widgets.footer import footer

NAME = "Same Thing"


def run() -> None:
    """Draw the page named in the URL."""
    st.set_page_config(page_icon=str(ASSETS / "icon.png"), layout="wide")
    keep_language()
    st.html(f"<style>{(ASSETS / 'page.css').read_text()}</style>")
    pages = [
        st.Page(page.render, title=tr("Search"), url_path=SEARCH, default=True),
        st.Page(explore.render, title=tr("Explore"), url_path=EXPLORE),
        st.Page(how.render, title=tr("How it works"), url_path="how"),
        st.Page(own.render, title=tr("Own photos"), url_path="own"),
        st.Page(figures.render, title=tr("Figures"), url_path="figures"),
    ]
    current = st.navigation(pages, position="top")
    for other in pages:
        if other.url_path == st.query_params.get(PAGE_PARAMETER):  # opened by its URL, see routes
            st.switch_page(other)
    st.set_page_config(f"{gallery_title()}: {current.title}")
    track_question(current.url_path)
    current.run()
    footer()


def gallery_title() -> str:
    """Title of the gallery if it is open, else NAME."""
    gallery = opened()
    return (about(gallery.engine.store).file.title if gallery else "") or NAME


def track_question(path: str) -> None:
    """Restore the question when the search page is opened again.

    Streamlit clears the URL parameters when another page is opened.
    """
    state = st.session_state
    previous, state.page = state.get("page", SEARCH), path
    if path != SEARCH:
        return
    if previous != SEARCH:
        restore_question(state.get("question", {}))
    state.question = question_parameters()
    state.visited = next(reversed(values("photo")), None)
