"""Generations: changes are written next to the live generation, and made live by one rename.

    STORE/CURRENT              name of the live generation and the SHA-256 of its manifest
    STORE/generations/000001/  its manifest, and the data derived from all its photos together
    STORE/segments/            the extracted data of each photo, shared by the generations
    STORE/damaged              findings of the last verification, if there were any
    STORE/lock                 held by the one build that may write

Readers never see half a generation: files are written under a dotted name, synced, renamed, and
only then named in CURRENT. A reader holds a shared lock on the generation's folder while it opens
the files in it, and locked folders are not deleted. After that it no longer needs the names: open
and memory-mapped files stay valid when they are deleted.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from extractor import read_at_most

from ..errors import StoreBusy, StoreCorrupt, StoreError, StoreMissing, unreadable
from .manifest import FILE_NAME, MAX_BYTES, Manifest, read_manifest
from .segment import PARTIAL as PARTIAL_SEGMENT
from .segment import segment_path, segments_in, sync

CURRENT = "CURRENT"
GENERATIONS = "generations"
SEGMENTS = "segments"
DAMAGED = "damaged"
NAME = re.compile("[0-9]{6,}")
PARTIAL = re.compile(r"\.[0-9]{6,}")  # incomplete: being written, or being deleted
POINTER = re.compile("([0-9]{6,}) ([0-9a-f]{64})\n?")
MAX_POINTER_BYTES = 1000


@dataclass(frozen=True)
class Generation:
    """A generation whose files cannot be deleted at the moment.

    Attributes:
        folder: folder of its files.
        manifest: its manifest.
        version: SHA-256 of the manifest file, which differs after each build.
    """

    folder: Path
    manifest: Manifest
    version: str


@contextmanager
def writing(store: Path) -> Iterator[None]:
    """Hold the store's write lock; it is released even when the process is killed.

    Raises:
        StoreBusy: another build holds it.
        OSError: the folder cannot be written.
    """
    store.mkdir(parents=True, exist_ok=True)
    # O_NOFOLLOW, O_NONBLOCK, no O_TRUNC: never follow a link, wait for a FIFO or empty a file here.
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    handle = os.open(store / "lock", flags, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreBusy(f"Another build is writing {store}. Wait for it to end.") from None
        yield
    finally:
        os.close(handle)


def current_version(store: Path) -> tuple[str, str]:
    """Read CURRENT; cheap enough for every query.

    Returns:
        The name of the live generation, and the SHA-256 of its manifest.

    Raises:
        StoreMissing: there is no store.
        StoreCorrupt: CURRENT cannot be read or is damaged.
    """
    try:
        text = read_at_most(store / CURRENT, MAX_POINTER_BYTES).decode()
    except (FileNotFoundError, NotADirectoryError):
        raise StoreMissing(
            f"There is no store at {store}. "
            f"Make one with: python -m index_store build PHOTOS --store {store}"
        ) from None
    except OSError as error:
        raise unreadable(CURRENT, error) from None
    except UnicodeDecodeError:
        text = ""
    found = POINTER.fullmatch(text)
    if found is None:
        raise StoreCorrupt(f"{CURRENT} is damaged. Build the store again.")
    return found[1], found[2]


@contextmanager
def opening(store: Path) -> Iterator[Generation]:
    """The live generation, protected from deletion until the `with` block ends.

    Raises:
        StoreMissing: there is no store.
        StoreMismatch: the store was written by another version of this program.
        StoreCorrupt: CURRENT, the generation's folder or its manifest is damaged.
    """
    handle, name, version = hold_current(store)
    try:
        folder = store / GENERATIONS / name
        yield Generation(folder, read_manifest(folder, version), version)
    finally:
        os.close(handle)


def hold_current(store: Path) -> tuple[int, str, str]:
    """Lock the live generation's folder against deletion.

    Returns:
        The open handle of the folder, which holds the lock, and the result of `current_version`.

    Raises:
        StoreMissing, StoreCorrupt: see `opening`.
    """
    while True:
        name, version = current_version(store)
        try:
            handle = os.open(store / GENERATIONS / name, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            if current_version(store) != (name, version):
                continue  # a build has just switched
            raise unreadable(f"Generation {name}", error) from None
        try:
            fcntl.flock(handle, fcntl.LOCK_SH)
            # Folders named in CURRENT are never deleted, so this one is safe from here on.
            if current_version(store) == (name, version):
                return handle, name, version
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


@contextmanager
def new_generation(store: Path) -> Iterator[Path]:
    """A folder to write the next generation into.

    A clean exit makes it live, an exception leaves the old one. The caller holds `writing(store)`
    and leaves a manifest in the folder.
    """
    generations = store / GENERATIONS
    generations.mkdir(exist_ok=True)
    discard_generations(store)
    existing = (p.name.removeprefix(".") for p in generations.iterdir())
    numbers = [int(name) for name in existing if NAME.fullmatch(name)]
    name = f"{max(numbers, default=0) + 1:06d}"
    partial = generations / f".{name}"
    partial.mkdir()
    yield partial

    manifest = (partial / FILE_NAME).read_bytes()
    for path in partial.iterdir():
        sync(path)
    sync(partial)
    partial.rename(generations / name)
    sync(generations)
    switch(store, name, hashlib.sha256(manifest).hexdigest())
    discard_others(store)


def switch(store: Path, name: str, version: str) -> None:
    """Make CURRENT name another generation."""
    pointer, current = store / f".{CURRENT}", store / CURRENT
    pointer.unlink(missing_ok=True)  # it may be a link, which must not be followed
    pointer.write_text(f"{name} {version}\n")
    sync(pointer)
    if current.is_dir() and not current.is_symlink():  # not ours; moved out of the way
        current.rename(store / f"{CURRENT}-{name}.damaged")
    pointer.replace(current)
    sync(store)
    with suppress(OSError):
        (store / DAMAGED).unlink(missing_ok=True)  # it was about another generation


def discard_others(store: Path) -> None:
    """Delete leftovers of builds: all generations but the live one, and unreferenced segments.

    Anything that a reader is just opening, or that cannot be deleted, stays until the next build.
    Files and folders that no build has created are left alone. The caller holds `writing(store)`.
    """
    discard_generations(store)
    with suppress(StoreError):
        current_version(store)  # without a live generation, a build may still resume from them
        discard_segments(store)


def discard_generations(store: Path) -> None:
    """Delete all generations but the live one, and incomplete ones, as in `discard_others`."""
    try:
        live = current_version(store)[0]
    except (StoreMissing, StoreCorrupt):
        live = ""
    for path in list_folder(store / GENERATIONS):
        if path.is_symlink() or not path.is_dir():
            continue
        if PARTIAL.fullmatch(path.name):
            shutil.rmtree(path, ignore_errors=True)
        elif live and path.name != live and is_generation(path):
            discard(path)


def discard_segments(store: Path) -> None:
    """Delete the segments that no generation references, and incomplete ones."""
    referenced: set[str] = set()
    for path in list_folder(store / GENERATIONS):
        if is_generation(path):
            try:
                manifest = Manifest.from_json(read_at_most(path / FILE_NAME, MAX_BYTES))
            except (OSError, StoreError):
                return  # a damaged manifest may reference any of them
            referenced.update(segment.name for segment in manifest.segments)
    folder = store / SEGMENTS
    obsolete = [segment_path(folder, name) for name in set(segments_in(folder)) - referenced]
    obsolete += [path for path in list_folder(folder) if PARTIAL_SEGMENT.fullmatch(path.name)]
    for path in obsolete:
        with suppress(OSError):
            path.unlink()


def list_folder(folder: Path) -> list[Path]:
    """Contents of a folder; empty if it is not a folder or cannot be read."""
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def is_generation(folder: Path) -> bool:
    """Whether a build has created and completed this folder."""
    return NAME.fullmatch(folder.name) is not None and os.path.lexists(folder / FILE_NAME)


def discard(generation: Path) -> None:
    """Delete a generation, unless a reader is just opening it."""
    try:
        handle = os.open(generation, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Rename first: if this process is killed halfway, the rest is recognised as incomplete.
        renamed = generation.rename(generation.with_name(f".{generation.name}"))
        shutil.rmtree(renamed, ignore_errors=True)
    except OSError:
        pass
    finally:
        os.close(handle)
