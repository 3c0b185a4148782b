"""Published form of offline diffusion, for comparison, and synthetic galleries for it.

Yang et al. 2019 as in their published code: each row is one sub-matrix, of the photo's nearest, and
one conjugate gradient run.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import cg
from threadpoolctl import threadpool_limits

worker_system: sparse.csr_array  # of this process, see `start_worker`


def synthetic_descriptors(count: int, dim: int, seed: int = 0) -> np.ndarray:
    """Descriptors of a synthetic gallery: half of it views of things with 2 to 300 views (Zipf),
    half single photos.

    Similarities to the nearest, 10th and 100th photo, isolated photos and edges of the graph are
    close to those of the shipped model on real photos.

    Args:
        count: number of photos.
        dim: components of a descriptor.
        seed: random seed.

    Returns:
        Unit rows float32 (count, dim).
    """
    rng = np.random.default_rng(seed)
    spectrum = np.arange(1, dim + 1) ** -0.4
    spectrum /= np.linalg.norm(spectrum)
    views = np.minimum(1 + rng.zipf(2.1, count), 300)
    views = views[np.cumsum(views) <= count / 2]
    things = np.concatenate([views, np.ones(count - views.sum(), int)])
    spread = np.where(np.repeat(things, things) > 1, 0.6 * np.exp(0.4 * rng.normal(size=count)), 0)
    rows = np.repeat(rng.normal(size=(len(things), dim)), things, axis=0)
    rows += spread[:, None] * rng.normal(size=(count, dim))
    rows *= spectrum
    rows[:, -1] += 1.7  # common to all photos
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rng.permutation(rows).astype(np.float32)


def published_graph(ids: np.ndarray, sims: np.ndarray) -> sparse.csr_array:
    """S of the published code: mutual neighbours, weighted by the cube of their similarity.

    Args:
        ids: neighbour lists of `self_first`, int (N, k).
        sims: their similarities, (N, k).

    Returns:
        float64 (N, N).
    """
    rows = np.repeat(np.arange(len(ids)), ids.shape[1] - 1)
    columns, weights = (
        ids[:, 1:].ravel(),
        np.maximum(sims[:, 1:].ravel(), 0).astype(np.float64) ** 3,
    )
    is_known = columns >= 0
    directed = sparse.csr_array(
        (weights[is_known], (rows[is_known], columns[is_known])), shape=(len(ids), len(ids))
    )
    mutual = directed.minimum(directed.T).tocsr()
    scale = sparse.diags_array(1 / np.sqrt(mutual.sum(axis=1) + 1e-12))
    return (scale @ mutual @ scale).tocsr()


def laplacian(walk: sparse.csr_array, alpha: float) -> sparse.csr_array:
    return (sparse.eye_array(walk.shape[0]) - alpha * walk).tocsr()


def published_row(system: sparse.csr_array, nearest: np.ndarray) -> np.ndarray:
    """A photo's row solved on its nearest (itself in slot 0), as in the published code."""
    start = np.zeros(len(nearest), system.dtype)
    start[0] = 1
    return cg(system[nearest][:, nearest], start, rtol=1e-6, maxiter=20)[0]


def start_worker(system: sparse.csr_array) -> None:
    global worker_system
    worker_system = system
    threadpool_limits(1)


def published_sums(nearest: np.ndarray) -> list[float]:
    return [float(published_row(worker_system, row).sum()) for row in nearest]


def nearest_of(descriptors: np.ndarray, photos: np.ndarray, k: int, batch: int = 64) -> np.ndarray:
    """Exact nearest photos of the given photos.

    Args:
        descriptors: descriptors of the gallery, float32 (N, D).
        photos: ids of the photos, int (n,).
        k: number of neighbours, including the photo itself.
        batch: photos compared at a time.

    Returns:
        Ids int (n, k), nearest first, each photo itself in slot 0.
    """
    nearest = np.empty((len(photos), k), int)
    for start in range(0, len(photos), batch):
        part = photos[start : start + batch]
        sims = descriptors[part] @ descriptors.T
        sims[np.arange(len(part)), part] = np.inf
        best = np.argpartition(-sims, k - 1, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(sims, best, 1), axis=1)
        nearest[start : start + batch] = np.take_along_axis(best, order, 1)
    return nearest
