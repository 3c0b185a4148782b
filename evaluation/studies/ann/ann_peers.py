"""Indexes of other libraries behind the project's interface, for comparison.

Both need no training, choose their own build parameters, and find more with more effort (hnswlib's
ef, usearch's expansion). They report the sizes of their files, which hold the same as their memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from extractor import available_cores
from index_store.ann.faiss_index import IndexStats

BATCH = 20_000
CONNECTIVITY, EF_CONSTRUCTION = 16, 200  # from hnswlib's own examples


class MissingPeers(Exception):
    """The libraries to compare with are not installed."""


class Hnswlib:
    """hnswlib, float32. Malkov and Yashunin 2018, by its authors."""

    def __init__(self, dim: int, path: Path | None = None):
        """An empty index, or the one in a file."""
        import hnswlib

        self.dim, self._size = dim, 0
        self._index = hnswlib.Index(space="l2", dim=dim)
        if path is not None:
            self._index.load_index(str(path))
            self._size = path.stat().st_size

    def build(self, rows: np.ndarray) -> None:
        self._index.init_index(
            max_elements=len(rows), M=CONNECTIVITY, ef_construction=EF_CONSTRUCTION
        )
        for start in range(0, len(rows), BATCH):
            block = np.float32(rows[start : start + BATCH])
            self._index.add_items(block, num_threads=available_cores())

    @property
    def effort(self) -> int:
        return self._index.ef

    @effort.setter
    def effort(self, value: int) -> None:
        self._index.set_ef(value)
        self._index.set_num_threads(1)

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """As `VectorIndex.search`."""
        ids, distances = self._index.knn_query(queries, k, num_threads=1)
        return distances, ids.astype(np.int64)

    def save(self, path: Path) -> None:
        self._index.save_index(str(path))
        self._size = path.stat().st_size

    def stats(self) -> IndexStats:
        return IndexStats(self._index.element_count, 0, self.dim, self._size)


class Usearch:
    """usearch with its own defaults; vectors stored as float16, or as 8-bit codes."""

    def __init__(self, dim: int, path: Path | None = None, precision: str = "f16"):
        """An empty index, or the one in a file."""
        from usearch.index import Index

        self.dim, self._size = dim, 0
        self._index: Any = Index(ndim=dim, metric="cos", dtype=precision)
        if path is not None:
            self._index.load(str(path))
            self._size = path.stat().st_size

    def build(self, rows: np.ndarray) -> None:
        for start in range(0, len(rows), BATCH):
            block = np.float32(rows[start : start + BATCH])
            keys = np.arange(start, start + len(block))
            self._index.add(keys, block, threads=available_cores())

    @property
    def effort(self) -> int:
        return self._index.expansion_search

    @effort.setter
    def effort(self, value: int) -> None:
        self._index.expansion_search = value

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """As `VectorIndex.search`, for one query."""
        found = self._index.search(queries[0], k, threads=1)
        return found.distances[None], found.keys.astype(np.int64)[None]

    def save(self, path: Path) -> None:
        self._index.save(str(path))
        self._size = path.stat().st_size

    def stats(self) -> IndexStats:
        return IndexStats(len(self._index), 0, self.dim, self._size)


@dataclass(frozen=True)
class PeerForm:
    """A peer: how to open it, and whether it stores vectors uncompressed."""

    open: Callable[..., Any]
    exact: bool


PEERS = {
    "hnswlib": PeerForm(Hnswlib, exact=True),
    "usearch": PeerForm(Usearch, exact=True),
    "usearch-i8": PeerForm(lambda *args: Usearch(*args, precision="i8"), exact=False),
}


def check_peers() -> None:
    """Raise MissingPeers unless the libraries are installed."""
    try:
        import hnswlib  # noqa: F401
        import usearch  # noqa: F401
    except ImportError:
        raise MissingPeers(
            "hnswlib and usearch are not installed: pip install -r requirements-ann.txt"
        ) from None
