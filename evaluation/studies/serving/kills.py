"""`evaluation kills`: kill -9 after every write of every operation that writes a store."""

from __future__ import annotations

import argparse
import collections
import hashlib
import itertools
import os
import shutil
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
from threadpoolctl import threadpool_limits

from command import print_lines
from extractor import encode_jpeg, read
from index_store import (
    Store,
    StoreError,
    UnknownPhoto,
    add,
    build,
    compact,
    extraction,
    remove,
    update,
    verify,
)
from index_store.storage import build_journal, extraction_cache
from search import Engine

from ..speed.synthetic import SyntheticExtractor
from .kill_points import kill_at

# Small, so that every step can be tried, with several segments and commits of the journal.
PHOTOS, SIDE, SEGMENT, COMMIT_EVERY = 5, 64, 3, 2
EXTRACTOR = SyntheticExtractor(48)
# Not created by a build: these must never be touched.
FOREIGN = ("notes.txt", "segments/mine.segment", "generations/mine/notes.txt")


class Lost(Exception):
    """A kill has damaged a store."""


@dataclass(frozen=True)
class Operation:
    """An operation to kill.

    Attributes:
        run: the operation, called with the photos' folder and the store.
        change: change of the photos' folder before it.
        before: initial state: "store", "nothing", or what a "killed build" has left.
    """

    run: Callable[[Path, Path], object]
    change: Callable[[Path], None] = lambda photos: None
    before: str = "store"


def write_photos(photos: Path, numbers: Iterable[int]) -> None:
    """Write photos of coloured noise, deterministic by number."""
    photos.mkdir(exist_ok=True)
    for number in numbers:
        rng = np.random.default_rng(number)
        small = rng.integers(0, 255, (8, 8, 3), np.uint8)
        pixels = np.kron(small, np.ones((SIDE // 8, SIDE // 8, 1), np.uint8))
        (photos / f"{number:03d}.jpg").write_bytes(encode_jpeg(pixels))


def come(photos: Path) -> None:
    """Add two photos."""
    write_photos(photos, (PHOTOS, PHOTOS + 1))


def add_and_remove(photos: Path) -> None:
    """Add two photos and delete one."""
    come(photos)
    (photos / "004.jpg").unlink()


NEW = [f"{number:03d}.jpg" for number in (PHOTOS, PHOTOS + 1)]
OPERATIONS = {
    "first build": Operation(lambda p, s: build(p, s, EXTRACTOR), before="nothing"),
    "resumed build": Operation(lambda p, s: build(p, s, EXTRACTOR), before="killed build"),
    "build": Operation(lambda p, s: build(p, s, EXTRACTOR), add_and_remove),
    "update": Operation(lambda p, s: update(s, EXTRACTOR), add_and_remove),
    "add": Operation(lambda p, s: add([p / name for name in NEW], s, EXTRACTOR), come),
    "remove": Operation(lambda p, s: remove(["002.jpg", "003.jpg"], s)),
    "compact": Operation(lambda p, s: compact(s)),
}


def run_killed(name: str, work: Path, store: Path, number: int, kind: str = "") -> str:
    """Run an operation in a separate process and kill it.

    Args:
        name: name of the operation.
        work: folder that contains the photos.
        store: store that the operation changes.
        number: number of the step at which it is killed.
        kind: see `kill_at`.

    Returns:
        The step, "" if the operation completed before it.

    Raises:
        Lost: the operation failed without a kill.
    """
    receiver, sender = os.pipe()
    process = os.fork()  # much faster than an interpreter for each of several hundred kills
    if not process:
        status = 1
        try:
            kill_at(number, kind, lambda step: os.write(sender, step.encode()))
            OPERATIONS[name].run(work / "photos", store)
            status = 0
        except Exception:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(sender)
    with open(receiver) as output:
        step = output.read()
    _, status = os.waitpid(process, 0)
    if not step and status:
        raise Lost(f"{name} failed without a kill.")
    return step


def content_of(store: Path) -> dict[str, object]:
    """All data of a store, verified; equal for stores of the same photos."""
    with Store(store) as opened:
        verify(opened)
        engine = Engine(opened, EXTRACTOR)
        found: dict[str, object] = {
            photo.file: (
                opened.descriptors[photo.id].tobytes(),
                opened.thumbnail(photo.id),
                opened.stored_features(photo.id),
                [hit.file for hit in engine.search(engine.prepare(photo.id)).hits],
            )
            for photo in opened.catalogue.photos()
        }
        # The segment and row of a photo may differ.
        return found | {
            name: check for name, check in opened.manifest.artefacts.items() if name != "slots.npy"
        }


def left_over(store: Path) -> set[str]:
    """Files of the store that its generation does not need."""
    with Store(store) as opened:
        segments = {f"segments/{segment.name}.segment" for segment in opened.manifest.segments}
        generation = f"generations/{opened.generation}"
        files = {f"{generation}/{name}" for name in (*opened.manifest.artefacts, "manifest.json")}
        expected = {"CURRENT", "lock", "segments", "generations", "generations/mine", generation}
        return {path.relative_to(store).as_posix() for path in store.rglob("*")} - (
            expected | segments | files | set(FOREIGN)
        )


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of all files in a folder, by their paths."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def kill_everywhere(name: str, work: Path) -> Iterator[tuple[str, str]]:
    """Kill an operation after each of its steps in turn, until it completes.

    Args:
        name: name of the operation.
        work: an empty folder.

    Yields:
        The step, and the generation that the kill has left: "old", "new" or "none".

    Raises:
        Lost: a store cannot be opened or searched, has lost data, or finally differs from one
            without kills; or a file that no build has created is gone.
    """
    with small_steps(), threadpool_limits(1):  # OpenMP's threads do not survive a fork
        prepare(name, work)
        shutil.copytree(work / "store", work / "done")
        OPERATIONS[name].run(work / "photos", work / "done")
        before = content_of(work / "store") if (work / "store" / "CURRENT").exists() else {}
        after, foreign = content_of(work / "done"), foreign_files(work, work / "store")
        files, state = digests(work / "store"), "old" if before else "none"
        for number in itertools.count(1):
            store = shutil.copytree(work / "store", work / f"killed-{number}")
            step = run_killed(name, work, store, number)
            if not step:
                break
            remaining = digests(store)
            # A sync, for example, changes nothing that was not judged already.
            if remaining != files:
                files = remaining
                try:
                    state = judge(name, work, store, before, after)
                except (Lost, StoreError) as error:
                    raise Lost(f"{name}, killed after {step}: {error}") from error
                if foreign_files(work, store) != foreign:
                    raise Lost(f"{name}, killed after {step}: a foreign file is gone.")
            yield step, state
            shutil.rmtree(store)


@contextmanager
def small_steps() -> Iterator[None]:
    """Segments and commits of a few photos, decoded in this process instead of in workers."""
    with (
        patch.object(extraction_cache, "SEGMENT", SEGMENT),
        patch.object(build_journal, "COMMIT_EVERY", COMMIT_EVERY),
        patch.object(extraction, "decoder_for", lambda limits: SimpleNamespace(read=read)),
    ):
        yield


def prepare(name: str, work: Path) -> None:
    """Create the photos and the store for an operation, with foreign files among them."""
    operation, photos, store = OPERATIONS[name], work / "photos", work / "store"
    write_photos(photos, range(PHOTOS))
    if operation.before == "killed build":
        run_killed("first build", work, store, 1, "rename")  # a segment is complete
    elif operation.before == "store":
        build(photos, store, EXTRACTOR)
        remove(["001.jpg"], store)
        write_photos(photos, [900])
        add([photos / "900.jpg"], store, EXTRACTOR)
    operation.change(photos)
    for file in FOREIGN:
        (store / file).parent.mkdir(parents=True, exist_ok=True)
        (store / file).write_text("mine")


def foreign_files(work: Path, store: Path) -> dict[str, str]:
    """Digests of the files that no operation may touch."""
    inside = digests(store)
    return digests(work / "photos") | {file: inside.get(file, "") for file in FOREIGN}


def judge(
    name: str, work: Path, store: Path, before: dict[str, object], after: dict[str, object]
) -> str:
    """Check a store after a kill, run the operation again, and check once more.

    Returns:
        The state, see `kill_everywhere`.

    Raises:
        Lost, StoreError: see `kill_everywhere`.
    """
    state = "none"
    if (store / "CURRENT").exists():
        same = (store / "CURRENT").read_bytes() == current(work / "store")
        state = "old" if same else "new"
        if content_of(store) != {"old": before, "new": after}[state]:
            raise Lost("the store holds something else than before or after.")
    elif before:
        raise Lost("there is no store any more.")
    try:
        OPERATIONS[name].run(work / "photos", store)
    except UnknownPhoto:
        if state != "new":
            raise
        compact(store)
    if content_of(store) != after:
        raise Lost("the operation, run again, ends in another store.")
    if left_over(store):
        raise Lost(f"{min(left_over(store))} stays for ever.")
    return state


def current(store: Path) -> bytes:
    """Content of CURRENT; empty if there is none."""
    path = store / "CURRENT"
    return path.read_bytes() if path.exists() else b""


def add_options(command: argparse.ArgumentParser) -> None:
    """It has no options."""


def run(args: argparse.Namespace) -> None:
    print_lines("| killed | times | old generation left | new generation left | none yet |")
    print_lines("|---|---|---|---|---|")
    for name in OPERATIONS:
        with tempfile.TemporaryDirectory() as work:
            found = collections.Counter(state for _, state in kill_everywhere(name, Path(work)))
        states = [found[state] for state in ("old", "new", "none")]
        print_lines(f"| {name} | {sum(states)} | {' | '.join(map(str, states))} |")
    print_lines("", "Nothing was lost, and every operation, run again, ended in the same store.")
