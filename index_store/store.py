"""Store: read access to the live generation.

Opening compares all sizes, and the checksums of files that are small or read completely;
`integrity` compares everything.
"""

from __future__ import annotations

import copy
import hashlib
import sqlite3
import threading
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import numpy as np

from extractor import (
    Extractor,
    LocalFeatures,
    UnsupportedImage,
    decode,
    decoder_for,
    local_features,
    owner_limits,
    read_bytes,
    resize,
)
from extractor.keypoints import sift

from .about import About
from .ann.id_map import NumberedIndex, all_numbered
from .ann.nearest import build_index, load_index
from .ann.presets import IndexParameters, choose_parameters
from .ann.remote.milvus import MilvusIndex
from .errors import StoreCorrupt
from .graph import affinity
from .graph.matching_graph import EDGE
from .keypoints.keypoint_form import form_of
from .keypoints.keypoint_index import KeypointIndex
from .keypoints.marks import FILES, Marks
from .storage.arrays import load_array
from .storage.catalogue import Catalogue
from .storage.compatibility import check_keypoints, check_model
from .storage.generation import SEGMENTS, opening
from .storage.integrity import read_damage
from .storage.manifest import check_sizes, verify_artefact
from .storage.rows import Descriptors, Rows
from .storage.segment import Segment

# Longest side for detecting keypoints that the store has no room for: in larger pictures detection
# takes too long, in smaller ones far fewer keypoints match.
THUMBNAIL_SIFT_SIDE = 400


class Store:
    """An open generation: thread-safe and read-only. Later builds do not affect it.

    Closed by `close`, at the end of a `with` block, or by garbage collection.

    Attributes:
        path: folder of the store.
        manifest: the generation's manifest.
        generation: name of the generation, such as "000001".
        version: short hash of the manifest, which differs after each build.
        manifest_sha256: the full hash.
        roots: folders of its photos.
        as_stored: how its photos were decoded; queries must be decoded the same way, see `decode`.
        catalogue: the photos by row.
        rows: the photos' data in segments.
        damaged: int64 (n,), ids of excluded photos, see `exclude_photos`.
        descriptors: float16 (N, D), unit rows.
        index: index over the descriptors: the store's own, or a collection of a server.
        neighbour_ids: int32 (N, K), exact nearest photos, the photo itself in slot 0, -1 unused.
        neighbour_sims: float32 (N, K), their similarities.
        lists: int32 (N, BACKGROUND + 1), the complete lists that the graph is built from.
        list_sims: float32, their similarities.
        diffusion_ids: int32 (N, M), photos of the offline diffusion rows (see `diffusion_rows`).
        diffusion_values: float16 (N, M), their values.
        keypoints: keypoint index of all photos.
        edges: EDGE (N, k), the matching graph, with the evidence of compared pairs.
        marks: logos, date stamps and the like; their keypoints are not in the keypoint index.
    """

    def __init__(
        self, path: str | Path, extractor: Extractor | None = None, embedded: bool = False
    ):
        """Open the live generation.

        Args:
            path: folder of the store.
            extractor: extractor for queries; None if there will be none.
            embedded: whether to open the store's own index unchanged, even if the generation is
                searched in a collection of a server: changes are made to that index.

        Raises:
            StoreMissing: there is no store.
            StoreMismatch: the store was built with another model than `extractor`'s, or by another
                version of this program.
            StoreCorrupt: a file is damaged or missing.
            IndexUnavailable: the generation is searched in a collection of a Milvus server, which
                is unavailable.
        """
        self.path = Path(path)
        self._leaving = threading.Lock()
        with opening(self.path) as generation:
            self.manifest = generation.manifest
            self.generation = generation.folder.name
            self.manifest_sha256 = generation.version
            self.version = generation.version[:12]
            check_model(self.manifest, extractor)
            check_keypoints(self.manifest)
            self._damaged_slots = read_damage(self.path, generation.version)
            check_sizes(generation.folder, self.manifest)
            searched_in = None if embedded else self.manifest.searched_in
            if searched_in is None:
                verify_artefact(generation.folder, self.manifest, "index.faiss")
            for name in FILES:
                verify_artefact(generation.folder, self.manifest, name)
            try:
                self._open(generation.folder)
                if searched_in is None:
                    index = self._embedded_index(generation.folder)
            except (OSError, ValueError, RuntimeError, KeyError, TypeError, sqlite3.Error) as error:
                raise StoreCorrupt(
                    f"The store at {path} cannot be read ({error}). Build it again."
                ) from error
        if searched_in is not None:
            count, dim = self.manifest.photos, self.manifest.dim
            index = all_numbered(MilvusIndex.of(searched_in, count, dim))
        self.index = index
        if not embedded:
            self.exclude_photos(self.damaged)

    def _open(self, folder: Path) -> None:
        count, dim = self.manifest.photos, self.manifest.dim
        self.roots = self.manifest.sources.roots
        self.as_stored = bool(self.manifest.parameters.get("decode", {}).get("as_stored"))
        segments = [Segment(self.path / SEGMENTS, facts.name) for facts in self.manifest.segments]
        if [segment.facts for segment in segments] != self.manifest.segments:
            raise ValueError("its segments are of other sizes")
        self.rows = Rows(segments, load_array(folder / "slots.npy", np.int64, (count,)))
        self.damaged = np.flatnonzero(np.isin(self.rows.slots, self._damaged_slots))
        self.descriptors = Descriptors(self.rows)
        if self.descriptors.shape != (count, dim):
            raise ValueError(f"its descriptors are {self.descriptors.shape}")
        self.lists = load_array(folder / "neighbour_ids.npy", np.int32, (count, None))
        self.list_sims = load_array(folder / "neighbour_sims.npy", np.float32, self.lists.shape)
        # Queries only need these few: the graph's edges and the reach of each photo.
        self.neighbour_ids = self.lists[:, : affinity.NEIGHBOURS + 1]
        self.neighbour_sims = self.list_sims[:, : affinity.NEIGHBOURS + 1]
        self.diffusion_ids = load_array(folder / "diffusion_ids.npy", np.int32, (count, None))
        rows_shape = self.diffusion_ids.shape
        self.diffusion_values = load_array(folder / "diffusion_values.npy", np.float16, rows_shape)
        form = form_of(self.manifest.parameters["keypoints"])
        self.keypoints = KeypointIndex(folder / "keypoints.lists", form, count)
        self.marks = Marks.load(folder, count)
        self.edges = load_array(folder / "edges.npy", EDGE, (count, None))
        try:
            self.catalogue = Catalogue(folder / "catalogue.sqlite")
            held = len(self.catalogue)
        except sqlite3.Error as error:
            raise ValueError(f"catalogue.sqlite is damaged: {error}") from None
        if held != count:
            raise ValueError("catalogue.sqlite holds another number of photos")

    def _embedded_index(self, folder: Path) -> NumberedIndex:
        parameters = IndexParameters(**self.manifest.parameters["ann"])
        count, dim = self.manifest.photos, self.manifest.dim
        index = load_index(folder / "index.faiss", parameters, count, dim)
        return NumberedIndex(index, load_array(folder / "index_ids.npy", np.int32, (None,)))

    def __len__(self) -> int:
        return self.manifest.photos

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the catalogue's file; it cannot be queried afterwards.

        The arrays release their files when they are garbage-collected.
        """
        self.catalogue.close()

    def proposed_by(self, preset: str) -> Store:
        """The same generation, with candidates from another form of index.

        That index is built in memory and not saved. Raises KeyError for names not in `PRESETS`.
        """
        parameters = choose_parameters(len(self), self.manifest.dim, preset)
        other = copy.copy(self)
        index = all_numbered(build_index(np.asarray(self.descriptors), parameters))
        other.index = index.without(self.damaged)
        return other

    def exclude_photos(self, ids: np.ndarray) -> None:
        """Exclude damaged photos from all further results, and as queries.

        Args:
            ids: int (n,). Previously excluded photos stay excluded.
        """
        with self._leaving:
            self.damaged = np.union1d(self.damaged, ids).astype(np.int64)
            self.catalogue.hidden |= frozenset(self.damaged.tolist())
            self.index = self.index.without(self.damaged)

    @cached_property
    def about(self) -> About:
        """The gallery's description. Raises StoreCorrupt."""
        try:
            return About.from_json(self.catalogue.about())
        except (sqlite3.Error, ValueError) as error:
            raise StoreCorrupt(
                f"catalogue.sqlite is damaged: the description of the gallery ({error})."
            ) from None

    @property
    def root(self) -> Path:
        """The folder of its photos, the first of several."""
        return next(iter(self.roots.folders.values()))

    @property
    def served_ids(self) -> np.ndarray:
        """Ids of all photos except damaged ones, ascending, int64 (n,).

        Code that analyses or lists the whole gallery must use these ids.
        """
        return np.delete(np.arange(len(self)), self.damaged)

    @property
    def is_damaged(self) -> bool:
        """Whether any photo was known to be damaged on opening, including removed photos."""
        return len(self._damaged_slots) > 0

    @property
    def whole_segments(self) -> list[Segment]:
        """Segments in which no photo is known to be damaged."""
        segments = self.rows.segments
        damaged = set(self.rows.numbers(self._damaged_slots).tolist())
        return [segment for number, segment in enumerate(segments) if number not in damaged]

    def thumbnail(self, id: int) -> bytes:
        """JPEG bytes, longest side at most 480 pixels.

        Raises:
            IndexError: there is no such id.
            StoreCorrupt: the thumbnail is damaged; the photo is excluded from now on.
        """
        return self._read(id, Segment.thumbnail)

    def photo_path(self, id: int) -> Path:
        """Path of the original when it was indexed. Raises KeyError."""
        return self.roots / self.catalogue.photo(id).file

    def pixels(self, id: int) -> np.ndarray:
        """The decoded original.

        Returns:
            uint8 RGB (H, W, 3).

        Raises:
            KeyError: there is no such id.
            OSError: the file no longer exists or cannot be read.
            BadPhoto: the file has changed.
        """
        limits = owner_limits()
        data = read_bytes(self.photo_path(id), limits)
        if hashlib.sha256(data).hexdigest() != self.catalogue.photo(id).sha256:
            raise UnsupportedImage("The photo has changed since it was indexed.")
        return decoder_for(limits).decode(data, self.as_stored)

    def stored_features(self, id: int) -> bytes:
        """`LocalFeatures.to_bytes` of a photo; empty beyond the budget. Raises like `thumbnail`."""
        return self._read(id, Segment.features)

    def _read(self, id: int, read: Callable[[Segment, int], bytes]) -> bytes:
        """Data of a photo in its segment. Raises like `thumbnail`."""
        segment, row = self.rows.place(id)
        try:
            return read(segment, row)
        except StoreCorrupt:
            self.exclude_photos(np.array([id]))
            raise

    def local_features(self, id: int) -> LocalFeatures:
        """Stored keypoints of a photo; beyond the budget, those of `thumbnail_features`.

        Raises KeyError, StoreCorrupt.
        """
        data = self.stored_features(id)
        return LocalFeatures.from_bytes(data) if data else self.thumbnail_features(id)

    def thumbnail_features(self, id: int) -> LocalFeatures:
        """Keypoints detected in the thumbnail, in pixels of the photo shrunk for `local_features`.

        They are fewer and coarser than the original's, but do not need the original.

        Raises KeyError, StoreCorrupt.
        """
        photo = self.catalogue.photo(id)
        small = resize(decode(self.thumbnail(id)), THUMBNAIL_SIFT_SIDE)
        found = local_features(small)
        return found.at_size(sift.shrunk((photo.height, photo.width)))
