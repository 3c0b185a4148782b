"""Add and remove photos without rebuilding the store."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from extractor import Extractor, same_name

from .builder import build
from .errors import NothingToIndex, StoreMismatch
from .extraction import extract_all
from .global_artifacts import Derived, Progress, derive, silent
from .graph.incremental import derive_changed, is_small, moves
from .parameters import (
    comparisons_of,
    extraction_spec_in,
    extraction_spec_of,
    index_parameters,
    is_compared,
    is_reusable,
)
from .sources.collected.fetch import Web
from .sources.collected.state import FOLDER
from .sources.difference import Confirm, Difference, confirm_all
from .sources.gathering import gather, list_sources
from .sources.named import files_of, photo_named
from .sources.reading import REMOVED, read_folders, what_changed
from .sources.removal import added_again, known_before
from .sources.scan import Listing, describe_file
from .storage.build_journal import digest
from .storage.catalogue import Entry, Removed, Skipped
from .storage.compaction import joined
from .storage.extraction_cache import SEGMENT, ExtractionCache, kept_exactly
from .storage.generation import SEGMENTS, opening
from .storage.manifest import Manifest
from .storage.publish import Content, content_of, locked, locked_for_update, publish, tidy
from .storage.rows import Rows
from .store import Store

MANY = 64  # small segments: each is an open file, so a larger number of them is merged


def update(
    store: str | Path,
    extractor: Extractor,
    progress: Progress = silent,
    recheck: bool = False,
    confirm: Confirm = confirm_all,
    web: Web | None = None,
) -> Manifest:
    """Bring a store up to date with its folders. Only new or changed files are read.

    Args:
        store: folder of the store.
        extractor: extractor that describes the photos.
        progress: see `build`.
        recheck: see `build`.
        confirm: called with the changes before anything is changed; also if there are none.
        web: see `build`.

    Raises:
        StoreMissing, StoreCorrupt, StoreMismatch: see `Store`.
        NothingToIndex, BadPatterns, StoreBusy, StoreUnwritable: see `build`.
        Exception: raised by `confirm`; the store is then unchanged.
    """
    store = Path(store)
    with opening(store) as generation:
        sources = generation.manifest.sources
    gather(store, sources, progress, web, recheck)
    manifest, listing, current = compare(store)
    if current and not recheck:
        tidy(store)
        confirm(Difference())
        return manifest
    sources, as_stored = manifest.sources, "decode" in manifest.parameters
    spec = extraction_spec_of(extractor, as_stored)
    if spec.fingerprint == manifest.fingerprint and not is_reusable(manifest, spec):
        return build(
            [folder for folder in sources.folders if Path(folder) != store.absolute() / FOLDER],
            store,
            extractor,
            progress,
            as_stored,
            recheck=recheck,
            confirm=confirm,
            lists=sources.lists,
            manifests=sources.manifests,
            private=sources.private,
            web=web,
        )
    with (
        locked(store),
        Store(store, extractor, embedded=True) as live,
        closing(cache_of(live)) as cache,
    ):
        known_photos = known_before(store, sources, live)
        content = read_folders(
            sources, listing, known_photos, cache, extractor, spec, progress, recheck
        )
        confirm(what_changed(known_photos.before, listing, content))
        before = content_of(live)
        same = dataclasses.replace(content, spec=before.spec) == before
        if same and not live.is_damaged:  # the recheck found no changes
            return live.manifest
        return follow(live, content, cache, progress)


def compare(store: Path) -> tuple[Manifest, Listing, bool]:
    """A store's manifest, the current listing of its folders, and whether the store matches it.

    Raises the same errors as `update`.
    """
    with Store(store, embedded=True) as live:
        listing = list_sources(live.manifest.sources, store)
        current = live.manifest.listing == listing.digest and not live.is_damaged
        return live.manifest, listing, current


def add(
    photos: Sequence[str | Path],
    store: str | Path,
    extractor: Extractor,
    progress: Progress = silent,
) -> Manifest:
    """Add photos to a store; a photo whose file has changed is read again.

    A removed photo comes back only if its file is named, not if its folder is.

    Args:
        photos: files and folders inside the store's folders.
        store: folder of the store.
        extractor: extractor that describes them; must match the store's.
        progress: see `build`.

    Raises:
        NothingToIndex: a file is not a photo inside the store's folders.
        BadPatterns: the exclusion patterns cannot be read.
        StoreMissing, StoreCorrupt, StoreMismatch: see `Store`.
        StoreBusy, StoreUnwritable: see `build`.
    """
    store = Path(store)
    with locked_for_update(store, extractor) as live, closing(cache_of(live)) as cache:
        if not is_reusable(live.manifest, extraction_spec_of(extractor, live.as_stored)):
            raise StoreMismatch(
                f"The photos in {store} were described in another way than these would be. "
                "Build it again."
            )
        files, given_names = files_of(live, photos)
        stamps = {file: describe_file(live.roots / file) for file in files}
        indexed, unusable = extract_all(
            live.roots,
            files,
            extractor,
            cache,
            lambda items: progress(items, len(files), "photos"),
            kept_exactly(len(live) + len(files)),
            live.as_stored,
        )
        before = content_of(live)
        added = {file: sha256 for file, sha256 in indexed.items() if file in given_names}
        removed = added_again(before.removed, added, live.roots)
        contents = {row.sha256 for row in removed} - set(added.values())
        names = {same_name(file) for file in files}
        others = [entry for entry in before.photos if same_name(entry.file) not in names]
        new_entries = [
            Entry(file, sha256, stamps[file])
            for file, sha256 in indexed.items()
            if file in given_names or sha256 not in contents
        ]
        if not new_entries and unusable:
            raise NothingToIndex(f"{unusable[0].file} cannot be read: {unusable[0].reason}")
        content = dataclasses.replace(
            before,
            listing="",
            photos=sorted(others + new_entries),
            skipped=[s for s in before.skipped if same_name(s.file) not in names] + unusable,
            removed=removed,
        )
        return follow(live, content, cache, progress)


def remove(files: Sequence[str], store: str | Path, progress: Progress = silent) -> Manifest:
    """Remove photos from a store. Builds and updates do not bring them back, only `add` does.

    Their names and hashes are kept, so that they stay excluded when they are moved or renamed. They
    no longer appear in results. Their bytes stay on disk until `compact`.

    Args:
        files: names of photos in the store, as results show them, or paths to them.
        store: folder of the store.
        progress: see `build`.

    Raises:
        UnknownPhoto: one of them is not in the store; then none is removed.
        NothingToIndex: no photo would be left.
        StoreMissing, StoreCorrupt, StoreMismatch: see `Store`.
        StoreBusy, StoreUnwritable: see `build`.
    """
    store = Path(store)
    with locked_for_update(store) as live, closing(cache_of(live)) as cache:
        files_to_remove = {photo_named(live, file) for file in files}
        before = content_of(live)
        remaining = [entry for entry in before.photos if entry.file not in files_to_remove]
        if not remaining:
            raise NothingToIndex("These are all photos of the store. Delete its folder instead.")
        removals = [
            Removed(entry.file, entry.sha256)
            for entry in before.photos
            if entry.file in files_to_remove
        ]
        content = dataclasses.replace(
            before,
            photos=remaining,
            skipped=before.skipped + [Skipped(file, REMOVED) for file in sorted(files_to_remove)],
            removed=sorted(before.removed + removals),
        )
        return follow(live, content, cache, progress)


def copies_of(live: Store, files: Sequence[str]) -> list[str]:
    """Names of other photos with the same content as the given ones. Raises UnknownPhoto."""
    given_names = {photo_named(live, file) for file in files}
    entries = live.catalogue.entries()
    contents = {sha256 for file, sha256, _ in entries if file in given_names}
    return [file for file, sha256, _ in entries if sha256 in contents and file not in given_names]


def cache_of(live: Store) -> ExtractionCache:
    """The extraction cache of an existing store. The caller holds the lock of `writing`."""
    spec = extraction_spec_in(live.manifest)
    return ExtractionCache(live.path, spec.facts, spec.dim, live.whole_segments)


def follow(live: Store, content: Content, cache: ExtractionCache, progress: Progress) -> Manifest:
    """Replace a generation by one with other photos, incrementally if little has changed."""
    before = [entry.sha256 for entry in live.catalogue.entries()]
    after = [entry.sha256 for entry in content.photos]
    moved = moves(before, after)
    rows: Rows = cache.finish(after)
    if len(rows.segments) - len(rows) // SEGMENT > MANY:
        folder, fingerprint = live.path / SEGMENTS, digest(content.spec.facts)
        rows = joined(rows, folder, fingerprint, drop_unused=False)

    comparisons = comparisons_of(live.path, content.spec) if is_compared(live.manifest) else None

    def derived(rows: Rows) -> Derived:
        if before == after:
            return Derived.of(live)
        if is_small(live, moved):
            return derive_changed(live, moved, rows, comparisons, progress)
        parameters = index_parameters(len(rows), content.spec.dim, None, live.manifest)
        return derive(rows, parameters, comparisons, progress)

    return publish(live.path, content, rows, derived)
