"""`evaluation load`: latency, refusals and memory of the server with many concurrent visitors.

The page is served as by `streamlit run app.py`, in a separate process, and visited over its
websocket and its API from this machine, so the visitors share its processors. Each visitor has its
own address. Per-minute quotas are lifted, because these visitors click faster than people; the
queue and all other limits are unchanged. Requires httpx.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import random
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from command import print_lines, print_status, print_text
from evaluation.arguments import count, size
from evaluation.report.conditions import hardware
from index_store import Catalogue
from index_store.storage.generation import opening

ROOT = Path(__file__).resolve().parents[3]
START_SECONDS = 180
WARM_UP = 20.0
FORGET_SECONDS = 120
MEMORY = "MB warm, then, after"
# Longest side and JPEG quality of uploads: about 0.2 to 12 MB.
UPLOADS = ((1400, 82), (2200, 88), (3200, 92), (4200, 95), (5700, 96))
# Frequencies of a visitor's next click, in percent.
GALLERY = {"search": 100}
MIXED = {"search": 45, "toggle": 25, "evidence": 12, "upload": 10, "API": 8}
MIXES = {"gallery": GALLERY, "mixed": MIXED}
LIFTED = ("SEARCHES", "UPLOADS")
REFUSALS = ("Busy", "Too many", "At most")
SHOWN = "first hits of an upload"  # ordered by descriptor, until the final ones arrive
COLUMNS = ("search", "toggle", "evidence", SHOWN, "upload", "API")
MB = 2**20


@dataclass
class Tally:
    """Observations of the visitors of one round.

    Attributes:
        seconds: times of answered clicks, by kind.
        refused: number of polite refusals: busy, too many requests.
        errors: any other failures, with their counts.
    """

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    refused: int = 0
    errors: Counter[str] = field(default_factory=Counter)

    def note(self, kind: str, seconds: float, messages: Sequence[str]) -> None:
        """Record an answered click. messages: the sentences in boxes."""
        if any(sentence.startswith(REFUSALS) for sentence in messages):
            self.refused += 1
        elif messages:
            self.errors[messages[0]] += 1
        else:
            self.seconds[kind].append(seconds)


def add_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--store", required=True, help="the store that is served")
    command.add_argument("--visitors", type=count, nargs="+", default=[5, 10, 20, 50])
    command.add_argument("--seconds", type=size, default=60.0, help="of each round")
    command.add_argument(
        "--think", type=size, nargs=2, default=[0.0, 1.0], help="least and most seconds of a pause"
    )
    command.add_argument("--mix", choices=MIXES, default="gallery", help="what visitors do")
    command.add_argument("--seed", type=int, default=1)


def run(args: argparse.Namespace) -> None:
    with opening(Path(args.store)) as generation:
        roots = generation.manifest.sources.roots
        files = [p.file for p in Catalogue(generation.folder / "catalogue.sqlite").photos()]
    mix = MIXES[args.mix]
    photos = uploads(roots / files[0]) if "upload" in mix else []
    print_lines(f"Hardware: {hardware()}, the visitors on the same processors")
    print_lines(f"Clicks: {', '.join(f'{part} {kind}' for kind, part in mix.items())} of 100")
    if photos:
        print_lines(f"Uploads: {', '.join(f'{len(photo) / MB:.1f}' for photo in photos)} MB")
    shown = [kind for kind in COLUMNS if kind in mix or (kind == SHOWN and photos)]
    print_text("\n" + header(shown))
    with served(args.store) as url:
        world = World(url, files, photos, mix, tuple(args.think), args.seed)
        asyncio.run(world.visited(2, passed(min(args.seconds, WARM_UP))))
        warm = settled_memory(url)
        for visitors in args.visitors:
            tally = asyncio.run(world.visited(visitors, passed(args.seconds)))
            full = memory(url)
            print_lines(row(visitors, args.seconds, tally, shown, warm, full, settled_memory(url)))
            for error, times in tally.errors.most_common(5):
                print_status(f"  {times} x {error}")


def passed(seconds: float) -> Callable[[Tally], bool]:
    """A predicate that ends a round after a time."""
    end = time.perf_counter() + seconds
    return lambda tally: time.perf_counter() >= end


@dataclass(frozen=True)
class World:
    """Environment of the visitors.

    Attributes:
        url: URL of the server.
        files: photos of the gallery.
        photos: photos for uploading.
        mix: relative frequencies of the kinds of clicks.
        think: minimum and maximum seconds between an answer and the next click.
        seed: random seed.
    """

    url: str
    files: Sequence[str]
    photos: Sequence[bytes]
    mix: Mapping[str, int]
    think: tuple[float, float]
    seed: int

    async def visited(self, visitors: int, ended: Callable[[Tally], bool]) -> Tally:
        """Run `visitors` visitors until a round ends; waits for clicks in progress."""
        tally = Tally()
        await asyncio.gather(*(self.visit(number, ended, tally) for number in range(visitors)))
        return tally

    async def visit(self, number: int, ended: Callable[[Tally], bool], tally: Tally) -> None:
        """One visitor, who returns after the page has failed."""
        from .tab import Tab

        chance = random.Random(f"{self.seed} {number}")
        await asyncio.sleep(chance.uniform(0, 1))
        while not ended(tally):
            tab = Tab(self.url, f"10.1.{number // 250}.{number % 250 + 1}")
            try:
                answer = await tab.open(f"photo={chance.choice(self.files)}")
                while not ended(tally):
                    await asyncio.sleep(chance.uniform(*self.think))
                    (kind,) = chance.choices(list(self.mix), list(self.mix.values()))
                    start = time.perf_counter()
                    messages = await self.click(tab, kind, answer.hits, chance)
                    answer = tab.answer
                    tally.note(kind, time.perf_counter() - start, messages)
                    if kind == "upload" and not messages:
                        tally.seconds[SHOWN].append(tab.shown - start)
            except Exception as error:  # counted, and the visitor tries again
                tally.errors[f"{type(error).__name__}: {error}"] += 1
                await asyncio.sleep(1)
            finally:
                await tab.close()

    async def click(
        self, tab: Any, kind: str, hits: Sequence[str], chance: random.Random
    ) -> Sequence[str]:
        """Perform one click. Returns the sentences in boxes; our own one for a broken page."""
        if kind == "API":
            found = await tab.api_search(chance.choice(self.photos))
            return [] if found.is_success else [found.json()["detail"]]
        if kind == "toggle":
            drawn = await tab.toggle(chance.choice(tuple(tab.toggles)))
        elif kind == "evidence" and hits:
            drawn = await tab.open_hit(hits[0])
        elif kind == "upload":
            refusal, drawn = await tab.upload(chance.choice(self.photos))
            if refusal:
                return [refusal]
        else:
            drawn = await tab.search_with(chance.choice(self.files))
        if drawn.failed or not (drawn.hits or drawn.alerts):
            return ["the page was drawn without results"]
        if kind == "evidence" and hits and not (drawn.matched or drawn.alerts):
            return [f"the page was drawn without the evidence of {hits[0]}, with {drawn.hits}"]
        return drawn.alerts


def uploads(original: Path) -> list[bytes]:
    """A photo in the sizes of phones and cameras, with the grain of large files."""
    image = Image.open(original).convert("RGB")
    files = []
    for side, quality in UPLOADS:
        scale = side / max(image.size)
        large = image.resize((round(image.width * scale), round(image.height * scale)))
        grain = np.random.default_rng(side).normal(0, 6, (large.height, large.width, 1))
        pixels = (np.asarray(large) + grain).clip(0, 255).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
        files.append(buffer.getvalue())
    return files


# -- the server ------------------------------------------------------------------------------------


@contextmanager
def served(store: str) -> Iterator[str]:
    """Start a server and wait until it is ready; yields its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    lifted = {
        f"GEM_{kind}_PER_MINUTE{scope}": "1000000" for kind in LIFTED for scope in ("", "_ADDRESS")
    }
    settings = {"GEM_STORE": store, "GEM_TRUSTED_PROXIES": "127.0.0.1"}
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)]
    server = subprocess.Popen(command, cwd=ROOT, env=os.environ | lifted | settings)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(START_SECONDS * 2):
            if server.poll() is not None:
                raise OSError("the server has ended before it was ready")
            try:
                urllib.request.urlopen(f"{url}/readyz", timeout=5)
                break
            except OSError:
                time.sleep(0.5)
        yield url
    finally:
        server.terminate()
        server.wait()


def figure(url: str, name: str) -> float:
    """Sum of a metric of the server."""
    text = urllib.request.urlopen(f"{url}/metrics", timeout=60).read().decode()
    lines = [line for line in text.splitlines() if re.match(rf"{name}[ {{]", line)]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def memory(url: str) -> float:
    """Current memory of the server in MB, without the decoding processes."""
    return figure(url, "process_resident_memory_bytes") / MB


def settled_memory(url: str) -> float:
    """Memory of the server after all sessions have expired."""
    for _ in range(FORGET_SECONDS):
        if not figure(url, "gem_sessions"):
            break
        time.sleep(1)
    time.sleep(2)  # until the memory is freed
    return memory(url)


# -- the table -------------------------------------------------------------------------------------


def header(shown: Sequence[str]) -> str:
    """The first two lines of the table."""
    kinds = [f"{kind}, median / 95 % (s)" for kind in shown]
    names = ["visitors", "answers a second", *kinds, "refused", "errors", MEMORY]
    return f"| {' | '.join(names)} |\n{'|---' * len(names)}|"


def row(
    visitors: int,
    seconds: float,
    tally: Tally,
    shown: Sequence[str],
    warm: float,
    full: float,
    after: float,
) -> str:
    """One round as a line of the table. warm, full, after: MB, see MEMORY."""
    answered = sum(len(took) for kind, took in tally.seconds.items() if kind != SHOWN)
    times = []
    for kind in shown:
        took = tally.seconds[kind]
        median, p95 = np.percentile(took, (50, 95)) if took else (np.nan, np.nan)
        times.append(f"{median:.2f} / {p95:.2f}")
    cells = [str(visitors), f"{answered / seconds:.1f}", *times, str(tally.refused)]
    cells += [str(tally.errors.total()), f"{warm:.0f}, {full:.0f}, {after:.0f}"]
    return f"| {' | '.join(cells)} |"
