"""kill -9 at random moments of every operation that writes a store: nothing may be lost."""

from __future__ import annotations

import argparse
import collections
import multiprocessing
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from extractor import encode_jpeg
from index_store import (
    Store,
    StoreError,
    UnknownPhoto,
    add,
    build,
    compact,
    remove,
    stock,
    update,
    verify,
)

from ..arguments import count
from .made import MadeExtractor

PHOTOS, SIDE, SEGMENT = 24, 200, 7
EXTRACTOR = MadeExtractor(48)


class Lost(Exception):
    """A store that a kill has spoilt."""


@dataclass(frozen=True)
class Operation:
    """One of the operations that are killed.

    Attributes:
        change: What happens to the photos' folder before it.
        run: The operation, on the photos' folder and the store.
        fresh: Whether there is no store before it.
    """

    change: Callable[[Path], None]
    run: Callable[[Path, Path], object]
    fresh: bool = False


def write_photos(photos: Path, numbers: Sequence[int]) -> None:
    """Photos of coloured noise, each always the same."""
    photos.mkdir(exist_ok=True)
    for number in numbers:
        rng = np.random.default_rng(number)
        small = rng.integers(0, 255, (8, 8, 3), np.uint8)
        pixels = np.kron(small, np.ones((SIDE // 8, SIDE // 8, 1), np.uint8))
        (photos / f"{number:03d}.jpg").write_bytes(encode_jpeg(pixels))


def come_and_go(photos: Path) -> None:
    """Three photos more, and one less."""
    write_photos(photos, range(PHOTOS, PHOTOS + 3))
    (photos / "004.jpg").unlink()


def nothing(photos: Path) -> None:
    """The folder stays as it is."""


NEW = [f"{number:03d}.jpg" for number in range(PHOTOS, PHOTOS + 3)]
OPERATIONS = {
    "first build": Operation(nothing, lambda p, s: build(p, s, EXTRACTOR), fresh=True),
    "build": Operation(come_and_go, lambda p, s: build(p, s, EXTRACTOR)),
    "update": Operation(come_and_go, lambda p, s: update(s, EXTRACTOR)),
    "add": Operation(
        lambda photos: write_photos(photos, range(PHOTOS, PHOTOS + 3)),
        lambda p, s: add([p / name for name in NEW], s, EXTRACTOR),
    ),
    "remove": Operation(nothing, lambda p, s: remove(["002.jpg", "009.jpg"], s)),
    "compact": Operation(nothing, lambda p, s: compact(s)),
}


def child(name: str, photos: Path, store: Path, started: multiprocessing.synchronize.Event) -> None:
    """Run an operation in a process that will be killed."""
    stock.SEGMENT = SEGMENT
    started.set()
    OPERATIONS[name].run(photos, store)


def kept(store: Path) -> dict[str, tuple[bytes, bytes, bytes]]:
    """All that a store keeps of its photos, by their files; every byte of it verified."""
    with Store(store) as opened:
        verify(opened)
        return {
            photo.file: (
                opened.descriptors[photo.id].tobytes(),
                opened.thumbnail(photo.id),
                opened.stored_features(photo.id),
            )
            for photo in opened.catalogue.photos()
        }


def left_over(store: Path) -> set[str]:
    """Files of the store that its generation does not need."""
    with Store(store) as opened:
        segments = {f"{segment.name}.segment" for segment in opened.manifest.segments}
        wanted = {"CURRENT", "lock", "segments", "generations", opened.generation}
        wanted |= segments | opened.manifest.artefacts.keys() | {"manifest.json"}
    return {path.name for path in store.rglob("*")} - wanted


def kill_at_random(times: int, seed: int, work: Path) -> Iterator[tuple[str, str]]:
    """Kill operations, each as often as the others.

    Args:
        times: How often in all.
        seed: Of the moments.
        work: An empty folder.

    Yields:
        The operation, and which generation the kill has left: "old", "new" or "none".

    Raises:
        Lost: An opening failed, or what came out in the end was something else.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["index_store", "evaluation.studies.kills"])
    dice = random.Random(seed)
    names = [list(OPERATIONS)[number % len(OPERATIONS)] for number in range(times)]
    lasting: dict[str, float] = {}
    before, after = {}, {}
    whole, stock.SEGMENT = stock.SEGMENT, SEGMENT
    try:
        for number, name in enumerate(names):
            operation = OPERATIONS[name]
            folder = work / name.replace(" ", "-")
            if name not in lasting:
                write_photos(work / "photos", range(PHOTOS))
                prepare(work / "photos", folder, operation)
                before[name] = {} if operation.fresh else kept(folder / "store")
                shutil.copytree(folder, folder.with_name(f"{folder.name}-done"))
                done = folder.with_name(f"{folder.name}-done")
                lasting[name] = run_child(context, name, folder, done / "store", None)
                after[name] = kept(done / "store")
            store = work / f"killed-{number}"
            if (folder / "store").exists():
                shutil.copytree(folder / "store", store)
            run_child(context, name, folder, store, dice.uniform(0, lasting[name]))
            try:
                yield name, judge(name, folder, store, before[name], after[name])
            except StoreError as error:
                raise Lost(f"{name}: {error}") from error
            shutil.rmtree(store)
    finally:
        stock.SEGMENT = whole


def prepare(photos: Path, folder: Path, operation: Operation) -> None:
    """The photos as the operation finds them, and a store of them as they were before."""
    shutil.copytree(photos, folder / "photos")
    if not operation.fresh:
        build(folder / "photos", folder / "store", EXTRACTOR)
        remove(["007.jpg"], folder / "store")
        write_photos(folder / "photos", [900])
        add([folder / "photos" / "900.jpg"], folder / "store", EXTRACTOR)
    operation.change(folder / "photos")


def run_child(
    context: multiprocessing.context.ForkServerContext,
    name: str,
    folder: Path,
    store: Path,
    seconds: float | None,
) -> float:
    """Run an operation in a process of its own, and kill it after so many seconds.

    Returns:
        How long it has run.
    """
    started = context.Event()
    process = context.Process(target=child, args=(name, folder / "photos", store, started))
    process.start()
    while not started.wait(1):
        if not process.is_alive():
            raise Lost(f"{name} did not begin: its process has ended.")
    start = time.monotonic()
    process.join(seconds)
    lasted = time.monotonic() - start
    process.kill()
    process.join()
    if seconds is None and process.exitcode != 0:
        raise Lost(f"{name} did not end well even without a kill.")
    return lasted


def pointer(store: Path) -> bytes:
    """What names the live generation; nothing if there is none."""
    path = store / "CURRENT"
    return path.read_bytes() if path.exists() else b""


def judge(
    name: str,
    folder: Path,
    store: Path,
    before: dict[str, tuple[bytes, bytes, bytes]],
    after: dict[str, tuple[bytes, bytes, bytes]],
) -> str:
    """Look at a store after a kill, go on with it, and look again."""
    state = "none"
    if (store / "CURRENT").exists():
        state = "old" if pointer(store) == pointer(folder / "store") else "new"
        if kept(store) != {"old": before, "new": after}[state]:
            raise Lost(f"{name}: the store holds something else than before or after.")
    elif before:
        raise Lost(f"{name}: there is no store any more.")
    try:
        OPERATIONS[name].run(folder / "photos", store)
    except UnknownPhoto:
        if state != "new":
            raise
        compact(store)
    if name in ("add", "remove"):
        compact(store)
    if kept(store) != after:
        raise Lost(f"{name}: going on ended in another store.")
    if name != "add" and left_over(store):
        raise Lost(f"{name}: {min(left_over(store))} was left for ever.")
    return state


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add `kills` to the command line's sub-parsers."""
    command = commands.add_parser("kills", help="kill -9 at random moments of all that writes")
    command.add_argument("--times", type=count, default=100)
    command.add_argument("--seed", type=int, default=0)
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as work:
        found = collections.Counter(kill_at_random(args.times, args.seed, Path(work)))
    print("| killed | times | old generation left | new generation left | none yet |")
    print("|---|---|---|---|---|")
    for name in OPERATIONS:
        states = [found[name, state] for state in ("old", "new", "none")]
        print(f"| {name} | {sum(states)} | {' | '.join(map(str, states))} |")
    print(f"\n{args.times} kills: nothing was lost, and going on ended in the same photos.")
