"""Trace of diffusion for display: where the walk starts, and where it leads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from index_store import Store
from search.query import PreparedQuery
from search.rerank.diffusion import Removal, diffuse, nearest_seeds, values_at

Step = tuple[int, int, float]
"""From a seed (its index) to a reached photo (its index), and how much of the walk arrives."""


@dataclass(frozen=True)
class Walk:
    """The first round of diffusion.

    Attributes:
        seeds: gallery ids of the photos it starts from, int (s,). Empty if no photo of the gallery
            has the query among its own nearest.
        weights: how far the query is inside each seed's neighbourhood, float (s,).
        reached: ids of the other photos that the walk visits most, int (r,).
        visits: share of the walk at each, relative to the most visited photo of all, float (r,).
        steps: contributions of the seeds to the reached photos.
    """

    seeds: np.ndarray
    weights: np.ndarray
    reached: np.ndarray
    visits: np.ndarray
    steps: list[Step]


def walk(query: PreparedQuery, store: Store, most: int) -> Walk:
    """Trace what diffusion does with a query before anything is verified.

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
        return Walk(seeds, weights, ids, scores, [])
    new = ~np.isin(ids, np.concatenate([seeds, own, store.damaged]))
    best = np.argsort(-scores[new], kind="stable")[:most]
    reached, visits = ids[new][best], scores[new][best] / scores.max()
    steps = []
    for place in range(len(seeds)):
        one = seeds[[place]]
        row_ids, row_values = store.diffusion_ids[one], store.diffusion_values[one]
        brought = values_at(reached, *diffuse(row_ids, row_values, weights[[place]], removal))
        steps += [(place, at, float(b / scores.max())) for at, b in enumerate(brought) if b > 0]
    return Walk(seeds, weights, reached, visits, steps)
