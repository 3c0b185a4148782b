"""The gallery's neighbourhood graph, for diffusion.

Mutual k nearest neighbours as in Iscen et al. 2017 (section 3.1) and Yang et al. 2019, with two
changes. An edge's weight is what the two photos have in common beyond their own surroundings,
instead of s_ij ** 3, and photos that were compared point by point have an edge by that as well:

    a_ij = max(0, s_ij - b_i) * max(0, s_ij - b_j) + PROOF * p_ij ** 3
    b_i  = similarity of i to its BACKGROUND-th neighbour
    p_ij = probability of their edge in the matching graph (`proof`), 0 below PROVEN points

Photos in a crowd (a hundred hammers on white paper) have a high background, and lose the strong
edges to one another that their high similarities alone would give them. The second term joins views
that the descriptor does not recognise, such as a cover and its photo. It is far larger than the
first: a walk leaves proven edges only where there are none.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from .matching_graph import PROVEN, background_rank
from .proof import probability, proofs

NEIGHBOURS = 10
BACKGROUND = 50
PROOF = 10.0  # a photo's weights by descriptor sum to about 0.3
ROWS = 2**16  # photos processed at a time


def neighbour_graph(
    ids: np.ndarray,
    sims: np.ndarray,
    edges: np.ndarray,
    neighbours: int = NEIGHBOURS,
    background: int = BACKGROUND,
) -> sparse.csr_array:
    """Symmetric normalised adjacency S = D^-1/2 A D^-1/2.

    Args:
        ids: lists of `self_first`, int32 (N, k).
        sims: their similarities, float32 (N, k).
        edges: the matching graph, EDGE (N, m); m is 0 if photos were not compared.
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
    adjacency = (directed.minimum(directed.T) + proven_adjacency(edges, sims)).tocsr()
    adjacency.eliminate_zeros()
    degree = np.asarray(adjacency.sum(axis=1)).ravel()
    scale = sparse.diags_array(1 / np.sqrt(np.where(degree > 0, degree, 1.0)))
    return (scale @ adjacency @ scale).tocsr()


def proven_adjacency(edges: np.ndarray, sims: np.ndarray) -> sparse.csr_array:
    """The weights of all photos by `proven_weights`, float64 (N, N).

    Args:
        edges: the matching graph, EDGE (N, m).
        sims: similarities of `self_first`, float32 (N, k).
    """
    count = len(edges)
    parts = [sparse.csr_array((0, count))]
    for start in range(0, count, ROWS):
        photos = np.arange(start, min(start + ROWS, count))
        near, weights = proven_weights(photos, edges, sims)
        row, slot = np.nonzero(weights)
        places = (row, near[row, slot])
        parts.append(sparse.csr_array((weights[row, slot], places), (len(photos), count)))
    return sparse.vstack(parts, format="csr")


def proven_weights(
    photos: np.ndarray, edges: np.ndarray, sims: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Weights by points of a few photos' edges, those that both photos list.

    Args:
        photos: int (n,).
        edges: the matching graph, EDGE (N, m).
        sims: similarities of `self_first`, float32 (N, k).

    Returns:
        Neighbours int (n, m), and weights float64 of the same shape, 0 for no edge.
    """
    around = edges[photos]
    near, weights = around["id"], np.zeros(around.shape)
    is_proven = (near >= 0) & (near < len(edges)) & (around["inliers"] >= PROVEN)
    row, slot = np.nonzero(is_proven)
    ends = np.stack([photos[row], near[row, slot]], axis=1)
    listed = (edges["id"][ends[:, 1]] == ends[:, :1]).any(1)
    row, slot, ends = row[listed], slot[listed], ends[listed]
    background = sims[ends, background_rank(*sims.shape)].astype(np.float64)
    weights[row, slot] = PROOF * probability(proofs(around[row, slot], background)) ** 3
    return near, weights


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
    photos: np.ndarray, ids: np.ndarray, sims: np.ndarray, edges: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The edges of a few photos before normalisation: their rows of A.

    Args:
        photos: int (n,).
        ids: lists of the whole gallery, int32 (N, k); only those of these photos and of their
            neighbours are read.
        sims: their similarities, float32 (N, k).
        edges: the matching graph, EDGE (N, m).

    Returns:
        Neighbours int (n, NEIGHBOURS + m or fewer), and weights float64 of the same shape, 0 for
        no edge. A pair with both terms is listed twice.
    """
    neighbour_ids = ids[photos, 1 : NEIGHBOURS + 1]
    neighbour_sims = sims[photos, 1 : NEIGHBOURS + 1]
    # An unused slot, -1, reads an arbitrary list, which is masked below.
    back = ids[neighbour_ids, 1 : NEIGHBOURS + 1]
    mutual = (back == photos[:, None, None]).any(2) & (neighbour_ids >= 0)
    targets = neighbour_ids.ravel()
    b_near = backgrounds(ids[targets], sims[targets]).reshape(neighbour_ids.shape)
    b_own = backgrounds(ids[photos], sims[photos])[:, None]
    weights = np.maximum(neighbour_sims - b_own, 0) * np.maximum(neighbour_sims - b_near, 0)
    proven_ids, proven = proven_weights(photos, edges, sims)
    return (
        np.concatenate([neighbour_ids, proven_ids], axis=1),
        np.concatenate([np.where(mutual, weights, 0.0), proven], axis=1),
    )
