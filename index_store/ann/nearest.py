"""Nearest neighbours: approximate with the store's index, and exact."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import faiss
import numpy as np

from ..storage.arrays import float32_blocks
from .faiss_index import BATCH, FaissIndex
from .presets import IndexParameters


class Searchable(Protocol):
    """An index that can be searched like a faiss index."""

    ntotal: int

    def search(self, descriptors: np.ndarray, k: int, /) -> tuple[np.ndarray, np.ndarray]: ...


def build_index(descriptors: np.ndarray, parameters: IndexParameters) -> FaissIndex:
    """Train an index on a sample and add all descriptors.

    Args:
        descriptors: float16 or float32 (N, D), unit rows.
        parameters: output of `choose_parameters`.
    """
    index = FaissIndex(descriptors.shape[1], parameters)
    index.train(descriptors)
    index.add(descriptors)
    return index


def load_index(path: Path, parameters: IndexParameters, count: int, dim: int) -> FaissIndex:
    """Load an index whose checksum was verified.

    Args:
        path: file written by `FaissIndex.save`.
        parameters: parameters it was built with.
        count: number of vectors it must hold.
        dim: components per vector that it must have.

    Raises:
        ValueError: the file holds another index.
        RuntimeError: faiss cannot read the file.
    """
    index = FaissIndex.load(path, parameters)
    stats = index.stats()
    found = (stats.vectors - stats.removed, stats.dim)
    if found != (count, dim):
        raise ValueError(f"index holds (vectors, dimensions) = {found}, expected {(count, dim)}")
    return index


def candidate_ids(index: Searchable, descriptor: np.ndarray, size: int) -> np.ndarray:
    """Approximate neighbours of one descriptor, by approximate distance.

    Args:
        index: a `VectorIndex`, or an object with the same `search`.
        descriptor: float32 (D,), unit norm.
        size: maximum number of neighbours.

    Returns:
        Row numbers int64, at most `size`.
    """
    _, ids = index.search(
        np.ascontiguousarray(descriptor[None], np.float32), min(size, index.ntotal)
    )
    return ids[0][ids[0] >= 0]


def rescore(
    descriptors: np.ndarray, queries: np.ndarray, ids: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The best of an index's proposals, by exact similarity.

    Args:
        descriptors: float16 or float32 (N, D).
        queries: float32 (n, D).
        ids: proposals for each query, (n, m), -1 for unused entries; m at least k.
        k: number of proposals to keep per query.

    Returns:
        Ids int32 (n, k), and similarities float32 (n, k), best first; -1 and 0 where there were
        fewer proposals.
    """
    sims = np.matmul(descriptors[ids].astype(np.float32), queries[:, :, None])[:, :, 0]
    sims[ids < 0] = -np.inf
    best = np.argpartition(-sims, k - 1, axis=1)[:, :k]
    order = np.argsort(-np.take_along_axis(sims, best, 1), axis=1, kind="stable")
    best = np.take_along_axis(best, order, 1)
    ids, sims = np.take_along_axis(ids, best, 1), np.take_along_axis(sims, best, 1)
    return ids.astype(np.int32), np.where(ids < 0, 0, sims)


def exact_search(
    descriptors: np.ndarray, queries: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Exact nearest vectors by inner product, in bounded memory.

    Args:
        descriptors: float16 or float32 (N, D), possibly memory-mapped; read in blocks.
        queries: float32 (n, D).
        k: number of neighbours per query; at most N.

    Returns:
        Ids int32 (n, k), and similarities float32 (n, k), best first.
    """
    best = faiss.ResultHeap(len(queries), k, keep_max=True)
    for start, block in float32_blocks(descriptors, BATCH):
        sims, ids = faiss.knn(queries, block, min(k, len(block)), metric=faiss.METRIC_INNER_PRODUCT)
        best.add_result(sims, ids + start)
    best.finalize()
    return best.I.astype(np.int32), best.D
