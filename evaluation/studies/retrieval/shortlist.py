"""`evaluation shortlist`: recall of the photos that are compared point by point.

Every labelled photo is the query once. Recall is the share of the other photos of its thing among
the first of `most_promising`, of at most as many as these. It is measured with the weights in use,
and with weights that a logistic regression has fitted on the other groups of all stores.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from tqdm import tqdm

from command import print_lines, print_text
from evaluation.calibration.evidence import labelled, queries_of
from evaluation.calibration.fit import check_enough
from evaluation.calibration.labelled_galleries import LabelledGallery, whole_galleries
from evaluation.datasets.groups import parts_of
from evaluation.groups import add_labelled_stores, read_kinds
from evaluation.report.conditions import conditions
from evaluation.report.results import format_rows
from extractor import Extractor
from index_store import model_of
from search.fusion import log_odds
from search.fusion.fit import OUTER_FOLDS, Samples, folds, regression
from search.stages.details import PROMISE, find_votes, promise_features, proposed
from search.stopwatch import Stopwatch
from search.verify.matcher import SIFT

DEPTHS = (10, 15, 25)
RERANKERS = {"SIFT": None, "diffusion + SIFT": "diffusion"}
HEAD = ["photos", "groups", *(f"{way}, first {n}" for way in RERANKERS for n in DEPTHS)]


def collect(gallery: LabelledGallery, rerank: str | None) -> Samples:
    """`promise_features` of all candidates of all queries that have something to find."""
    engine = gallery.engine
    found = []
    for asked in queries_of(gallery):
        if not asked.has_answer:
            continue
        query = gallery.query(asked.id)
        votes = find_votes(query, SIFT, engine.matchers[SIFT], engine.store, Stopwatch())
        ranking = proposed(query, votes, engine.store)
        if rerank is not None:
            ranking = engine.rerankers[rerank].rerank(query, ranking)
        features = promise_features(query, ranking, votes)
        found.append(labelled(gallery, asked, ranking.ids, features, log_odds.ALONE))
    return Samples.together(found)


def fitted_weights(samples: Samples) -> np.ndarray:
    """Weights of `promise_features` by logistic regression, none negative, float64 (3,)."""
    features = np.column_stack([np.ones(len(samples)), samples.features])
    least = np.array([-np.inf, 0, 0, 0])
    return regression(features, samples.relevant, samples.weight, least)[1:]


def cross_fitted(samples: Samples) -> np.ndarray:
    """The promise of each photo, (n,), by weights that have not seen its group."""
    promise = np.zeros(len(samples))
    for judged in folds(samples.group, OUTER_FOLDS):
        promise[judged] = samples.features[judged] @ fitted_weights(samples[~judged])
    return promise


def recalls(
    samples: Samples, promise: np.ndarray, sizes: Sequence[int], depths: Sequence[int]
) -> dict[int, np.ndarray]:
    """Mean recall of each group's queries. Photos that are no candidates are not found.

    Args:
        samples: candidates of queries.
        promise: promise of each, (n,).
        sizes: number of photos of each group.
        depths: numbers of photos that are compared.

    Returns:
        Group -> mean recall at each depth, float64 (depths,).
    """
    by_group: dict[int, list[list[float]]] = {}
    ends = np.flatnonzero(np.diff(samples.query)) + 1
    for query in np.split(np.arange(len(samples)), ends):
        right = samples.relevant[query[np.argsort(-promise[query], kind="stable")]]
        group = int(samples.group[query[0]])
        row = [right[:n].sum() / min(n, sizes[group] - 1) for n in depths]
        by_group.setdefault(group, []).append(row)
    return {group: np.mean(rows, axis=0) for group, rows in by_group.items()}


def table(
    stores: Sequence[str],
    groups: Sequence[Mapping[str, Sequence[str]]],
    by_way: Sequence[Mapping[int, np.ndarray]],
    kinds: Mapping[str, Sequence[str]],
) -> list[list[str]]:
    """Mean recall over the groups of each part of each store.

    Args:
        stores: names of the stores.
        groups: groups of each store, in the order of their numbers.
        by_way: output of `recalls` for each of RERANKERS.
        kinds: kind -> names of groups.
    """
    rows, first = [HEAD], 0
    for store, named in zip(stores, groups):
        number = {name: first + place for place, name in enumerate(named)}
        first += len(named)
        for part, names in parts_of(named, kinds).items():
            means = [np.mean([way[number[name]] for name in names], axis=0) for way in by_way]
            row = [f"{store}, {part}", str(len(names))]
            rows.append([*row, *(f"{mean:.3f}" for mean in np.concatenate(means))])
    return rows


def add_options(command: argparse.ArgumentParser) -> None:
    add_labelled_stores(command, "one or several of the same model")


def run(args: argparse.Namespace) -> None:
    kinds = read_kinds(args)
    extractor = Extractor(model_of(args.store[0], None))
    galleries, groups = whole_galleries(args.store, args.groups, extractor)
    for gallery in galleries:
        check_enough(gallery.groups)
    names = [path.name for path in args.store]

    def progress(items: Iterable) -> Iterable:
        return tqdm(items, desc="queries", disable=None)

    samples = [
        Samples.together(collect(gallery, rerank) for gallery in progress(galleries))
        for rerank in RERANKERS.values()
    ]
    sizes = [len(members) for gallery in galleries for members in gallery.groups]
    in_use = [recalls(found, found.features @ PROMISE, sizes, DEPTHS) for found in samples]
    fitted = [recalls(found, cross_fitted(found), sizes, DEPTHS) for found in samples]
    for title, found in (("Weights in use", in_use), ("Weights fitted on other groups", fitted)):
        print_text(f"{title}:\n\n{format_rows(table(names, groups, found, kinds))}\n")
    for way, found in zip(RERANKERS, samples):
        weights = fitted_weights(found)
        relative = ", ".join(f"{weight:.2f}" for weight in weights / weights[0])
        print_lines(f"Fitted on all groups, {way}: {relative} (votes, score, similarity)")
    print_lines("", f"Measured: {conditions(extractor.engine)}.")
