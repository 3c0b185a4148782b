"""The catalogues hold every sentence of the page, with the same facts in it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest
from streamlit.testing.v1 import AppTest

from plurals import quantity
from search.verify.shortlist import notes_on
from serving.queue.admission import Busy
from serving.queue.quota import TooMany
from serving.refusal import busy
from tests.conftest import PATIENCE, ROOT
from tests.ui.test_page import html_of
from ui.i18n.translate import FORMS, LANGUAGES, catalogue, filled, patterns, tr_known

FACT = re.compile(r"\{(\w+)\}")
TEXTS = {
    "title",
    "model",
    "matcher",
    "size",
    "format",
    "formats",
    "type",
    "why",
}  # facts that are no numbers
# Words that may follow a count of 1 and any other count alike.
ANY_COUNT = {
    "en": {"MB", "megapixels", "on", "ahead", "fell", "from", "here", "matched", "more", "of"},
    "de": {"MB", "Megapixel", "auf", "der", "gezeigt", "von", "vor"},
}


def calls() -> Iterator[tuple[str, bool]]:
    """What `tr` is called with, anywhere in ui/, and whether with facts."""
    for path in (ROOT / "ui").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "tr":
                if node.args and isinstance(node.args[0], ast.Constant):
                    yield node.args[0].value, bool(node.keywords)


def sentences() -> set[str]:
    return {sentence for sentence, _ in calls()}


@pytest.mark.parametrize("code", [code for code in LANGUAGES if code != "en"])
def test_every_sentence_is_there_with_its_facts(code):
    words = catalogue(code)
    assert len(sentences()) > 40 and not sentences() - words.keys()
    for english, other in words.items():
        assert sorted(FACT.findall(english)) == sorted(FACT.findall(other)), english
        assert other.strip()
    assert patterns(code)


def test_scripts_of_the_page_fill_in_no_counts():
    """They replace `{title}` only: they do not know the forms."""
    alone = [sentence for sentence, has_facts in calls() if not has_facts]
    assert {fact for sentence in alone for fact in FACT.findall(sentence)} == {"title"}
    assert not any(FORMS.search(sentence) for sentence in alone)


@pytest.mark.parametrize("code", list(LANGUAGES))
def test_a_count_of_one_has_its_own_words(code):
    """Whatever noun or verb follows a count of 1 is the first of a pair of forms."""
    known = sentences() | catalogue("de").keys()
    templates = known if code == "en" else set(catalogue(code).values())
    pairs = [pair for template in templates for pair in FORMS.findall(template)]
    assert len(pairs) > 15 and all(one and one != other for _, one, other in pairs)
    singular = {one.split()[0] for _, one, _ in pairs}
    for template in templates:
        facts = FACT.findall(template)
        assert {fact for fact, *_ in FORMS.findall(template)} <= set(facts), template
        read = filled(template, {fact: "x" if fact in TEXTS else "1" for fact in facts})
        following = set(re.findall(r"\b1[ *]+([^\W\d]+)", read))
        assert following <= singular | ANY_COUNT[code], read


@pytest.mark.parametrize("count", [1, 2])
def test_server_sentences_with_counts_are_translated(count, monkeypatch):
    """Each is a template of the catalogue, with the forms for its count, in both languages."""
    notes = notes_on(dict.fromkeys(range(count)))
    sentences = [str(Busy(count)), str(busy("a test", count)), str(TooMany(count)), *notes]
    photos, fotos, seconds, sekunden, konnten = {
        1: ("1 photo", "1 Foto", "1 second", "1 Sekunde", "konnte"),
        2: ("2 photos", "2 Fotos", "2 seconds", "2 Sekunden", "konnten"),
    }[count]
    assert sentences == [
        f"Busy, try again in {seconds}.",
        f"Busy, try again in {seconds}.",
        f"Too many requests. Try again in {seconds}.",
        f"{photos} could not be verified: changed or missing on disk.",
    ]
    monkeypatch.setattr("ui.i18n.translate.language", lambda: "de")
    assert [tr_known(sentence) for sentence in sentences] == [
        f"Viel los: versuchen Sie es in {sekunden} noch einmal.",
        f"Viel los: versuchen Sie es in {sekunden} noch einmal.",
        f"Zu viele Anfragen. Versuchen Sie es in {sekunden} noch einmal.",
        f"{fotos} {konnten} nicht geprüft werden: auf der Platte geändert oder verschwunden.",
    ]
    holds = tr_known(f"A gallery holds at most {photos}.")
    assert holds == f"Eine Galerie enthält höchstens {fotos}."


def test_quantities_of_commands():
    nouns = [quantity(count, "query", "queries") for count in (0, 1, 2)]
    assert nouns == ["0 queries", "1 query", "2 queries"]
    assert quantity(1, "more file") == "1 more file" and quantity(0, "byte") == "0 bytes"


@pytest.mark.parametrize(
    "english, facts, one, one_in_german, many, many_in_german",
    [
        (
            "{count} matched {count:point fits|points fit} together",
            ["count"],
            "1 matched point fits together",
            "1 Punkt passt zusammen",
            "20 matched points fit together",
            "20 Punkte passen zusammen",
        ),
        (
            "{count} {count:photo|photos} can be searched, for {minutes} more "
            "{minutes:minute|minutes}.",
            ["count", "minutes"],
            "1 photo can be searched, for 1 more minute.",
            "1 Foto kann durchsucht werden, noch 1 Minute lang.",
            "20 photos can be searched, for 20 more minutes.",
            "20 Fotos können durchsucht werden, noch 20 Minuten lang.",
        ),
        (
            "{rose} {rose:photo|photos} rose, {fell} fell, {new} {new:is|are} new here.",
            ["rose", "fell", "new"],
            "1 photo rose, 1 fell, 1 is new here.",
            "1 Foto stieg, 1 fiel, 1 ist neu hier.",
            "20 photos rose, 20 fell, 20 are new here.",
            "20 Fotos stiegen, 20 fielen, 20 sind neu hier.",
        ),
    ],
)
def test_one_and_many_in_both_languages(english, facts, one, one_in_german, many, many_in_german):
    german = catalogue("de")[english]
    for count, expected in (("1", (one, one_in_german)), ("20", (many, many_in_german))):
        of = dict.fromkeys(facts, count)
        assert (filled(english, of), filled(german, of)) == expected


def script() -> None:
    import streamlit as st

    from search import Hit, SearchResult
    from ui.i18n.translate import language, number, tr, tr_known
    from ui.widgets.results import points_badge
    from ui.widgets.timing import timing_bar

    st.text(language())
    st.text(tr("{count} {count:photo|photos}", count=number(30000)))
    st.text(tr_known("Busy, try again in 7 seconds."))
    st.text(tr_known("Something that no catalogue knows {x}."))
    st.text(number(0.998, 3))
    for points in (1, 1200):
        hit = Hit(1, "a.jpg", "A", 1.0, 0.9, 1.0, {}, inliers=points, verified=True)
        st.text(" ".join(points_badge(hit).values()))
    st.html(timing_bar(SearchResult([], {"describe": 1234.0, "alpha-qe": 2.5}, {"decode": 8.0})))


def shown(app: AppTest) -> list[str]:
    assert not app.exception
    return [text.value for text in app.text]


def test_the_language_is_what_the_address_says():
    app = AppTest.from_function(script, default_timeout=PATIENCE).run()
    english = ["en", "30,000 photos", "Busy, try again in 7 seconds."]
    assert shown(app)[:3] == english and shown(app)[4] == "0.998"
    assert shown(app)[5:] == [
        "1 point 1 matched point fits together",
        "1,200 points 1,200 matched points fit together",
    ]
    app.query_params["lang"] = "de"
    german = ["de", "30.000 Fotos", "Viel los: versuchen Sie es in 7 Sekunden noch einmal."]
    assert shown(app.run())[:3] == german
    assert shown(app)[3:] == [
        "Something that no catalogue knows {x}.",
        "0,998",
        "1 Punkt 1 Punkt passt zusammen",
        "1.200 Punkte 1.200 Punkte passen zusammen",
    ]
    bar = html_of(app)
    for legend in ("beschreiben 1.234 ms", "Anfrageerweiterung 2,5 ms", "lesen 8,0 ms"):
        assert legend in bar
    assert "gerade eben" in bar and "von vorhin" in bar
    app.query_params["lang"] = "../../etc/passwd"
    assert shown(app.run())[:3] == english
