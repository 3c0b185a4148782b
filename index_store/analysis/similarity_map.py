"""The gallery as a map: similar photos are close together, and clusters have a medoid.

Positions are t-SNE (van der Maaten and Hinton 2008; Barnes-Hut, van der Maaten 2014) on the exact
nearest neighbours, initialised with the two principal components, so the same gallery gives the
same map. Clusters are HDBSCAN (Campello et al. 2013) on the positions, to match what the eye sees.

A map belongs to one generation of a store. It is cached outside the generations as
`maps/GENERATION-VERSION.npy` and can always be recomputed.
"""

from __future__ import annotations

import logging
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import sparse
from threadpoolctl import threadpool_limits

from extractor import available_cores

from ..ann.faiss_index import SEED
from ..graph.neighbours import exact_neighbours
from ..storage.arrays import load_array, save_array
from ..storage.rows import Descriptors
from ..store import Store

FOLDER = "maps"
NAME = re.compile(r"[0-9]{6,}-[0-9a-f]{12}\.npy")
PERPLEXITY = 15.0  # effective neighbours per photo; three times as many are read
ON_A_CIRCLE = 8  # fewer photos than this are placed on a circle
MAX_PHOTOS = 50_000  # maximum photos on a map; of a larger gallery a random sample is placed
MIN_CLUSTER = 5  # minimum photos in a cluster
CLUSTER_SHARE = 200  # a cluster has at least 1 / CROWD_SHARE of the photos

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SimilarityMap:
    """Positions and clusters of photos.

    Attributes:
        ids: ids of the photos on the map, int64 (n,); medoids first.
        positions: float32 (n, 2), 0 to 1 along each axis.
        clusters: cluster of each photo, int32 (n,), -1 for none.
        medoids: rows of the photo nearest to each cluster's mean, int64 (c,): 0 to c - 1.
    """

    ids: np.ndarray
    positions: np.ndarray
    clusters: np.ndarray

    @property
    def medoids(self) -> np.ndarray:
        return np.arange(self.clusters.max(initial=-1) + 1)


def make_map(descriptors: np.ndarray | Descriptors, ids: np.ndarray | None = None) -> SimilarityMap:
    """Compute a gallery's map. Takes a few seconds for 1,000 photos.

    Args:
        descriptors: float16 or float32 (N, D), unit rows; of a large gallery only a sample is read.
        ids: int64 (n,), ascending, the photos to place; None for all.
    """
    ids = np.arange(len(descriptors)) if ids is None else ids
    if len(ids) > MAX_PHOTOS:
        ids = np.sort(np.random.default_rng(SEED).permutation(ids)[:MAX_PHOTOS])
    rows = np.asarray(descriptors[ids], np.float32)
    positions = lay_out(rows)
    clusters = find_clusters(positions)
    medoids = medoids_of(rows, clusters)
    order = np.concatenate([medoids, np.setdiff1d(np.arange(len(ids)), medoids)])
    return SimilarityMap(ids[order], positions[order], clusters[order])


def lay_out(rows: np.ndarray) -> np.ndarray:
    """Positions float32 (n, 2), in 0 to 1, for unit rows float32 (n, D)."""
    count = len(rows)
    if count < ON_A_CIRCLE:
        angles = 2 * np.pi * np.arange(count) / max(1, count)
        return (0.5 + 0.4 * np.stack([np.cos(angles), np.sin(angles)], 1)).astype(np.float32)
    # scikit-learn runs lscpu to count the cores, and prints a traceback if there is no lscpu.
    os.environ.setdefault("LOKY_MAX_CPU_COUNT", str(available_cores()))
    from sklearn.manifold import TSNE  # slow to import, and only needed here

    perplexity = min(PERPLEXITY, (count - 1) / 3 - 1)
    k = min(count - 1, int(3 * perplexity + 1))
    neighbour_ids, sims = exact_neighbours(rows, k + 1)
    distances = np.sqrt(np.maximum(2 - 2 * sims, 0))
    distances[:, 1:] = np.maximum.accumulate(distances[:, 1:], axis=1)
    graph = sparse.csr_matrix(
        (distances.ravel(), neighbour_ids.ravel(), np.arange(0, neighbour_ids.size + 1, k + 1)),
        shape=(count, count),
    )
    tsne = TSNE(
        perplexity=perplexity,
        metric="precomputed",
        init=principal_components(rows),
        random_state=SEED,
    )
    with threadpool_limits(1):  # deterministic, and leaves a core to searches
        positions = tsne.fit_transform(graph)
    low, high = positions.min(0), positions.max(0)
    return ((positions - low) / np.maximum(high - low, 1e-9)).astype(np.float32)


def principal_components(rows: np.ndarray) -> np.ndarray:
    """The first two components of unit rows (n, D), scaled down for t-SNE to start from: (n, 2)."""
    centred = rows - rows.mean(0)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    # An eigenvector's sign is arbitrary: make its largest component positive.
    axes = vectors[:, [-1, -2]]
    axes = axes * np.sign(axes[np.abs(axes).argmax(0), [0, 1]])
    found = centred @ axes
    # Identical photos would never separate; a little noise lets them settle next to each other.
    noise = np.random.default_rng(SEED).normal(size=found.shape)
    return (1e-4 * found / (found[:, 0].std() or 1.0) + 1e-6 * noise).astype(np.float32)


def find_clusters(positions: np.ndarray) -> np.ndarray:
    """Cluster of each position (n, 2), -1 for none: int32 (n,). Largest cluster first."""
    if len(positions) < 2 * MIN_CLUSTER:
        return np.full(len(positions), -1, np.int32)
    from sklearn.cluster import HDBSCAN

    smallest = max(MIN_CLUSTER, len(positions) // CLUSTER_SHARE)
    # With excess of mass, the last bits of the descriptors decide between 2 and 17 clusters.
    leaves = HDBSCAN(min_cluster_size=smallest, cluster_selection_method="leaf", copy=True)
    labels = leaves.fit_predict(positions)
    if labels.max() < 0:
        return labels.astype(np.int32)
    sizes = np.bincount(labels[labels >= 0])
    rank = np.empty(len(sizes), np.int32)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(len(sizes))
    return np.where(labels >= 0, rank[labels], -1).astype(np.int32)


def medoids_of(rows: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """For each cluster, the row nearest to its mean.

    Args:
        rows: unit descriptors, float32 (n, D).
        clusters: output of `find_clusters`, (n,).

    Returns:
        Row numbers int64 (c,).
    """
    medoids = []
    for cluster in range(clusters.max(initial=-1) + 1):
        members = np.flatnonzero(clusters == cluster)
        medoids.append(members[(rows[members] @ rows[members].mean(0)).argmax()])
    return np.array(medoids, np.int64)


def stored_map(store: Store) -> SimilarityMap:
    """The map of a store's generation, from the cache if it is there; otherwise computed, and
    cached if the folder is writable. Damaged photos are excluded; such a map is never cached.
    """
    if len(store.damaged):
        return make_map(store.descriptors, store.served_ids)
    path = path_of(store)
    with suppress(OSError, ValueError):
        return read_map(path, len(store))
    similarity_map = make_map(store.descriptors)
    try:
        write_map(path, similarity_map)
    except OSError as error:
        log.warning("the map of the gallery cannot be cached: %s", error.strerror or error)
    return similarity_map


def path_of(store: Store) -> Path:
    """Path of the cached map of a store's generation."""
    return store.path / FOLDER / f"{store.generation}-{store.version}.npy"


def read_map(path: Path, photos: int) -> SimilarityMap:
    """Read a map that `write_map` wrote.

    Args:
        path: path of the file.
        photos: number of photos in the gallery.

    Raises:
        OSError: the file does not exist or cannot be read.
        ValueError: the file is not a map of a gallery of this size.
    """
    count = min(photos, MAX_PHOTOS)
    table = np.array(load_array(path, np.float64, (count, 4)))
    ids, clusters = table[:, 0].astype(np.int64), table[:, 3].astype(np.int32)
    inside = ((table[:, 1:3] >= 0) & (table[:, 1:3] <= 1)).all()
    if not inside or len(np.unique(ids)) < count or ids.min() < 0 or ids.max() >= photos:
        raise ValueError("it is not a map of this gallery")
    medoids = clusters[: clusters.max(initial=-1) + 1]
    if clusters.min() < -1 or (medoids != np.arange(len(medoids))).any():
        raise ValueError("its clusters have no medoids")
    return SimilarityMap(ids, table[:, 1:3].astype(np.float32), clusters)


def write_map(path: Path, similarity_map: SimilarityMap) -> None:
    """Write a map, and delete those of earlier generations. Raises OSError."""
    path.parent.mkdir(exist_ok=True)
    partial = path.with_name(f".{os.getpid()}.partial.npy")
    table = np.column_stack(
        [similarity_map.ids, similarity_map.positions, similarity_map.clusters]
    ).astype(np.float64)
    save_array(partial, table)
    partial.replace(path)
    for other in path.parent.iterdir():
        if other != path and NAME.fullmatch(other.name):
            other.unlink(missing_ok=True)
