"""Generations: a store is rewritten as a whole beside the live one and switched to in one rename.

    STORE/CURRENT              name of the live generation and the SHA-256 of its manifest
    STORE/generations/000001/  its files
    STORE/lock                 held by the one build that may write

Readers never see half a generation: files are written under a dotted name, synced, renamed, and only then named in CURRENT.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import StoreBusy, StoreCorrupt, StoreMissing
from .manifest import FILE_NAME, Manifest

CURRENT = "CURRENT"
GENERATIONS = "generations"


@contextmanager
def writing(store: Path) -> Iterator[None]:
    """Hold the store's write lock; it is released even when the process is killed. Raises StoreBusy."""
    store.mkdir(parents=True, exist_ok=True)
    with open(store / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreBusy(f"Another build is writing {store}. Wait for it to end.") from None
        yield


def sync(path: Path) -> None:
    """Make a file or folder survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def current_version(store: Path) -> tuple[str, str]:
    """Name of the live generation and SHA-256 of its manifest. Cheap. Raises StoreMissing, StoreCorrupt."""
    try:
        name, version = (store / CURRENT).read_text().split()
    except FileNotFoundError:
        raise StoreMissing(
            f"There is no store at {store}. Make one with: python -m index_store build PHOTOS --store {store}"
        ) from None
    except ValueError:
        raise StoreCorrupt(f"{CURRENT} is damaged. Build the store again.") from None
    return name, version


def current(store: Path) -> tuple[Path, Manifest, str]:
    """Folder, manifest and version (of `current_version`) of the live generation. Raises StoreMissing, StoreCorrupt."""
    name, expected = current_version(store)
    folder = store / GENERATIONS / name
    try:
        text = (folder / FILE_NAME).read_bytes()
    except FileNotFoundError:
        raise StoreCorrupt(
            f"Generation {name} is missing from the store. Build it again."
        ) from None
    if hashlib.sha256(text).hexdigest() != expected:
        raise StoreCorrupt(f"{FILE_NAME} is damaged (its checksum differs). Build the store again.")
    return folder, Manifest.from_json(text.decode()), expected


@contextmanager
def new_generation(store: Path) -> Iterator[Path]:
    """A folder to write the next generation into; a clean exit makes it live, an exception leaves the old one.

    The caller holds `writing(store)` and leaves a manifest in the folder.
    """
    generations = store / GENERATIONS
    generations.mkdir(exist_ok=True)
    numbers = [int(p.name) for p in generations.iterdir() if p.name.isdigit()]
    name = f"{max(numbers, default=0) + 1:06d}"
    for abandoned in generations.glob(".*"):
        shutil.rmtree(abandoned)
    partial = generations / f".{name}"
    partial.mkdir()
    yield partial

    manifest = (partial / FILE_NAME).read_bytes()
    for path in partial.iterdir():
        sync(path)
    sync(partial)
    partial.rename(generations / name)
    sync(generations)
    pointer = store / f".{CURRENT}"
    pointer.write_text(f"{name} {hashlib.sha256(manifest).hexdigest()}\n")
    sync(pointer)
    pointer.replace(store / CURRENT)
    sync(store)
    # Readers that have the old files open keep them until they let go.
    for old in generations.iterdir():
        if old.name != name:
            shutil.rmtree(old)
