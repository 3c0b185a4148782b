"""Speed and accuracy of offline diffusion compared with the published form, on the same graph.

The error of a truncated row can be measured by its sum alone. (I - alpha S)^-1 has no negative
element, and truncation reduces every element (`index_store.graph.offline_diffusion`). So a row's
share of mass, its sum over the complete row's, is 1 minus the relative L1 distance between them.
The sums m of all complete rows solve (I - alpha S) m = 1.
"""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import cg

from extractor import available_cores
from index_store.graph import affinity
from index_store.graph.neighbours import exact_neighbours
from index_store.graph.offline_diffusion import (
    ALPHA,
    BLOCK,
    KEPT,
    REGION,
    diffusion_rows,
    solve_block,
)
from index_store.graph.partition import blocks, region

from ..retrieval.published_diffusion import (
    laplacian,
    nearest_of,
    published_graph,
    published_sums,
    start_worker,
    synthetic_descriptors,
)

TRUNCATION = 1000  # in the published form
SAMPLE = 3000  # rows solved in the published form
ROUNDS = 5
# Length of a neighbour list including the photo itself, as the published code counts (its kd).
LISTED = affinity.BACKGROUND + 1
PUBLISHED_ALPHA = 0.99


@dataclass(frozen=True)
class Speed:
    """Both forms on one graph.

    Attributes:
        edges: edges per row of the graph.
        published, blocks: rows per second.
        published_share, share: shares of mass of the same sampled rows, (n,).
        kept_share: shares of `blocks` after keeping the largest values only.
    """

    edges: float
    published: float
    blocks: float
    published_share: np.ndarray
    share: np.ndarray
    kept_share: np.ndarray


def measure_rows(descriptors: np.ndarray, walk: sparse.csr_array, alpha: float) -> Speed:
    """Run both forms alternately, on all cores.

    The published form runs in one process per core, on sampled rows; blocks are solved for all
    rows.

    Args:
        descriptors: descriptors of the gallery, float32 (N, D).
        walk: S, (N, N).
        alpha: alpha of the diffusion.
    """
    count = len(descriptors)
    sample = np.random.default_rng(1).permutation(count)[:SAMPLE]
    nearest = nearest_of(descriptors, sample, min(count, TRUNCATION))
    system = laplacian(walk, alpha)
    row_ids = np.empty((count, min(count, KEPT)), np.int32)
    row_values = np.empty(row_ids.shape, np.float16)
    published, row_seconds, sums = [], [], []
    cores = available_cores()
    with ProcessPoolExecutor(
        cores, get_context("spawn"), start_worker, (system.astype(np.float32),)
    ) as pool:
        list(pool.map(published_sums, [nearest[:5]] * 4 * cores))
        for part in np.array_split(nearest, ROUNDS):
            begin = time.perf_counter()
            sums += sum(pool.map(published_sums, np.array_split(part, 4 * cores)), [])
            published.append(len(part) / (time.perf_counter() - begin))
            begin = time.perf_counter()
            diffusion_rows(walk, row_ids, row_values, alpha)
            row_seconds.append(count / (time.perf_counter() - begin))
    whole = cg(system, np.ones(count), rtol=1e-9, maxiter=5000)[0]
    share = np.zeros(count)
    for block in blocks(walk, BLOCK):
        if np.isin(block, sample).any():
            share[block] = (
                solve_block(walk, region(walk, block, REGION, alpha), len(block), alpha).sum(1)
                / whole[block]
            )
    return Speed(
        walk.nnz / count,
        float(np.median(published)),
        float(np.median(row_seconds)),
        np.array(sums) / whole[sample],
        share[sample],
        row_values[sample].sum(1, dtype=np.float64) / whole[sample],
    )


def speed_row(name: str, speed: Speed) -> list[str]:
    closer = speed.share >= speed.published_share * (1 - 1e-3)
    worst = np.min(speed.share / speed.published_share - 1)
    return [
        name,
        f"{speed.edges:.1f}",
        f"{speed.published:.0f}",
        f"{speed.blocks:.0f}",
        f"{speed.blocks / speed.published:.1f}",
        f"{speed.published_share.mean():.4f}",
        f"{speed.share.mean():.4f}",
        f"{speed.kept_share.mean():.4f}",
        f"{closer.mean():.1%}, worst {worst:+.3f}",
    ]


def speed_rows(count: int, dim: int) -> list[list[str]]:
    """Table, head first: this project's graph, and the published one with the published alpha."""
    descriptors = synthetic_descriptors(count, dim)
    ids, sims = exact_neighbours(descriptors, min(count, LISTED))
    head = [
        f"{count} rows",
        "edges a photo",
        "published, rows/s",
        "blocks, rows/s",
        "times",
        "mass, published",
        "mass, blocks",
        f"mass, {KEPT} kept",
        "at least as close",
    ]
    ours = measure_rows(descriptors, affinity.neighbour_graph(ids, sims), ALPHA)
    published = measure_rows(descriptors, published_graph(ids, sims), PUBLISHED_ALPHA)
    return [
        head,
        speed_row(f"this graph, alpha {ALPHA}", ours),
        speed_row(
            f"the {ids.shape[1]} nearest with the photo itself, similarity cubed, "
            f"alpha {PUBLISHED_ALPHA}",
            published,
        ),
    ]
