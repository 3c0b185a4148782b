"""The catalogues hold every sentence of the page, with the same facts in it."""

from __future__ import annotations

import ast
import re

import pytest
from streamlit.testing.v1 import AppTest

from tests.conftest import ROOT
from tests.test_page import html_of
from ui.language import LANGUAGES, catalogue, patterns

FACT = re.compile(r"\{(\w+)\}")


def sentences() -> set[str]:
    """What `say` is called with, anywhere in ui/."""
    found = set()
    for path in (ROOT / "ui").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "say":
                if node.args and isinstance(node.args[0], ast.Constant):
                    found.add(node.args[0].value)
    return found


@pytest.mark.parametrize("code", [code for code in LANGUAGES if code != "en"])
def test_every_sentence_is_there_with_its_facts(code):
    words = catalogue(code)
    assert len(sentences()) > 40 and not sentences() - words.keys()
    for english, other in words.items():
        assert sorted(FACT.findall(english)) == sorted(FACT.findall(other)), english
        assert other.strip()
    assert patterns(code)


def script() -> None:
    import streamlit as st

    from search import SearchResult
    from ui.language import heard, language, number, say
    from ui.timing import timing_bar

    st.text(language())
    st.text(say("{count} photos", count=number(30000)))
    st.text(heard("Busy, try again in 7 seconds."))
    st.text(heard("Something that no catalogue knows {x}."))
    st.text(number(0.998, 3))
    st.html(timing_bar(SearchResult([], {"describe": 1234.0, "alpha-qe": 2.5}, {"decode": 8.0})))


def shown(app: AppTest) -> list[str]:
    assert not app.exception
    return [text.value for text in app.text]


def test_the_language_is_what_the_address_says():
    app = AppTest.from_function(script).run()
    english = ["en", "30,000 photos", "Busy, try again in 7 seconds."]
    assert shown(app)[:3] == english and shown(app)[4] == "0.998"
    app.query_params["lang"] = "de"
    german = ["de", "30.000 Fotos", "Viel los: versuchen Sie es in 7 Sekunden noch einmal."]
    assert shown(app.run())[:3] == german
    assert shown(app)[3:] == ["Something that no catalogue knows {x}.", "0,998"]
    bar = html_of(app)
    for legend in ("beschreiben 1.234 ms", "Anfrageerweiterung 2,5 ms", "lesen 8,0 ms"):
        assert legend in bar
    assert "gerade eben" in bar and "von vorhin" in bar
    app.query_params["lang"] = "../../etc/passwd"
    assert shown(app.run())[:3] == english
