"""A short round of the load study: all kinds of clicks, by websocket and API, on a live server."""

from __future__ import annotations

import re

from evaluation.__main__ import main
from evaluation.studies.load import COLUMNS, Tally, header, row


def test_a_short_round(small_built, capsys, monkeypatch):
    monkeypatch.setenv("GEM_FORGET_SECONDS", "1")
    arguments = "--visitors 3 --seconds 6 --think 0 0.1 --mix mixed".split()
    assert main(["load", "--store", str(small_built / "store"), *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    (said,) = (line for line in lines if line.startswith("Uploads: "))
    sizes = [float(size) for size in re.findall(r"\d+\.\d", said)]
    assert 0.1 <= sizes[0] <= 0.4 and 8 < sizes[-1] < 12
    cells = [cell.strip() for cell in lines[-1].strip("|").split("|")]
    named = [cell.strip() for cell in lines[-3].strip("|").split("|")]
    found = dict(zip(named, cells, strict=True))
    assert found["visitors"] == "3" and float(found["answers a second"]) > 0
    assert found["errors"] == found["refused"] == "0"
    median, late = map(float, found["search, median / 95 % (s)"].split(" / "))
    assert 0 < median <= late
    warm, full, after = map(float, found["MB warm, then, after"].split(", "))
    assert min(warm, full, after) > 50


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
