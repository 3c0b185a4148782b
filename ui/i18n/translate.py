"""Translations of the page: a catalogue for each language, keyed by the English sentence."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import streamlit as st

WORDS = Path(__file__).parent
LANGUAGES = {"en": "English", "de": "Deutsch"}
PARAMETER = "lang"  # URL parameter
# `{count:photo|photos}` in a sentence: the words for a count of 1 and for any other count.
FORMS = re.compile(r"\{(\w+):([^{}|]+)\|([^{}|]+)\}")


def tr(english: str, **facts: object) -> str:
    """Translate a sentence into the visitor's language.

    Args:
        english: the sentence, which is its key in the catalogues. `{name}` is replaced by a fact,
            `{name:photo|photos}` by words that depend on it, see `filled`.
        facts: values by name; counts as formatted by `number`.
    """
    sentence = catalogue(language()).get(english, english)
    return filled(sentence, facts) if facts else sentence


def filled(sentence: str, facts: Mapping[str, object]) -> str:
    """Fill in facts. Of a pair of FORMS the first is for a count of 1."""

    def fitting(pair: re.Match[str]) -> str:
        fact, singular, plural = pair.groups()
        return singular if str(facts[fact]) == "1" else plural

    return FORMS.sub(fitting, sentence).format(**facts)


def tr_known(sentence: str) -> str:
    """Translate a complete sentence of the server, such as an error; unknown ones stay English."""
    words = catalogue(language())
    if sentence in words:
        return words[sentence]
    for english, pattern in patterns(language()).items():
        if found := pattern.fullmatch(sentence):
            return filled(words[english], found.groupdict())
    return sentence


@cache
def patterns(code: str) -> dict[str, re.Pattern[str]]:
    """Patterns of the English sentences with facts, which match the facts."""

    def pattern(english: str) -> re.Pattern[str]:
        escaped = re.escape(english)
        escaped = re.sub(r"\\{\w+:(.+?)\\\|(.+?)\\}", r"(?:\1|\2)", escaped)
        return re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>.+?)", escaped))

    return {english: pattern(english) for english in catalogue(code) if "{" in english}


def number(value: float, digits: int = 0) -> str:
    """Format a number with the separators of the visitor's language."""
    text = f"{value:,.{digits}f}"
    return text.translate(str.maketrans(",.", ".,")) if language() == "de" else text


def language() -> str:
    """The language from the URL, else from the session, else the browser's; one of LANGUAGES."""
    state = st.session_state
    code = st.query_params.get(PARAMETER, state.get(PARAMETER))
    if code not in LANGUAGES:
        code = (st.context.locale or "").partition("-")[0]
    return code if code in LANGUAGES else "en"


def keep_language() -> None:
    """Store the URL's language in the session: the URLs of other pages lack it."""
    if PARAMETER in st.query_params:
        st.session_state[PARAMETER] = st.query_params[PARAMETER]


@cache
def catalogue(code: str) -> dict[str, str]:
    """English sentence -> its translation; empty without a catalogue."""
    path = WORDS / f"{code}.toml"
    return tomllib.loads(path.read_text("utf-8")) if path.is_file() else {}
