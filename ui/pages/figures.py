"""Page "Figures": the measurements in docs/results.json as charts.

`make figures` writes that file; this page only draws it.
"""

from __future__ import annotations

import html
from functools import lru_cache
from pathlib import Path
from typing import Any

import altair as alt
import streamlit as st
from pydantic import BaseModel

from ..i18n.translate import tr
from ..widgets.headings import hero

FILE = Path(__file__).resolve().parents[2] / "docs" / "results.json"
COMMAND = "make figures"


class Interval(BaseModel):
    """A mean, 0 to 1, with its 95 % interval."""

    mean: float
    low: float
    high: float


class Row(BaseModel):
    """One measurement. maps: mAP by the stages that were on."""

    model: str
    photos: str
    maps: dict[str, Interval]


class Figure(BaseModel):
    """A measurement with its conditions: commit, date, processor, threads and engine."""

    row: Row
    conditions: dict[str, str | int]

    @property
    def values(self) -> list[dict[str, Any]]:
        """One record for each series, for a chart or a table."""
        return [
            {"model": self.row.model, "series": series, **interval.model_dump()}
            for series, interval in self.row.maps.items()
        ]


class Results(BaseModel):
    """Schema of docs/results.json."""

    figures: list[Figure]


@lru_cache(1)
def read_results(modified_ns: int) -> Results:
    """Read the file, cached by its modification time. Raises OSError; ValueError if damaged."""
    return Results.model_validate_json(FILE.read_bytes())


def by_photos(figures: list[Figure]) -> dict[str, list[Figure]]:
    """Figures grouped by set of photos, in the order of the file."""
    sets: dict[str, list[Figure]] = {}
    for figure in figures:
        sets.setdefault(figure.row.photos, []).append(figure)
    return sets


def chart(figures: list[Figure]) -> alt.LayerChart:
    """Chart with a point on its interval for each value, in the order of the file."""
    values = [value for figure in figures for value in figure.values]
    models = list(dict.fromkeys(value["model"] for value in values))
    series = list(dict.fromkeys(value["series"] for value in values))
    base = alt.Chart(alt.Data(values=values)).encode(
        y=alt.Y("model:N", sort=models, title=None, axis=alt.Axis(labelLimit=150)),
        yOffset=alt.YOffset("series:N", sort=series),
        color=alt.Color(
            "series:N", sort=series, title=None, legend=alt.Legend(orient="top", columns=2)
        ),
        tooltip=["model:N", "series:N", "mean:Q", "low:Q", "high:Q"],
    )
    scale = alt.Scale(domain=[0, 1])
    title = tr("mAP with 95 % intervals")
    ranges = base.mark_rule(strokeWidth=2).encode(
        x=alt.X("low:Q", scale=scale, title=title), x2="high:Q"
    )
    return ranges + base.mark_point(filled=True, size=60).encode(x=alt.X("mean:Q", scale=scale))


def render() -> None:
    """Draw the page."""
    hero(tr("What was measured"))
    try:
        results = read_results(FILE.stat().st_mtime_ns)
    except (OSError, ValueError):
        st.info(tr("No figures are available: this server was installed without its documents."))
        return
    for photos, figures in by_photos(results.figures).items():
        st.html(f'<h2 class="figures">{html.escape(photos)}</h2>')
        st.altair_chart(chart(figures), key=f"chart-{photos}")
        with st.expander(tr("Values and how they were measured"), key=f"values-{photos}"):
            st.code(COMMAND, language=None)
            st.table([figure.conditions for figure in figures])
            st.table([value for figure in figures for value in figure.values])
