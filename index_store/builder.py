"""Folder of photos -> store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from extractor import Extractor

from .catalogue import Entry, Skipped
from .derived import Progress, derive, silent
from .errors import NothingToIndex, StoreError
from .extraction import Spread, extract_all, side_by_side
from .keypoint_form import form_for
from .manifest import Drift, Manifest
from .parameters import (
    Making,
    comparisons_of,
    derived_parameters,
    index_parameters,
    is_compared,
    is_reusable,
    making_of,
)
from .publish import Content, changing, replace, tidy
from .scan import UNREADABLE, Listing, scan
from .stock import Stock, kept_exactly
from .store import Store

CANDIDATES = 1000  # candidates the index proposes to a query, rescored exactly
REMOVED = "Removed from the store. `python -m index_store add` takes it in again."


def build(
    photos: str | Path,
    store: str | Path,
    extractor: Extractor,
    progress: Progress = silent,
    as_stored: bool = False,
    index: str | None = None,
    spread: Spread = side_by_side,
    matching: bool | None = None,
) -> Manifest:
    """Index all photos under a folder; the store's live generation is replaced at the very end.

    Unusable files are left out with their reason. A killed build goes on where it was. What is in
    the store of a photo is not made again. If nothing has changed at all, the generation stays.

    Args:
        photos: The folder, searched with its sub-folders.
        store: The store's folder, made if it is missing.
        extractor: Describes the photos.
        progress: Called as progress(items, total, what) for each long stage; must yield the items.
        as_stored: Decode the photos as published code does, see `decode`. The manifest records it.
        index: A name of `presets.PRESETS`; None for what the store has, or the first.
        spread: Has the photos read and described: here, or `cluster.on_cluster`.
        matching: Whether photos are compared with each other, see `matching_graph`; None for as
            before, or yes.

    Raises:
        NothingToIndex: There is no such folder, or no photo in it can be read.
        StoreBusy: Another build is writing this store.
        StoreUnwritable: The disk is full, or the store's folder may not be written.
    """
    store, root = Path(store), folder_of(photos)
    listing = scan(root)
    making = making_of(extractor, as_stored)
    with live_store(store, extractor) as live:
        if live is not None and is_up_to_date(live, root, listing, making, index, matching):
            tidy(store)
            return live.manifest
    # Opened again under the lock: another build may have ended in this moment.
    with changing(store), live_store(store, extractor) as live:
        reusable = live if live is not None and is_reusable(live.manifest, making) else None
        segments = [] if reusable is None else reusable.whole_segments
        with closing(Stock(store, making.facts, making.dim, segments)) as stock:
            content = read_folder(
                root, listing, reusable, stock, extractor, making, progress, as_stored, spread
            )
            rows = stock.finish([entry.sha256 for entry in content.photos])
            before = None if live is None else live.manifest
            parameters = index_parameters(len(rows), making.dim, index, before)
            compared = is_compared(before) if matching is None else matching
            known = comparisons_of(store, making) if compared else None
            return replace(
                store, content, rows, lambda rows: derive(rows, parameters, known, progress)
            )


def folder_of(photos: str | Path) -> Path:
    """The whole path of a folder. Raises NothingToIndex if nothing is there."""
    try:
        return Path(photos).expanduser().resolve(strict=True)
    except (OSError, RuntimeError):  # nothing there, no such user, or links in a circle
        raise NothingToIndex(f"There is no folder {photos}.") from None


@contextmanager
def live_store(store: Path, extractor: Extractor) -> Iterator[Store | None]:
    """The store as it is, to build on; None if it is new, damaged or of another model."""
    live = None
    with suppress(StoreError):
        live = Store(store, extractor, embedded=True)
    try:
        yield live
    finally:
        if live is not None:
            live.close()


def is_up_to_date(
    live: Store,
    root: Path,
    listing: Listing,
    making: Making,
    index: str | None,
    matching: bool | None,
) -> bool:
    """Whether a build would give what is there already."""
    manifest = live.manifest
    same_photos = manifest.photos_root == str(root) and manifest.listing == listing.digest
    chosen = index_parameters(manifest.photos, manifest.dim, index, manifest)
    compared = is_compared(manifest) if matching is None else matching
    derived = derived_parameters(chosen, form_for(manifest.photos), compared)
    parameters = {**derived, **making.extraction}
    same_making = manifest.parameters == parameters and manifest.drift == Drift()
    return same_photos and same_making and not live.is_damaged


def read_folder(
    root: Path,
    listing: Listing,
    live: Store | None,
    stock: Stock,
    extractor: Extractor,
    making: Making,
    progress: Progress,
    as_stored: bool,
    spread: Spread = side_by_side,
) -> Content:
    """Bring all photos of a folder into the stock. Files that look unchanged are not read again.

    Args:
        root: The indexed folder.
        listing: What is in it.
        live: What may be built on, or None.
        stock: Takes what is made of the photos.
        extractor: Describes them.
        making: How.
        progress: As of `build`.
        as_stored: As of `build`.
        spread: As of `build`.

    Raises:
        NothingToIndex: No photo can be read.
    """
    before = [] if live is None or live.root != root else live.catalogue.entries()
    before = [entry for entry in before if entry.sha256 in stock]  # but for what is damaged
    removed = set() if live is None or live.root != root else set(live.catalogue.removed())
    stamps = dict(zip(listing.files, listing.stamps))
    photos = [
        entry
        for entry in before
        if stamps.get(entry.file) == entry.stamp != UNREADABLE and entry.file not in removed
    ]
    known = {entry.file for entry in photos}
    unread = [file for file in listing.files if file not in known and file not in removed]
    indexed, unusable = extract_all(
        root,
        unread,
        extractor,
        stock,
        lambda items: progress(items, len(unread), "photos"),
        kept_exactly(len(listing.files)),
        as_stored,
        spread,
    )
    photos += [Entry(file, sha256, stamps[file]) for file, sha256 in indexed.items()]
    closed = tuple(entry.file for entry in listing.unreadable)
    kept = [entry for entry in before if entry.file.startswith(closed)]
    photos += kept
    if not photos:
        reason = f": {unusable[0].reason}" if unusable else "."
        raise NothingToIndex(
            f"No photo in {root} can be read; files tried: {len(listing.files)}{reason}"
        )
    skipped = [
        *unusable,
        *listing.foreign,
        *(count_kept(entry, kept) for entry in listing.unreadable),
        *(Skipped(file, REMOVED) for file in sorted(removed) if file in stamps),
    ]
    return Content(root, listing.digest, sorted(photos), skipped, sorted(removed), making)


def count_kept(folder: Skipped, kept: list[Entry]) -> Skipped:
    """An unreadable folder's entry that also says how many photos in it are kept."""
    count = sum(entry.file.startswith(folder.file) for entry in kept)
    if not count:
        return folder
    return Skipped(folder.file, f"{folder.reason} Photos indexed before are kept: {count}.")
