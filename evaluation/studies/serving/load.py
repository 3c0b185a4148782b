"""Many visitors at once: how long they wait, what is refused, and how much memory the server takes.

The page is served as `streamlit run app.py` does it, by a process of its own, and visited over its
websocket and its API from this machine, so the visitors take a part of the same processors. Each
visitor has an address of its own. The quotas by the minute are lifted, because these visitors click
faster than anybody; the queue and all other limits are as they are. It needs httpx.
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
# What a visitor does next, of a hundred clicks.
GALLERY = {"search": 100}
MIXED = {"search": 45, "toggle": 25, "evidence": 12, "upload": 10, "API": 8}
MIXES = {"gallery": GALLERY, "mixed": MIXED}
LIFTED = ("SEARCHES", "UPLOADS")
REFUSALS = ("Busy", "Too many", "At most")
SHOWN = "first hits of an upload"  # in the order of their descriptors, until the others are there
COLUMNS = ("search", "toggle", "evidence", SHOWN, "upload", "API")
MB = 2**20


@dataclass
class Tally:
    """What the visitors of one round have seen.

    Attributes:
        seconds: of what was answered, by kind of click.
        refused: politely: busy, too much.
        errors: anything else that is no answer, and how often.
    """

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    refused: int = 0
    errors: Counter[str] = field(default_factory=Counter)

    def note(self, kind: str, seconds: float, said: Sequence[str]) -> None:
        """A click that was answered. said: the sentences in boxes."""
        if any(sentence.startswith(REFUSALS) for sentence in said):
            self.refused += 1
        elif said:
            self.errors[said[0]] += 1
        else:
            self.seconds[kind].append(seconds)


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add `load` to the command line's sub-parsers."""
    command = commands.add_parser("load", help="many visitors at once, by websocket and API")
    command.add_argument("--store", required=True, help="the store that is served")
    command.add_argument("--visitors", type=count, nargs="+", default=[5, 10, 20, 50])
    command.add_argument("--seconds", type=size, default=60.0, help="of each round")
    command.add_argument(
        "--think", type=size, nargs=2, default=[0.0, 1.0], help="least and most seconds of a pause"
    )
    command.add_argument("--mix", choices=MIXES, default="gallery", help="what visitors do")
    command.add_argument("--seed", type=int, default=1)
    command.set_defaults(run=run)


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
    """What ends a round after a time."""
    end = time.perf_counter() + seconds
    return lambda tally: time.perf_counter() >= end


@dataclass(frozen=True)
class World:
    """What visitors find.

    Attributes:
        url: of the server.
        files: photos of the gallery.
        photos: that can be uploaded.
        mix: how often each kind of click comes, of all.
        think: least and most seconds between an answer and the next click.
        seed: of what is random.
    """

    url: str
    files: Sequence[str]
    photos: Sequence[bytes]
    mix: Mapping[str, int]
    think: tuple[float, float]
    seed: int

    async def visited(self, visitors: int, ended: Callable[[Tally], bool]) -> Tally:
        """So many visitors until a round has ended. What is begun then is waited for."""
        tally = Tally()
        await asyncio.gather(*(self.visit(number, ended, tally) for number in range(visitors)))
        return tally

    async def visit(self, number: int, ended: Callable[[Tally], bool], tally: Tally) -> None:
        """One visitor, who comes back when the page has failed."""
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
                    said = await self.click(tab, kind, answer.hits, chance)
                    answer = tab.answer
                    tally.note(kind, time.perf_counter() - start, said)
                    if kind == "upload" and not said:
                        tally.seconds[SHOWN].append(tab.shown - start)
            except Exception as error:  # any of it is counted, and the visitor tries again
                tally.errors[f"{type(error).__name__}: {error}"] += 1
                await asyncio.sleep(1)
            finally:
                await tab.close()

    async def click(
        self, tab: Any, kind: str, hits: Sequence[str], chance: random.Random
    ) -> Sequence[str]:
        """Do one thing. Returns the sentences in boxes; for a broken page, one of our own."""
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
    """A photo in the sizes that phones and cameras make, with the grain that large files have."""
    image = Image.open(original).convert("RGB")
    made = []
    for side, quality in UPLOADS:
        scale = side / max(image.size)
        large = image.resize((round(image.width * scale), round(image.height * scale)))
        grain = np.random.default_rng(side).normal(0, 6, (large.height, large.width, 1))
        pixels = (np.asarray(large) + grain).clip(0, 255).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
        made.append(buffer.getvalue())
    return made


# -- the server ------------------------------------------------------------------------------------


@contextmanager
def served(store: str) -> Iterator[str]:
    """A server of its own, once it is ready: its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    lifted = {
        f"GEM_{what}_PER_MINUTE{whose}": "1000000" for what in LIFTED for whose in ("", "_ADDRESS")
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
    """The sum of a metric of the server."""
    text = urllib.request.urlopen(f"{url}/metrics", timeout=60).read().decode()
    lines = [line for line in text.splitlines() if re.match(rf"{name}[ {{]", line)]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def memory(url: str) -> float:
    """MB that the server holds at the moment, without the processes that decode."""
    return figure(url, "process_resident_memory_bytes") / MB


def settled_memory(url: str) -> float:
    """The same when all visitors have been forgotten."""
    for _ in range(FORGET_SECONDS):
        if not figure(url, "gem_sessions"):
            break
        time.sleep(1)
    time.sleep(2)  # then it is given back
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
        middle, late = np.percentile(took, (50, 95)) if took else (np.nan, np.nan)
        times.append(f"{middle:.2f} / {late:.2f}")
    cells = [str(visitors), f"{answered / seconds:.1f}", *times, str(tally.refused)]
    cells += [str(tally.errors.total()), f"{warm:.0f}, {full:.0f}, {after:.0f}"]
    return f"| {' | '.join(cells)} |"
