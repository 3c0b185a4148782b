"""A store that lives: photos are added and removed without making everything anew."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from extractor import Extractor

from .builder import REMOVED, build, folder_of, read_folder
from .catalogue import Entry, Skipped
from .compaction import joined
from .derived import Derived, Progress, derive, silent
from .errors import NothingToIndex, StoreMismatch, UnknownPhoto
from .extraction import extract_all
from .generation import SEGMENTS
from .incremental import derive_changed, is_small, moves
from .journal import digest
from .manifest import Manifest
from .parameters import (
    comparisons_of,
    index_parameters,
    is_compared,
    is_reusable,
    making_in,
    making_of,
)
from .publish import Content, changing, replace, tidy, to_change
from .rows import Rows
from .scan import Listing, describe_file, scan, why_not
from .stock import SEGMENT, Stock, kept_exactly
from .store import Store

MANY = 64  # small segments: each is an open file, so that more of them are joined at once


def update(store: str | Path, extractor: Extractor, progress: Progress = silent) -> Manifest:
    """Bring a store up to date with its folder. Only files that look new or changed are read.

    Args:
        store: The store's folder.
        extractor: Describes the photos.
        progress: As of `build`.

    Raises:
        StoreMissing, StoreCorrupt, StoreMismatch: As `Store`.
        NothingToIndex, StoreBusy, StoreUnwritable: As `build`.
    """
    store = Path(store)
    manifest, listing, current = compare(store)
    if current:
        tidy(store)
        return manifest
    root, as_stored = Path(manifest.photos_root), "decode" in manifest.parameters
    making = making_of(extractor, as_stored)
    if making.fingerprint == manifest.fingerprint and not is_reusable(manifest, making):
        return build(root, store, extractor, progress, as_stored)
    with (
        changing(store),
        Store(store, extractor, embedded=True) as live,
        closing(stock_of(live)) as stock,
    ):
        content = read_folder(
            root, listing, live, stock, extractor, making, progress, live.as_stored
        )
        return follow(live, content, stock, progress)


def compare(store: Path) -> tuple[Manifest, Listing, bool]:
    """A store's manifest, what is in its folder now, and whether the store says just that.

    Raises as `update`.
    """
    with Store(store, embedded=True) as live:
        listing = scan(live.root)
        current = live.manifest.listing == listing.digest and not live.is_damaged
        return live.manifest, listing, current


def add(
    photos: Sequence[str | Path],
    store: str | Path,
    extractor: Extractor,
    progress: Progress = silent,
) -> Manifest:
    """Take photos into a store. One that was removed comes back, one that has changed is read anew.

    Args:
        photos: Files and folders, inside of the folder that the store holds.
        store: The store's folder.
        extractor: Describes them, as the store's photos were described.
        progress: As of `build`.

    Raises:
        NothingToIndex: One of them is no photo inside of the store's folder.
        StoreMissing, StoreCorrupt, StoreMismatch: As `Store`.
        StoreBusy, StoreUnwritable: As `build`.
    """
    store = Path(store)
    with to_change(store, extractor) as live, closing(stock_of(live)) as stock:
        if not is_reusable(live.manifest, making_of(extractor, live.as_stored)):
            raise StoreMismatch(
                f"The photos in {store} were described in another way than these would be. "
                "Build it again."
            )
        files = sorted({file for path in photos for file in files_of(live.root, path)})
        stamps = {file: describe_file(f"{live.root}/{file}") for file in files}
        indexed, unusable = extract_all(
            live.root,
            files,
            extractor,
            stock,
            lambda items: progress(items, len(files), "photos"),
            kept_exactly(len(live) + len(files)),
            live.as_stored,
        )
        others = [entry for entry in live.catalogue.entries() if entry.file not in stamps]
        came = [Entry(file, sha256, stamps[file]) for file, sha256 in indexed.items()]
        if not came and unusable:
            raise NothingToIndex(f"{unusable[0].file} cannot be read: {unusable[0].reason}")
        content = Content(
            root=live.root,
            listing="",
            photos=sorted(others + came),
            skipped=[s for s in live.catalogue.skipped() if s.file not in stamps] + unusable,
            removed=[file for file in live.catalogue.removed() if file not in stamps],
            making=making_in(live.manifest),
        )
        return follow(live, content, stock, progress)


def files_of(root: Path, path: str | Path) -> list[str]:
    """The photos that a name means, relative to `root`. Raises NothingToIndex if it means none."""
    place = Path(path).expanduser()
    folder = folder_of(place if place.is_dir() else place.parent)
    inside = folder if place.is_dir() else folder / place.name
    if not inside.is_relative_to(root):
        raise NothingToIndex(f"{path} is not in {root}, whose photos this store holds.")
    file = inside.relative_to(root).as_posix()
    if any(part.startswith(".") for part in Path(file).parts):
        raise NothingToIndex(f"{path} is hidden; hidden photos are not indexed.")
    if place.is_dir():
        prefix = "" if file == "." else f"{file}/"
        return [prefix + name for name in scan(inside).files]
    if not os.path.lexists(inside):
        raise NothingToIndex(f"There is no photo {path}.")
    reason = why_not(root, file)
    if reason is not None:
        raise NothingToIndex(f"{path} is not indexed. {reason}".strip())
    return [file]


def remove(files: Sequence[str], store: str | Path, progress: Progress = silent) -> Manifest:
    """Take photos out of a store. No build or update brings them back, only `add` does.

    They are in no answer from now on. Their bytes lie on the disk until `compact`.

    Args:
        files: Paths relative to the store's folder, as results show them.
        store: The store's folder.
        progress: As of `build`.

    Raises:
        UnknownPhoto: One of them is not in the store; then none is removed.
        NothingToIndex: They are all photos that the store holds.
        StoreMissing, StoreCorrupt, StoreMismatch: As `Store`.
        StoreBusy, StoreUnwritable: As `build`.
    """
    store, gone = Path(store), set(files)
    with to_change(store) as live, closing(stock_of(live)) as stock:
        entries = live.catalogue.entries()
        unknown = gone - {entry.file for entry in entries}
        if unknown:
            raise UnknownPhoto(f"There is no photo {min(unknown)} in {store}.")
        left = [entry for entry in entries if entry.file not in gone]
        if not left:
            raise NothingToIndex("These are all photos of the store. Delete its folder instead.")
        content = Content(
            root=live.root,
            listing=live.manifest.listing,
            photos=left,
            skipped=live.catalogue.skipped() + [Skipped(file, REMOVED) for file in sorted(gone)],
            removed=sorted(gone.union(live.catalogue.removed())),
            making=making_in(live.manifest),
        )
        return follow(live, content, stock, progress)


def stock_of(live: Store) -> Stock:
    """The stock of a store that is built on. The caller holds `writing`."""
    making = making_in(live.manifest)
    return Stock(live.path, making.facts, making.dim, live.whole_segments)


def follow(live: Store, content: Content, stock: Stock, progress: Progress) -> Manifest:
    """Replace a generation by one that holds other photos, made from it if little has changed."""
    before = [entry.sha256 for entry in live.catalogue.entries()]
    after = [entry.sha256 for entry in content.photos]
    moved = moves(before, after)
    rows: Rows = stock.finish(after)
    if len(rows.segments) - len(rows) // SEGMENT > MANY:
        folder, fingerprint = live.path / SEGMENTS, digest(content.making.facts)
        rows = joined(rows, folder, fingerprint, drop_unused=False)

    comparisons = comparisons_of(live.path, content.making) if is_compared(live.manifest) else None

    def derived(rows: Rows) -> Derived:
        if before == after:
            return Derived.of(live)
        if is_small(live, moved):
            return derive_changed(live, moved, rows, comparisons, progress)
        parameters = index_parameters(len(rows), content.making.dim, None, live.manifest)
        return derive(rows, parameters, comparisons, progress)

    return replace(live.path, content, rows, derived)
