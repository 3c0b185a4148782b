"""Charts as inline SVG: sharp at any size, without a library, coloured by the page's style sheet.

All are WIDTH units wide, so that on a phone one unit is about one pixel and text stays readable.
Classes are those of report.css, which has light and dark colours. All text is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import numpy as np

from ..metrics.bootstrap import Estimate

WIDTH = 340
ROW = 26  # height of a row in a horizontal chart
LABEL = 132  # width of its labels
VALUE = 42  # width of the numbers at its right end
PLOT = 180  # height of a chart with a vertical axis
MARGIN = 40
MAX_BARS = 400
LOG_RANGE = 30  # ratio of largest to smallest x from which the axis is logarithmic


def text(x: float, y: float, content: str, kind: str = "", anchor: str = "start") -> str:
    """A line of text.

    Args:
        x, y: position of the anchor, in units.
        content: text, which is escaped.
        kind: class in report.css.
        anchor: "start", "middle" or "end".
    """
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" '
        f'text-anchor="{anchor}">{escape(content)}</text>'
    )


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def rect(x: float, y: float, width: float, height: float, kind: str, title: str) -> str:
    shape = (
        f'<rect x="{x:.2f}" y="{y:.2f}" width="{max(width, 0.3):.2f}" '
        f'height="{max(height, 0.3):.2f}" class="{kind}">'
    )
    return f"{shape}<title>{escape(title)}</title></rect>"


def svg(height: float, title: str, parts: Sequence[str]) -> str:
    """Combine the parts into one picture. title: label for screen readers."""
    head = f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(title)}">'
    return head + "".join(parts) + "</svg>"


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers from low to high: steps of 1, 2 or 5 times a power of ten.

    Args:
        low, high: ends of an axis.
        count: approximate number of ticks.
    """
    if not high > low:
        return [low]
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    return [
        round(i * step, 12)
        for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    ]


def interval_chart(title: str, rows: Sequence[tuple[str, Estimate]]) -> str:
    """One row per method: a dot at the mean, a bar over the interval.

    A vertical line marks the first method's mean.

    Args:
        title: label for screen readers.
        rows: name and estimate of each method.
    """
    low, high = min(e.low for _, e in rows), max(e.high for _, e in rows)
    margin = max(0.02 * (high - low), 1e-3)
    low, high = low - margin, high + margin
    bottom = ROW * len(rows)

    def at(value: float) -> float:
        return LABEL + (value - low) / (high - low) * (WIDTH - LABEL - VALUE)

    parts = []
    for tick in ticks(low, high, 4):
        parts += [
            line(at(tick), 0, at(tick), bottom, "grid"),
            text(at(tick), bottom + 15, f"{tick:g}", "axis", "middle"),
        ]
    parts.append(line(at(rows[0][1].mean), 0, at(rows[0][1].mean), bottom, "base"))
    for i, (name, estimate) in enumerate(rows):
        y = ROW * (i + 0.5)
        parts += [
            text(0, y + 4, name),
            line(at(estimate.low), y, at(estimate.high), y, "interval"),
            f'<circle cx="{at(estimate.mean):.1f}" cy="{y:.1f}" r="4" class="dot"/>',
            text(WIDTH, y + 4, f"{estimate.mean:.3f}", "number", "end"),
        ]
    return svg(bottom + 20, title, parts)


def stacked_chart(
    title: str, parts_of: Sequence[tuple[str, dict[str, float]]], names: Sequence[str]
) -> str:
    """One row per method, with its stages' milliseconds end to end.

    Args:
        title: label for screen readers.
        parts_of: name of each method, and its milliseconds by stage.
        names: names of all stages; their order determines the colours.
    """
    longest = max((sum(parts.values()) for _, parts in parts_of), default=0.0) or 1.0
    scale = (WIDTH - LABEL - VALUE) / longest
    shapes = []
    for i, (label, parts) in enumerate(parts_of):
        x, y = float(LABEL), ROW * i
        shapes.append(text(0, y + ROW / 2 + 4, label))
        for number, name in enumerate(names):
            if name in parts:
                width = parts[name] * scale
                hint = f"{name}: {parts[name]:.1f} ms"
                shapes.append(rect(x, y + 5, width, ROW - 10, f"stage{number % 8}", hint))
                x += width
        shapes.append(text(WIDTH, y + ROW / 2 + 4, f"{sum(parts.values()):.0f}", "number", "end"))
    return svg(ROW * len(parts_of), title, shapes)


def bars_chart(title: str, values: Sequence[float]) -> str:
    """Values sorted in descending order, as bars up and down.

    Args:
        title: label for screen readers.
        values: values; more than MAX_BARS are thinned out evenly.
    """
    ordered = np.sort(np.asarray(values, float))[::-1]
    if len(ordered) > MAX_BARS:
        ordered = ordered[np.linspace(0, len(ordered) - 1, MAX_BARS).round().astype(int)]
    extent = max(float(np.abs(ordered).max(initial=0)), 1e-3)
    width = (WIDTH - MARGIN) / max(1, len(ordered))

    def at(value: float) -> float:
        return 8 + (extent - value) / (2 * extent) * (PLOT - 16)

    parts = []
    for tick in ticks(-extent, extent, 4):
        parts += [
            line(MARGIN, at(tick), WIDTH, at(tick), "grid"),
            text(MARGIN - 6, at(tick) + 4, f"{tick:g}", "axis", "end"),
        ]
    for i, value in enumerate(ordered):
        top, kind = (at(value), "up") if value > 0 else (at(0), "down")
        parts.append(
            rect(
                MARGIN + i * width, top, width * 0.9, abs(at(0) - at(value)), kind, f"{value:+.3f}"
            )
        )
    parts.append(line(MARGIN, at(0), WIDTH, at(0), "zero"))
    return svg(PLOT, title, parts)


def curve_chart(
    title: str, x: Sequence[float], y: Sequence[float], xlabel: str, ylabel: str
) -> str:
    """Line chart of y over x (at least one point), connected in their order.

    The x axis is logarithmic if x spans a factor of LOG_RANGE. If all x and y are shares (0 to 1),
    both axes are drawn in full, with the diagonal where they agree: a reliability plot.
    """
    shares = all(0 <= value <= 1 for value in (*x, *y)) and len(x) > 1
    logarithmic = not shares and min(x) > 0 and max(x) / min(x) >= LOG_RANGE
    height = WIDTH - MARGIN if shares else PLOT
    lowest, highest = (0.0, 1.0) if shares else padded(min(y), max(y))
    first, last = (0.0, 1.0) if shares else (min(x), max(x))
    right = WIDTH - 18

    def along(value: float) -> float:
        if first == last:
            return (MARGIN + right) / 2
        share = (
            math.log(value / first) / math.log(last / first)
            if logarithmic
            else (value - first) / (last - first)
        )
        return MARGIN + share * (right - MARGIN)

    def up(value: float) -> float:
        return 22 + (highest - value) / (highest - lowest) * (height - 32)

    floor = up(lowest)
    x_ticks = powers(first, last) if logarithmic else ticks(first, last, 5)
    parts = [text(0, 9, ylabel, "axis")]
    for tick in ticks(lowest, highest, 5):
        parts += [
            line(MARGIN, up(tick), right, up(tick), "grid"),
            text(MARGIN - 6, up(tick) + 4, f"{tick:g}", "axis", "end"),
        ]
    for tick in x_ticks:
        parts += [
            line(along(tick), floor, along(tick), floor + 4, "grid"),
            text(along(tick), floor + 17, f"{tick:g}", "axis", "middle"),
        ]
    if shares:
        parts.append(line(along(0), up(0), along(1), up(1), "base"))
    points = [(along(a), up(b)) for a, b in zip(x, y)]
    parts.append(
        f'<polyline points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in points)}" class="curve"/>'
    )
    for (a, b), value_x, value_y in zip(points, x, y):
        hint = escape(f"{value_x:g}, {value_y:.4g}")
        parts.append(
            f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3.5" class="dot"><title>{hint}</title></circle>'
        )
    parts.append(text((MARGIN + right) / 2, floor + 34, xlabel, "axis", "middle"))
    return svg(floor + 40, title, parts)


def padded(low: float, high: float) -> tuple[float, float]:
    """The range with a margin around it, never empty."""
    margin = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin


def powers(first: float, last: float) -> list[float]:
    """1, 2 and 5 times powers of ten from first to last; powers only if those are enough."""
    exponents = range(math.floor(math.log10(first)), math.ceil(math.log10(last)) + 1)
    found = [
        f * 10.0**e
        for e in exponents
        for f in (1, 2, 5)
        if first * 0.999 <= f * 10.0**e <= last * 1.001
    ]
    return (
        found
        if len(found) <= 7
        else [value for value in found if math.log10(value) == round(math.log10(value))]
    )
