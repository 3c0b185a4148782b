"""Nearest neighbours of every photo, from which the gallery's graph is built.

Up to EXACT_UP_TO photos, all are compared with all. Beyond that it would take hours. There the
gallery is divided into cells around k-means centroids, like an inverted file (Jegou et al. 2011,
section 4), and a photo is compared with the photos in the cells nearest to it. Since every photo
is a query, cells are processed in turn: all photos that visit a cell against all photos in it,
which is one matrix product. The comparison itself stays exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import faiss
import numpy as np

from ..ann.faiss_index import SEED
from ..ann.nearest import exact_search
from ..ann.presets import POINTS_PER_CENTROID
from ..storage.arrays import float32_blocks

EXACT_UP_TO = 50_000
MIN_RECALL = 0.98
RECALL_PHOTOS = 500
CELLS = 4  # times the square root of the gallery's size
ITERATIONS = 10  # of k-means
ROWS_AT_ONCE = 32_768


def nearest_photos(
    descriptors: np.ndarray,
    k: int,
    progress: Callable[[Iterable, int], Iterable] = lambda items, total: items,
) -> tuple[np.ndarray, np.ndarray, float]:
    """The nearest photos of each photo of a gallery, itself first.

    Args:
        descriptors: float16 or float32 (N, D), unit rows, possibly memory-mapped.
        k: list length, including the photo itself; at most N.
        progress: called as progress(items, total) for each part of the work; must yield the items.

    Returns:
        Ids int32 (N, k) and similarities float32 (N, k), see `self_first`; and the share of exact
        neighbours found, measured on a sample of RECALL_PHOTOS. It is at least MIN_RECALL, and 1 up
        to EXACT_UP_TO photos.
    """
    count = len(descriptors)
    if count <= EXACT_UP_TO:
        for _ in progress(range(1), 1):
            found = exact_neighbours(descriptors, k)
        return *found, 1.0
    for _ in progress(range(1), 1):
        centroids = cell_centroids(descriptors)
        nearest = [
            visited(rows, centroids, 1)[:, 0]
            for _, rows in float32_blocks(descriptors, ROWS_AT_ONCE)
        ]
        cells = np.concatenate(nearest)
        visits, recall = enough_visits(descriptors, k, centroids, cells)
        members = grouped(cells, len(centroids))
    ids, sims = np.empty((count, k), np.int32), np.empty((count, k), np.float32)
    for start, rows in progress(
        float32_blocks(descriptors, ROWS_AT_ONCE), -(-count // ROWS_AT_ONCE)
    ):
        own_ids = np.arange(start, start + len(rows))
        found = search_cells(descriptors, rows, visited(rows, centroids, visits), members, k)
        ids[own_ids], sims[own_ids] = self_first(*found, own_ids)
    return ids, sims, recall


def exact_neighbours(descriptors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The nearest photos of each photo, comparing all with all.

    Args:
        descriptors: float16 or float32 (N, D), unit rows.
        k: list length, including the photo itself; at most N.

    Returns:
        As `self_first`: ids int32 (N, k) and similarities float32 (N, k).
    """
    flat = np.ascontiguousarray(descriptors, np.float32)
    sims, ids = faiss.knn(flat, flat, k, metric=faiss.METRIC_INNER_PRODUCT)
    return self_first(ids.astype(np.int32), sims)


def cell_centroids(descriptors: np.ndarray) -> np.ndarray:
    """Centroids of CELLS sqrt(N) cells, trained on a sample: unit rows, float32 (cells, D)."""
    count, dim = descriptors.shape
    cells = max(1, min(int(CELLS * np.sqrt(count)), count // POINTS_PER_CENTROID))
    sample = np.random.default_rng(SEED).permutation(count)[: cells * POINTS_PER_CENTROID]
    kmeans = faiss.Kmeans(dim, cells, niter=ITERATIONS, seed=SEED, spherical=True)
    kmeans.train(np.ascontiguousarray(descriptors[np.sort(sample)], np.float32))
    return np.asarray(kmeans.centroids)


def visited(rows: np.ndarray, centroids: np.ndarray, visits: int) -> np.ndarray:
    """The cells nearest to each row, nearest first, int (n, visits)."""
    return faiss.knn(rows, centroids, visits, metric=faiss.METRIC_INNER_PRODUCT)[1]


def enough_visits(
    descriptors: np.ndarray, k: int, centroids: np.ndarray, cells: np.ndarray
) -> tuple[int, float]:
    """Number of cells that a photo must visit to reach MIN_RECALL of its neighbours.

    This needs no trial searches: the exact neighbours of a sample of photos show in which cells
    they are, and after how many visits these cells are reached.

    Args:
        descriptors: (N, D).
        k: number of neighbours.
        centroids: float32 (C, D).
        cells: the cell of each photo, int (N,).

    Returns:
        The number of cells, and the recall on the sample.
    """
    sample = np.random.default_rng(SEED).permutation(len(descriptors))[:RECALL_PHOTOS]
    queries = np.ascontiguousarray(descriptors[sample], np.float32)
    neighbours = exact_search(descriptors, queries, k)[0]
    nearest_first = visited(queries, centroids, len(centroids))
    visit = np.argsort(nearest_first, axis=1)  # visit at which each photo reaches each cell
    turns = np.take_along_axis(visit, cells[neighbours], axis=1)
    visits = 1 + int(np.quantile(turns, MIN_RECALL, method="higher"))
    return visits, float((turns < visits).mean())


def grouped(labels: np.ndarray, count: int) -> list[np.ndarray]:
    """Indices of each label from 0 to count - 1, ascending."""
    order = np.argsort(labels, axis=None, kind="stable")
    return np.split(order, np.searchsorted(labels.ravel()[order], np.arange(1, count)))


def search_cells(
    descriptors: np.ndarray,
    queries: np.ndarray,
    visits: np.ndarray,
    members: list[np.ndarray],
    k: int,
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest photos of each query, among those in the cells it visits.

    Args:
        descriptors: (N, D).
        queries: float32 (n, D).
        visits: cells of each query, int (n, v), without repetition.
        members: photos in each cell.
        k: number of neighbours per query.

    Returns:
        Ids int32 and similarities float32, (n, k), best first; -1 where cells hold fewer.
    """
    best = faiss.ResultHeap(len(queries), k, keep_max=True)
    for photos, visitors in zip(members, grouped(visits, len(members))):
        if len(photos) and len(visitors):
            queried = visitors // visits.shape[1]
            rows = np.asarray(descriptors[photos], np.float32)
            best.add_result_subset(queried, queries[queried] @ rows.T, photos)
    best.finalize()
    return best.I.astype(np.int32), best.D


def self_first(
    ids: np.ndarray, sims: np.ndarray, own_ids: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Neighbour lists with each row's own id in slot 0.

    Among exact duplicates a search may return another id before a photo's own, or omit its own.

    Args:
        ids: int (n, k), best first, -1 for no result.
        sims: float (n, k), their similarities.
        own_ids: ids of the rows' photos, int (n,); None for 0 to n - 1.

    Returns:
        Ids and similarities of the same shapes. Slot 0 is the photo itself with similarity 1. The
        rest keeps its order. Unused slots have id -1 and similarity 0. No list contains an id
        twice.
    """
    count, k = ids.shape
    own_ids = np.arange(count) if own_ids is None else own_ids
    by_id = np.argsort(ids, axis=1, kind="stable")
    twice = np.diff(np.take_along_axis(ids, by_id, 1), axis=1, prepend=-2) == 0
    valid = (ids >= 0) & (ids != own_ids[:, None])
    np.put_along_axis(twice, by_id, twice.copy(), 1)
    valid &= ~twice
    order = np.argsort(~valid, axis=1, kind="stable")[:, : k - 1]
    kept_columns = np.take_along_axis(valid, order, 1)
    out_ids, out_sims = np.empty_like(ids), np.empty_like(sims)
    out_ids[:, 0], out_sims[:, 0] = own_ids, 1.0
    out_ids[:, 1:] = np.where(kept_columns, np.take_along_axis(ids, order, 1), -1)
    out_sims[:, 1:] = np.where(kept_columns, np.take_along_axis(sims, order, 1), 0)
    return out_ids, out_sims
