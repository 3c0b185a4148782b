"""Folder of photos -> store."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from extractor import Extractor, same_name

from .about import read_about
from .catalogue import Entry, Skipped
from .collected import FOLDER, Collected, failures_of
from .derived import Derived, Progress, derive, silent
from .difference import Confirm, Difference, around, confirm_all, difference
from .errors import NothingToIndex, StoreError
from .extraction import Spread, extract_all, side_by_side
from .fetch import Web
from .generation import opening
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
from .presets import IndexParameters
from .publish import Content, changing, replace, tidy
from .removal import Known, followed, known_before, names_in, removed_in, still_removed
from .scan import UNREADABLE, Listing, scan
from .sources import Sources, check_apart
from .stock import Stock, kept_exactly
from .store import Store

CANDIDATES = 1000  # candidates the index proposes to a query, rescored exactly
REMOVED = "Removed from the store. `python -m index_store add` takes it in again."
SAME_REMOVED = "Its content was removed from the store; `python -m index_store add` takes it in."


def build(
    photos: str | Path | Sequence[str | Path],
    store: str | Path,
    extractor: Extractor,
    progress: Progress = silent,
    as_stored: bool = False,
    index: str | None = None,
    spread: Spread = side_by_side,
    exclude: Sequence[str] | None = None,
    follow_links: bool | None = None,
    recheck: bool = False,
    confirm: Confirm = confirm_all,
    lists: Sequence[str | Path] = (),
    manifests: Sequence[str] = (),
    private: bool = False,
    web: Web | None = None,
    matching: bool | None = None,
) -> Manifest:
    """Index all photos under folders; the store's live generation is replaced at the very end.

    Unusable files are left out with their reason. A killed build goes on where it was. What is in
    the store of a photo is not made again. If nothing has changed at all, the generation stays.
    What was removed from the store stays out, wherever it lies now.

    Args:
        photos: The folder or folders, searched with their sub-folders.
        store: The store's folder, made if it is missing.
        extractor: Describes the photos.
        progress: Called as progress(items, total, what) for each long stage; must yield the items.
        as_stored: Decode the photos as published code does, see `decode`. The manifest records it.
        index: A name of `presets.PRESETS`; None for what the store has, or the first.
        spread: Has the photos read and described: here, or `cluster.on_cluster`.
        exclude: Patterns of what is left out, see `exclusion`; None for what the store has.
        follow_links: Go into folders that are links; None for what the store has, or no.
        recheck: Compare the content of all files; else sizes and times tell which have changed.
        confirm: Is called with what has changed, if there was a store, before anything is.
        lists: CSV files that name photos, see `listed`.
        manifests: Addresses of IIIF manifests and collections of photos, see `iiif`.
        private: Fetch photos from this machine and from local networks, too.
        web: Fetches them; None for what `private` asks for.
        matching: Whether photos are compared with each other, see `matching_graph`; None for as
            before, or yes.

    Raises:
        NothingToIndex: There is no such folder, or no photo in it can be read.
        BadPatterns: What says which files are left out cannot be read.
        BadAbout: What the gallery says of itself cannot be read.
        BadList: A list or a manifest cannot be read.
        StoreBusy: Another build is writing this store.
        StoreUnwritable: The disk is full, or the store's folder may not be written.
    """
    store = Path(store)
    folders = [photos] if isinstance(photos, str | Path) else photos
    sources = sources_for(folders, store, exclude, follow_links, lists, manifests, private)
    gather(store, sources, progress, web, recheck)
    listing = list_sources(sources, store)
    making = making_of(extractor, as_stored)
    with live_store(store, extractor) as live:
        if live is not None and is_up_to_date(live, sources, listing, making, index, matching):
            if not recheck:
                tidy(store)
                return live.manifest
    # Opened again under the lock: another build may have ended in this moment.
    with changing(store), live_store(store, extractor) as live:
        reusable = live if live is not None and is_reusable(live.manifest, making) else None
        segments = [] if reusable is None else reusable.whole_segments
        with closing(Stock(store, making.facts, making.dim, segments)) as stock:
            known = known_before(store, sources, live)
            content = read_folders(
                sources, listing, known, stock, extractor, making, progress, recheck, spread
            )
            if live is not None:
                confirm(what_changed(known.before, listing, content))
            rows = stock.finish([entry.sha256 for entry in content.photos])
            before = None if live is None else live.manifest
            parameters = index_parameters(len(rows), making.dim, index, before)
            compared = is_compared(before) if matching is None else matching
            if live is not None and is_as_derived(live, content, parameters, compared):
                return replace(store, content, rows, lambda _: Derived.of(live))
            comparisons = comparisons_of(store, making) if compared else None
            return replace(
                store, content, rows, lambda rows: derive(rows, parameters, comparisons, progress)
            )


def folder_of(photos: str | Path) -> Path:
    """The whole path of a folder. Raises NothingToIndex if nothing is there."""
    try:
        return Path(photos).expanduser().resolve(strict=True)
    except (OSError, RuntimeError):  # nothing there, no such user, or links in a circle
        raise NothingToIndex(f"There is no folder {photos}.") from None


def sources_for(
    folders: Sequence[str | Path],
    store: Path,
    exclude: Sequence[str] | None,
    follow_links: bool | None,
    lists: Sequence[str | Path] = (),
    manifests: Sequence[str] = (),
    private: bool = False,
) -> Sources:
    """What a build is to index; None stands for what the store has. Raises NothingToIndex."""
    found = list(dict.fromkeys(folder_of(folder) for folder in folders))
    if lists or manifests:
        found.append(store.absolute() / FOLDER)
    if not found:
        raise NothingToIndex("No folder of photos is named.")
    check_apart(found)
    kept = Sources((), (), False)
    with suppress(StoreError), opening(store) as generation:
        kept = generation.manifest.sources
    return Sources(
        tuple(map(str, found)),
        kept.exclude if exclude is None else tuple(exclude),
        kept.follow_links if follow_links is None else follow_links,
        tuple(str(Path(path).absolute()) for path in lists),
        tuple(dict.fromkeys(manifests)),
        private,
    )


def gather(
    store: Path, sources: Sources, progress: Progress, web: Web | None = None, again: bool = False
) -> None:
    """Have the photos of lists and manifests in the store's folder for them.

    Args:
        store: The store's folder.
        sources: Say which lists.
        progress: As of `build`.
        web: As of `build`.
        again: Ask whether photos have changed that were fetched before.

    Raises:
        BadList: A list or a manifest cannot be read.
        StoreBusy, StoreUnwritable: As `build`.
    """
    if not sources.lists and not sources.manifests:
        return
    mine = web is None
    web = web or Web(sources.private)
    try:
        with changing(store), closing(Collected(store, web)) as collected:
            removed = names_in(collected.folder, *removed_in(store))
            collected.collect(
                sources, removed, lambda items, total: progress(items, total, "lists"), again
            )
    finally:
        if mine:
            web.close()


def list_sources(sources: Sources, store: Path) -> Listing:
    """`scan` of what a store is to hold, with what is said of it, and what could not be fetched.

    Raises as `scan`, and BadAbout.
    """
    said = read_about(sources.roots)
    failed = failures_of(store) if sources.lists or sources.manifests else []
    try:
        listing = scan(sources.roots, sources.exclude, sources.follow_links)
    except NothingToIndex as error:
        reason = f" {failed[0].file}: {failed[0].reason}" if failed else ""
        raise NothingToIndex(f"{error}{reason}") from None
    facts = [listing.digest, said.to_json(), *(f"{one.file} {one.reason}" for one in failed)]
    digest = hashlib.sha256("\0".join(facts).encode()).hexdigest()
    foreign = listing.foreign + failed
    return dataclasses.replace(listing, digest=digest, about=said, foreign=foreign)


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
    sources: Sources,
    listing: Listing,
    making: Making,
    index: str | None,
    matching: bool | None,
) -> bool:
    """Whether a build would give what is there already."""
    manifest = live.manifest
    same_photos = manifest.sources == sources and manifest.listing == listing.digest
    chosen = index_parameters(manifest.photos, manifest.dim, index, manifest)
    compared = is_compared(manifest) if matching is None else matching
    derived = derived_parameters(chosen, form_for(manifest.photos), compared)
    parameters = {**derived, **making.extraction}
    same_making = manifest.parameters == parameters and manifest.drift == Drift()
    return same_photos and same_making and not live.is_damaged


def is_as_derived(
    live: Store, content: Content, parameters: IndexParameters, compared: bool
) -> bool:
    """Whether what a build makes of all photos together is what a store has already."""
    manifest = live.manifest
    before, after = live.catalogue.entries(), content.photos
    form = form_for(manifest.photos)
    return (
        [entry.sha256 for entry in before] == [entry.sha256 for entry in after]
        and manifest.parameters
        == {**derived_parameters(parameters, form, compared), **content.making.extraction}
        and manifest.fingerprint == content.making.fingerprint
        and manifest.described_by == content.making.described_by
        and manifest.drift == Drift()
        and not live.is_damaged
    )


def read_folders(
    sources: Sources,
    listing: Listing,
    known: Known,
    stock: Stock,
    extractor: Extractor,
    making: Making,
    progress: Progress,
    recheck: bool = False,
    spread: Spread = side_by_side,
) -> Content:
    """Bring all photos of folders into the stock. Files that look unchanged are not read again.

    Args:
        sources: What is indexed.
        listing: What is in it.
        known: What the store says so far.
        stock: Takes what is made of the photos.
        extractor: Describes them.
        making: How.
        progress: As of `build`.
        recheck: As of `build`.
        spread: As of `build`.

    Raises:
        NothingToIndex: No photo can be read.
    """
    before = [entry for entry in known.before if entry.sha256 in stock]  # but for what is damaged
    removed = {same_name(row.file) for row in known.removed}
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
        stock,
        lambda items: progress(items, len(unread), "photos"),
        kept_exactly(len(listing.files)),
        "decode" in making.extraction,
        spread,
        known.withheld,
    )
    closed = tuple(entry.file for entry in listing.unreadable)
    found_again = still_removed(known, before, indexed, stamps, closed)
    photos += [
        Entry(file, sha256, stamps[file])
        for file, sha256 in indexed.items()
        if file not in found_again
    ]
    kept = [entry for entry in before if entry.file.startswith(closed)] if closed else []
    photos += kept
    if not photos:
        reason = f": {unusable[0].reason}" if unusable else "."
        raise NothingToIndex(
            f"No photo in {sources.roots} can be read; files tried: {len(listing.files)}{reason}"
        )
    skipped = [
        *unusable,
        *listing.foreign,
        *listing.excluded,
        *(count_kept(entry, kept) for entry in listing.unreadable),
        *(Skipped(file, REMOVED) for file in sorted(kept_out)),
        *(Skipped(file, SAME_REMOVED) for file in sorted(found_again)),
    ]
    rows = followed(known.removed, {file: indexed[file] for file in found_again}, kept_out)
    return Content(sources, listing.digest, sorted(photos), skipped, rows, listing.about, making)


def what_changed(before: Sequence[Entry], listing: Listing, content: Content) -> Difference:
    """How a new generation's photos differ from those of the one before."""
    taken = {row.file for row in content.removed}
    shut = [entry.file for entry in listing.excluded]
    return difference(
        [entry for entry in before if entry.file not in taken],
        content.photos,
        [entry.file for entry in content.skipped],
        lambda file: not set(around(file)).isdisjoint(shut),
    )


def count_kept(folder: Skipped, kept: list[Entry]) -> Skipped:
    """An unreadable folder's entry that also says how many photos in it are kept."""
    count = sum(entry.file.startswith(folder.file) for entry in kept)
    if not count:
        return folder
    return Skipped(folder.file, f"{folder.reason} Photos indexed before are kept: {count}.")
