"""Folder of photos -> store."""

from __future__ import annotations

import dataclasses
import json
import logging
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import faiss
import numpy as np

from extractor import Extractor, sift

from . import ann, extraction, graph, journal
from . import offline_diffusion as diffusion
from .arrays import save_array
from .catalogue import Photo, Skipped, title_of, write_catalogue
from .errors import NothingToIndex, StoreBusy, StoreError, StoreUnwritable
from .extraction import extract_all
from .generation import discard_others, new_generation, opening, writing
from .journal import Extracted, Journal, delete_journal
from .manifest import FILE_NAME, Manifest, checksum
from .packed import write_packed
from .scan import Listing, scan
from .store import Store, StoredPhotos

# Bytes; about 30,000 photos. Keypoints of the others are found when they are needed.
LOCAL_FEATURES_BUDGET = 8 * 2**30
RECALL_QUERIES = 200
# The index is judged by so few candidates: a query's would hold all of a small gallery.
RECALL_CANDIDATES = 100
CANDIDATES = 1000  # candidates the index proposes to a query, rescored exactly

Progress = Callable[[Iterable, int, str], Iterable]


class ExtractedPhotos(Protocol):
    """What is kept of each photo, by its SHA-256."""

    def __getitem__(self, sha256: str) -> Extracted: ...


log = logging.getLogger(__name__)


def silent(items: Iterable, total: int, what: str) -> Iterable:
    """The progress display of a caller that wants none."""
    return items


def build(
    photos: str | Path,
    store: str | Path,
    extractor: Extractor,
    progress: Progress = silent,
    as_stored: bool = False,
) -> Manifest:
    """Index all photos under a folder; the store's live generation is replaced at the very end.

    Unusable files are left out with their reason. A killed build goes on where it was. Photos that
    are in the live generation are taken over from it, and if nothing has changed at all it stays.

    Args:
        photos: The folder, searched with its sub-folders.
        store: The store's folder, made if it is missing.
        extractor: Describes the photos.
        progress: Called as progress(items, total, what) for each long stage; must yield the items.
        as_stored: Decode the photos as published code does, see `decode`. The manifest records it.

    Raises:
        NothingToIndex: There is no such folder, or no photo in it can be read.
        StoreBusy: Another build is writing this store.
        StoreUnwritable: The disk is full, or the store's folder may not be written.
    """
    store = Path(store)
    try:
        root = Path(photos).expanduser().resolve()
    except (OSError, RuntimeError):  # no such user, or links in a circle
        raise NothingToIndex(f"There is no folder {photos}.") from None
    listing = scan(root)
    with live_store(store, extractor) as live:
        if live is not None and is_up_to_date(live.manifest, root, listing, as_stored):
            tidy(store)
            return live.manifest
        try:
            with writing(store):
                return rebuild(root, listing, store, live, extractor, progress, as_stored)
        except (OSError, sqlite3.Error) as error:
            raise StoreUnwritable(
                f"The store at {store} cannot be written "
                f"({getattr(error, 'strerror', None) or error}). What was there is as it was; "
                "the same build, run again, goes on where this one stopped."
            ) from error


@contextmanager
def live_store(store: Path, extractor: Extractor) -> Iterator[Store | None]:
    """The store as it is, to build on; None if it is new, damaged or of another model."""
    live = None
    with suppress(StoreError):
        live = Store(store, extractor)
    try:
        yield live
    finally:
        if live is not None:
            live.close()


def tidy(store: Path) -> None:
    """Delete what a build that was killed at its very end has left, where that is possible."""
    with suppress(OSError, StoreBusy), writing(store):
        delete_journal(store / journal.FILE_NAME)
        discard_others(store)


def rebuild(
    root: Path,
    listing: Listing,
    store: Path,
    live: Store | None,
    extractor: Extractor,
    progress: Progress,
    as_stored: bool,
) -> Manifest:
    """Write a new generation and switch to it. The caller holds `writing(store)`.

    Args:
        root: The indexed folder.
        listing: What is in it.
        store: The store's folder.
        live: What may be built on, or None.
        extractor: Describes the photos.
        progress: As of `build`.
        as_stored: As of `build`.
    """
    reusable = (
        live if live is not None and is_reusable(live.manifest, extractor, as_stored) else None
    )
    stored = {} if reusable is None else StoredPhotos(reusable)
    fingerprint = extraction_fingerprint(extractor, as_stored)
    with closing(Journal(store / journal.FILE_NAME, fingerprint)) as extracted:
        indexed, skipped = extract_all(
            root,
            listing.files,
            extractor,
            extracted,
            stored,
            lambda items: progress(items, len(listing.files), "photos"),
            as_stored,
        )
        kept = photos_out_of_reach(reusable, root, listing)
        listing = dataclasses.replace(
            listing, unreadable=[count_kept(entry, kept) for entry in listing.unreadable]
        )
        for _, sha256 in kept:
            if sha256 not in extracted:
                extracted[sha256] = stored[sha256]
        if not indexed and not kept:
            raise NothingToIndex(
                f"None of the {len(skipped)} photos in {root} can be read: {skipped[0].reason}"
            )
        with new_generation(store) as folder:
            write_generation(
                folder,
                root,
                listing,
                sorted(indexed + kept),
                skipped,
                extractor,
                extracted,
                progress,
                as_stored,
            )
    delete_journal(store / journal.FILE_NAME)
    with opening(store) as generation:
        return generation.manifest


def photos_out_of_reach(live: Store | None, root: Path, listing: Listing) -> list[tuple[str, str]]:
    """File and SHA-256 of photos that were indexed before, in folders that cannot be listed now."""
    if live is None or live.root != root:
        return []
    folders = tuple(entry.file for entry in listing.unreadable)
    photos = live.catalogue.photos()
    return [(photo.file, photo.sha256) for photo in photos if photo.file.startswith(folders)]


def count_kept(folder: Skipped, kept: list[tuple[str, str]]) -> Skipped:
    """An unreadable folder's entry that also says how many photos in it are kept."""
    count = sum(file.startswith(folder.file) for file, _ in kept)
    if not count:
        return folder
    return Skipped(folder.file, f"{folder.reason} Photos indexed before are kept: {count}.")


def is_up_to_date(manifest: Manifest, root: Path, listing: Listing, as_stored: bool) -> bool:
    """Whether a build would give what is there already."""
    same_photos = manifest.photos_root == str(root) and manifest.listing == listing.digest
    parameters = build_parameters(manifest.photos, manifest.dim, as_stored)
    return same_photos and manifest.parameters == parameters


def extraction_parameters(as_stored: bool) -> dict[str, dict]:
    """What shapes the thumbnails and keypoints kept of each photo."""
    return {
        **({"decode": {"as_stored": 1}} if as_stored else {}),
        "thumbnails": {
            "longest_side": extraction.THUMBNAIL_SIDE,
            "quality": extraction.THUMBNAIL_QUALITY,
        },
        "local_features": {
            "longest_side": sift.SIFT_SIDE,
            "points": sift.MAX_POINTS,
            "layout": sift.LAYOUT,
            "budget": LOCAL_FEATURES_BUDGET,
        },
    }


def described_by(extractor: Extractor) -> dict[str, str]:
    """What besides the model decides the digits of a descriptor."""
    return {"engine": extractor.engine, "precision": extractor.card.precision}


def described_before(store: Path) -> dict[str, str] | None:
    """What `described_by` said of the descriptors that a build would go on with; None without any.

    That is a killed build's journal first, else the live generation.
    """
    with suppress(ValueError, TypeError, LookupError, RecursionError):
        return json.loads(journal.read_fingerprint(store / journal.FILE_NAME) or "")[1]
    with suppress(StoreError), opening(store) as generation:
        return generation.manifest.described_by
    return None


def extraction_fingerprint(extractor: Extractor, as_stored: bool) -> str:
    """Equal for builds that would keep the same of a photo."""
    facts = [extractor.fingerprint, described_by(extractor), extraction_parameters(as_stored)]
    return json.dumps(facts, sort_keys=True)


def is_reusable(manifest: Manifest, extractor: Extractor, as_stored: bool) -> bool:
    """Whether what a store of the same model keeps of each photo is what a build would make now.

    Says so in the log if only the descriptors' digits would differ.
    """
    kept = extraction_parameters(as_stored)
    same = all(manifest.parameters.get(name) == kept.get(name) for name in {*kept, "decode"})
    if not same:
        return False
    before, now = manifest.described_by, described_by(extractor)
    if before != now:
        log.warning(
            "The store's descriptors are %(precision)s by %(engine)s, "
            "the new ones would not be: all photos are described anew.",
            before,
        )
    return before == now


def build_parameters(count: int, dim: int, as_stored: bool = False) -> dict[str, dict]:
    """Every parameter that shapes a store of `count` photos with `dim` descriptor components."""
    return {
        "ann": dataclasses.asdict(ann.choose_parameters(count, dim)),
        "graph": {"neighbours": graph.NEIGHBOURS, "background": graph.BACKGROUND},
        "diffusion": {
            "alpha": diffusion.ALPHA,
            "block": diffusion.BLOCK,
            "region": diffusion.REGION,
            "kept": diffusion.KEPT,
        },
        **extraction_parameters(as_stored),
    }


def write_generation(
    folder: Path,
    root: Path,
    listing: Listing,
    indexed: list[tuple[str, str]],
    unusable: list[Skipped],
    extractor: Extractor,
    extracted: ExtractedPhotos,
    progress: Progress,
    as_stored: bool = False,
) -> None:
    """Write all files of a generation, the manifest last.

    Args:
        folder: Where they go; empty.
        root: The folder that was indexed.
        listing: What is in it.
        indexed: File and SHA-256 of each photo, in the order of their ids.
        unusable: Photos of the listing that could not be read.
        extractor: What has described them.
        extracted: What is kept of each photo, by its SHA-256.
        progress: As of `build`.
        as_stored: As of `build`.
    """
    count, dim = len(indexed), extractor.card.output_dim
    skipped = unusable + listing.foreign + listing.unreadable
    descriptors = np.empty((count, dim), np.float16)
    catalogue = []
    for i, (file, sha256) in enumerate(indexed):
        photo = extracted[sha256]
        descriptors[i] = photo.descriptor
        catalogue.append(Photo(i, file, title_of(file), sha256, photo.size[1], photo.size[0]))
    save_array(folder / "descriptors.npy", descriptors)
    write_catalogue(folder / "catalogue.sqlite", catalogue, skipped)
    write_packed(folder, "thumbnails", (extracted[sha256].thumbnail for _, sha256 in indexed))
    features = (extracted[sha256].features for _, sha256 in indexed)
    write_packed(folder, "local_features", within_budget(features, LOCAL_FEATURES_BUDGET))

    parameters = ann.choose_parameters(count, dim)
    for _ in progress(range(1), 1, "index"):
        index = ann.build_index(descriptors, parameters)
    ann.save_index(index, folder / "index.faiss")

    for _ in progress(range(1), 1, "neighbours"):
        ids, sims = graph.self_first(*ann.exact_knn(descriptors, min(count, graph.BACKGROUND + 1)))
    # Queries ask for these few only: the graph's edges and the reach of each photo.
    near = min(count, graph.NEIGHBOURS + 1)
    save_array(folder / "neighbour_ids.npy", ids[:, :near])
    save_array(folder / "neighbour_sims.npy", sims[:, :near])

    walk = graph.neighbour_graph(ids, sims)
    shape = (count, min(count, diffusion.KEPT))
    row_ids, row_values = np.empty(shape, np.int32), np.empty(shape, np.float16)
    diffusion.diffusion_rows(
        walk, row_ids, row_values, progress=lambda i, total: progress(i, total, "diffusion")
    )
    save_array(folder / "diffusion_ids.npy", row_ids)
    save_array(folder / "diffusion_values.npy", row_values)

    manifest = Manifest(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        photos_root=str(root),
        listing=listing.digest,
        photos=count,
        skipped=len(skipped),
        dim=dim,
        fingerprint=extractor.fingerprint,
        model={**dataclasses.asdict(extractor.card), "sha256": extractor.model_sha256},
        described_by=described_by(extractor),
        parameters=build_parameters(count, dim, as_stored),
        shortlist_recall=shortlist_recall(index, descriptors, ids),
        artefacts={path.name: checksum(path) for path in sorted(folder.iterdir())},
    )
    (folder / FILE_NAME).write_text(manifest.to_json())


def within_budget(blobs: Iterable[bytes], budget: int) -> Iterator[bytes]:
    """The blobs, each one that would pass the budget (bytes) replaced by an empty one."""
    for blob in blobs:
        budget -= len(blob)
        yield blob if budget >= 0 else b""


def shortlist_recall(index: faiss.Index, descriptors: np.ndarray, ids: np.ndarray) -> float:
    """How many of the exact 10 nearest the index finds, on a sample of the gallery.

    Args:
        index: Over the descriptors.
        descriptors: float16 (N, D).
        ids: Lists of `self_first`, int32 (N, k).

    Returns:
        Their share among the index's first RECALL_CANDIDATES.
    """
    queries = np.random.default_rng(ann.SEED).permutation(len(ids))[:RECALL_QUERIES]
    found = [
        np.isin(ids[q, :10], ann.candidate_ids(index, descriptors[q], RECALL_CANDIDATES)).mean()
        for q in queries
    ]
    return round(float(np.mean(found)), 4)
