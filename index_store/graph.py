"""The gallery's neighbourhood graph, on which diffusion walks.

Mutual k nearest neighbours as in Iscen et al. 2017 (section 3.1) and Yang et al. 2019, with one
change: an edge weighs what the two photos have in common beyond their own surroundings,

    a_ij = max(0, s_ij - b_i) * max(0, s_ij - b_j),
    b_i = similarity of i to its BACKGROUND-th neighbour,

instead of s_ij ** 3. Photos in a crowd (a hundred hammers on white paper) have a high background,
and lose the strong edges to one another that their high similarities alone would give them.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from .ann import build_index, exact_knn, exact_search, rescore
from .presets import choose_parameters
from .vector_index import SEED, FaissIndex

NEIGHBOURS = 10
BACKGROUND = 50
EXACT_UP_TO = 50_000
MIN_RECALL = 0.98
RECALL_PHOTOS = 500
NEIGHBOUR_PRESET = "ivf-pq4"
MAX_NPROBE = 2048
PROPOSALS = 8  # of the index, for each neighbour wanted
RESCORED_AT_ONCE = 256  # rows; bounds the memory for their proposals' descriptors
ROWS_AT_ONCE = 16_384


def nearest_photos(descriptors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, float]:
    """The nearest photos of each photo of a gallery, itself first.

    Exact up to EXACT_UP_TO photos. Comparing all with all would take hours beyond: there an index
    proposes, and the descriptors decide. How many lists it visits is doubled until a sample of
    photos finds at least MIN_RECALL of its exact neighbours. Descriptors for which that never comes
    about are compared exactly after all.

    Args:
        descriptors: float16 or float32 (N, D), perhaps memory-mapped.
        k: How many for each, itself included; at most N.

    Returns:
        Ids int32 (N, k) and similarities float32 (N, k), as of `self_first`; and the measured
        recall.
    """
    if len(descriptors) <= EXACT_UP_TO:
        return *self_first(*exact_knn(descriptors, k)), 1.0
    index, recall = accurate_index(descriptors, k)
    if recall < MIN_RECALL:
        queries = np.ascontiguousarray(descriptors, np.float32)
        return *self_first(*exact_search(descriptors, queries, k)), 1.0
    ids = np.empty((len(descriptors), k), np.int32)
    sims = np.empty((len(descriptors), k), np.float32)
    for start in range(0, len(descriptors), ROWS_AT_ONCE):
        rows = slice(start, min(start + ROWS_AT_ONCE, len(descriptors)))
        own = np.arange(rows.start, rows.stop)
        ids[rows], sims[rows] = self_first(*found_by(index, descriptors, own, k), own)
    return ids, sims, recall


def accurate_index(descriptors: np.ndarray, k: int) -> tuple[FaissIndex, float]:
    """An index that finds the k nearest photos of photos, and its recall on a sample of them."""
    sample = np.random.default_rng(SEED).permutation(len(descriptors))[:RECALL_PHOTOS]
    queries = np.ascontiguousarray(descriptors[sample], np.float32)
    worst = exact_search(descriptors, queries, k)[1][:, -1:]
    parameters = choose_parameters(len(descriptors), descriptors.shape[1], NEIGHBOUR_PRESET)
    index = build_index(descriptors, parameters)
    while True:
        _, sims = found_by(index, descriptors, sample, k)
        # Among photos that are equally near, one is as good as another.
        recall = float((sims >= worst - 1e-6).mean())
        if recall >= MIN_RECALL or index.effort > MAX_NPROBE:
            return index, recall
        index.effort *= 2


def found_by(
    index: FaissIndex, descriptors: np.ndarray, rows: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest of some rows (n,) by an index, rescored: ids int32 and similarities (n, k)."""
    ids, sims = [], []
    for start in range(0, len(rows), RESCORED_AT_ONCE):
        queries = np.ascontiguousarray(
            descriptors[rows[start : start + RESCORED_AT_ONCE]], np.float32
        )
        proposed = index.search(queries, PROPOSALS * k)[1]
        best = rescore(descriptors, queries, proposed, k)
        ids.append(best[0])
        sims.append(best[1])
    return np.concatenate(ids), np.concatenate(sims)


def self_first(
    ids: np.ndarray, sims: np.ndarray, own: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Neighbour lists with each row's own id in slot 0, whatever the search returned.

    Among exact duplicates a search may name another id before a photo's own, or leave its own out.

    Args:
        ids: int (n, k), best first, -1 where nothing was found.
        sims: float (n, k), their similarities.
        own: Whose lists they are, int (n,); 0 to n - 1 if left out.

    Returns:
        Ids and similarities of the same shapes. Slot 0 is the photo itself with similarity 1. The
        rest keeps its order. Where nothing is left to fill a slot it has id -1 and similarity 0. No
        list names an id twice.
    """
    count, k = ids.shape
    own = np.arange(count) if own is None else own
    by_id = np.argsort(ids, axis=1, kind="stable")
    twice = np.diff(np.take_along_axis(ids, by_id, 1), axis=1, prepend=-2) == 0
    valid = (ids >= 0) & (ids != own[:, None])
    np.put_along_axis(twice, by_id, twice.copy(), 1)
    valid &= ~twice
    order = np.argsort(~valid, axis=1, kind="stable")[:, : k - 1]
    kept = np.take_along_axis(valid, order, 1)
    out_ids, out_sims = np.empty_like(ids), np.empty_like(sims)
    out_ids[:, 0], out_sims[:, 0] = own, 1.0
    out_ids[:, 1:] = np.where(kept, np.take_along_axis(ids, order, 1), -1)
    out_sims[:, 1:] = np.where(kept, np.take_along_axis(sims, order, 1), 0)
    return out_ids, out_sims


def neighbour_graph(
    ids: np.ndarray, sims: np.ndarray, neighbours: int = NEIGHBOURS, background: int = BACKGROUND
) -> sparse.csr_array:
    """Symmetric normalised adjacency S = D^-1/2 A D^-1/2.

    Args:
        ids: Lists of `self_first`, int32 (N, k).
        sims: Their similarities, float32 (N, k).
        neighbours: An edge needs i among so many nearest of j, and j among those of i.
        background: Which neighbour's similarity is a photo's background.

    Returns:
        float64 (N, N), zero diagonal. A photo without edges has an empty row.
    """
    count, k = ids.shape
    last = np.minimum((ids >= 0).sum(1) - 1, min(background, k - 1))
    b = np.where(last > 0, sims[np.arange(count), last], 0.0).astype(np.float64)
    near_ids, near_sims = ids[:, 1 : neighbours + 1], sims[:, 1 : neighbours + 1].astype(np.float64)
    rows = np.repeat(np.arange(count, dtype=np.int32), near_ids.shape[1])
    columns, values = near_ids.ravel(), near_sims.ravel()
    keep = columns >= 0
    rows, columns, values = rows[keep], columns[keep], values[keep]
    weights = np.maximum(values - b[rows], 0) * np.maximum(values - b[columns], 0)
    directed = sparse.csr_array((weights, (rows, columns)), shape=(count, count))
    # Weights are symmetric by their formula: the smaller of both keeps exactly the mutual edges.
    mutual = directed.minimum(directed.T).tocsr()
    mutual.eliminate_zeros()
    degree = np.asarray(mutual.sum(axis=1)).ravel()
    scale = sparse.diags_array(1 / np.sqrt(np.where(degree > 0, degree, 1.0)))
    return (scale @ mutual @ scale).tocsr()
