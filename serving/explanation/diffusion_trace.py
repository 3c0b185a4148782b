"""Trace of a query's diffusion: the seeds it starts from, and the photos it reaches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from index_store import Store
from search.query import PreparedQuery
from search.rerank.diffusion import diffuse, nearest_seeds
from search.rerank.removal import Removal, values_at

Step = tuple[int, int, float]
"""Index of a seed, index of a reached photo, and the share of the walk that goes there."""


@dataclass(frozen=True)
class DiffusionTrace:
    """The first round of diffusion.

    Attributes:
        seeds: gallery ids of the photos it starts from, int (s,). Empty if no photo of the gallery
            has the query among its own nearest.
        weights: weight of each seed, float (s,), see `nearest_seeds`.
        reached: ids of the other photos that the walk visits most, int (r,), most visited first.
        visits: visits of each, relative to the most visited photo of all, float (r,).
        steps: contributions of the seeds to the visits of the reached photos.
    """

    seeds: np.ndarray
    weights: np.ndarray
    reached: np.ndarray
    visits: np.ndarray
    steps: list[Step]


def trace_diffusion(query: PreparedQuery, store: Store, max_reached: int) -> DiffusionTrace:
    """Trace the first round of diffusion, before anything is verified.

    Args:
        query: query prepared for this store's generation.
        store: the gallery.
        most: maximum number of reached photos.
    """
    seeds, weights = nearest_seeds(query, query.candidates, store)
    own = np.unique(query.in_gallery)
    removal = Removal.of(own, store) if len(own) else None
    ids, scores = diffuse(
        store.diffusion_ids[seeds], store.diffusion_values[seeds], weights, removal
    )
    if len(ids) == 0:
        return DiffusionTrace(seeds, weights, ids, scores, [])
    new = ~np.isin(ids, np.concatenate([seeds, own, store.damaged]))
    best = np.argsort(-scores[new], kind="stable")[:max_reached]
    reached, visits = ids[new][best], scores[new][best] / scores.max()
    steps = []
    for place in range(len(seeds)):
        one = seeds[[place]]
        row_ids, row_values = store.diffusion_ids[one], store.diffusion_values[one]
        arriving = values_at(reached, *diffuse(row_ids, row_values, weights[[place]], removal))
        steps += [(place, at, float(b / scores.max())) for at, b in enumerate(arriving) if b > 0]
    return DiffusionTrace(seeds, weights, reached, visits, steps)
