"""`evaluation matching`: mAP without and with the matching graph, on groups that fitted nothing.

It also prints how right the probabilities of complete searches are, with diffusion, SIFT and graph.
The weights of the evidence are cross-fitted: those that judge a group, its queries and the edges of
the graph, were fitted on the other groups of all stores. Not cross-fitted: the share of diffusion
and the weights of the graph, which are in use (`graph_weights` varies these).
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from tqdm import tqdm

from command import print_lines, print_text
from evaluation.calibration.evidence import LabelledQuery, labelled, queries_of
from evaluation.calibration.fit import Fit, check_enough, with_curves
from evaluation.calibration.fit_tables import print_reliability, views_rows
from evaluation.calibration.labelled_galleries import LabelledGallery, whole_galleries
from evaluation.datasets.groups import parts_of
from evaluation.groups import (
    add_labelled_stores,
    evaluate_groups,
    group_maps,
    read_kinds,
)
from evaluation.report.conditions import conditions
from evaluation.report.results import format_rows
from evaluation.run import STAGES
from extractor import Extractor
from index_store import model_of
from index_store.graph.matching_graph import no_edges
from index_store.report import matching_line
from search import Engine
from search.fusion import log_odds
from search.fusion.calibration import Fitted
from search.fusion.fit import OUTER_FOLDS, Samples, fit_curves, folds, thinned
from search.stages.graph import MatchingGraph

HEAD = ["photos", "groups", "matching graph", *STAGES]
SETTINGS = [
    (log_odds.PAIR, "sift"),
    *((arguments.get("rerank"), arguments.get("verify")) for arguments in STAGES.values()),
]
NEVER = 1e-9  # probabilities are kept this far from 0 and 1, where log-odds end
Groups = Mapping[str, Sequence[str]]
GroupMaps = dict[str, dict[str, float]]  # mAP by method and group


def without_edges(engine: Engine) -> Engine:
    """The same engine without its store's matching graph."""
    unmatched, store = copy.copy(engine), copy.copy(engine.store)
    store.edges = no_edges(len(store))
    unmatched.graph = MatchingGraph(store, engine.fusion)
    return unmatched


def cross_fitted(
    galleries: Sequence[LabelledGallery],
    groups: Sequence[Groups],
    model: str,
    progress: Callable[[Iterable, str], Iterable] = lambda items, _: items,
) -> Iterator[list[Groups]]:
    """Let the galleries' engines judge some groups after others by weights that have not seen them.

    Args:
        galleries: whole stores of one model.
        groups: group name -> gallery files, of each store, in the order of the galleries' groups.
        model: name of the model.
        progress: wraps work, with its name.

    Yields:
        The groups of each gallery that the engines' weights have not seen, until the next ones.
    """
    fingerprint = galleries[0].engine.extractor.fingerprint
    fit = Fit(galleries, Fitted(model, fingerprint, {}, {}))
    for setting in SETTINGS:
        fit.add(setting, lambda queries, setting=setting: progress(queries, f"{setting[0]}"))
    samples = {setting: thinned(found) for setting, found in fit.samples.items()}
    everyone = np.arange(sum(map(len, groups)))
    for judged in progress(list(folds(everyone, OUTER_FOLDS)), "folds"):
        fitted = replace(fit.fitted, pairs={})
        for setting, found in samples.items():
            fitted = with_curves(fitted, setting, fit_curves(found[~judged[found.group]]))
        fit.use(fitted)
        inside = iter(judged)
        yield [{name: files for name, files in one.items() if next(inside)} for one in groups]


def without_and_with(
    galleries: Sequence[LabelledGallery],
    groups: Sequence[Groups],
    unseen: Iterable[list[Groups]],
) -> tuple[list[tuple[GroupMaps, GroupMaps]], Samples]:
    """Search each group without and with the matching graph.

    Args:
        galleries, groups: as in `cross_fitted`.
        unseen: its output.

    Returns:
        mAP of each store's groups without and with the graph; and what complete searches with
        diffusion, SIFT and the graph find, see `complete`.
    """
    maps = [({m: {} for m in STAGES}, {m: {} for m in STAGES}) for _ in galleries]
    found = []
    for parts in unseen:
        for gallery, named, part, both in zip(galleries, groups, parts, maps):
            for engine, by_method in zip((without_edges(gallery.engine), gallery.engine), both):
                queries = evaluate_groups(engine, part)
                for method in STAGES:
                    by_method[method].update(group_maps(queries, method))
            judged = {number for number, name in enumerate(named) if name in part}
            found += [
                complete(gallery, query) for query in queries_of(gallery) if query.group in judged
            ]
    return maps, Samples.together(found)


def complete(gallery: LabelledGallery, query: LabelledQuery) -> Samples:
    """The photos that a complete search finds, with their log-odds as the only feature (n, 1)."""
    result = gallery.engine.search(gallery.query(query.id), "diffusion", "sift", k=len(gallery))
    p = np.clip([hit.probability for hit in result.hits], NEVER, 1 - NEVER)
    ids = np.array([hit.id for hit in result.hits])
    return labelled(gallery, query, ids, np.log(p / (1 - p))[:, None], log_odds.ALONE)


def table(
    stores: Sequence[str],
    groups: Sequence[Groups],
    maps: Sequence[tuple[GroupMaps, GroupMaps]],
    kinds: Groups,
) -> list[list[str]]:
    """mAP of each method on each part of each store, without and with the graph.

    Args:
        stores: names of the stores.
        groups: groups of each store.
        maps: output of `without_and_with`.
        kinds: kind -> names of groups.
    """
    rows = [HEAD]
    for store, named, both in zip(stores, groups, maps):
        for part, names in parts_of(named, kinds).items():
            for found, has_graph in zip(both, ("without", "with")):
                means = (np.mean([found[method][name] for name in names]) for method in STAGES)
                row = [f"{store}, {part}", str(len(names)), has_graph]
                rows.append([*row, *(f"{mean:.3f}" for mean in means)])
    return rows


def add_options(command: argparse.ArgumentParser) -> None:
    add_labelled_stores(command, "one or several of the same model")


def open_cross_fitted(
    args: argparse.Namespace,
) -> tuple[list[LabelledGallery], list[Groups], Iterator[list[Groups]]]:
    """Open the stores of `add_labelled_stores`.

    Returns:
        The galleries, their groups, and `cross_fitted` with progress bars.

    Raises:
        BadDataset: a store has too few groups.
        As `whole_galleries`.
    """
    model = model_of(args.store[0], None)
    galleries, groups = whole_galleries(args.store, args.groups, Extractor(model))
    for gallery in galleries:
        check_enough(gallery.groups)
    unseen = cross_fitted(
        galleries, groups, model.stem, lambda items, what: tqdm(items, desc=what, disable=None)
    )
    return galleries, groups, unseen


def run(args: argparse.Namespace) -> None:
    kinds = read_kinds(args)
    galleries, groups, unseen = open_cross_fitted(args)
    maps, found = without_and_with(galleries, groups, unseen)
    print_text(format_rows(table([path.name for path in args.store], groups, maps, kinds)))
    print_reliability("diffusion + SIFT, with the graph", found, found.features[:, 0])
    for path, gallery in zip(args.store, galleries):
        part = found[
            (found.query >= gallery.offset) & (found.query < gallery.offset + len(gallery))
        ]
        print_text(f"\n{path.name}:\n\n{format_rows(views_rows(part, part.features[:, 0]))}")
    print_lines("", *(matching_line(gallery.engine.store.edges) for gallery in galleries))
    print_lines("", f"Measured: {conditions(galleries[0].engine.extractor.engine)}.")
