"""Verification of all bytes of a generation against their checksums.

Opening a store does not wait for this. A server runs it in the background, once per generation;
`python -m index_store info --verify` runs it on request. The findings are saved in STORE/damaged.
If only a few photos are damaged, the store opens without them from then on; otherwise it refuses to
open and names the damaged file. The next build recomputes damaged data.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from extractor import read_at_most
from plurals import quantity

from ..errors import PhotosDamaged, StoreCorrupt, StoreError
from .generation import DAMAGED, GENERATIONS, SEGMENTS, current_version
from .manifest import verify_artefact
from .segment import SUFFIX, Segment, differs, is_whole

if TYPE_CHECKING:
    from ..store import Store

MAX_NOTE_BYTES = 10_000
MAX_PHOTOS = 500  # maximum damaged photos; beyond that, the generation is not trusted at all
NAMED = 3  # damaged files named in a message
SLOT = re.compile("[0-9]{1,12}")


def verify(
    store: Store, progress: Callable[[Iterable, int], Iterable] = lambda items, total: items
) -> None:
    """Read a whole generation and compare it with its checksums.

    Findings are ignored once a build has replaced the generation.

    Args:
        store: the open generation.
        progress: called once as progress(items, total); must yield the items, one per file.

    Raises:
        PhotosDamaged: only the stored data of some photos is damaged.
        StoreCorrupt: names the first file without which nothing can be served.
    """
    try:
        damaged = damaged_slots(store, progress)
    except (StoreCorrupt, FileNotFoundError) as error:
        if not is_live(store):
            return
        if isinstance(error, FileNotFoundError):
            error = StoreCorrupt(f"{Path(error.filename).name} is missing. Build the store again.")
        note_damage(store, str(error))
        raise error from None
    if damaged and is_live(store):
        slots = [slot for found in damaged.values() for slot in found]
        files = ", ".join(f"{name}{SUFFIX}" for name in list(damaged)[:NAMED])
        others = (
            f" and {quantity(len(damaged) - NAMED, 'more file')}" if len(damaged) > NAMED else ""
        )
        message = (
            f"Photos differ from their checksums and are not served: {len(slots)}, in "
            f"{files}{others}. Build the store again."
        )
        ids = np.flatnonzero(np.isin(store.rows.slots, slots)).tolist()
        if len(ids) == len(store):
            note_damage(store, message)
            raise StoreCorrupt(message)
        note_damage(store, message, slots)
        raise PhotosDamaged(message, ids)


def damaged_slots(
    store: Store, progress: Callable[[Iterable, int], Iterable]
) -> dict[str, list[int]]:
    """Slots of the photos that differ from their checksums, by the names of their segments.

    Raises:
        StoreCorrupt: an artefact is damaged, or a segment in more than a few photos.
        FileNotFoundError: a file is missing.
    """
    folder, artefacts = store.path / SEGMENTS, sorted(store.manifest.artefacts)
    names = [*artefacts, *(segment.name for segment in store.manifest.segments)]
    damaged: dict[str, list[int]] = {}
    for position, name in enumerate(progress(names, len(names)), -len(artefacts)):
        if position < 0:
            generation = store.path / GENERATIONS / store.generation
            verify_artefact(generation, store.manifest, name)
        elif not is_whole(folder, name):
            rows = Segment(folder, name).damaged()
            first = int(store.rows.starts[position])
            damaged[name] = [first + row for row in rows]
            if not rows or sum(map(len, damaged.values())) > MAX_PHOTOS:
                raise differs(name)
    return damaged


def note_damage(store: Store, message: str, slots: Iterable[int] = ()) -> None:
    """Write STORE/damaged, replacing whatever is at its path without following or opening it."""
    note_path = store.path / f".{DAMAGED}-{os.getpid()}"
    with suppress(OSError):
        note_path.unlink(missing_ok=True)
        with open(note_path, "x") as file:
            file.write("\n".join([store.manifest_sha256, message, *map(str, slots)]))
        note_path.replace(store.path / DAMAGED)


def is_live(store: Store) -> bool:
    """Whether CURRENT still names this generation."""
    with suppress(StoreError):
        return current_version(store.path)[1] == store.manifest_sha256
    return False


def read_damage(path: Path, manifest_sha256: str) -> np.ndarray:
    """Findings of the last verification of a generation.

    Args:
        path: folder of the store.
        manifest_sha256: SHA-256 of the generation's manifest.

    Returns:
        Slots of the damaged photos, int64 (n,).

    Raises:
        StoreCorrupt: more than single photos was damaged.
    """
    try:
        text = read_at_most(path / DAMAGED, MAX_NOTE_BYTES).decode(errors="replace")
    except OSError:
        return np.empty(0, np.int64)
    version, _, found = text.partition("\n")
    message, *slots = found.strip().split("\n")
    if version != manifest_sha256:
        return np.empty(0, np.int64)
    if not slots or not all(map(SLOT.fullmatch, slots)):
        raise StoreCorrupt(message or "The store is damaged. Build it again.")
    return np.array(slots, np.int64)
