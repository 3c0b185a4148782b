"""The page of measured figures: docs/results.json, drawn with Streamlit's charts.

Nothing is measured here, and no figure stands in this file. The tables with all that belongs to
them are in docs/measurements.md.
"""

from __future__ import annotations

import html
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

import altair as alt
import streamlit as st
from pydantic import BaseModel, Field

from .language import say

FILE = Path(__file__).resolve().parent.parent / "docs" / "results.json"


class Interval(BaseModel):
    """A mean, 0 to 1, with its 95 % interval. name: of the row; series: within it."""

    name: str
    series: str
    mean: float
    low: float
    high: float


class Speed(BaseModel):
    """Photos in a second, and the mean at that speed. name: what was measured, by `series`."""

    name: str
    series: str
    photos_per_second: float
    mean: float


class Figure(BaseModel):
    """What every figure has.

    Attributes:
        heading: of it.
        command: that printed the numbers.
        machine: on which.
    """

    heading: str
    command: str
    machine: str


class Intervals(Figure):
    """mAP of several series in each of several rows."""

    kind: Literal["intervals"]
    values: list[Interval]

    def chart(self) -> alt.LayerChart:
        """A point on its interval for each value, rows and series in the order of the file."""
        names = list(dict.fromkeys(value.name for value in self.values))
        series = list(dict.fromkeys(value.series for value in self.values))
        title = say("mAP with 95 % intervals")
        base = alt.Chart(alt.Data(values=rows(self.values))).encode(
            y=alt.Y("name:N", sort=names, title=None, axis=alt.Axis(labelLimit=150)),
            yOffset=alt.YOffset("series:N", sort=series),
            color=alt.Color(
                "series:N", sort=series, title=None, legend=alt.Legend(orient="top", columns=2)
            ),
            tooltip=["name:N", "series:N", "mean:Q", "low:Q", "high:Q"],
        )
        scale = alt.Scale(domain=[0, 1])
        ranges = base.mark_rule(strokeWidth=2).encode(
            x=alt.X("low:Q", scale=scale, title=title), x2="high:Q"
        )
        return ranges + base.mark_point(filled=True, size=60).encode(x=alt.X("mean:Q", scale=scale))


class Speeds(Figure):
    """Photos in a second against mAP."""

    kind: Literal["speeds"]
    values: list[Speed]

    def chart(self) -> alt.Chart:
        """A point for each value, a colour for each series."""
        return (
            alt.Chart(alt.Data(values=rows(self.values)))
            .mark_point(filled=True, size=90)
            .encode(
                x=alt.X("photos_per_second:Q", title=say("photos per second")),
                y=alt.Y("mean:Q", title="mAP", scale=alt.Scale(zero=False, padding=20)),
                color=alt.Color("series:N", title=None, legend=alt.Legend(orient="top", columns=2)),
                tooltip=["series:N", "name:N", "photos_per_second:Q", "mean:Q"],
            )
        )


class Results(BaseModel):
    """The file."""

    figures: list[Annotated[Intervals | Speeds, Field(discriminator="kind")]]


@lru_cache(1)
def read_results(modified_ns: int) -> Results:
    """The file as it was at a time. Raises OSError, and ValueError if it is damaged."""
    return Results.model_validate_json(FILE.read_bytes())


def rows(values: list[Interval] | list[Speed]) -> list[dict[str, Any]]:
    """Values for a chart or a table."""
    return [value.model_dump() for value in values]


def render() -> None:
    """Draw the page."""
    st.html(f'<div class="hero"><h1>{html.escape(say("What was measured"))}</h1></div>')
    try:
        results = read_results(FILE.stat().st_mtime_ns)
    except (OSError, ValueError):
        st.info(say("The figures are not available: this server came without its documents."))
        return
    for number, figure in enumerate(results.figures):
        st.html(f'<h2 class="figures">{html.escape(figure.heading)}</h2>')
        st.altair_chart(figure.chart(), key=f"chart-{number}")
        with st.expander(say("Values, and how they were measured"), key=f"values-{number}"):
            st.code(figure.command, language=None, wrap_lines=True)
            st.text(figure.machine)
            st.table(rows(figure.values))
