"""Publish a new generation of a store: write it next to the live one, and switch to it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import numpy as np

from extractor import Extractor

from ..about import About
from ..ann.remote.collection import Collection
from ..errors import StoreBusy, StoreCorrupt, StoreError, StoreUnwritable
from ..global_artifacts import Derived, shortlist_recall
from ..parameters import ExtractionSpec, extraction_spec_in
from ..sources.sources import Sources
from ..store import Store
from . import build_journal
from .arrays import save_array
from .build_journal import delete_journal
from .catalogue import Entry, Photo, Removed, Skipped, title_of, write_catalogue
from .generation import discard_others, new_generation, opening, writing
from .manifest import FILE_NAME, Manifest, checksum
from .rows import Descriptors, Rows


@dataclass(frozen=True)
class Content:
    """Photos of a generation, in the order of their ids, and how they were extracted."""

    sources: Sources
    listing: str  # `Listing.digest` of the sources
    photos: list[Entry]
    skipped: list[Skipped]
    removed: list[Removed]
    about: About
    spec: ExtractionSpec


@contextmanager
def locked(store: Path) -> Iterator[None]:
    """Hold the store's write lock; disk and database errors become StoreUnwritable."""
    try:
        with writing(store):
            yield
    except (OSError, sqlite3.Error) as error:
        raise StoreUnwritable(
            f"The store at {store} cannot be written "
            f"({getattr(error, 'strerror', None) or error}). Its live generation is unchanged; "
            "run the same command again to resume."
        ) from error


@contextmanager
def locked_for_update(store: Path, extractor: Extractor | None = None) -> Iterator[Store]:
    """The live generation, to be replaced by another one. Holds the write lock.

    Raises:
        StoreMissing, StoreMismatch, StoreCorrupt: see `Store`. StoreCorrupt also if photos are
            known to be damaged: they must be read again first.
        StoreBusy, StoreUnwritable: see `build`.
    """
    with locked(store), Store(store, extractor, embedded=True) as live:
        if live.is_damaged:
            raise StoreCorrupt(
                f"Photos in {store} are damaged; `info` names them. "
                "`python -m index_store update` extracts them again."
            )
        yield live


def tidy(store: Path) -> None:
    """Delete leftovers of a build that was killed at its very end, if possible."""
    with suppress(OSError, StoreBusy), writing(store):
        delete_journal(store / build_journal.FILE_NAME)
        discard_others(store)


def content_of(live: Store) -> Content:
    """The content of a generation, for the next one."""
    catalogue = live.catalogue
    return Content(
        live.manifest.sources,
        live.manifest.listing,
        catalogue.entries(),
        catalogue.skipped(),
        catalogue.removed(),
        live.about,
        extraction_spec_in(live.manifest),
    )


def publish(
    store: Path,
    content: Content,
    rows: Rows,
    derived: Callable[[Rows], Derived],
    collection: Collection | None = None,
) -> Manifest:
    """Write a new generation and switch to it. The caller holds `writing(store)`.

    Args:
        store: folder of the store.
        content: content of the generation.
        rows: the photos' stored data.
        derived: function that computes the data derived from all photos together.
        collection: collection that the photos were pushed to; None to keep the store's previous
            one. The manifest determines whether it matches the new generation.
    """
    if collection is None:
        with suppress(StoreError), opening(store) as generation:
            collection = generation.manifest.collection
    with new_generation(store) as folder:
        write_generation(folder, content, rows, derived, collection)
    delete_journal(store / build_journal.FILE_NAME)
    with opening(store) as generation:
        return generation.manifest


def write_generation(
    folder: Path,
    content: Content,
    rows: Rows,
    derived: Callable[[Rows], Derived],
    collection: Collection | None,
) -> None:
    """Write a generation's files into an empty folder, the manifest last. See `publish`."""
    sizes = zip(rows.column("width").tolist(), rows.column("height").tolist())
    photos = (
        Photo(id, entry.file, title_of(entry.file), entry.sha256, width, height, entry.stamp)
        for id, (entry, (width, height)) in enumerate(zip(content.photos, sizes))
    )
    write_catalogue(
        folder / "catalogue.sqlite",
        photos,
        content.skipped,
        content.removed,
        content.about.to_json(),
    )
    save_array(folder / "slots.npy", rows.slots)
    artifacts = derived(rows)
    drift = artifacts.save(folder)
    spec = content.spec
    manifest = Manifest(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        sources=content.sources,
        listing=content.listing,
        photos=len(rows),
        skipped=len(content.skipped),
        dim=spec.dim,
        fingerprint=spec.fingerprint,
        model=spec.model,
        described_by=spec.described_by,
        parameters={**artifacts.parameters, **spec.extraction},
        shortlist_recall=shortlist_recall(artifacts, cast(np.ndarray, Descriptors(rows))),
        neighbour_recall=artifacts.neighbour_recall,
        artefacts={path.name: checksum(path) for path in sorted(folder.iterdir())},
        segments=[segment.facts for segment in rows.segments],
        drift=drift,
        collection=collection,
    )
    (folder / FILE_NAME).write_text(manifest.to_json())
