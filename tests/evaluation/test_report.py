"""The page of results: sound HTML, nothing loaded from anywhere, no text that runs."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from evaluation.__main__ import main
from evaluation.metrics.bootstrap import Estimate
from evaluation.report.charts import (
    MAX_BARS,
    bars_chart,
    curve_chart,
    interval_chart,
    stacked_chart,
    ticks,
)
from evaluation.report.report import MeasuredCurve, make_report, pick, read_curve, read_file
from evaluation.report.results import (
    BadResults,
    JudgedAnswer,
    QueryResult,
    Results,
    SetupResult,
    results_from,
    write_results,
)
from tests.conftest import FEW_PHOTOS

EVIL = "<script>alert(1)</script>.jpg"
VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Collects tags and text; fails on a tag that is closed out of turn or left open."""

    def __init__(self, html: str):
        super().__init__()
        self.tags, self.attributes, self.text, self._open = [], [], "", []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attributes]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data


def made_results(store: Path, methods=("rerank off", "diffusion", "SIFT")) -> Results:
    """Ten queries whose AP by method is known: off i/10, diffusion (9-i)/10, SIFT always 1/2."""
    values = {
        "rerank off": lambda i: i / 10,
        "diffusion": lambda i: (9 - i) / 10,
        "SIFT": lambda i: 0.5,
    }
    first = [(EVIL, "relevant"), (FEW_PHOTOS[1], "irrelevant"), (FEW_PHOTOS[2], "junk")]
    queries = [
        QueryResult(
            name=f"{i} {EVIL}",
            group=f"group {i}",
            photo="/nowhere.jpg",
            own=FEW_PHOTOS[i],
            region=None,
            answers={
                method: JudgedAnswer({"all": {"mAP": values[method](i)}}, first)
                for method in methods
            },
        )
        for i in range(10)
    ]
    estimates = {
        method: Estimate(np.mean([values[method](i) for i in range(10)]), 0.2, 0.8)
        for method in methods
    }
    gains = {method: Estimate(0.0, -0.1, 0.1) for method in methods[1:]}
    return Results(
        dataset=EVIL,
        created="2026-01-01",
        command=f"python -m evaluation run {EVIL}",
        seed=0,
        hardware="an abacus & a friend",
        model={
            "name": "net",
            "architecture": "r",
            "dimensions": 4,
            "longest_side": 320,
            "fingerprint": "0" * 64,
        },
        store={"path": str(store), "photos": 12, "parameters": {}},
        notes=[EVIL],
        methods=list(methods),
        main="all",
        setups=[SetupResult("all", 10, 10, 1, {"mAP": estimates}, gains)],
        stage_ms={method: {"index": 2.0, "sift": 300.0} for method in methods},
        queries=queries,
    )


@pytest.fixture(scope="module")
def results(small_built) -> Results:
    return made_results(small_built / "store")


@pytest.fixture(scope="module")
def html(results) -> str:
    curve = MeasuredCurve(EVIL, [10, 1000], [0.6, 0.7], EVIL, EVIL)
    return make_report([results, curve])


def test_results_survive_the_file(results, tmp_path):
    write_results(results, tmp_path / "made" / "x.json")
    assert read_file(tmp_path / "made" / "x.json") == results
    assert results.main_setup.name == "all" and results.metric == "mAP"


def test_the_page_is_sound_and_loads_nothing(html):
    page = Page(html)
    assert not re.search(r"https?://|url\(|@import", html)
    assert not {"script", "link", "iframe", "object", "embed", "base"} & set(page.tags)
    sources = [
        value for _, name, value in page.attributes if name in ("src", "href", "srcset", "action")
    ]
    assert sources and all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert ("meta", "http-equiv", "Content-Security-Policy") in page.attributes
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]


def test_every_text_is_escaped(html):
    assert "<script" not in html
    # data set, command, note, queries, and the curve's title and axes
    assert Page(html).text.count("<script>alert(1)</script>.jpg") >= 8


def test_the_page_says_everything(html):
    text = Page(html).text
    for words in (
        "an abacus & a "
        "friend", "seed 0", "10 queries, 1 without positives left "
                            "out", "rerank off", "0.450", "[0.200, 0.800]",
        "Time by "
        "stage", "302.0", "Gained most", "Lost most", "AP 0.900", "✓", "✗", "Measured besides",
    ):  # fmt: skip
        assert words in text, words
    assert "prefers-color-scheme: dark" in html and "width=device-width" in html


def test_pictures_are_framed_by_verdict_and_missing_ones_named(html):
    frames = [
        value
        for tag, name, value in Page(html).attributes
        if name == "class" and value.startswith("photo ")
    ]
    assert (
        frames.count("photo relevant")
        == frames.count("photo irrelevant")
        == frames.count("photo junk")
        > 0
    )
    assert frames.count("photo query") > 0
    # The evil file is in no store: its name stands where its picture would be.
    assert "<span>&lt;script&gt;alert(1)&lt;/script&gt;.jpg</span>" in html


def test_queries_that_are_picked(results):
    picked = pick(results, "diffusion")
    names = {title: [query.group for query in queries] for title, queries in picked.items()}
    assert names["Gained most"] == ["group 0", "group 1", "group 2"]  # +0.9, +0.7, +0.5
    assert names["Lost most"] == ["group 9", "group 8", "group 7"]
    assert names["Best"] == ["group 3", "group 4", "group 5"] and names["Worst"] == ["group 6"]
    assert set(pick(results, "rerank off")) == {"Best", "Worst"}


def test_a_run_of_one_method_and_a_store_that_is_gone(tmp_path):
    html = make_report([made_results(tmp_path / "gone", methods=("rerank off",))])
    text = Page(html).text
    assert (
        "The store of this run is not there any more" in text and "Gain of each query" not in text
    )
    assert "<img" not in html and FEW_PHOTOS[1] in html


def test_command_takes_results_and_curves_in_any_order(results, tmp_path, capsys):
    write_results(results, tmp_path / "results.json")
    curve = {
        "title": "kept",
        "x": [10, 100, 1000],
        "y": [0.5, 0.6, 0.65],
        "xlabel": "values",
        "ylabel": "mAP",
    }
    (tmp_path / "curve.json").write_text(json.dumps(curve))
    files = [str(tmp_path / name) for name in ("curve.json", "results.json")]
    assert main(["report", *files, "--out", str(tmp_path / "page.html")]) == 0
    text = Page((tmp_path / "page.html").read_text()).text
    assert text.index("Gained most") < text.index("kept")
    (tmp_path / "curve.json").write_text(json.dumps(curve | {"title": "half \ud800"}))
    assert main(["report", files[0], "--out", str(tmp_path / "page.html")]) == 0
    assert "half ?" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    "content",
    ["{", "[]", "{}", '{"x": [1], "y": [1, 2], "title": '
                      '"a"}', '{"x": [], "y": [], "title": "a"}', '{"x": "no", "y": [1]}',
     '{"x": [1], "y": [NaN], "title": "a"}', '{"schema": 2}'],
)  # fmt: skip
def test_files_of_something_else_are_refused(tmp_path, capsys, content):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(BadResults, match="x.json holds neither"):
        read_file(tmp_path / "x.json")
    assert main(["report", str(tmp_path / "x.json"), "--out", str(tmp_path / "page.html")]) == 1
    assert "holds neither" in capsys.readouterr().err and not (tmp_path / "page.html").exists()


def places(facts, at=()):
    """Paths to everything inside a JSON value, of lists the first part only."""
    items = facts.items() if isinstance(facts, dict) else enumerate(facts[:1])
    for key, value in items:
        yield *at, key
        if isinstance(value, dict | list):
            yield from places(value, (*at, key))


@pytest.mark.parametrize("wrong", [None, [], {}, "x", -1, 1e999, [None], {"x": None}])
def test_results_with_a_part_of_another_kind_are_refused_or_shown(tmp_path, wrong):
    """Whatever a file holds in the place of a part: a typed error or a page, never a traceback."""
    results = made_results(tmp_path / "gone", ("rerank off", "SIFT"))
    refused = 0
    write_results(results, tmp_path / "x.json")
    text = (tmp_path / "x.json").read_text()
    for path in list(places(json.loads(text))):
        facts = json.loads(text)
        inside = facts
        for key in path[:-1]:
            inside = inside[key]
        inside[path[-1]] = wrong
        try:
            make_report([results_from(facts)])
        except BadResults:
            refused += 1
    assert refused > 10


def test_a_file_that_is_nested_too_deeply_is_refused(tmp_path, capsys):
    for text in ("[" * 100_000, '{"x": ' * 100_000, "null", "9" * 5000):
        (tmp_path / "x.json").write_text(text)
        arguments = ["report", str(tmp_path / "x.json"), "--out", str(tmp_path / "page.html")]
        assert main(arguments) == 1
        assert "x.json holds neither" in capsys.readouterr().err


def test_verdicts_cannot_break_out_of_their_tag(results):
    facts = json.loads(json.dumps(results, default=lambda x: x.__dict__))
    facts["queries"][0]["answers"]["diffusion"]["first"][0][1] = '"><script>'
    assert "<script" not in make_report([results_from(facts)])


# -- charts ----------------------------------------------------------------------------------------


def numbers(html: str, tag: str, attribute: str, kind: str) -> list[float]:
    return [
        float(dict(re.findall(r'(\w+)="([^"]*)"', found))[attribute])
        for found in re.findall(f"<{tag} ([^>]*)>", html)
        if f'class="{kind}"' in found
    ]


def test_interval_chart_is_to_scale():
    html = interval_chart("t", [("a", Estimate(0.5, 0.4, 0.6)), ("b", Estimate(0.7, 0.5, 0.8))])
    dots = numbers(html, "circle", "cx", "dot")
    left, right = numbers(html, "line", "x1", "interval"), numbers(html, "line", "x2", "interval")
    unit = (dots[1] - dots[0]) / 0.2
    assert left == pytest.approx([dots[0] - 0.1 * unit, dots[1] - 0.2 * unit], abs=0.11)
    assert right == pytest.approx([dots[0] + 0.1 * unit, dots[1] + 0.1 * unit], abs=0.11)
    assert numbers(html, "line", "x1", "base") == [dots[0]]


def test_bars_are_sorted_and_to_scale():
    html = bars_chart("t", [0.1, -0.4, 0.2])
    up, down = numbers(html, "rect", "height", "up"), numbers(html, "rect", "height", "down")
    assert up == pytest.approx([2 * up[1], up[1]], abs=0.02) and down == pytest.approx(
        [4 * up[1]], abs=0.02
    )
    many = bars_chart("t", np.linspace(-1, 1, 5000))
    assert many.count("<rect") == MAX_BARS
    assert bars_chart("t", []).count("<rect") == 0


def test_stacked_bars_lie_end_to_end():
    html = stacked_chart("t", [("m", {"a": 10.0, "b": 30.0})], ["a", "b"])
    (x0,), (x1,) = numbers(html, "rect", "x", "stage0"), numbers(html, "rect", "x", "stage1")
    (w0,), (w1,) = (
        numbers(html, "rect", "width", "stage0"),
        numbers(html, "rect", "width", "stage1"),
    )
    assert x1 == pytest.approx(x0 + w0, abs=0.02) and w1 == pytest.approx(3 * w0, abs=0.02)


def test_curves_choose_their_axes():
    logarithmic = numbers(
        curve_chart("t", [1, 10, 100], [5, 6, 9], "x", "y"), "circle", "cx", "dot"
    )
    assert logarithmic[1] - logarithmic[0] == pytest.approx(
        logarithmic[2] - logarithmic[1], abs=0.2
    )
    linear = numbers(curve_chart("t", [1, 10, 19], [5, 6, 9], "x", "y"), "circle", "cx", "dot")
    assert linear[1] - linear[0] == pytest.approx(linear[2] - linear[1], abs=0.2)
    reliability = curve_chart("t", [0.0, 0.5, 1.0], [0.0, 0.5, 1.0], "x", "y")
    assert 'class="base"' in reliability and 'class="base"' not in curve_chart(
        "t", [1, 2], [0, 1], "x", "y"
    )
    (x1,), (y1,) = (
        numbers(reliability, "line", "x1", "base"),
        numbers(reliability, "line", "y1", "base"),
    )
    assert (
        numbers(reliability, "circle", "cx", "dot")[0] == x1
        and numbers(reliability, "circle", "cy", "dot")[0] == y1
    )
    for single in (
        curve_chart("t", [3], [4], "x", "y"),
        curve_chart("t", [1, 2], [0.5, 0.5], "x", "y"),
    ):
        assert "nan" not in single and "inf" not in single


def test_ticks_are_round_and_inside(rng):
    assert ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1.0] and ticks(-0.3, 0.3, 4) == [-0.2, 0, 0.2]
    assert ticks(2, 2) == [2]
    for _ in range(200):
        low = float(rng.normal() * 10.0 ** rng.integers(-3, 4))
        high = low + abs(low) * float(10.0 ** rng.uniform(-3, 3))
        found = ticks(low, high)
        assert 1 <= len(found) <= 7 and low - 1e-9 <= found[0] and found[-1] <= high + 1e-9
        if len(found) > 1:
            mantissa = 10 ** (math.log10(found[1] - found[0]) % 1)
            assert min(abs(mantissa - m) for m in (1, 2, 5, 10)) < 1e-3


@pytest.mark.parametrize("number", ["1e308", "-1e308", "NaN", "Infinity", "1" + 400 * "0"])
def test_numbers_that_no_chart_can_hold_are_refused(results, tmp_path, number):
    path = tmp_path / "x.json"
    for facts in (
        f'{{"title": "t", "x": [0, 1], "y": [0, {number}]}}',
        json.dumps(dataclasses.asdict(results)).replace("0.8", number),
    ):
        path.write_text(facts)
        with pytest.raises(BadResults, match="x.json holds neither"):
            read_file(path)


def test_curves_from_json():
    curve = read_curve({"title": "t", "x": [1], "y": [2], "more": "is passed over"})
    assert curve == MeasuredCurve("t", [1.0], [2.0], "", "")
