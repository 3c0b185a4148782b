"""`evaluation page`: times in a browser for loading the page, toggling, and drawing the map.

The page is served as by `streamlit run app.py`, in a separate process, and opened in Chromium on
this machine: all times are over loopback, and browser and server share the processors. They are
measured in the page, by page_speed.js. Requires playwright and Chromium (requirements-dev.txt).

- A load starts with the navigation and ends when the script has run and all visible photos have
  loaded. Cold: with an empty browser cache.
- The toggle is Diffusion. A toggle starts with the click and ends when the final hits are drawn.
  The result is new when it is switched off for a photo that has not been searched with, and known
  when it is switched on again.
- The map is drawn alone, with synthetic points and one picture for all, and zoomed in and out.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import cv2
import numpy as np

import ui
from command import print_lines
from evaluation.arguments import amount, count
from evaluation.report.conditions import hardware
from index_store import Catalogue
from index_store.storage.generation import opening

from .load import served

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

ASSETS = Path(ui.__file__).parent / "assets"
VIEWPORT = {"width": 1360, "height": 900}
FLAGS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update"]
PATIENCE = 120_000  # milliseconds
MAP_FRAMES = 300
CLUSTERS = 40
INSIDE = Path(__file__).with_suffix(".js")  # measures the times, in the page


class NoBrowser(Exception):
    """There is no usable browser; str(error) is a sentence."""


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add `page` to the command line's sub-parsers."""
    command = commands.add_parser("page", help="the page in a browser: loads, toggles, the map")
    command.add_argument("--store", required=True, help="the store that is served")
    command.add_argument("--times", type=count, default=20, help="loads and toggles of each kind")
    command.add_argument(
        "--points", type=amount, default=30_000, help="made points on the map; 0: no map"
    )
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    with opening(Path(args.store)) as generation:
        catalogue = Catalogue(generation.folder / "catalogue.sqlite")
        files = [photo.file for photo in catalogue.photos()]
    chosen = np.linspace(0, len(files) - 1, min(args.times, len(files))).astype(int)
    with chromium() as browser:
        print_lines(f"Hardware: {hardware()}, browser and server on the same processors")
        print_lines(
            f"Chromium {browser.version}, {VIEWPORT['width']} x {VIEWPORT['height']} pixels"
        )
        print_lines("", "| what | times | median (ms) | 95 % (ms) |", "|---|---|---|---|")
        with served(args.store) as url:
            cold, warm = loads(browser, url, args.times)
            print_lines(row("first load, cold", cold[1:]))
            print_lines(row("first load, warm", warm[1:]))
            new, cached = toggles(browser, url, [files[i] for i in chosen])
            print_lines(row("toggle, a new answer", new))
            print_lines(row("toggle, a known answer", cached))
        if args.points:
            frames = map_frames(browser, args.points)
            print_lines(row(f"frame of the map, {args.points:,} photos", frames))


def row(label: str, ms: Sequence[float]) -> str:
    """One line of the table."""
    median, p95 = np.percentile(ms, (50, 95))
    return f"| {label} | {len(ms)} | {median:.0f} | {p95:.0f} |"


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start a browser. Raises NoBrowser."""
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        raise NoBrowser(
            "This needs playwright: pip install -r requirements-dev.txt, and Chromium."
        ) from None
    path = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        except Error as error:
            sentence = str(error).splitlines()[0]
            raise NoBrowser(f"Chromium cannot be started: {sentence}") from None
        try:
            yield browser
        except Error as error:
            raise NoBrowser(f"The page was not drawn: {str(error).splitlines()[0]}") from None
        finally:
            browser.close()


@contextmanager
def tab(browser: Browser) -> Iterator[Page]:
    """A tab with an empty cache."""
    with browser.new_context(viewport=VIEWPORT) as context:
        context.add_init_script(path=INSIDE)
        yield context.new_page()


def loads(browser: Browser, url: str, times: int) -> tuple[list[float], list[float]]:
    """Load times of the start page in milliseconds, cold and warm; the first warm the server."""
    cold, warm = [], []
    for _ in range(times + 1):
        with tab(browser) as page:
            page.goto(url, wait_until="commit")
            cold.append(page.evaluate("measure.until(measure.loaded)"))
            page.reload(wait_until="commit")
            warm.append(page.evaluate("measure.until(measure.loaded)"))
    return cold, warm


def toggles(browser: Browser, url: str, files: Sequence[str]) -> tuple[list[float], list[float]]:
    """Times of toggles in milliseconds, with new and with known results."""
    new, cached = [], []
    for file in files:
        with tab(browser) as page:
            page.goto(f"{url}/?{urlencode({'photo': file})}")
            page.evaluate("measure.until(measure.answered)")
            new.append(page.evaluate("measure.toggled('diffusion')"))
            cached.append(page.evaluate("measure.toggled('diffusion')"))
    return new, cached


# -- the map ---------------------------------------------------------------------------------------


def map_frames(browser: Browser, points: int) -> list[float]:
    """Milliseconds between frames of the map component while it is zoomed."""
    data = {
        "url": "map.bin",
        "photos": "photos/",
        "count": points,
        "clusters": [f"{points // CLUSTERS} photos"] * CLUSTERS,
        "words": dict.fromkeys(("map", "clusters", "closer", "further", "whole", "missing"), "-"),
    }
    given = f"{{ data: {json.dumps(data)}, parentElement: document.body, setTriggerValue() {{}} }}"
    mount = f"import mount from './map.js'; mount({given})"
    body, style = ((ASSETS / f"map.{kind}").read_text() for kind in ("html", "css"))
    html = f'<style>{style}</style>{body}<script type="module">{mount}</script>'
    files = {
        "": ("text/html", html.encode()),
        "map.js": ("text/javascript", (ASSETS / "map.js").read_bytes()),
        "map.bin": ("application/octet-stream", synthetic_map(points)),
    }
    picture = "image/jpeg", synthetic_picture()

    def answer(route: Route) -> None:
        path = route.request.url.partition("//")[2].partition("/")[2]
        kind, content = files.get(path, picture)
        route.fulfill(content_type=kind, body=content)

    with tab(browser) as page:
        page.route("**/*", answer)
        page.goto("http://map.invalid/")
        page.wait_for_selector(".map[data-ready]", timeout=PATIENCE)
        return page.evaluate(f"measure.zoomed({MAP_FRAMES})")


def synthetic_map(count: int) -> bytes:
    """Positions in clusters, in the format of map.js."""
    rng = np.random.default_rng(0)
    clusters = np.arange(count) % CLUSTERS
    centres = rng.uniform(0.1, 0.9, (CLUSTERS, 2))
    places = np.clip(centres[clusters] + rng.normal(0, 0.05, (count, 2)), 0, 1)
    x, y = (65535 * places.T).astype(np.uint16)
    parts = np.arange(count, dtype=np.uint32), x, y, clusters.astype(np.int16)
    return b"".join(part.tobytes() for part in parts)


def synthetic_picture() -> bytes:
    """A thumbnail, JPEG."""
    grain = np.random.default_rng(0).integers(0, 255, (15, 20, 3), np.uint8)
    picture = cv2.resize(grain, (240, 180), interpolation=cv2.INTER_CUBIC)
    return cv2.imencode(".jpg", picture)[1].tobytes()
