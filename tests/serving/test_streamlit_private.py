"""What Streamlit does not document is used in one module, for one version."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from serving.operations import streamlit_private

ROOT = Path(__file__).parents[2]
PRIVATE = re.compile(
    r"^\s*(from|import) streamlit(\.(runtime|web|logger|config)\b| import config)|\b_session_mgr\b",
    re.MULTILINE,
)


def test_only_one_module_reaches_into_streamlit():
    files = [path for room in ("api", "serving", "ui") for path in (ROOT / room).rglob("*.py")]
    found = {path.name for path in [*files, ROOT / "app.py"] if PRIVATE.search(path.read_text())}
    assert found == {"streamlit_private.py"}


def test_another_version_is_an_error_that_says_what_to_do(monkeypatch):
    streamlit_private.check_version()
    monkeypatch.setattr(streamlit_private.streamlit, "__version__", "1.68.0")
    with pytest.raises(ImportError, match=r"1\.68\.0 is installed.*pip install -r requirements"):
        streamlit_private.check_version()


def test_the_pinned_version_is_the_tested_one():
    pinned = (ROOT / "requirements.txt").read_text().splitlines()
    assert f"streamlit=={streamlit_private.TESTED_VERSION}" in pinned
