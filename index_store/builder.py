"""Build a store from folders of photos."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from extractor import Extractor

from .ann.presets import IndexParameters
from .errors import StoreError
from .extraction import Spread, side_by_side
from .global_artifacts import Derived, Progress, derive, silent
from .keypoints.keypoint_form import form_for
from .parameters import (
    ExtractionSpec,
    comparisons_of,
    derived_parameters,
    extraction_spec_of,
    index_parameters,
    is_compared,
    is_reusable,
)
from .sources.collected.fetch import Web
from .sources.difference import Confirm, confirm_all
from .sources.gathering import gather, list_sources, sources_for
from .sources.reading import read_folders, what_changed
from .sources.removal import known_before
from .sources.scan import Listing
from .sources.sources import Sources
from .storage.extraction_cache import ExtractionCache
from .storage.manifest import Drift, Manifest
from .storage.publish import Content, locked, publish, tidy
from .store import Store

CANDIDATES = 1000  # candidates that the index proposes per query, rescored exactly


def build(
    photos: str | Path | Sequence[str | Path],
    store: str | Path,
    extractor: Extractor,
    progress: Progress = silent,
    as_stored: bool = False,
    index: str | None = None,
    spread: Spread = side_by_side,
    matching: bool | None = None,
    exclude: Sequence[str] | None = None,
    follow_links: bool | None = None,
    recheck: bool = False,
    confirm: Confirm = confirm_all,
    lists: Sequence[str | Path] = (),
    manifests: Sequence[str] = (),
    private: bool = False,
    web: Web | None = None,
) -> Manifest:
    """Index all photos in folders; the store's live generation is replaced at the very end.

    Unusable files are skipped and listed with their reason. A killed build resumes where it
    stopped. Existing results for a photo are reused. If nothing has changed, the generation stays.
    Photos that were removed from the store stay excluded, even if they have been moved.

    Args:
        photos: the folder or folders, searched with their sub-folders.
        store: folder of the store, created if it is missing.
        extractor: extractor that describes the photos.
        progress: called as progress(items, total, what) for each long stage; must yield the items.
        as_stored: decode photos as published code does, see `decode`. Recorded in the manifest.
        index: name of a preset in `presets.PRESETS`; None to keep the store's, or for
            `default_preset`.
        spread: function that reads and describes the photos: locally, or `ray_build.on_cluster`.
        matching: whether photos are compared with each other, see `matching_graph`; None to keep
            the store's setting, or True.
        exclude: patterns of files to exclude, see `exclusion`; None to keep the store's.
        follow_links: whether to follow links to folders; None to keep the store's setting, or
            False.
        recheck: compare the content of all files; otherwise sizes and times decide which have
            changed.
        confirm: called with the changes, if there was a store, before anything is changed.
        lists: CSV files that name photos, see `listed`.
        manifests: URLs of IIIF manifests and collections of photos, see `iiif`.
        private: also fetch photos from this machine and from local networks.
        web: client that fetches photos; None for one that follows `private`.

    Raises:
        NothingToIndex: there is no such folder, or no readable photo in it.
        BadPatterns: the exclusion patterns cannot be read.
        BadAbout: the gallery's description cannot be read.
        BadList: a list or a manifest cannot be read.
        StoreBusy: another build is writing this store.
        StoreUnwritable: the disk is full, or the store's folder is not writable.
    """
    store = Path(store)
    folders = [photos] if isinstance(photos, str | Path) else photos
    sources = sources_for(folders, store, exclude, follow_links, lists, manifests, private)
    gather(store, sources, progress, web, recheck)
    listing = list_sources(sources, store)
    spec = extraction_spec_of(extractor, as_stored)
    with live_store(store, extractor) as live:
        if live is not None and is_up_to_date(live, sources, listing, spec, index, matching):
            if not recheck:
                tidy(store)
                return live.manifest
    # Reopened under the lock: another build may have finished in between.
    with locked(store), live_store(store, extractor) as live:
        reusable = live if live is not None and is_reusable(live.manifest, spec) else None
        segments = [] if reusable is None else reusable.whole_segments
        with closing(ExtractionCache(store, spec.facts, spec.dim, segments)) as cache:
            known_photos = known_before(store, sources, live)
            content = read_folders(
                sources, listing, known_photos, cache, extractor, spec, progress, recheck, spread
            )
            if live is not None:
                confirm(what_changed(known_photos.before, listing, content))
            rows = cache.finish([entry.sha256 for entry in content.photos])
            before = None if live is None else live.manifest
            parameters = index_parameters(len(rows), spec.dim, index, before)
            compared = is_compared(before) if matching is None else matching
            if live is not None and is_as_derived(live, content, parameters, compared):
                return publish(store, content, rows, lambda _: Derived.of(live))
            found = comparisons_of(store, spec) if compared else None
            return publish(
                store, content, rows, lambda rows: derive(rows, parameters, found, progress)
            )


@contextmanager
def live_store(store: Path, extractor: Extractor) -> Iterator[Store | None]:
    """The existing store to build on; None if it is new, damaged or of another model."""
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
    spec: ExtractionSpec,
    index: str | None,
    matching: bool | None,
) -> bool:
    """Whether a build would reproduce the existing generation."""
    manifest = live.manifest
    same_photos = manifest.sources == sources and manifest.listing == listing.digest
    chosen = index_parameters(manifest.photos, manifest.dim, index, manifest)
    compared = is_compared(manifest) if matching is None else matching
    derived = derived_parameters(chosen, form_for(manifest.photos), compared)
    parameters = {**derived, **spec.extraction}
    same_parameters = manifest.parameters == parameters and manifest.drift == Drift()
    return same_photos and same_parameters and not live.is_damaged


def is_as_derived(
    live: Store, content: Content, parameters: IndexParameters, compared: bool
) -> bool:
    """Whether a store's derived data is what a build would derive from the same photos."""
    manifest = live.manifest
    before, after = live.catalogue.entries(), content.photos
    form = form_for(manifest.photos)
    return (
        [entry.sha256 for entry in before] == [entry.sha256 for entry in after]
        and manifest.parameters
        == {**derived_parameters(parameters, form, compared), **content.spec.extraction}
        and manifest.fingerprint == content.spec.fingerprint
        and manifest.described_by == content.spec.described_by
        and manifest.drift == Drift()
        and not live.is_damaged
    )
