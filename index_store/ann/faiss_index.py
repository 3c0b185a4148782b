"""Interface of vector indexes, and its embedded implementation with faiss.

An index only proposes candidates; the engine rescores them with the stored descriptors. Vectors
have unit norm, so indexes use Euclidean distance: product quantisation has a better recall with it
than with the inner product (faiss issues 1522, 2971), and the order is the same.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import faiss
import numpy as np

from ..storage.arrays import float32_blocks
from .presets import MAX_BITS, PRESETS, IndexParameters

POINTS_PER_LIST = 64  # training points; more do not give better lists (faiss issue 2301)
POINTS_PER_CODE = 256  # training points per centroid of a code; faiss would not use more
OPQ_ITERATIONS = 10  # faiss's default of 50 takes minutes and finds the same rotation
BATCH = 65536  # rows held as float32 at a time
SEED = 1234
# Limit for reading a file, so that a damaged one cannot request all memory.
MAX_VECTOR_BYTES = 64 * 2**30


@dataclass(frozen=True)
class IndexStats:
    """Statistics of an index.

    Attributes:
        vectors: number of vectors ever added, including those removed since.
        removed: number of vectors that are no longer found.
        dim: components per vector.
        bytes: memory in use while it is searched.
        lists: number of inverted lists; 0 if there are none.
        code_bytes: bytes per encoded vector, without links and ids.
    """

    vectors: int
    removed: int
    dim: int
    bytes: int
    lists: int = 0
    code_bytes: int = 0


class VectorIndex(Protocol):
    """An index that can be searched. Ids are 0, 1, 2 in the order in which vectors were added.

    Attributes:
        effort: thoroughness of searches, on the form's own scale (nprobe, efSearch).
    """

    effort: int

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Approximate nearest neighbours.

        Args:
            queries: float32 (n, D).
            k: number of neighbours per query.

        Returns:
            Approximate squared distances float32 (n, k), and ids int64 (n, k), best first; id -1
            where fewer than k were found.
        """

    def stats(self) -> IndexStats:
        """Statistics of the index."""


class FaissIndex:
    """A preset of `presets` in faiss. Searching is thread-safe; changing it is not.

    Inverted files support deletion. In other forms, removed vectors are marked and skipped by
    searches; their bytes are freed when the index is rebuilt.

    Attributes:
        parameters: build and search parameters.
        faiss_index: the faiss index, which may still contain removed vectors.
    """

    def __init__(self, dim: int, parameters: IndexParameters):
        """An empty index.

        Args:
            dim: components per vector.
            parameters: output of `choose_parameters`.
        """
        self.parameters = parameters
        self.faiss_index = faiss.index_factory(dim, parameters.factory, faiss.METRIC_L2)
        self._removed = np.zeros(0, bool)
        self._bytes: int | None = None  # not measured yet
        self._set_effort()

    @property
    def ntotal(self) -> int:
        """Number of vectors that can be found; faiss's name for it."""
        return len(self._removed) - int(self._removed.sum())

    @property
    def _supports_removal(self) -> bool:
        return isinstance(inner(self.faiss_index), faiss.IndexIVF)

    @property
    def effort(self) -> int:
        """Current value of the preset's search parameter."""
        return self.parameters.effort

    @effort.setter
    def effort(self, value: int) -> None:
        self.parameters = dataclasses.replace(self.parameters, effort=value)
        self._set_effort()

    def _set_effort(self) -> None:
        parameter, effort = PRESETS[self.parameters.preset].parameter, self.parameters.effort
        if not parameter:
            return
        space = faiss.ParameterSpace()
        space.set_index_parameter(self.faiss_index, parameter, effort)
        if "_HNSW" in self.parameters.factory:  # the graph that selects lists
            space.set_index_parameter(self.faiss_index, "quantizer_efSearch", 2 * effort)

    def train(self, rows: np.ndarray) -> None:
        """Learn lists and codes from vectors (N, D) like those to be added. Call once, first."""
        quantizer = getattr(storage(self.faiss_index), "pq", None)
        lists = getattr(inner(self.faiss_index), "nlist", 1)
        centroids = 2**MAX_BITS if quantizer is None else 2**quantizer.nbits
        needed = max(POINTS_PER_LIST * lists, POINTS_PER_CODE * centroids)
        sample = np.random.default_rng(SEED).permutation(len(rows))[:needed]
        train = np.ascontiguousarray(rows[np.sort(sample)], np.float32)
        # A gallery with fewer photos than centroids must still train: repeat them. (With fewer
        # training points than dimensions, faiss's OPQ writes out of bounds.)
        dim = rows.shape[1]
        train = np.resize(train, (max(len(train), lists, centroids, dim), dim))
        rotation_codes = prepare_training(self.faiss_index)
        self.faiss_index.train(train)
        del rotation_codes  # must outlive train, as faiss holds only a pointer to it

    def add(self, rows: np.ndarray) -> None:
        """Add vectors (N, D); ids continue after the last one."""
        for start, block in float32_blocks(rows, BATCH):
            if self._supports_removal:
                first = len(self._removed) + start
                ids = np.arange(first, first + len(block), dtype=np.int64)
                self.faiss_index.add_with_ids(block, ids)
            else:
                self.faiss_index.add(block)
        self._removed = np.concatenate([self._removed, np.zeros(len(rows), bool)])
        self._bytes = None

    def remove(self, ids: np.ndarray) -> None:
        """Remove vectors by id; others keep their ids. Raises IndexError for unknown ids."""
        ids = np.asarray(ids, np.int64)
        if len(ids) and not 0 <= ids.min() <= ids.max() < len(self._removed):
            raise IndexError("There is no vector with such an id.")
        if self._supports_removal:
            self.faiss_index.remove_ids(faiss.IDSelectorBatch(ids))
            self._bytes = None
        self._removed[ids] = True

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        queries = np.ascontiguousarray(queries, np.float32)
        if self._supports_removal or not self._removed.any():
            return self.faiss_index.search(queries, k)
        depth, remaining = k, len(self._removed)
        while True:
            depth = min(2 * depth, remaining)
            distances, ids = self.faiss_index.search(queries, depth)
            found = (ids >= 0) & ~self._removed[ids]
            # A -1 at the end of a row means that a larger k would find nothing more.
            if depth == remaining or np.all((found.sum(1) >= k) | (ids[:, -1] < 0)):
                return first_columns(distances, ids, found, k)

    def save(self, path: Path) -> None:
        """Write everything to a file. Raises OSError."""
        # faiss may silently write half a file. It ignores bytes after its own, hence the footer.
        removed = np.flatnonzero(self._removed).astype("<i8")
        with open(path, "wb") as file:
            file.write(faiss.serialize_index(self.faiss_index).data)
            file.write(removed.tobytes())
            file.write(np.int64(len(removed)).astype("<i8").tobytes())

    @classmethod
    def load(cls, path: Path, parameters: IndexParameters) -> FaissIndex:
        """Load a file of `save` whose checksum was verified. Raises ValueError, RuntimeError."""
        faiss.set_deserialization_vector_byte_limit(MAX_VECTOR_BYTES)
        loaded = cls.__new__(cls)
        loaded.parameters = parameters
        with open(path, "rb") as file:
            footer = file.seek(0, os.SEEK_END) - 8
            file.seek(max(0, footer))
            count = int.from_bytes(file.read(8), "little", signed=True)
            if not 0 <= 8 * count <= footer:
                raise ValueError("the index file is truncated")
            file.seek(footer - 8 * count)
            removed = np.frombuffer(file.read(8 * count), "<i8")
            file.seek(0)
            # By descriptor, as faiss rejects paths that are not valid Unicode, and would copy bytes
            # in memory twice. Precomputed tables of distances between lists and codes would take
            # more memory than the codes.
            loaded.faiss_index = faiss.read_index(
                f"/dev/fd/{file.fileno()}", faiss.IO_FLAG_SKIP_PRECOMPUTE_TABLE
            )
        total = loaded.faiss_index.ntotal + (count if loaded._supports_removal else 0)
        if count and not 0 <= removed.min() <= removed.max() < total:
            raise ValueError("the index does not contain the ids that are marked as removed")
        loaded._removed = np.zeros(total, bool)
        loaded._removed[removed] = True
        loaded._bytes = footer - 8 * count
        loaded._set_effort()
        return loaded

    def stats(self) -> IndexStats:
        if self._bytes is None:
            self._bytes = size_of(self.faiss_index)
        return IndexStats(
            vectors=len(self._removed),
            removed=int(self._removed.sum()),
            lists=getattr(inner(self.faiss_index), "nlist", 0),
            code_bytes=storage(self.faiss_index).code_size,
            dim=self.faiss_index.d,
            bytes=self._bytes + len(self._removed),
        )


# -- objects of faiss ------------------------------------------------------------------------------


def inner(index: faiss.Index) -> faiss.Index:
    """The index behind a vector transform, if there is one."""
    if isinstance(index, faiss.IndexPreTransform):
        return faiss.downcast_index(index.index)
    return index


def first_transform(index: faiss.IndexPreTransform) -> faiss.VectorTransform:
    """The transform applied to vectors before the index."""
    chain: Any = index.chain  # a C++ vector
    return faiss.downcast_VectorTransform(chain.at(0))


def storage(index: faiss.Index) -> Any:
    """The part of an index that contains the codes: behind a rotation, and below a graph."""
    form = inner(index)
    return faiss.downcast_index(form.storage) if isinstance(form, faiss.IndexHNSW) else form


def prepare_training(index: faiss.Index) -> faiss.ProductQuantizer | None:
    """Set training parameters that the factory string cannot express.

    Returns:
        The quantiser that a learned rotation is trained with, if there is one. It must live until
        training has ended.
    """
    form, quantizer = inner(index), getattr(storage(index), "pq", None)
    for clustering in (getattr(form, "cp", None), getattr(quantizer, "cp", None)):
        if clustering is not None:
            clustering.seed = SEED
            clustering.min_points_per_centroid = 1  # `choose_parameters` ensures enough
    if isinstance(form, faiss.IndexIVFPQ):
        # Precomputed tables of distances between lists and codes would take more memory than codes.
        form.use_precomputed_table = -1
    if not isinstance(index, faiss.IndexPreTransform):
        return None
    rotation = first_transform(index)
    if quantizer is None or not isinstance(rotation, faiss.OPQMatrix):
        return None
    codes = faiss.ProductQuantizer(rotation.d_out, quantizer.M, quantizer.nbits)
    codes.cp.min_points_per_centroid = 1
    rotation.pq, rotation.niter = codes, OPQ_ITERATIONS
    return codes


def first_columns(
    distances: np.ndarray, ids: np.ndarray, mask: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The first k wanted entries of each row, padded as faiss does.

    Args:
        distances, ids: result of a search, (n, m).
        mask: bool (n, m).
        k: number of columns to return.
    """
    order = np.argsort(~mask, axis=1, kind="stable")[:, :k]
    distances, ids, mask = (np.take_along_axis(a, order, 1) for a in (distances, ids, mask))
    missing = ((0, 0), (0, k - order.shape[1]))
    return (
        np.pad(np.where(mask, distances, np.inf), missing, constant_values=np.inf),
        np.pad(np.where(mask, ids, -1), missing, constant_values=-1),
    )


def size_of(index: faiss.Index) -> int:
    """Size of an index when serialised, in bytes."""
    sizes: list[int] = []
    writer = faiss.PyCallbackIOWriter(lambda data: sizes.append(len(data)))  # type: ignore[attr-defined]
    faiss.write_index(index, writer)
    return sum(sizes)
