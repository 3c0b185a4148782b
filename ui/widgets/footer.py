"""Footer of every page: the gallery's credits and the language."""

from __future__ import annotations

import html

import streamlit as st

from serving.galleries.about import About, about

from ..i18n.translate import LANGUAGES, PARAMETER, language
from ..state.served import opened
from .component import ASSETS


def footer() -> None:
    """Draw the footer."""
    gallery = opened()
    facts = About() if gallery is None else about(gallery.engine.store)
    with st.container(key="footer", horizontal=True, vertical_alignment="center"):
        st.html(f'<div class="small">{credits_line(facts)}</div>')
        for code, name in LANGUAGES.items():
            if code != language():
                st.button(
                    name, type="tertiary", key=f"lang-{code}", on_click=set_language, args=(code,)
                )
    name_language()


def credits_line(facts: About) -> str:
    """HTML with the sentence, credit, licence and links of a gallery."""
    file = facts.file
    parts = [html.escape(file.sentence)] if file.sentence else []
    if file.credit:
        parts.append(html.escape(file.credit))
    if file.licence:
        parts.append(link(file.licence, file.licence_link))
    parts += [link(entry.label, entry.url) for entry in file.links]
    return " · ".join(parts)


def link(label: str, url: str | None) -> str:
    """HTML of an external link; only its label without a URL."""
    if not url:
        return html.escape(label)
    return (
        f'<a href="{html.escape(url)}" target="_blank" rel="noopener noreferrer">'
        f"{html.escape(label)}</a>"
    )


def set_language(code: str) -> None:
    """Change the language."""
    st.session_state[PARAMETER] = code
    st.query_params.pop(PARAMETER, None)


def name_language() -> None:
    """Set the language of the document, for browsers and screen readers."""
    component = st.components.v2.component(
        "name_language", html="", js=(ASSETS / "language.js").read_text()
    )
    component(data={"language": language()}, key="name-language", height=0)
