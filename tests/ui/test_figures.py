"""The page of measured figures."""

from __future__ import annotations

import json

import pytest
from streamlit.testing.v1 import AppTest

from evaluation.report.figures import read_figures
from tests.conftest import PATIENCE
from ui.pages import figures
from ui.pages.figures import FILE, Results, by_photos, chart

MEASURED = read_figures(FILE).figures


def page() -> None:
    from ui.pages.figures import render

    render()


def test_every_measured_figure_is_on_the_page_with_its_values():
    app = AppTest.from_function(page, default_timeout=PATIENCE).run()
    assert not app.exception
    shown = " ".join(part.proto.body for part in app.get("html"))
    sets = list(dict.fromkeys(figure.row.photos for figure in MEASURED))
    assert sets and all(f">{photos}</h2>" in shown for photos in sets)
    assert len(app.get("vega_lite_chart")) == len(app.expander) == len(sets)
    tables = [table.value for table in app.table]
    assert sum(len(table) for table in tables[::2]) == len(MEASURED)
    means = [mean for table in tables[1::2] for mean in table["mean"]]
    expected = [one.mean for figure in MEASURED for one in figure.row.maps.values()]
    assert sorted(means) == sorted(expected)


def test_a_chart_shows_what_the_file_says():
    results = Results.model_validate_json(FILE.read_bytes())
    for several in by_photos(results.figures).values():
        spec = chart(several).to_dict()
        values = [value for figure in several for value in figure.values]
        assert spec["data"]["values"] == values and len(spec["layer"]) == 2
        models = list(dict.fromkeys(figure.row.model for figure in several))
        assert spec["layer"][0]["encoding"]["y"]["sort"] == models, "the order of the file"
        assert spec["layer"][1]["encoding"]["x"]["scale"]["domain"] == [0, 1]


@pytest.mark.parametrize("content", [None, "", "{}", json.dumps({"figures": [{"row": "pie"}]})])
def test_a_missing_or_damaged_file_is_a_sentence(tmp_path, monkeypatch, content):
    path = tmp_path / "results.json"
    if content is not None:
        path.write_text(content)
    monkeypatch.setattr(figures, "FILE", path)
    app = AppTest.from_function(page, default_timeout=PATIENCE).run()
    assert not app.exception and "No figures are available" in app.info[0].value
