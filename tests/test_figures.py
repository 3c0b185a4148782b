"""The page of measured figures."""

from __future__ import annotations

import json

import pytest
from streamlit.testing.v1 import AppTest

from tests.conftest import PATIENCE, ROOT
from ui import figures
from ui.figures import FILE, Intervals, Results, Speeds

RESULTS = Results.model_validate_json(FILE.read_bytes())
MEASUREMENTS = (ROOT / "docs" / "measurements.md").read_text()


def page() -> None:
    from ui.figures import render

    render()


def test_every_figure_of_the_file_is_on_the_page_with_its_values():
    app = AppTest.from_function(page, default_timeout=PATIENCE).run()
    assert not app.exception
    shown = " ".join(part.proto.body for part in app.get("html"))
    assert all(f">{figure.heading}</h2>" in shown for figure in RESULTS.figures)
    assert len(app.get("vega_lite_chart")) == len(app.expander) == len(RESULTS.figures) > 3
    assert [code.value for code in app.code] == [figure.command for figure in RESULTS.figures]


@pytest.mark.parametrize("figure", RESULTS.figures, ids=lambda figure: figure.heading)
def test_figures_are_those_of_the_tables(figure):
    """After a table has changed: change docs/results.json as well."""
    for value in figure.values:
        if isinstance(figure, Intervals):
            assert f"{value.mean:.3f} [{value.low:.3f}, {value.high:.3f}]" in MEASUREMENTS
            assert 0 <= value.low <= value.mean <= value.high <= 1
        else:
            rows = [
                line
                for line in MEASUREMENTS.splitlines()
                if line.startswith(f"| {value.series} |") and f"| {value.mean:.3f} |" in line
            ]
            assert any(f"| {value.photos_per_second:.1f} |" in row for row in rows)


def test_a_chart_shows_what_the_file_says():
    values = [
        {"name": "p", "series": "on", "mean": 0.5, "low": 0.25, "high": 0.75},
        {"name": "a", "series": "off", "mean": 0.4, "low": 0.2, "high": 0.6},
    ]
    facts = {"heading": "h", "command": "c", "machine": "m", "values": values}
    spec = Intervals(kind="intervals", **facts).chart().to_dict()
    assert spec["data"]["values"] == values and len(spec["layer"]) == 2
    assert spec["layer"][0]["encoding"]["y"]["sort"] == ["p", "a"], "the order of the file"
    assert spec["layer"][1]["encoding"]["x"]["scale"]["domain"] == [0, 1]
    speed = {"name": "n", "series": "s", "photos_per_second": 9.5, "mean": 0.5}
    chart = Speeds(kind="speeds", **facts | {"values": [speed]}).chart()
    assert chart.to_dict()["data"]["values"] == [speed]


@pytest.mark.parametrize("content", [None, "", "{}", json.dumps({"figures": [{"kind": "pie"}]})])
def test_a_missing_or_damaged_file_is_a_sentence(tmp_path, monkeypatch, content):
    path = tmp_path / "results.json"
    if content is not None:
        path.write_text(content)
    monkeypatch.setattr(figures, "FILE", path)
    app = AppTest.from_function(page, default_timeout=PATIENCE).run()
    assert not app.exception and "not available" in app.info[0].value
