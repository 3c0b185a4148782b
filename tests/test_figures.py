"""The page of measured figures."""

from __future__ import annotations

import base64
import re

from streamlit.testing.v1 import AppTest

from tests.conftest import PATIENCE
from ui.figures import DOCS, FILE, Section, pictures, sections, tables


def page() -> None:
    from ui.figures import render

    render()


def first_interval() -> str:
    """The first mAP with its interval, as the file has it."""
    found = re.search(r"0\.\d{3} \[0\.\d{3}, 0\.\d{3}\]", (DOCS / FILE).read_text())
    assert found is not None
    return found[0]


def test_every_part_of_the_file_is_on_the_page():
    app = AppTest.from_function(page, default_timeout=PATIENCE).run()
    assert not app.exception
    headings = [line[3:] for line in (DOCS / FILE).read_text().splitlines() if line[:3] == "## "]
    assert len(headings) == len(app.expander) and len(headings) > 3
    shown = " ".join(text.value for text in app.markdown)
    assert first_interval() in shown and "](../" not in shown


def test_the_pictures_of_the_file_travel_within_the_page():
    app = AppTest.from_function(page, default_timeout=PATIENCE).run()
    shown = [part.proto.body for part in app.get("html") if "<figure" in part.proto.body]
    names = re.findall(r"!\[.*?\]\((.*?)\)", (DOCS / FILE).read_text())
    assert len(shown) == len(names) > 1
    for text, name in zip(shown, names):
        (data,) = re.findall(r'src="data:image/png;base64,(.*?)"', text)
        assert base64.b64decode(data) == (DOCS / name).read_bytes()


def test_a_picture_shows_what_its_table_says():
    text = "a\n\n| model | photos | off |\n|---|---|---|\n| m<b> | p | 0.5 [0.25, 0.75] |\n\nend"
    assert list(tables(text)) == [[["model", "photos", "off"], ["m<b>", "p", "0.5 [0.25, 0.75]"]]]
    (svg,) = pictures(Section("", text))
    assert 'x1="80" x2="240"' in svg and 'cx="160"' in svg and ">0.500<" in svg
    assert "m&lt;b&gt; · p" in svg and "m<b>" not in svg


def test_a_row_is_named_by_what_is_no_interval():
    text = "| others | off | SIFT |\n|---|---|---|\n| 3,000 | 0.5 [0.2, 0.7] | 0.6 [0.3, 0.8] |"
    (svg,) = pictures(Section("", text))
    assert ">3,000 others<" in svg and "[0.2" not in svg


def test_the_measured_tables_are_drawn():
    drawn = [svg for part in sections(1) for svg in pictures(part)]
    assert sum("95 %" in svg for svg in drawn) >= 1 and sum("photos/s" in svg for svg in drawn) >= 1
