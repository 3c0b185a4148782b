"""Simulation of weaker and stronger descriptors, to measure each stage with them.

A simulated store has its own folder, index, graph and offline diffusion. Keypoints, thumbnails and
catalogue are those of the original store.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from extractor import Extractor, ModelCard, Region
from index_store import Store, StoreError
from index_store.ann.presets import IndexParameters
from index_store.global_artifacts import Progress, silent
from index_store.global_artifacts import derive as derive_all
from index_store.parameters import extraction_spec_of
from index_store.storage.build_journal import Extracted
from index_store.storage.extraction_cache import ExtractionCache
from index_store.storage.generation import writing
from index_store.storage.publish import Content, replace


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def with_noise(descriptors: np.ndarray, sigma: float, seed: int) -> np.ndarray:
    """Descriptors of a simulated weaker network.

    The noise of a descriptor depends on the seed and on the descriptor itself (as float16), not on
    its row: photos with equal files stay equal.

    Args:
        descriptors: unit rows (N, D).
        sigma: expected length of the Gaussian noise, relative to a descriptor's length of 1.
        seed: seed of the noise.

    Returns:
        Unit rows float32 (N, D).
    """
    changed = np.empty(descriptors.shape, np.float32)
    for row, noisy_row in zip(descriptors, changed):
        rng = np.random.default_rng([seed, zlib.crc32(row.astype(np.float16).tobytes())])
        noisy_row[:] = unit(
            row.astype(np.float32) + sigma / np.sqrt(len(row)) * rng.normal(size=len(row))
        )
    return changed


def towards_others(
    descriptors: np.ndarray, things: Sequence[Sequence[int]], weight: float
) -> np.ndarray:
    """Descriptors of an oracle, which knows the labels.

    Args:
        descriptors: unit rows (N, D).
        things: disjoint lists of rows that show the same thing, at least two each.
        weight: weight of the unit mean of a thing's OTHER rows, relative to the row itself, 0 to 1.

    Returns:
        Unit rows float32 (N, D). Rows in no list are unchanged.
    """
    changed = unit(descriptors.astype(np.float32))
    for rows in things:
        rows = list(rows)
        members = unit(descriptors[rows].astype(np.float32))
        changed[rows] = unit((1 - weight) * members + weight * unit(members.sum(0) - members))
    return changed


@dataclass(frozen=True)
class Simulated:
    """Replaces the extractor of a simulated store.

    Attributes:
        extractor: the real extractor.
        fingerprint: fingerprint of the simulation.
        change: function applied to the descriptors (N, D) of `extractor`.
    """

    extractor: Extractor
    fingerprint: str
    change: Callable[[np.ndarray], np.ndarray]

    @property
    def card(self) -> ModelCard:
        return self.extractor.card

    @property
    def engine(self) -> str:
        return self.extractor.engine

    @property
    def model_sha256(self) -> str:
        return self.extractor.model_sha256

    def describe(
        self, photos: Sequence[np.ndarray], regions: Sequence[Region | None] | None = None
    ) -> np.ndarray:
        """As `Extractor.describe`."""
        return self.change(self.extractor.describe(photos, regions))


def derive(
    store: Store,
    path: Path,
    descriptors: np.ndarray,
    extractor: Simulated,
    progress: Progress = silent,
) -> Store:
    """A copy of a store with other descriptors.

    Args:
        store: source of all other data.
        path: path of the new store, which is reused if it exists.
        descriptors: (N, D), in the order of the store's photos.
        extractor: extractor of the descriptors.
        progress: wraps long stages.
    """
    try:
        return Store(path, extractor)
    except StoreError:
        pass
    spec = extraction_spec_of(extractor, store.as_stored)
    catalogue = store.catalogue
    content = Content(
        store.manifest.sources,
        store.manifest.listing,
        catalogue.entries(),
        catalogue.skipped(),
        catalogue.removed(),
        store.about,
        spec,
    )
    with writing(path), closing(ExtractionCache(path, spec.facts, spec.dim)) as cache:
        for photo in catalogue.photos():
            if photo.sha256 not in cache:
                extracted = Extracted(
                    descriptor=descriptors[photo.id].astype(np.float16),
                    size=(photo.height, photo.width),
                    thumbnail=store.thumbnail(photo.id),
                    features=store.stored_features(photo.id),
                )
                cache.put(photo.sha256, extracted)
        rows = cache.finish([entry.sha256 for entry in content.photos])
        parameters = IndexParameters(**store.manifest.parameters["ann"])
        replace(path, content, rows, lambda rows: derive_all(rows, parameters, None, progress))
    return Store(path, extractor)


def simulated_fingerprint(
    store: Store, name: str, seed: int, things: Sequence[Sequence[int]]
) -> str:
    """A fingerprint, equal for simulations with the same descriptors, and never that of a model."""
    facts = [store.manifest.fingerprint, store.version, name, seed, things]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def noisy(
    store: Store, extractor: Extractor, sigma: float, seed: int, progress: Progress = silent
) -> tuple[Store, Simulated]:
    """A store next to `store` with a weaker network, see `with_noise`, and its extractor.

    Uploaded queries get noise too.

    Args:
        store: original store, which is not changed.
        extractor: extractor of the store.
        sigma: expected length of the noise.
        seed: seed of the noise.
        progress: wraps long stages.
    """
    name = f"noise-{sigma:g}"

    def change(descriptors: np.ndarray) -> np.ndarray:
        return with_noise(descriptors, sigma, seed)

    simulated = Simulated(extractor, simulated_fingerprint(store, name, seed, []), change)
    path = store.path.with_name(f"{store.path.name}-{name}")
    return derive(
        store, path, change(np.asarray(store.descriptors)), simulated, progress
    ), simulated


def oracle(
    store: Store,
    extractor: Extractor,
    things: Sequence[Sequence[str]],
    weight: float,
    progress: Progress = silent,
) -> tuple[Store, Simulated]:
    """A store next to `store` with a stronger network, see `towards_others`, and its extractor.

    Only gallery photos can be queries. Unreadable photos are dropped from their things.

    Args:
        store: original store, which is not changed.
        extractor: extractor of the store.
        things: lists of files that show the same thing.
        weight: weight of the other photos, 0 to 1.
        progress: wraps long stages.
    """
    ids = {photo.file: photo.id for photo in store.catalogue.photos()}
    rows = [[ids[file] for file in thing if file in ids] for thing in things]
    rows = [members for members in rows if len(members) > 1]
    name = f"oracle-{weight:g}"
    simulated = Simulated(extractor, simulated_fingerprint(store, name, 0, rows), unit)
    path = store.path.with_name(f"{store.path.name}-{name}")
    descriptors = towards_others(np.asarray(store.descriptors), rows, weight)
    return derive(store, path, descriptors, simulated, progress), simulated
