"""The measured figures: docs/measurements.md as a page, with pictures made of its tables.

The tables there are what the commands beside them have printed. Nothing is measured here, and no
figure stands in this file.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import streamlit as st

from .drawing import drawing
from .language import say

DOCS = Path(__file__).resolve().parent.parent / "docs"
FILE = "measurements.md"
INTERVAL = re.compile(r"([\d.]+) \[([\d.]+), ([\d.]+)\]")
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\((?!https?://)[^)]*\)")
PICTURE = re.compile(r"!\[([^\]]*)\]\(([\w.-]+)\)")
Table = list[list[str]]


@dataclass(frozen=True)
class Section:
    """A part of the file.

    Attributes:
        heading: of it.
        text: Markdown below the heading, without it.
    """

    heading: str
    text: str


@lru_cache(1)
def sections(modified_ns: int) -> list[Section]:
    """The parts of the file; what stands before the first heading has an empty one."""
    text = (DOCS / FILE).read_text("utf-8")
    first, *rest = re.split(r"^## +", text, flags=re.MULTILINE)
    parts = [Section("", re.sub(r"^# .*\n", "", first))]
    return parts + [Section(*part.split("\n", 1)) for part in rest]


def tables(text: str) -> Iterator[Table]:
    """The tables of a Markdown text, the first row of each being its head."""
    table: Table = []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if not all(re.fullmatch(":?-+:?", cell) for cell in cells):
                table.append(cells)
        elif table:
            yield table
            table = []


def render() -> None:
    """Draw the page."""
    st.html(f'<div class="hero"><h1>{html.escape(say("What was measured"))}</h1></div>')
    try:
        intro, *parts = sections((DOCS / FILE).stat().st_mtime_ns)
    except OSError:
        st.info(say("The figures are not at hand: this server came without its documents."))
        return
    st.markdown(LINK.sub(r"\1", intro.text))
    for part in parts:
        st.html(f'<h2 class="figures">{html.escape(part.heading)}</h2>')
        for count, picture in enumerate(pictures(part)):
            drawing(picture, key=f"plot-{part.heading}-{count}")
        with st.expander(say("Tables and what they mean"), key=f"tables-{part.heading}"):
            draw_text(part.text)


def draw_text(text: str) -> None:
    """Markdown whose pictures lie beside the file. Links to other files are plain text here."""
    texts = PICTURE.split(text)
    for words, caption, name in zip(texts[::3], [*texts[1::3], ""], [*texts[2::3], ""]):
        st.markdown(LINK.sub(r"\1", words))
        if name and (DOCS / name).is_file():
            st.html(figure(DOCS / name, caption))


def figure(file: Path, caption: str) -> str:
    """HTML of a PNG with its caption.

    It travels within the page: a file that Streamlit keeps for `st.image` is forgotten when the
    script begins anew, at times before the browser has fetched it.
    """
    data, caption = base64.b64encode(file.read_bytes()).decode(), html.escape(caption)
    return (
        f'<figure class="figures"><img src="data:image/png;base64,{data}" alt="{caption}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def pictures(part: Section) -> Iterator[str]:
    """SVG of every table of a part that can be drawn."""
    for head, *rows in tables(part.text):
        columns = [i for i in range(len(head)) if all(INTERVAL.fullmatch(row[i]) for row in rows)]
        if columns:
            yield intervals(head, rows, columns)
        if {"photos/s", "mAP", "engine"} <= set(head):
            yield speeds(head, rows)


def intervals(head: Sequence[str], rows: Sequence[Sequence[str]], columns: Sequence[int]) -> str:
    """A dot with its interval for each row and column, 0 to 1.

    Args:
        head: names of the columns.
        rows: cells; those of `columns` are "mean [low, high]". What else is in the first two names
            the row, a number together with its column's name.
        columns: what is drawn.
    """
    width, step = 320, 30  # narrow enough for a phone: names stand over their intervals
    lines, y = [], 0
    for row in rows:
        y += 34
        named = [i for i in range(2) if i not in columns]
        words = (f"{row[i]} {head[i]}" if row[i][:1].isdigit() else row[i] for i in named)
        name = html.escape(" · ".join(words))
        lines.append(f'<text class="row" x="0" y="{y}">{name}</text>')
        for column in columns:
            y += step
            mean, low, high = map(float, INTERVAL.fullmatch(row[column]).groups())
            x, x1, x2 = (width * value for value in (mean, low, high))
            lines.append(
                f'<text x="0" y="{y - 6}">{html.escape(head[column])}</text>'
                f'<line class="range" x1="{x1:.0f}" x2="{x2:.0f}" y1="{y}" y2="{y}"/>'
                f'<circle cx="{x:.0f}" cy="{y}" r="4.5"/>'
                f'<text x="{width + 10}" y="{y + 4}">{mean:.3f}</text>'
            )
    marks = ""
    for value, anchor in zip((0, 0.25, 0.5, 0.75, 1), ("start", *["middle"] * 3, "end")):
        x = round(width * value)
        marks += (
            f'<line class="mark" x1="{x}" x2="{x}" y1="12" y2="{y + 10}"/>'
            f'<text class="axis" x="{x}" y="{y + 26}" text-anchor="{anchor}">{value:g}</text>'
        )
    label = html.escape(say("mAP with 95 % intervals"))
    return svg(width + 50, y + 34, label, marks + "".join(lines))


def speeds(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Photos in a second against mAP, a series for each engine."""
    at = {name: head.index(name) for name in ("engine", "photos/s", "mAP")}
    points = [
        (row[at["engine"]], float(row[at["photos/s"]]), float(row[at["mAP"]])) for row in rows
    ]
    fastest = max(speed for _, speed, _ in points)
    low, high = min(p[2] for p in points) - 0.02, max(p[2] for p in points) + 0.02
    left, top, width, height = 60, 20, 620, 260
    engines = list(dict.fromkeys(engine for engine, *_ in points))
    dots = []
    for engine, speed, quality in points:
        x = left + width * speed / (fastest * 1.05)
        y = top + height * (high - quality) / (high - low)
        title = html.escape(f"{engine}: {speed:g} photos/s, mAP {quality:.3f}")
        dots.append(
            f'<circle class="series-{engines.index(engine)}" cx="{x:.0f}" cy="{y:.0f}" r="5">'
            f"<title>{title}</title></circle>"
        )
    legend = "".join(
        f'<circle class="series-{i}" cx="{left + width + 24}" cy="{top + 10 + 22 * i}" r="5"/>'
        f'<text x="{left + width + 36}" y="{top + 14 + 22 * i}">{html.escape(engine)}</text>'
        for i, engine in enumerate(engines)
    )
    axes = (
        f'<line class="mark" x1="{left}" x2="{left + width}" y1="{top + height}" '
        f'y2="{top + height}"/><line class="mark" x1="{left}" x2="{left}" y1="{top}" '
        f'y2="{top + height}"/>'
        f'<text class="axis" x="{left}" y="{top + height + 18}" text-anchor="middle">0</text>'
        f'<text class="axis" x="{left + width}" y="{top + height + 18}" text-anchor="end">'
        f"{fastest * 1.05:.0f} photos/s</text>"
        f'<text class="axis" x="{left - 8}" y="{top + 8}" text-anchor="end">{high:.2f}</text>'
        f'<text class="axis" x="{left - 8}" y="{top + height}" text-anchor="end">{low:.2f}</text>'
        f'<text class="axis" x="{left - 8}" y="{top + height / 2}" text-anchor="end">mAP</text>'
    )
    label = html.escape(say("Photos in a second against mAP, by engine"))
    return svg(left + width + 200, top + height + 30, label, axes + "".join(dots) + legend)


def svg(width: float, height: float, label: str, body: str) -> str:
    """A picture that scrolls by itself where it is too wide. label: already HTML."""
    most = f"max-width:{1.3 * width:.0f}px;min-width:{min(width, 560):.0f}px"
    return (
        '<div class="plot" tabindex="0" role="group" aria-label="' + label + '">'
        f'<svg style="{most}" viewBox="0 0 {width:.0f} {height:.0f}" role="img" '
        f'aria-label="{label}">{body}</svg><p>{label}</p></div>'
    )
