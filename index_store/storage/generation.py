"""Generations: a store is changed beside the live one and switched to in one rename.

    STORE/CURRENT              name of the live generation and the SHA-256 of its manifest
    STORE/generations/000001/  its manifest, and what is made of all its photos together
    STORE/segments/            what is made of each photo, shared by the generations
    STORE/damaged              what the last verification has found, if it has found anything
    STORE/lock                 held by the one build that may write

Readers never see half a generation: files are written under a dotted name, synced, renamed, and
only then named in CURRENT. A reader holds a shared lock on the generation's folder while it opens
the files in it, and nobody deletes a folder that is held. After that it needs the names no more:
what is open or memory-mapped outlives its name.
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

from ..errors import StoreBusy, StoreCorrupt, StoreError, StoreMissing
from .manifest import FILE_NAME, MAX_BYTES, Manifest, read_manifest
from .segment import PARTIAL as PARTIAL_SEGMENT
from .segment import segment_path, segments_in, sync

CURRENT = "CURRENT"
GENERATIONS = "generations"
SEGMENTS = "segments"
DAMAGED = "damaged"
NAME = re.compile("[0-9]{6,}")
PARTIAL = re.compile(r"\.[0-9]{6,}")  # being written, or being deleted
POINTER = re.compile("([0-9]{6,}) ([0-9a-f]{64})\n?")
MAX_POINTER_BYTES = 1000


@dataclass(frozen=True)
class Generation:
    """A generation whose files cannot be deleted at the moment.

    Attributes:
        folder: Where its files are.
        manifest: What it was made from and with.
        version: SHA-256 of the manifest file: another one after each build.
    """

    folder: Path
    manifest: Manifest
    version: str


@contextmanager
def writing(store: Path) -> Iterator[None]:
    """Hold the store's write lock; it is released even when the process is killed.

    Raises:
        StoreBusy: Another build holds it.
        OSError: The folder cannot be written.
    """
    store.mkdir(parents=True, exist_ok=True)
    # Whatever stands in the lock's place is neither followed, nor emptied, nor waited for.
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
    """What CURRENT says; cheap enough to be asked with every query.

    Returns:
        The name of the live generation, and the SHA-256 of its manifest.

    Raises:
        StoreMissing: There is no store.
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
        raise StoreCorrupt(
            f"{CURRENT} cannot be read ({error.strerror}). Build the store again."
        ) from None
    except UnicodeDecodeError:
        text = ""
    found = POINTER.fullmatch(text)
    if found is None:
        raise StoreCorrupt(f"{CURRENT} is damaged. Build the store again.")
    return found[1], found[2]


@contextmanager
def opening(store: Path) -> Iterator[Generation]:
    """The live generation, which stays on the disk until the `with` block ends.

    Raises:
        StoreMissing: There is no store.
        StoreMismatch: The store was written by another version of this program.
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
        The open handle of the folder, which holds the lock, and what `current_version` says.

    Raises:
        StoreMissing, StoreCorrupt: As `opening`.
    """
    while True:
        name, version = current_version(store)
        try:
            handle = os.open(store / GENERATIONS / name, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            if current_version(store) != (name, version):
                continue  # a build has switched in this moment
            raise StoreCorrupt(
                f"Generation {name} cannot be read ({error.strerror}). Build the store again."
            ) from None
        try:
            fcntl.flock(handle, fcntl.LOCK_SH)
            # Only what CURRENT does not name is ever deleted: from here on the folder is safe.
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
    taken = (p.name.removeprefix(".") for p in generations.iterdir())
    numbers = [int(name) for name in taken if NAME.fullmatch(name)]
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
    pointer.unlink(missing_ok=True)  # never written through: it may be a link
    pointer.write_text(f"{name} {version}\n")
    sync(pointer)
    if current.is_dir() and not current.is_symlink():  # nobody's here; moved out of the way
        current.rename(store / f"{CURRENT}-{name}.damaged")
    pointer.replace(current)
    sync(store)
    with suppress(OSError):
        (store / DAMAGED).unlink(missing_ok=True)  # it spoke of another generation


def discard_others(store: Path) -> None:
    """Delete what builds have left: generations but the live one, and segments nobody names.

    What a reader is just opening, and what cannot be deleted, stays until the next build. Files
    and folders that no build has made are left alone. The caller holds `writing(store)`.
    """
    discard_generations(store)
    with suppress(StoreError):
        current_version(store)  # without one, a build may yet go on with its segments
        discard_segments(store)


def discard_generations(store: Path) -> None:
    """Delete all generations but the live one, and unfinished ones, as `discard_others`."""
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
    """Delete the segments that no generation names, and unfinished ones."""
    named: set[str] = set()
    for path in list_folder(store / GENERATIONS):
        if is_generation(path):
            try:
                manifest = Manifest.from_json(read_at_most(path / FILE_NAME, MAX_BYTES))
            except (OSError, StoreError):
                return  # a damaged manifest may have named any of them
            named.update(segment.name for segment in manifest.segments)
    folder = store / SEGMENTS
    doomed = [segment_path(folder, name) for name in set(segments_in(folder)) - named]
    doomed += [path for path in list_folder(folder) if PARTIAL_SEGMENT.fullmatch(path.name)]
    for path in doomed:
        with suppress(OSError):
            path.unlink()


def list_folder(folder: Path) -> list[Path]:
    """What is in a folder; nothing if it is none or cannot be read."""
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def is_generation(folder: Path) -> bool:
    """Whether a build has made this folder and completed it."""
    return NAME.fullmatch(folder.name) is not None and os.path.lexists(folder / FILE_NAME)


def discard(generation: Path) -> None:
    """Delete a generation unless a reader is just opening it."""
    try:
        handle = os.open(generation, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Under the name of an unfinished one it is recognised if this is killed halfway.
        doomed = generation.rename(generation.with_name(f".{generation.name}"))
        shutil.rmtree(doomed, ignore_errors=True)
    except OSError:
        pass
    finally:
        os.close(handle)
