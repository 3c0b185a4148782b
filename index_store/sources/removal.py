"""Removed photos stay removed: by name, and by content wherever it appears.

Both are kept with the store through renames, moves, other folders, other models and other versions
of this program, until the photo is added again by name.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from extractor import read_at_most, same_name

from ..errors import StoreError
from ..storage.catalogue import Entry, Removed
from ..storage.generation import GENERATIONS, current_version
from ..storage.manifest import FILE_NAME, MAX_BYTES
from ..store import Store
from .sources import Roots, Sources, printed

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class KnownPhotos:
    """A store's previous photos, by the names that the files have in the current folders.

    Attributes:
        before: its photos; empty if it cannot be built on. Absolute paths as names are outside all
            current folders.
        removed: photos that were removed from it.
    """

    before: list[Entry]
    removed: list[Removed]

    @property
    def withheld(self) -> frozenset[str]:
        """SHA-256 of removed contents that the store does not hold under another name."""
        held = {entry.sha256 for entry in self.before}
        return frozenset(row.sha256 for row in self.removed if row.sha256) - held


def known_before(store: Path, sources: Sources, live: Store | None) -> KnownPhotos:
    """A store's previous photos and removals.

    Args:
        store: folder of the store.
        sources: the current folders.
        live: the store, if it can be built on.
    """
    if live is None:
        former_roots, removed = removed_in(store)
        before = []
    else:
        former_roots, removed = live.roots, live.catalogue.removed()
        before = live.catalogue.entries()
    new = sources.roots
    if former_roots is not None and former_roots != new:
        before = [entry._replace(file=renamed(entry.file, former_roots, new)) for entry in before]
        removed = [row._replace(file=renamed(row.file, former_roots, new)) for row in removed]
    return KnownPhotos(before, removed)


def renamed(file: str, old: Roots, new: Roots) -> str:
    """The name in the new folders of a file in the old ones; its path if it is in none of them."""
    path = Path(file) if os.path.isabs(file) else old / file
    return new.file_of(path) or printed(str(path))


def names_in(folder: Path, roots: Roots | None, photos: Sequence[Removed | Entry]) -> set[str]:
    """Names of a store's photos relative to one of its folders.

    Args:
        folder: the folder.
        roots: see `removed_in`.
        photos: photos by their names in the store.
    """
    found: set[str] = set()
    if roots is None:
        return found
    whole, inside = Roots({"": Path("/")}), Roots({"": folder.absolute()})
    for row in photos:
        path = Path("/") / renamed(row.file, roots, whole)
        if name := inside.file_of(path):
            found.add(name)
    return found


def removed_in(store: Path) -> tuple[Roots | None, list[Removed]]:
    """Read the removals of a store even if it is damaged, or of another version or model.

    Returns:
        Its folders, None if unknown, and its removed photos.
    """
    try:
        folder = store / GENERATIONS / current_version(store)[0]
    except StoreError:
        return None, []
    roots = None
    with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        facts = json.loads(read_at_most(folder / FILE_NAME, MAX_BYTES))
        # Schemas up to 8 had one folder.
        named = facts["sources"]["folders"] if "sources" in facts else [facts["photos_root"]]
        roots = Roots.of([Path(name) for name in named])
    path = folder / "catalogue.sqlite"
    try:
        uri = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
        with closing(sqlite3.connect(uri, uri=True)) as db:
            # Schemas up to 8 had names only.
            rows = [(*row, "")[:2] for row in db.execute("SELECT * FROM removed")]
    except sqlite3.Error as error:
        log.warning("What was removed from %s is not known any more (%s).", store, error)
        return roots, []
    return roots, [Removed(str(file), str(sha256)) for file, sha256 in rows]


def still_removed(
    known_photos: KnownPhotos,
    before: Sequence[Entry],
    indexed: Mapping[str, str],
    present: Collection[str],
    closed: tuple[str, ...],
) -> set[str]:
    """Files with removed content that are not photos of the store.

    Two photos may have the same content, and only one of them was removed. The other one is kept
    where it was, or, if it is no longer there, where its content is found first.

    Args:
        known_photos: output of `known_before`.
        before: its photos that can be built on.
        indexed: SHA-256 of the files that were read.
        present: names of all existing files.
        closed: prefixes of the names in folders that cannot be listed.
    """
    contents = {row.sha256 for row in known_photos.removed if row.sha256}
    held = {entry.file: entry.sha256 for entry in before}
    suspects = [
        file for file, sha256 in indexed.items() if sha256 in contents and held.get(file) != sha256
    ]
    remaining = Counter(
        entry.sha256
        for entry in before
        if entry.file not in present and not (closed and entry.file.startswith(closed))
    )
    moved: set[str] = set()
    for file in suspects:
        if remaining[indexed[file]] > 0:
            remaining[indexed[file]] -= 1
            moved.add(file)
    return set(suspects) - moved


def followed(
    removed: Sequence[Removed], found: Mapping[str, str], kept_out: Collection[str]
) -> list[Removed]:
    """The removals under their current names.

    Args:
        removed: removals under their previous names.
        found: SHA-256 of files in which removed content was found.
        kept_out: files that still have the previous names.
    """
    contents = set(found.values())
    present = {same_name(file) for file in kept_out}
    unmoved = [
        row for row in removed if row.sha256 not in contents or same_name(row.file) in present
    ]
    return sorted([*unmoved, *(Removed(file, sha256) for file, sha256 in found.items())])


def added_again(
    removed: Sequence[Removed], added: Mapping[str, str], roots: Roots
) -> list[Removed]:
    """The remaining removals after photos were added by name.

    Args:
        removed: previous removals.
        added: SHA-256 of each added file.
        roots: the store's folders.
    """
    names, contents = {same_name(file) for file in added}, set(added.values())
    return [
        row
        for row in removed
        if same_name(row.file) not in names
        and (row.sha256 not in contents or is_there(row.file, roots))
    ]


def is_there(file: str, roots: Roots) -> bool:
    """Whether there is still a file at a removed photo's path."""
    return os.path.lexists(file if os.path.isabs(file) else roots / file)
