"""Sub-galleries: some photos of a store, searched as a small store of their own without a build."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import faiss
import numpy as np

from extractor import LocalFeatures
from index_store import Store
from index_store.graph import affinity
from index_store.graph.neighbours import exact_neighbours
from index_store.graph.offline_diffusion import KEPT, diffusion_rows
from index_store.keypoints.keypoint_index import KeypointChange, KeypointIndex
from index_store.storage.catalogue import Photo
from index_store.storage.manifest import Manifest


class SubGallery:
    """The engine's view of a store, restricted to some photos, which are renumbered from 0.

    Descriptors and keypoints are those of the whole store. Neighbours and diffusion rows are
    computed as in a build of these photos alone, except that only pairs of the whole store's
    matching graph were compared. The index is exact. Everything is in memory.
    """

    def __init__(self, store: Store, ids: np.ndarray):
        """Take the photos of `store` with these ids, int (n,), ascending."""
        self._whole, self._ids = store, ids
        self.path, self.roots, self.version = store.path, store.roots, store.version
        self.as_stored = store.as_stored
        self.damaged = np.empty(0, np.int64)
        self.manifest: Manifest = replace(store.manifest, photos=len(ids))
        self.catalogue = SubCatalogue(store, ids)
        self.descriptors = np.asarray(store.descriptors)[ids]
        self.index = faiss.IndexFlatIP(self.descriptors.shape[1])
        self.index.add(self.descriptors.astype(np.float32))
        listed = min(len(ids), affinity.BACKGROUND + 1)
        neighbours, sims = exact_neighbours(self.descriptors, listed)
        width = affinity.NEIGHBOURS + 1
        self.lists, self.list_sims = neighbours, sims
        self.neighbour_ids, self.neighbour_sims = neighbours[:, :width], sims[:, :width]
        self.keypoints = part_of(store.keypoints, ids)
        new_ids = position_of(len(store), ids)
        self.marks = store.marks.renumbered(new_ids)
        self.edges = store.edges[ids]  # a copy
        self.edges["id"] = np.where(self.edges["id"] >= 0, new_ids[self.edges["id"]], -1)
        shape = (len(ids), min(len(ids), KEPT))
        self.diffusion_ids = np.empty(shape, np.int32)
        self.diffusion_values = np.empty(shape, np.float16)
        graph = affinity.neighbour_graph(neighbours, sims, self.edges)
        diffusion_rows(graph, self.diffusion_ids, self.diffusion_values)

    def __len__(self) -> int:
        return len(self._ids)

    def stored_features(self, id: int) -> bytes:
        """See `Store.stored_features`."""
        return self._whole.stored_features(int(self._ids[id]))

    def thumbnail_features(self, id: int) -> LocalFeatures:
        """See `Store.thumbnail_features`."""
        return self._whole.thumbnail_features(int(self._ids[id]))

    def pixels(self, id: int) -> np.ndarray:
        """See `Store.pixels`."""
        return self._whole.pixels(int(self._ids[id]))


def part_of(whole: KeypointIndex, ids: np.ndarray) -> KeypointIndex:
    """The keypoint index of the photos with these ids, int (n,), renumbered from 0."""
    new_ids = position_of(whole.photos, ids)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "keypoints.lists"
        replace(KeypointChange.none(whole), new_ids=new_ids).save(path)
        return KeypointIndex(path, whole.form, len(ids))


def position_of(photos: int, ids: np.ndarray) -> np.ndarray:
    """Position of each photo of the whole store in `ids`, int (photos,); -1 if it is not there."""
    new_ids = np.full(photos, -1)
    new_ids[ids] = np.arange(len(ids))
    return new_ids


class SubCatalogue:
    """Catalogue entries of a sub-gallery's photos, by their new ids."""

    def __init__(self, store: Store, ids: np.ndarray):
        self._photos = [
            replace(store.catalogue.photo(int(id)), id=new_id) for new_id, id in enumerate(ids)
        ]

    def photo(self, id: int) -> Photo:
        """Raises KeyError for an unknown id."""
        if not 0 <= id < len(self._photos):
            raise KeyError(id)
        return self._photos[id]

    served = photo

    def photos(self) -> list[Photo]:
        """All photos, by new id."""
        return list(self._photos)

    def photos_of(self, ids: Sequence[int] | np.ndarray) -> list[Photo]:
        """The photos with these new ids, in this order. Raises KeyError for an unknown id."""
        return [self.photo(int(id)) for id in ids]

    def find(self, file: str) -> Photo | None:
        """The photo with this file name; None if it is not in the sub-gallery."""
        return next((photo for photo in self._photos if photo.file == file), None)
