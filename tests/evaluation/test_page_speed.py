"""A short round of the page's study in a real browser: all of its rows, and what stops it."""

from __future__ import annotations

import sys

from evaluation.__main__ import main
from evaluation.studies.serving import page_speed


def test_a_short_round(small_built, capsys, monkeypatch):
    monkeypatch.setattr(page_speed, "MAP_FRAMES", 30)
    arguments = ["--store", str(small_built / "store"), "--times", "1", "--points", "2000"]
    assert main(["page", *arguments]) == 0
    hardware, browser, _, _, _, *rows = capsys.readouterr().out.splitlines()
    assert hardware.startswith("Hardware: ") and browser.startswith("Chromium ")
    table = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert [(what, times) for what, times, *_ in table] == [
        ("first load, cold", "1"),
        ("first load, warm", "1"),
        ("toggle, a new answer", "1"),
        ("toggle, a known answer", "1"),
        ("frame of the map, 2,000 photos", "30"),
    ]
    for _, _, median, late in table:
        assert 0 < int(median) <= int(late)


def test_without_a_browser_it_is_said(small_built, capsys, monkeypatch):
    arguments = ["page", "--store", str(small_built / "store")]
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "playwright.sync_api", None)
        assert main(arguments) == 1
    assert "requirements-dev.txt" in capsys.readouterr().err
    monkeypatch.setattr("shutil.which", lambda name: "/bin/false")
    assert main(arguments) == 1
    assert "Chromium cannot be started" in capsys.readouterr().err
