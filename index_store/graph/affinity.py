"""The gallery's neighbourhood graph, for diffusion.

Mutual k nearest neighbours as in Iscen et al. 2017 (section 3.1) and Yang et al. 2019, with one
change: an edge's weight is what the two photos have in common beyond their own surroundings,

    a_ij = max(0, s_ij - b_i) * max(0, s_ij - b_j),
    b_i = similarity of i to its BACKGROUND-th neighbour,

instead of s_ij ** 3. Photos in a crowd (a hundred hammers on white paper) have a high background,
and lose the strong edges to one another that their high similarities alone would give them.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

NEIGHBOURS = 10
BACKGROUND = 50


def neighbour_graph(
    ids: np.ndarray, sims: np.ndarray, neighbours: int = NEIGHBOURS, background: int = BACKGROUND
) -> sparse.csr_array:
    """Symmetric normalised adjacency S = D^-1/2 A D^-1/2.

    Args:
        ids: lists of `self_first`, int32 (N, k).
        sims: their similarities, float32 (N, k).
        neighbours: rank within which i and j must be among each other's nearest for an edge.
        background: rank of the neighbour whose similarity is a photo's background.

    Returns:
        float64 (N, N), zero diagonal. A photo without edges has an empty row.
    """
    count = len(ids)
    b = backgrounds(ids, sims, background)
    near_ids, near_sims = ids[:, 1 : neighbours + 1], sims[:, 1 : neighbours + 1].astype(np.float64)
    rows = np.repeat(np.arange(count, dtype=np.int32), near_ids.shape[1])
    columns, values = near_ids.ravel(), near_sims.ravel()
    keep = columns >= 0
    rows, columns, values = rows[keep], columns[keep], values[keep]
    weights = np.maximum(values - b[rows], 0) * np.maximum(values - b[columns], 0)
    directed = sparse.csr_array((weights, (rows, columns)), shape=(count, count))
    # Weights are symmetric by their formula, so the minimum keeps exactly the mutual edges.
    mutual = directed.minimum(directed.T).tocsr()
    mutual.eliminate_zeros()
    degree = np.asarray(mutual.sum(axis=1)).ravel()
    scale = sparse.diags_array(1 / np.sqrt(np.where(degree > 0, degree, 1.0)))
    return (scale @ mutual @ scale).tocsr()


def backgrounds(ids: np.ndarray, sims: np.ndarray, background: int = BACKGROUND) -> np.ndarray:
    """b_i of photos, float64 (n,): 0 for a photo without neighbours.

    Args:
        ids: their lists, int32 (n, k).
        sims: their similarities, float32 (n, k).
        background: as in `neighbour_graph`.
    """
    last = np.minimum((ids >= 0).sum(1) - 1, min(background, ids.shape[1] - 1))
    return np.where(last > 0, sims[np.arange(len(ids)), last], 0.0).astype(np.float64)


def edges_of(
    photos: np.ndarray, ids: np.ndarray, sims: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The edges of a few photos before normalisation: their rows of A.

    Args:
        photos: int (n,).
        ids: lists of the whole gallery, int32 (N, k); only those of these photos and of their
            neighbours are read.
        sims: their similarities, float32 (N, k).

    Returns:
        Neighbours int (n, NEIGHBOURS or fewer), and weights float64 of the same shape, 0 for no
        edge.
    """
    neighbour_ids, neighbour_sims = (
        ids[photos, 1 : NEIGHBOURS + 1],
        sims[photos, 1 : NEIGHBOURS + 1],
    )
    back = ids[
        neighbour_ids, 1 : NEIGHBOURS + 1
    ]  # an unused slot -1 reads an arbitrary list, masked below
    mutual = (back == photos[:, None, None]).any(2) & (neighbour_ids >= 0)
    targets = neighbour_ids.ravel()
    b_near = backgrounds(ids[targets], sims[targets]).reshape(neighbour_ids.shape)
    b_own = backgrounds(ids[photos], sims[photos])[:, None]
    weights = np.maximum(neighbour_sims - b_own, 0) * np.maximum(neighbour_sims - b_near, 0)
    return neighbour_ids, np.where(mutual, weights, 0.0)
