"""The page's language: English, or what a catalogue in words/ holds for each English sentence."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path

import streamlit as st

WORDS = Path(__file__).parent / "words"
LANGUAGES = {"en": "English", "de": "Deutsch"}
PARAMETER = "lang"  # in the page's address


def say(english: str, **facts: object) -> str:
    """A sentence in the visitor's language.

    Args:
        english: the sentence, which is also its name in the catalogues. `{name}` stands for a fact.
        facts: by their names.
    """
    sentence = catalogue(language()).get(english, english)
    return sentence.format(**facts) if facts else sentence


def heard(sentence: str) -> str:
    """A finished sentence of the server, such as an error's, in the visitor's language."""
    words = catalogue(language())
    if sentence in words:
        return words[sentence]
    for english, pattern in patterns(language()).items():
        if found := pattern.fullmatch(sentence):
            return words[english].format(**found.groupdict())
    return sentence


@cache
def patterns(code: str) -> dict[str, re.Pattern[str]]:
    """English sentences with facts in them, as patterns that find the facts."""
    return {
        english: re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>.+?)", re.escape(english)))
        for english in catalogue(code)
        if "{" in english
    }


def number(value: float, digits: int = 0) -> str:
    """A number with the separators of the visitor's language."""
    text = f"{value:,.{digits}f}"
    return text.translate(str.maketrans(",.", ".,")) if language() == "de" else text


def language() -> str:
    """One of LANGUAGES: what the address asks for, what was asked for before, or the browser's."""
    state = st.session_state
    asked = st.query_params.get(PARAMETER, state.get(PARAMETER))
    if asked not in LANGUAGES:
        asked = (st.context.locale or "").partition("-")[0]
    return asked if asked in LANGUAGES else "en"


def keep_language() -> None:
    """Remember what the address asks for: other pages' addresses do not say it."""
    if PARAMETER in st.query_params:
        st.session_state[PARAMETER] = st.query_params[PARAMETER]


@cache
def catalogue(code: str) -> dict[str, str]:
    """English sentence -> the same in another language."""
    path = WORDS / f"{code}.toml"
    return tomllib.loads(path.read_text("utf-8")) if path.is_file() else {}
