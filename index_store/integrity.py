"""All bytes of a generation against their checksums.

Opening a store does not wait for this. A server does it beside its visitors, once for each
generation; `python -m index_store info --verify` does it on request. What is found is written down
in STORE/damaged, so that the next opening refuses the generation by name, and the next build makes
anew what is damaged.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from extractor import read_at_most

from .errors import StoreCorrupt, StoreError
from .generation import DAMAGED, GENERATIONS, SEGMENTS, current_version
from .manifest import verify_artefact
from .segment import verify_segment

if TYPE_CHECKING:
    from .store import Store

MAX_NOTE_BYTES = 10_000


def verify(
    store: Store, progress: Callable[[Iterable, int], Iterable] = lambda items, total: items
) -> None:
    """Read a generation as a whole and compare it with its checksums.

    Nothing is compared any more once a build has replaced the generation.

    Args:
        store: The opened generation.
        progress: Called once as progress(items, total); must yield the items, one a file.

    Raises:
        StoreCorrupt: Names the first file that differs.
    """
    manifest = store.manifest
    names = [*sorted(manifest.artefacts), *(segment.name for segment in manifest.segments)]
    for name in progress(names, len(names)):
        try:
            if name in manifest.artefacts:
                verify_artefact(store.path / GENERATIONS / store.generation, manifest, name)
            else:
                verify_segment(store.path / SEGMENTS, name)
        except (StoreCorrupt, FileNotFoundError) as error:
            if not is_live(store):
                return
            if isinstance(error, FileNotFoundError):
                error = StoreCorrupt(f"{name} is missing from the store. Build it again.")
            with suppress(OSError):
                leave_note(store.path, f"{store.manifest_sha256}\n{error}\n")
            raise error from None


def leave_note(path: Path, text: str) -> None:
    """Write STORE/damaged; whatever stood in its place is neither followed nor waited for."""
    note = path / f".{DAMAGED}-{os.getpid()}"
    note.unlink(missing_ok=True)
    with open(note, "x") as file:
        file.write(text)
    note.replace(path / DAMAGED)


def is_live(store: Store) -> bool:
    """Whether a generation is still the one that CURRENT names."""
    with suppress(StoreError):
        return current_version(store.path)[1] == store.manifest_sha256
    return False


def check_note(path: Path, manifest_sha256: str) -> None:
    """Raise StoreCorrupt if a verification has found damage in this generation.

    Args:
        path: The store's folder.
        manifest_sha256: Of the generation.
    """
    try:
        note = read_at_most(path / DAMAGED, MAX_NOTE_BYTES).decode(errors="replace")
    except OSError:
        return
    version, _, message = note.partition("\n")
    if version == manifest_sha256:
        raise StoreCorrupt(message.strip() or "The store is damaged. Build it again.")
