"""Read new and changed photos of a store's folders, and compare with the previous state."""

from __future__ import annotations

from collections.abc import Sequence

from extractor import Extractor, same_name

from ..errors import NothingToIndex
from ..extraction import Spread, extract_all, side_by_side
from ..global_artifacts import Progress
from ..parameters import ExtractionSpec
from ..storage.catalogue import Entry, Skipped
from ..storage.extraction_cache import ExtractionCache, kept_exactly
from ..storage.publish import Content
from .difference import Difference, difference, folders_of
from .removal import KnownPhotos, followed, still_removed
from .scan import UNREADABLE, Listing
from .sources import Sources

REMOVED = "Removed from the store. `python -m index_store add` takes it in again."
SAME_REMOVED = "Its content was removed from the store; `python -m index_store add` takes it in."


def read_folders(
    sources: Sources,
    listing: Listing,
    known_photos: KnownPhotos,
    cache: ExtractionCache,
    extractor: Extractor,
    spec: ExtractionSpec,
    progress: Progress,
    recheck: bool = False,
    spread: Spread = side_by_side,
) -> Content:
    """Bring all photos of folders into the cache. Files that look unchanged are not read again.

    Args:
        sources: the indexed folders and settings.
        listing: current listing of the folders.
        known_photos: the store's previous photos.
        cache: receives the extracted data.
        extractor: extractor that describes the photos.
        spec: parameters of the extraction.
        progress: see `build`.
        recheck: see `build`.
        spread: see `build`.

    Raises:
        NothingToIndex: no photo can be read.
    """
    # Without damaged ones.
    before = [entry for entry in known_photos.before if entry.sha256 in cache]
    removed = {same_name(row.file) for row in known_photos.removed}
    stamps = dict(zip(listing.files, listing.stamps))
    kept_out = {file for file in stamps if same_name(file) in removed} if removed else set()
    photos = [
        entry
        for entry in before
        if not recheck
        and stamps.get(entry.file) == entry.stamp != UNREADABLE
        and entry.file not in kept_out
    ]
    unchanged = {entry.file for entry in photos}
    unread = [file for file in stamps if file not in unchanged and file not in kept_out]
    indexed, unusable = extract_all(
        sources.roots,
        unread,
        extractor,
        cache,
        lambda items: progress(items, len(unread), "photos"),
        kept_exactly(len(listing.files)),
        "decode" in spec.extraction,
        spread,
        known_photos.withheld,
    )
    closed = tuple(entry.file for entry in listing.unreadable)
    found_again = still_removed(known_photos, before, indexed, stamps, closed)
    photos += [
        Entry(file, sha256, stamps[file])
        for file, sha256 in indexed.items()
        if file not in found_again
    ]
    kept_entries = [entry for entry in before if entry.file.startswith(closed)] if closed else []
    photos += kept_entries
    if not photos:
        reason = f": {unusable[0].reason}" if unusable else "."
        raise NothingToIndex(
            f"No photo in {sources.roots} can be read; files tried: {len(listing.files)}{reason}"
        )
    skipped = [
        *unusable,
        *listing.foreign,
        *listing.excluded,
        *(count_kept(entry, kept_entries) for entry in listing.unreadable),
        *(Skipped(file, REMOVED) for file in sorted(kept_out)),
        *(Skipped(file, SAME_REMOVED) for file in sorted(found_again)),
    ]
    rows = followed(known_photos.removed, {file: indexed[file] for file in found_again}, kept_out)
    return Content(sources, listing.digest, sorted(photos), skipped, rows, listing.about, spec)


def what_changed(before: Sequence[Entry], listing: Listing, content: Content) -> Difference:
    """The difference between a new generation's photos and the previous ones."""
    removed_files = {row.file for row in content.removed}
    excluded_files = [entry.file for entry in listing.excluded]
    return difference(
        [entry for entry in before if entry.file not in removed_files],
        content.photos,
        [entry.file for entry in content.skipped],
        lambda file: not set(folders_of(file)).isdisjoint(excluded_files),
    )


def count_kept(folder: Skipped, unchanged: list[Entry]) -> Skipped:
    """The entry of an unreadable folder, with the number of its photos that are kept."""
    count = sum(entry.file.startswith(folder.file) for entry in unchanged)
    if not count:
        return folder
    return Skipped(folder.file, f"{folder.reason} Photos indexed before are kept: {count}.")
