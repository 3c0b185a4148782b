"""Queries with several photos of one thing: their gain, and how to weigh the photos.

`search.prepare.together` takes the plain mean of their descriptors. Here it is compared with two
weighted means, with the largest similarity of any photo, and with each photo searched alone. All
photos of a query are excluded from its result, so that every row can find the same photos.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache

import numpy as np
from tqdm import tqdm

from command import print_text
from evaluation.datasets import BadDataset
from evaluation.groups import METHODS, add_labelled_store, store_group_ids
from evaluation.metrics import average_precision, without
from evaluation.metrics.bootstrap import Estimate, estimate
from evaluation.report.results import format_estimate, format_rows
from extractor import Extractor
from index_store import Store, model_of
from search import Engine
from search.prepare import together
from search.ranking import cosine, order, scale

COUNTS = (2, 3)  # photos per query
DRAWS = 5  # queries per group
SEED = 0
STAGES = "diffusion + SIFT"

Fusion = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Descriptors (n, D) of a query's photos, and those of the gallery (N, D), to scores (N,)."""


def weighted(descriptors: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """A weighted mean of descriptors.

    Args:
        descriptors: unit rows float32 (n, D).
        weights: weights of the rows, (n,).

    Returns:
        Unit vector float32 (D,).
    """
    mean = weights.astype(np.float32) @ descriptors
    return mean / np.linalg.norm(mean)


def by_mutual_similarity(descriptors: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """Weights: each photo's mean cosine with all photos of the query, at least 0.

    Args:
        descriptors: descriptors of the query's photos, unit rows (n, D).
        gallery: ignored.

    Returns:
        float32 (n,).
    """
    return np.maximum((descriptors @ descriptors.T).mean(1), 0)


def by_best_candidate(descriptors: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """Weights: how far each photo's best candidate is above its background.

    Args:
        descriptors: descriptors of the query's photos, unit rows (n, D).
        gallery: unit rows (N, D).

    Returns:
        float64 (n,).
    """
    similarities = -np.sort(
        -np.stack([cosine(descriptor, gallery) for descriptor in descriptors]), axis=1
    )
    return np.array([scale(row, len(row)).spread for row in similarities])


FUSIONS: Mapping[str, Fusion] = {
    "plain mean": lambda d, gallery: cosine(together(list(d)), gallery),
    "mean by mutual similarity": lambda d, gallery: cosine(
        weighted(d, by_mutual_similarity(d, gallery)), gallery
    ),
    "mean by best candidate": lambda d, gallery: cosine(
        weighted(d, by_best_candidate(d, gallery)), gallery
    ),
    "largest similarity": lambda d, gallery: np.stack([cosine(one, gallery) for one in d]).max(0),
}


def draw(members: Sequence[int], count: int, rng: np.random.Generator) -> list[list[int]]:
    """At most DRAWS queries of `count` photos of one thing; none if no photo is left to find."""
    if len(members) <= count:
        return []
    return [rng.permutation(members)[:count].tolist() for _ in range(DRAWS)]


def measure(
    engine: Engine,
    groups: Mapping[str, Sequence[int]],
    count: int,
    progress: Callable[[Iterable], Iterable] = iter,
) -> dict[str, Estimate]:
    """mAP of every way to combine several photos, and of searching with each of them alone.

    Args:
        engine: engine on the gallery.
        groups: ids of photos of the same thing, by name.
        count: photos per query.
        progress: wraps the list of queries.

    Returns:
        Fusion -> mean over groups, with its interval.

    Raises:
        BadDataset: no group has more than `count` photos.
    """
    rng = np.random.default_rng(SEED)
    queries = [
        (name, ids, set(members) - set(ids))
        for name, members in groups.items()
        for ids in draw(members, count, rng)
    ]
    if not queries:
        raise BadDataset(f"No group has more than {count} photos, so nothing is left to find.")

    @cache
    def staged(*photos: int) -> list[int]:
        query = engine.prepare(photos)
        result = engine.search(query, k=len(engine.store), **METHODS[STAGES])
        return [hit.id for hit in result.hits]

    found: dict[str, dict[str, list[float]]] = {}
    for name, ids, positives in progress(queries):
        for method, value in judged(engine, ids, positives, staged).items():
            found.setdefault(method, {}).setdefault(name, []).append(value)
    return {method: estimate(values, SEED) for method, values in found.items()}


def judged(
    engine: Engine, ids: list[int], positives: set[int], staged: Callable[..., list[int]]
) -> dict[str, float]:
    """Average precision of every way to search with several photos, 0 to 1.

    Args:
        engine: engine on the gallery.
        ids: ids of the photos, which are excluded from every result.
        positives: ids of the photos that should be found.
        staged: function from photos to the ranking by all stages.
    """
    gallery = np.asarray(engine.store.descriptors, np.float32)

    def precision(ranking: Iterable[int]) -> float:
        return average_precision(without(list(ranking), ids), positives)

    def mean_single(ranking_of: Callable[[int], Iterable[int]]) -> float:
        return float(np.mean([precision(ranking_of(id)) for id in ids]))

    values = {"each alone": mean_single(lambda id: order(cosine(gallery[id], gallery)).tolist())}
    for name, fusion in FUSIONS.items():
        values[name] = precision(order(fusion(gallery[ids], gallery)).tolist())
    values[f"each alone, {STAGES}"] = mean_single(staged)
    values[f"plain mean, {STAGES}"] = precision(staged(*ids))
    return values


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add `several` to the command line's sub-parsers."""
    command = commands.add_parser(
        "several", help="several photos of one thing as one query: what they gain, how to weigh"
    )
    add_labelled_store(command)
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print mAP by the number of photos."""
    extractor = Extractor(model_of(args.store, args.model))
    store = Store(args.store, extractor)
    groups = store_group_ids(args.groups, store)
    engine = Engine(store, extractor)
    counts = [count for count in COUNTS if count < max(map(len, groups.values()))] or COUNTS[:1]
    columns = [
        measure(engine, groups, count, lambda queries: tqdm(queries, desc="queries", disable=None))
        for count in counts
    ]
    rows = [
        [method, *(format_estimate(column[method]) for column in columns)] for method in columns[0]
    ]
    print_text(format_rows([["mAP", *(f"{count} photos" for count in counts)], *rows]))
