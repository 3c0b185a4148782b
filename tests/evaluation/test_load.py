"""A short round of the load study: all kinds of clicks, by websocket and API, on a live server."""

from __future__ import annotations

import re
from collections.abc import Callable

from evaluation.__main__ import main
from evaluation.studies.serving.load import (
    COLUMNS,
    MB,
    MIXED,
    MIXES,
    Tally,
    figure,
    header,
    passed,
    row,
)

SECONDS = 30.0


def until_all_is_answered(seconds: float) -> Callable[[Tally], bool]:
    """Instead of a time: each kind of click was answered, or one was not. A click warms up."""
    needed = len(COLUMNS) if seconds == SECONDS else 1
    return lambda tally: len(tally.seconds) >= needed or bool(tally.refused or tally.errors)


def test_a_short_round(small_built, capsys, monkeypatch):
    figures = []

    def noted(url: str, name: str) -> float:
        figures.append((name, figure(url, name)))
        return figures[-1][1]

    monkeypatch.setenv("GEM_FORGET_SECONDS", "1")
    monkeypatch.setattr("evaluation.studies.serving.load.passed", until_all_is_answered)
    monkeypatch.setattr("evaluation.studies.serving.load.figure", noted)
    monkeypatch.setitem(MIXES, "mixed", dict.fromkeys(MIXED, 20))
    arguments = f"--visitors 3 --seconds {SECONDS} --think 0 0.1 --mix mixed".split()
    assert main(["load", "--store", str(small_built / "store"), *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    (said,) = (line for line in lines if line.startswith("Uploads: "))
    sizes = [float(size) for size in re.findall(r"\d+\.\d", said)]
    assert 0.1 <= sizes[0] <= 0.4 and 8 < sizes[-1] < 12
    cells = [cell.strip() for cell in lines[-1].strip("|").split("|")]
    named = [cell.strip() for cell in lines[-3].strip("|").split("|")]
    found = dict(zip(named, cells, strict=True))
    assert found["visitors"] == "3"
    assert found["errors"] == found["refused"] == "0"
    for kind in COLUMNS:
        median, late = map(float, found[f"{kind}, median / 95 % (s)"].split(" / "))
        assert 0 <= median <= late
    read = [value for name, value in figures if name == "process_resident_memory_bytes"]
    assert found["MB warm, then, after"] == ", ".join(f"{value / MB:.0f}" for value in read)
    # Once warm and once after the round, nobody is there any more.
    assert [value for name, value in figures if name == "gem_sessions"].count(0) == 2


def test_a_round_ends_with_its_time(monkeypatch):
    now = iter((100.0, 101.9, 102.0))
    monkeypatch.setattr("time.perf_counter", lambda: next(now))
    ended = passed(2.0)
    assert [ended(Tally()), ended(Tally())] == [False, True]


def test_answers_refusals_and_errors_are_told_apart():
    tally = Tally()
    tally.note("search", 1.0, [])
    tally.note("search", 3.0, [])
    tally.note("toggle", 0.2, [])
    tally.note("search", 9.0, ["Busy, try again in 3 seconds."])
    tally.note("upload", 9.0, ["The photo cannot be decoded."])
    assert tally.refused == 1 and tally.errors == {"The photo cannot be decoded.": 1}
    shown = ["search", "toggle"]
    assert len(header(list(COLUMNS)).splitlines()[0].split(" | ")) == len(COLUMNS) + 5
    line = row(4, 2.0, tally, shown, 100, 200, 110)
    assert line == "| 4 | 1.5 | 2.00 / 2.90 | 0.20 / 0.20 | 1 | 1 | 100, 200, 110 |"
