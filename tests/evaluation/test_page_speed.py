"""A short round of the page's study in a real browser: all of its rows, and what stops it."""

from __future__ import annotations

import sys

from evaluation.__main__ import main


def test_without_a_browser_it_is_said(small_built, capsys, monkeypatch):
    arguments = ["page", "--store", str(small_built / "store")]
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "playwright.sync_api", None)
        assert main(arguments) == 1
    assert "requirements-dev.txt" in capsys.readouterr().err
    monkeypatch.setattr("shutil.which", lambda name: "/bin/false")
    assert main(arguments) == 1
    assert "Chromium cannot be started" in capsys.readouterr().err
