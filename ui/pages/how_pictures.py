"""Pictures of the page "How it works", as HTML and SVG."""

from __future__ import annotations

import base64
import html
from typing import Any

import cv2
import numpy as np

from extractor import Region
from index_store import Store
from search.ranking import cosine
from serving.explanation.diffusion_trace import DiffusionTrace
from serving.explanation.explain import Explained
from serving.explanation.graph_moves import Move, Moves
from serving.galleries.about import about
from serving.galleries.pictures import thumbnail_url

from ..i18n.translate import number, tr
from ..state.query_image import QueryImage
from ..widgets.results import photos_in_words

HEAT_SIDE = 256  # pixels of the heat map's longer side
LISTS = 8  # index lists drawn
FACES = 5  # photos per list
MOVES = 4  # moves drawn in each direction
NODE = 64  # pixels, side of a photo in the walk


def heat_picture(
    image: dict[str, Any], heat: np.ndarray | None, region: Region | None, label: str
) -> str:
    """The photo with the heat map over it, or over a framed part of it.

    Args:
        image: the photo, from `browser_image`.
        heat, region: see `Explained`.
        label: alternative text of the heat map.
    """
    photo = f'<img src="{html.escape(image["src"])}" alt="{html.escape(image["title"])}">'
    left, top, right, bottom = (100 * edge for edge in region or (0, 0, 1, 1))
    style = f"left:{left}%;top:{top}%;width:{right - left}%;height:{bottom - top}%"
    overlay = ""
    if heat is not None:
        png = base64.b64encode(heat_png(heat)).decode()
        overlay = (
            f'<img class="over" style="{style}" alt="{html.escape(label)}" '
            f'src="data:image/png;base64,{png}">'
        )
    if region is not None:
        overlay += f'<span class="part" style="{style}"></span>'
    return f'<div class="heat">{photo}{overlay}</div>'


def heat_png(heat: np.ndarray) -> bytes:
    """The heat map as a PNG with transparency: dark at low values, clear at high ones."""
    height, width = heat.shape
    scale = HEAT_SIDE / max(height, width)
    smooth = cv2.resize(
        heat.astype(np.float32),
        (round(width * scale), round(height * scale)),
        interpolation=cv2.INTER_CUBIC,
    )
    level = np.clip(smooth / heat.max(), 0, 1) ** 0.6
    colour = cv2.applyColorMap((255 * level).astype(np.uint8), cv2.COLORMAP_INFERNO)
    alpha = (190 - 130 * level).astype(np.uint8)
    _, png = cv2.imencode(".png", np.dstack([colour, alpha]))
    return png.tobytes()


def lists_picture(store: Store, explanation: Explained) -> str:
    """HTML of the visited lists with the nearest photos of each."""
    query = explanation.descriptor
    rows = []
    for entry in explanation.lists[:LISTS]:
        similarity = cosine(query, store.descriptors[entry.ids])
        nearest = entry.ids[np.argsort(-similarity, kind="stable")[:FACES]]
        faces = "".join(thumbnail(store, int(id)) for id in nearest)
        count = html.escape(photos_in_words(len(entry.ids)))
        rows.append(f"<li><span>{count}</span>{faces}</li>")
    more = len(explanation.lists) - LISTS
    rest = f"<li><span>+ {more}</span></li>" if more > 0 else ""
    return f'<ol class="lists">{"".join(rows)}{rest}</ol>'


def thumbnail(store: Store, id: int) -> str:
    """HTML of a gallery photo's thumbnail."""
    photo = store.catalogue.photo(id)
    title = html.escape(about(store).title(photo.file, photo.title))
    return f'<img src="{thumbnail_url(store, id)}" alt="{title}" title="{title}" loading="lazy">'


def moves_picture(store: Store, moves: Moves) -> str:
    """HTML of the first photos that the matching graph moved, each with the photo that moved it."""
    fell = [
        move_row(store, move, tr("▼ {ranks}: matches", ranks=ranks(move)))
        for move in moves.fell[:MOVES]
    ]
    rose = [
        move_row(store, move, tr("▲ {ranks}: through", ranks=ranks(move)))
        for move in moves.rose[:MOVES]
    ]
    return f'<ol class="lists moves">{"".join(fell + rose)}</ol>'


def ranks(move: Move) -> str:
    """The ranks of a photo before and after."""
    before = tr("new") if move.before is None else number(move.before)
    return f"{before} → {number(move.after)}"


def move_row(store: Store, move: Move, text: str) -> str:
    """HTML of a moved photo, a text, and the photo that moved it."""
    moved, because = thumbnail(store, move.id), thumbnail(store, move.because)
    return f"<li>{moved}<span>{html.escape(text)}</span>{because}</li>"


def diffusion_picture(store: Store, subject: QueryImage, trace: DiffusionTrace, label: str) -> str:
    """SVG of the walk from left to right: query, seeds, reached photos.

    A line is the wider, the more walks along it.
    """
    height = max(1, len(trace.seeds), (len(trace.reached) + 1) / 2) * (NODE + 14)
    places = {
        "query": spread(1, 20, height),
        "seed": spread(len(trace.seeds), 200, height),
        "reached": spread(len(trace.reached), 380, height, columns=2),
    }
    lines = [
        curve(places["query"][0], places["seed"][i], float(weight / trace.weights.max()))
        for i, weight in enumerate(trace.weights)
    ]
    strongest = max((amount for *_, amount in trace.steps), default=1.0)
    lines += [
        curve(places["seed"][seed], places["reached"][to], amount / strongest)
        for seed, to, amount in trace.steps
    ]
    nodes = [node(subject.small, subject.title, *places["query"][0])]
    for ids, name in ((trace.seeds, "seed"), (trace.reached, "reached")):
        for id, point in zip(ids, places[name]):
            photo = store.catalogue.photo(int(id))
            title = about(store).title(photo.file, photo.title)
            nodes.append(node(thumbnail_url(store, photo.id), title, *point))
    return (
        f'<div class="plot walk"><svg viewBox="0 -16 560 {height + 32:.0f}" role="img" '
        f'aria-label="{html.escape(label)}">{"".join(lines + nodes)}</svg></div>'
    )


def spread(count: int, x: float, height: float, columns: int = 1) -> list[tuple[float, float]]:
    """Upper left corners of `count` photos, spread evenly over a height, alternating columns."""
    step = height / max(1, count)
    return [(x + 100 * (i % columns), step * (i + 0.5) - NODE / 2) for i in range(count)]


def curve(start: tuple[float, float], end: tuple[float, float], strength: float) -> str:
    """SVG of a line from the right of one photo to the left of another. strength: 0 to 1."""
    (x1, y1), (x2, y2) = (start[0] + NODE, start[1] + NODE / 2), (end[0], end[1] + NODE / 2)
    middle = (x1 + x2) / 2
    style = f"stroke-width:{0.5 + 5 * strength:.1f};opacity:{0.15 + 0.6 * strength:.2f}"
    path = f"M{x1:.0f} {y1:.0f} C{middle:.0f} {y1:.0f} {middle:.0f} {y2:.0f} {x2:.0f} {y2:.0f}"
    return f'<path d="{path}" style="{style}"/>'


def node(src: str, title: str, x: float, y: float) -> str:
    """SVG of a photo in the walk."""
    return (
        f'<image href="{html.escape(src)}" x="{x:.0f}" y="{y:.0f}" width="{NODE}" height="{NODE}" '
        f'preserveAspectRatio="xMidYMid slice"><title>{html.escape(title)}</title></image>'
    )
