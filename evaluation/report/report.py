"""Results as one self-contained HTML page: embedded pictures, charts as SVG, light and dark
colours.
"""

from __future__ import annotations

import argparse
import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from command import print_lines
from extractor import BadPhoto, Region, decode, encode_jpeg, read_photo, resize
from index_store import Store, StoreError
from validation import Number, Text, sentence

from .charts import bars_chart, curve_chart, interval_chart, stacked_chart
from .results import (
    BadResults,
    QueryResult,
    Results,
    facts_of,
    results_from,
    setup_rows,
    setup_title,
    stage_rows,
    stages_of,
)

SHOWN = 8  # pictured results per query
PICKED = 3  # pictured queries of each kind
PICTURE_SIDE = 144
PICTURE_QUALITY = 72
MARKS = {"relevant": "✓", "irrelevant": "✗", "junk": "–"}
STYLE = Path(__file__).with_name("report.css")
# Makes the browser enforce that the page loads nothing.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


@dataclass(frozen=True)
class MeasuredCurve:
    """A curve from another measurement.

    Attributes:
        title: display title.
        x, y: coordinates, of equal length.
        xlabel, ylabel: labels of the axes.
    """

    title: Text
    x: list[Number]
    y: list[Number]
    xlabel: Text = ""
    ylabel: Text = ""

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y) or not self.x:
            raise ValueError("x and y must be equally many numbers, at least one")


def read_curve(facts: dict[str, Any]) -> MeasuredCurve:
    """Parse {"title", "x", "y", "xlabel", "ylabel"}. Raises BadResults."""
    try:
        return TypeAdapter(MeasuredCurve).validate_python(facts)
    except ValidationError as error:
        raise BadResults(f"This is not a curve ({sentence(error)}).") from None


def read_file(path: Path) -> Results | MeasuredCurve:
    """Read results or a curve, by content. Raises BadResults with the file's name, OSError."""
    try:
        facts = json.loads(path.read_text())
        if not isinstance(facts, dict):
            raise BadResults("It holds no object.")
        return read_curve(facts) if "x" in facts else results_from(facts)
    except (ValueError, RecursionError, BadResults) as error:
        raise BadResults(
            f"{path} holds neither results of `evaluation run` nor a curve: {error}"
        ) from error


class Thumbnails:
    """Thumbnails as data URIs, from the results' store if it still exists."""

    def __init__(self, results: Results):
        self._as_stored = "decode" in results.store["parameters"]
        try:
            self._store = Store(results.store["path"])
        except (StoreError, OSError):
            self._store = None

    def __bool__(self) -> bool:
        return self._store is not None

    def of_gallery(self, file: str) -> str | None:
        """Thumbnail of a gallery photo; None if it is unavailable."""
        photo = self._store.catalogue.find(file) if self._store else None
        return None if photo is None else data_uri(decode(self._store.thumbnail(photo.id)))

    def of_query(self, query: QueryResult) -> str | None:
        """Thumbnail of the part of the query that was searched; None if it is unavailable."""
        if query.own and not query.region:
            return self.of_gallery(query.own)
        try:
            return data_uri(crop(read_photo(query.photo, self._as_stored), query.region))
        except (OSError, BadPhoto):
            return None


def crop(photo: np.ndarray, region: Region | None) -> np.ndarray:
    """The region of a photo uint8 (H, W, 3)."""
    if region is None:
        return photo
    height, width = photo.shape[:2]
    left, top, right, bottom = (
        round(share * side) for share, side in zip(region, (width, height) * 2)
    )
    return photo[top : max(bottom, top + 1), left : max(right, left + 1)]


def data_uri(photo: np.ndarray) -> str:
    small = encode_jpeg(resize(photo, PICTURE_SIDE), PICTURE_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(small).decode()}"


def table(rows: Sequence[Sequence[str]]) -> str:
    """HTML table, head first; text in brackets is small."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in rows[0])
    lines = [
        "".join(f"<td>{interval_small(escape(cell))}</td>" for cell in row) for row in rows[1:]
    ]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def interval_small(cell: str) -> str:
    value, bracket, tail = cell.partition(" [")
    return f"{value} <small>[{tail}</small>" if bracket else cell


def photo_tag(kind: str, file: str, uri: str | None) -> str:
    """One framed picture; frame, mark and text show the same verdict."""
    name, kind_name = escape(file, quote=True), escape(kind, quote=True)
    inside = f'<img src="{uri}" alt="{name}" loading="lazy">' if uri else f"<span>{name}</span>"
    mark = f"<b>{MARKS[kind]}</b>" if kind in MARKS else ""
    return f'<div class="photo {kind_name}" title="{name}, {kind_name}">{inside}{mark}</div>'


def question(
    results: Results, query: QueryResult, methods: Sequence[str], pictures: Thumbnails
) -> str:
    """One query with the first results of each method."""
    strips = []
    for method in methods:
        answer = query.answers[method]
        value = answer.values[results.main][results.metric]
        photos = [
            photo_tag(verdict, file, pictures.of_gallery(file))
            for file, verdict in answer.first[:SHOWN]
        ]
        caption = (
            f'<div class="soft">{escape(method)}, {escape(of_one(results.metric))} '
            f"{value:.3f}</div>"
        )
        strips.append(f'{caption}<div class="strip">{"".join(photos)}</div>')
    heading = f"{query.group}: {query.name}" if query.group != query.name else query.name
    query_picture = photo_tag("query", query.name, pictures.of_query(query))
    return (
        f'<div class="card '
        f'question"><h3>{escape(heading)}</h3><figure>{query_picture}<figcaption>query</figcaption></figure>'
        f"<div>{''.join(strips)}</div></div>"
    )


def of_one(metric: str) -> str:
    """The metric's name for a single query, without "mean"."""
    return metric.removeprefix("m")


def pick(results: Results, method: str) -> dict[str, list[QueryResult]]:
    """The most interesting queries: title -> at most PICKED of them, no query twice."""
    base = results.methods[0]

    def value(query: QueryResult, name: str) -> float:
        return query.answers[name].values[results.main][results.metric]

    judged = [query for query in results.queries if results.main in query.answers[base].values]
    by_gain = sorted(judged, key=lambda query: value(query, method) - value(query, base))
    by_value = sorted(judged, key=lambda query: value(query, method))
    gained = [
        query for query in by_gain[::-1][:PICKED] if value(query, method) > value(query, base)
    ]
    lost_queries = [
        query for query in by_gain[:PICKED] if value(query, method) < value(query, base)
    ]
    shown_ids = {id(query) for query in gained + lost_queries}
    best = [query for query in by_value[::-1] if id(query) not in shown_ids][:PICKED]
    shown_ids |= {id(query) for query in best}
    worst = [query for query in by_value if id(query) not in shown_ids][:PICKED]
    picked = {"Gained most": gained, "Lost most": lost_queries, "Best": best, "Worst": worst}
    return {title: queries for title, queries in picked.items() if queries}


def gains(results: Results, method: str) -> list[float]:
    """Gain in the leading metric over the first method, for each judged query."""
    values = [
        [
            query.answers[name].values[results.main][results.metric]
            for name in (method, results.methods[0])
        ]
        for query in results.queries
        if results.main in query.answers[method].values
    ]
    return [value - base_value for value, base_value in values]


def card(title: str, content: str, note: str = "") -> str:
    note = f'<p class="soft">{escape(note)}</p>' if note else ""
    return f'<div class="card"><h3>{escape(title)}</h3>{content}{note}</div>'


def results_section(results: Results) -> str:
    """HTML section of one run."""
    means = results.main_setup.estimates[results.metric]
    base, best = results.methods[0], max(results.methods, key=lambda method: means[method].mean)
    summary = f"{base} {means[base].mean:.3f}"
    if best != base:
        summary += f", {best} {means[best].mean:.3f}"
    facts = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>"
        for name, text in facts_of(results).items()
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in results.notes)
    charts = [
        card(
            setup_title(setup),
            interval_chart(
                f"{results.metric}, {setup.name}", list(setup.estimates[results.metric].items())
            ),
            f"{results.metric}, mean and interval",
        )
        for setup in results.setups
    ]
    stages = stages_of(results)
    legend = "".join(
        f'<li><i class="stage{i % 8}"></i>{escape(stage)}</li>' for i, stage in enumerate(stages)
    )
    time = stacked_chart(
        "time", [(method, results.stage_ms[method]) for method in results.methods], stages
    )
    charts.append(card("Time a query, milliseconds", f'{time}<ul class="legend">{legend}</ul>'))
    parts = [
        f"<h1>{escape(results.dataset)}</h1>",
        f'<p class="lead">{escape(results.metric)}, {escape(results.main)}: {escape(summary)}</p>',
        f'<div class="card"><dl>{facts}</dl>{f"<ul>{notes}</ul>" if notes else ""}</div>',
        f'<h2>What each method is worth</h2><div class="cards">{"".join(charts)}</div>',
        *(
            f"<h2>{escape(setup_title(setup))}</h2>{table(setup_rows(results, setup))}"
            for setup in results.setups
        ),
        f"<h2>Time by stage</h2>{table(stage_rows(results))}",
    ]
    if results.methods[1:]:
        bars = [
            card(
                method,
                bars_chart(f"gain of {method}", gains(results, method)),
                f"{of_one(results.metric)} above {base}",
            )
            for method in results.methods[1:]
        ]
        parts.append(f'<h2>Gain of each query, sorted</h2><div class="cards">{"".join(bars)}</div>')
    pictures = Thumbnails(results)
    if not pictures:
        parts.append(
            '<p class="soft">The store of this run is not there any more, so there are names for '
            "pictures.</p>"
        )
    methods = [base] if best == base else [base, best]
    for title, queries in pick(results, best).items():
        strips = "".join(question(results, query, methods, pictures) for query in queries)
        parts.append(f'<h2>{title}</h2><div class="strips">{strips}</div>')
    return f"<section>{''.join(parts)}</section>"


def curves_section(curves: Sequence[MeasuredCurve]) -> str:
    cards = [card(c.title, curve_chart(c.title, c.x, c.y, c.xlabel, c.ylabel)) for c in curves]
    return f'<section><h2>Measured besides</h2><div class="cards">{"".join(cards)}</div></section>'


def make_report(contents: Sequence[Results | MeasuredCurve]) -> str:
    """The page as HTML: results in the given order, then all curves."""
    curves = [content for content in contents if isinstance(content, MeasuredCurve)]
    results = [content for content in contents if isinstance(content, Results)]
    sections = [results_section(result) for result in results] + (
        [curves_section(curves)] if curves else []
    )
    title = escape(", ".join(result.dataset for result in results) or "Curves")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Evaluation: {title}</title><style>{STYLE.read_text()}</style></head>"
        f"<body><main>{''.join(sections)}</main></body></html>\n"
    )


def add_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "files",
        type=Path,
        nargs="+",
        metavar="FILE",
        help='results of `run --out`, or curves {"title", "x", "y", "xlabel", "ylabel"}',
    )
    command.add_argument("--out", type=Path, required=True, help="the page")


def run(args: argparse.Namespace) -> None:
    page = make_report([read_file(path) for path in args.files])
    args.out.write_bytes(page.encode("utf-8", "replace"))  # JSON may contain lone surrogates
    print_lines(f"{args.out}: {len(page) / 2**20:.1f} MB")
