"""The page's language: English, or what a catalogue in words/ holds for each English sentence."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import streamlit as st

WORDS = Path(__file__).parent
LANGUAGES = {"en": "English", "de": "Deutsch"}
PARAMETER = "lang"  # in the page's address
# `{count:photo|photos}` in a sentence: the words for a count of 1, and for every other count.
FORMS = re.compile(r"\{(\w+):([^{}|]+)\|([^{}|]+)\}")


def tr(english: str, **facts: object) -> str:
    """A sentence in the visitor's language.

    Args:
        english: the sentence, which is also its name in the catalogues. `{name}` stands for a fact,
            `{name:photo|photos}` for words that depend on it, see `filled`.
        facts: by their names; counts as `number` writes them.
    """
    sentence = catalogue(language()).get(english, english)
    return filled(sentence, facts) if facts else sentence


def filled(sentence: str, facts: Mapping[str, object]) -> str:
    """A sentence with its facts. Of a pair of FORMS the first is for a count of 1."""

    def fitting(pair: re.Match[str]) -> str:
        fact, one, other = pair.groups()
        return one if str(facts[fact]) == "1" else other

    return FORMS.sub(fitting, sentence).format(**facts)


def tr_known(sentence: str) -> str:
    """A finished sentence of the server, such as an error's, in the visitor's language."""
    words = catalogue(language())
    if sentence in words:
        return words[sentence]
    for english, pattern in patterns(language()).items():
        if found := pattern.fullmatch(sentence):
            return filled(words[english], found.groupdict())
    return sentence


@cache
def patterns(code: str) -> dict[str, re.Pattern[str]]:
    """English sentences with facts in them, as patterns that find the facts."""

    def pattern(english: str) -> re.Pattern[str]:
        escaped = re.escape(english)
        escaped = re.sub(r"\\{\w+:(.+?)\\\|(.+?)\\}", r"(?:\1|\2)", escaped)
        return re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>.+?)", escaped))

    return {english: pattern(english) for english in catalogue(code) if "{" in english}


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
