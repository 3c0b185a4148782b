"""Folder of photos -> store."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from extractor import Extractor, sift

from . import ann, extraction, graph
from . import offline_diffusion as diffusion
from .catalogue import Photo, Skipped, title_of, write_catalogue
from .errors import NothingToIndex, StoreError
from .extraction import Journal, extract_all
from .generation import current, new_generation, writing
from .manifest import FILE_NAME, Manifest, checksum
from .packed import write_packed
from .scan import Listing, scan
from .store import Store, StoredPhotos

LOCAL_FEATURES_BUDGET = (
    8 * 2**30
)  # bytes; about 60,000 photos, the others' keypoints are found when they are needed
RECALL_QUERIES = 200
RECALL_SHORTLIST = 100  # the index is judged by a shortlist this small: a query's would hold all of a small gallery
SHORTLIST = 1000  # candidates the index proposes to a query, rescored exactly

Progress = Callable[[Iterable, int, str], Iterable]


def silent(items: Iterable, total: int, what: str) -> Iterable:
    """The progress display of a caller that wants none."""
    return items


def build(
    photos: str | Path, store: str | Path, extractor: Extractor, progress: Progress = silent
) -> Manifest:
    """Index all photos under a folder; the store's live generation is replaced when the new one is complete.

    progress(items, total, what) is called for each long stage and must yield the items. Unusable files are left out with
    their reason. A killed build resumes where it was; photos that are in the live generation are taken over from it, and if
    nothing has changed at all it stays.
    Raises NothingToIndex, StoreBusy.
    """
    root, store = Path(photos).expanduser().resolve(), Path(store)
    listing = scan(root)
    with writing(store):
        live = live_store(store, extractor)
        if live and is_up_to_date(live.manifest, root, listing):
            return live.manifest
        journal = Journal(store / "extracted.sqlite", extraction_fingerprint(extractor))
        try:
            indexed, skipped = extract_all(
                root,
                listing.files,
                extractor,
                journal,
                StoredPhotos(live) if live and same_extraction(live.manifest) else {},
                lambda items: progress(items, len(listing.files), "photos"),
            )
            if not indexed:
                raise NothingToIndex(
                    f"None of the {len(skipped)} photos in {root} can be read: {skipped[0].reason}"
                )
            with new_generation(store) as folder:
                write_generation(
                    folder, root, listing, indexed, skipped, extractor, journal, progress
                )
        except BaseException:
            journal.close()
            raise
        journal.discard()
        return current(store)[1]


def live_store(store: Path, extractor: Extractor) -> Store | None:
    """The store as it is, to build on; None if it is new, damaged or of another model."""
    try:
        return Store(store, extractor)
    except StoreError:
        return None


def is_up_to_date(manifest: Manifest, root: Path, listing: Listing) -> bool:
    """Whether a build would give what is there already."""
    same_photos = manifest.photos_root == str(root) and manifest.listing == listing.digest
    return same_photos and manifest.parameters == build_parameters(manifest.photos, manifest.dim)


def extraction_parameters() -> dict[str, dict]:
    """What shapes the thumbnails and keypoints kept of each photo."""
    return {
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


def extraction_fingerprint(extractor: Extractor) -> str:
    """Equal for builds that would keep the same of a photo."""
    return f"{extractor.fingerprint} {json.dumps(extraction_parameters(), sort_keys=True)}"


def same_extraction(manifest: Manifest) -> bool:
    """Whether what a store of the same model keeps of each photo is what a build would make now."""
    return extraction_parameters().items() <= manifest.parameters.items()


def build_parameters(count: int, dim: int) -> dict[str, dict]:
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
        **extraction_parameters(),
    }


def write_generation(
    folder: Path,
    root: Path,
    listing: Listing,
    indexed: list[tuple[str, str]],
    unusable: list[Skipped],
    extractor: Extractor,
    journal: Journal,
    progress: Progress,
) -> None:
    """Write all files of a generation into `folder`, the manifest last."""
    count, dim = len(indexed), extractor.card.output_dim
    skipped = unusable + listing.foreign
    descriptors = np.empty((count, dim), np.float16)
    catalogue = []
    for i, (file, sha256) in enumerate(indexed):
        photo = journal[sha256]
        descriptors[i] = photo.descriptor
        catalogue.append(Photo(i, file, title_of(file), sha256, photo.size[1], photo.size[0]))
    np.save(folder / "descriptors.npy", descriptors, allow_pickle=False)
    write_catalogue(folder / "catalogue.sqlite", catalogue, skipped)
    write_packed(folder, "thumbnails", (journal[sha256].thumbnail for _, sha256 in indexed))
    write_packed(
        folder,
        "local_features",
        within_budget((journal[sha256].features for _, sha256 in indexed), LOCAL_FEATURES_BUDGET),
    )

    parameters = ann.choose_parameters(count, dim)
    for _ in progress(range(1), 1, "index"):
        index = ann.build_index(descriptors, parameters)
    ann.save_index(index, folder / "index.faiss")

    for _ in progress(range(1), 1, "neighbours"):
        ids, sims = graph.self_first(*ann.exact_knn(descriptors, min(count, graph.BACKGROUND + 1)))
    # Queries ask for these few only: the graph's edges and the reach of each photo.
    near = min(count, graph.NEIGHBOURS + 1)
    np.save(folder / "neighbour_ids.npy", np.ascontiguousarray(ids[:, :near]), allow_pickle=False)
    np.save(folder / "neighbour_sims.npy", np.ascontiguousarray(sims[:, :near]), allow_pickle=False)

    walk = graph.neighbour_graph(ids, sims)
    shape = (count, min(count, diffusion.KEPT))
    row_ids = np.lib.format.open_memmap(folder / "diffusion_ids.npy", "w+", np.int32, shape)
    row_values = np.lib.format.open_memmap(folder / "diffusion_values.npy", "w+", np.float16, shape)
    diffusion.diffusion_rows(
        walk, row_ids, row_values, progress=lambda i, total: progress(i, total, "diffusion")
    )
    row_ids.flush()
    row_values.flush()

    manifest = Manifest(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        photos_root=str(root),
        listing=listing.digest,
        photos=count,
        skipped=len(skipped),
        dim=dim,
        fingerprint=extractor.fingerprint,
        model={**dataclasses.asdict(extractor.card), "sha256": extractor.model_sha256},
        parameters=build_parameters(count, dim),
        shortlist_recall=shortlist_recall(index, descriptors, ids),
        artefacts={path.name: checksum(path) for path in sorted(folder.iterdir())},
    )
    (folder / FILE_NAME).write_text(manifest.to_json())


def within_budget(blobs: Iterable[bytes], budget: int) -> Iterator[bytes]:
    """The blobs, each one that would pass the budget replaced by an empty one."""
    for blob in blobs:
        budget -= len(blob)
        yield blob if budget >= 0 else b""


def shortlist_recall(index, descriptors: np.ndarray, ids: np.ndarray) -> float:
    """Share of the exact 10 nearest (ids: lists of `self_first`) among the index's first RECALL_SHORTLIST, sampled photos."""
    queries = np.random.default_rng(ann.SEED).permutation(len(ids))[:RECALL_QUERIES]
    found = [
        np.isin(ids[q, :10], ann.shortlist(index, descriptors[q], RECALL_SHORTLIST)).mean()
        for q in queries
    ]
    return round(float(np.mean(found)), 4)
