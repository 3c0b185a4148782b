"""What the rest of the project asks of an index of vectors, and faiss as the embedded answer.

An index only proposes; the engine rescores with the stored descriptors. Vectors have unit norm, so
indexes work with Euclidean distance, where product quantisation recalls better than under the inner
product (faiss issues 1522, 2971), and the order is the same.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import faiss
import numpy as np

from ..storage.arrays import float32_blocks
from .presets import MAX_BITS, PRESETS, IndexParameters

POINTS_PER_LIST = 64  # to train with; more do not find better lists (faiss issue 2301)
POINTS_PER_CODE = 256  # for each centroid of a code; faiss would not use more
OPQ_ITERATIONS = 10  # faiss' 50 cost minutes and find the same rotation
BATCH = 65536  # rows held as float32 at a time
SEED = 1234
# Limits for reading a file, so that a damaged one cannot ask for all the memory.
MAX_VECTOR_BYTES = 64 * 2**30


@dataclass(frozen=True)
class IndexStats:
    """What is in an index.

    Attributes:
        vectors: How many it has taken, those removed since included.
        lists: Inverted lists; 0 if it has none.
        code_bytes: What one vector is packed into, without links and ids.
        removed: How many of them it no longer finds.
        dim: Components of a vector.
        bytes: Of memory that it takes while it is searched.
    """

    vectors: int
    removed: int
    dim: int
    bytes: int
    lists: int = 0
    code_bytes: int = 0


class VectorIndex(Protocol):
    """An index that vectors go into by rows and come out of by ids: 0, 1, 2 as they were added.

    Attributes:
        effort: How thoroughly it searches, on its form's own scale (nprobe, efSearch).
    """

    effort: int

    def train(self, rows: np.ndarray) -> None:
        """Learn lists and codes from vectors (N, D) such as will be added; once, and first."""

    def add(self, rows: np.ndarray) -> None:
        """Take in vectors (N, D); ids go on from the last one."""

    def remove(self, ids: np.ndarray) -> None:
        """Find these ids no more. Other vectors keep theirs. Raises IndexError for unknown ones."""

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Probable nearest vectors.

        Args:
            queries: float32 (n, D).
            k: How many for each.

        Returns:
            Rough squared distances float32 (n, k), and ids int64 (n, k), best first. Where nothing
            more was found the id is -1.
        """

    def save(self, path: Path) -> None:
        """Write everything to a file. Raises OSError."""

    @classmethod
    def load(cls, path: Path, parameters: IndexParameters) -> Self:
        """Read a file of `save` whose checksum was verified. Raises ValueError, RuntimeError."""

    def stats(self) -> IndexStats:
        """What is in it."""


class FaissIndex:
    """A preset of `presets` in faiss. Searching is thread-safe; changing it is not.

    Inverted files can delete. In other forms what is removed is marked, and passed over by
    searches; its bytes go when the index is built again.

    Attributes:
        parameters: What it was built with, and how it is searched.
        faiss_index: The index itself. What was removed may be in it.
    """

    def __init__(self, dim: int, parameters: IndexParameters):
        """An empty index.

        Args:
            dim: Components of a vector.
            parameters: Of `choose_parameters`.
        """
        self.parameters = parameters
        self.faiss_index = faiss.index_factory(dim, parameters.factory, faiss.METRIC_L2)
        self._removed = np.zeros(0, bool)
        self._bytes: int | None = None  # not counted yet
        self._set_effort()

    @property
    def ntotal(self) -> int:
        """How many vectors it finds, as faiss calls it."""
        return len(self._removed) - int(self._removed.sum())

    @property
    def _deletes(self) -> bool:
        return isinstance(inner(self.faiss_index), faiss.IndexIVF)

    @property
    def effort(self) -> int:
        """The value of the preset's knob that searches use now."""
        return self.parameters.effort

    @effort.setter
    def effort(self, value: int) -> None:
        self.parameters = dataclasses.replace(self.parameters, effort=value)
        self._set_effort()

    def _set_effort(self) -> None:
        knob, effort = PRESETS[self.parameters.preset].knob, self.parameters.effort
        if not knob:
            return
        space = faiss.ParameterSpace()
        space.set_index_parameter(self.faiss_index, knob, effort)
        if "_HNSW" in self.parameters.factory:  # the graph that finds the lists
            space.set_index_parameter(self.faiss_index, "quantizer_efSearch", 2 * effort)

    def train(self, rows: np.ndarray) -> None:
        quantizer = getattr(storage(self.faiss_index), "pq", None)
        lists = getattr(inner(self.faiss_index), "nlist", 1)
        centroids = 2**MAX_BITS if quantizer is None else 2**quantizer.nbits
        wanted = max(POINTS_PER_LIST * lists, POINTS_PER_CODE * centroids)
        sample = np.random.default_rng(SEED).permutation(len(rows))[:wanted]
        train = np.ascontiguousarray(rows[np.sort(sample)], np.float32)
        # A gallery of fewer photos than centroids still has to train: repeat them. (With fewer than
        # dimensions, faiss' OPQ writes where it must not.)
        dim = rows.shape[1]
        train = np.resize(train, (max(len(train), lists, centroids, dim), dim))
        rotation_codes = prepare_training(self.faiss_index)
        self.faiss_index.train(train)
        del rotation_codes  # faiss had only borrowed it

    def add(self, rows: np.ndarray) -> None:
        for start, block in float32_blocks(rows, BATCH):
            if self._deletes:
                first = len(self._removed) + start
                numbers = np.arange(first, first + len(block), dtype=np.int64)
                self.faiss_index.add_with_ids(block, numbers)
            else:
                self.faiss_index.add(block)
        self._removed = np.concatenate([self._removed, np.zeros(len(rows), bool)])
        self._bytes = None

    def remove(self, ids: np.ndarray) -> None:
        ids = np.asarray(ids, np.int64)
        if len(ids) and not 0 <= ids.min() <= ids.max() < len(self._removed):
            raise IndexError("There is no vector with such an id.")
        if self._deletes:
            self.faiss_index.remove_ids(faiss.IDSelectorBatch(ids))
            self._bytes = None
        self._removed[ids] = True

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        queries = np.ascontiguousarray(queries, np.float32)
        if self._deletes or not self._removed.any():
            return self.faiss_index.search(queries, k)
        asked, left = k, len(self._removed)
        while True:
            asked = min(2 * asked, left)
            distances, ids = self.faiss_index.search(queries, asked)
            found = (ids >= 0) & ~self._removed[ids]
            # A -1 at the end of a row says that asking for more would find nothing more.
            if asked == left or np.all((found.sum(1) >= k) | (ids[:, -1] < 0)):
                return first_columns(distances, ids, found, k)

    def save(self, path: Path) -> None:
        # faiss itself may leave half a file without a word. What follows its bytes it passes over.
        removed = np.flatnonzero(self._removed).astype("<i8")
        with open(path, "wb") as file:
            file.write(faiss.serialize_index(self.faiss_index).data)
            file.write(removed.tobytes())
            file.write(np.int64(len(removed)).astype("<i8").tobytes())

    @classmethod
    def load(cls, path: Path, parameters: IndexParameters) -> FaissIndex:
        faiss.set_deserialization_vector_byte_limit(MAX_VECTOR_BYTES)
        loaded = cls.__new__(cls)
        loaded.parameters = parameters
        with open(path, "rb") as file:
            footer = file.seek(0, os.SEEK_END) - 8
            file.seek(max(0, footer))
            count = int.from_bytes(file.read(8), "little", signed=True)
            if not 0 <= 8 * count <= footer:
                raise ValueError("the index file has no end")
            file.seek(footer - 8 * count)
            removed = np.frombuffer(file.read(8 * count), "<i8")
            file.seek(0)
            # By its number, as faiss takes no path that is not valid Unicode. Of bytes in memory
            # faiss would make two copies. Tables of distances between lists and codes would take
            # more memory than the codes.
            loaded.faiss_index = faiss.read_index(
                f"/dev/fd/{file.fileno()}", faiss.IO_FLAG_SKIP_PRECOMPUTE_TABLE
            )
        held = loaded.faiss_index.ntotal + (count if loaded._deletes else 0)
        if count and not 0 <= removed.min() <= removed.max() < held:
            raise ValueError("the index has never held what is said to be removed")
        loaded._removed = np.zeros(held, bool)
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


# -- faiss' objects --------------------------------------------------------------------------------


def inner(index: faiss.Index) -> faiss.Index:
    """The index behind a rotation of the vectors."""
    if isinstance(index, faiss.IndexPreTransform):
        return faiss.downcast_index(index.index)
    return index


def first_transform(index: faiss.IndexPreTransform) -> faiss.VectorTransform:
    """What is done to vectors before the index sees them."""
    chain: Any = index.chain  # a C++ vector
    return faiss.downcast_VectorTransform(chain.at(0))


def storage(index: faiss.Index) -> Any:
    """What of an index holds the codes: behind a rotation, and below a graph."""
    form = inner(index)
    return faiss.downcast_index(form.storage) if isinstance(form, faiss.IndexHNSW) else form


def prepare_training(index: faiss.Index) -> faiss.ProductQuantizer | None:
    """Set what the factory string cannot say.

    Returns:
        The quantiser that a learned rotation is trained with, if there is one. It must live until
        the training has ended.
    """
    form, quantizer = inner(index), getattr(storage(index), "pq", None)
    for clustering in (getattr(form, "cp", None), getattr(quantizer, "cp", None)):
        if clustering is not None:
            clustering.seed = SEED
            clustering.min_points_per_centroid = 1  # the choice of parameters has seen to it
    if isinstance(form, faiss.IndexIVFPQ):
        # Tables of distances between lists and codes would take more memory than the codes.
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
    distances: np.ndarray, ids: np.ndarray, wanted: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The first k wanted entries of each row, the rest of it filled as faiss does.

    Args:
        distances, ids: Of a search, (n, m).
        wanted: bool (n, m).
        k: How many columns to return.
    """
    order = np.argsort(~wanted, axis=1, kind="stable")[:, :k]
    distances, ids, wanted = (np.take_along_axis(a, order, 1) for a in (distances, ids, wanted))
    missing = ((0, 0), (0, k - order.shape[1]))
    return (
        np.pad(np.where(wanted, distances, np.inf), missing, constant_values=np.inf),
        np.pad(np.where(wanted, ids, -1), missing, constant_values=-1),
    )


def size_of(index: faiss.Index) -> int:
    """Bytes of an index as it would be written."""
    sizes: list[int] = []
    writer = faiss.PyCallbackIOWriter(lambda data: sizes.append(len(data)))  # type: ignore[attr-defined]
    faiss.write_index(index, writer)
    return sum(sizes)
