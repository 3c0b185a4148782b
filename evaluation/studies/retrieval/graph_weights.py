"""`evaluation graph-weights`: mAP with other weights of the matching graph than those in use.

Each weight is halved and increased by a half, and contradictions and chains are left out, one at a
time. The evidence is cross-fitted as in `matching`. The last row judges each group by the weights
that are best on the other groups.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import product

import numpy as np

from command import print_lines, print_text
from evaluation.calibration.evidence import queries_of
from evaluation.calibration.labelled_galleries import LabelledGallery
from evaluation.groups import add_labelled_stores, read_kinds
from evaluation.report.conditions import conditions
from evaluation.report.results import format_rows
from evaluation.run import BASE, STAGES
from search import Engine
from search.stages.graph import GraphWeights, MatchingGraph

from .answers import answers
from .held_out import group_weights, held_out_choice
from .matching import Groups, open_cross_fitted

IN_USE = GraphWeights()
VARIED = [
    IN_USE,
    *(
        replace(IN_USE, **{name: factor * getattr(IN_USE, name)})
        for name in ("shift", "contradiction", "trust")
        for factor in (0.5, 1.5)
    ),
    replace(IN_USE, shift=0.0, contradiction=0.0),
    replace(IN_USE, trust=0.0),
]
METHODS = {  # those that the graph affects: reranker and matcher
    name: (how.get("rerank"), how.get("verify")) for name, how in STAGES.items() if name != BASE
}
CHOSEN = "chosen on other groups"


def with_weights(engine: Engine, weights: GraphWeights) -> Engine:
    """The same engine with other weights of the matching graph."""
    varied = copy.copy(engine)
    varied.graph = MatchingGraph(engine.store, engine.fusion, weights)
    return varied


def measure(
    galleries: Sequence[LabelledGallery],
    groups: Sequence[Groups],
    unseen: Iterable[list[Groups]],
    varied: Sequence[GraphWeights] = VARIED,
) -> np.ndarray:
    """Search each group with all weights.

    Args:
        galleries, groups: as in `cross_fitted`.
        unseen: its output.
        varied: V weights.

    Returns:
        mAP by weights, method and group: float64 (V, len(METHODS), G), the groups of all galleries
        in order.
    """
    count = sum(len(gallery.groups) for gallery in galleries)
    aps: dict[tuple[int, int, int], list[float]] = {}  # by weights, method and group
    for parts in unseen:
        for gallery, named, part in zip(galleries, groups, parts):
            inside = {number for number, name in enumerate(named) if name in part}
            queries = [query for query in queries_of(gallery) if query.group in inside]
            for (one, weights), (row, method) in product(
                enumerate(varied), enumerate(METHODS.values())
            ):
                engine = with_weights(gallery.engine, weights)
                for group, _, ap in answers(gallery, engine, queries, *method):
                    aps.setdefault((one, row, gallery.first_group + group), []).append(ap)
    maps = np.full((len(varied), len(METHODS), count), np.nan)
    for place, values in aps.items():
        maps[place] = np.mean(values)
    return maps


def table(
    names: Sequence[str], set_of: np.ndarray, maps: np.ndarray, weights: np.ndarray
) -> list[list[str]]:
    """mAP of each of VARIED, and of the choice on other groups, by set and method.

    Args:
        names: names of the sets.
        set_of: number of each group's set, int (G,).
        maps: output of `measure`.
        weights: output of `group_weights`, (G,).
    """
    chosen = held_out_choice(maps.mean(1), weights)
    by_choice = maps[chosen, :, np.arange(maps.shape[2])].T
    rows = [
        ["shift", "contradiction", "trust", *(f"{name}, {m}" for name in names for m in METHODS)]
    ]
    labels = [[f"{w.shift:g}", f"{w.contradiction:g}", f"{w.trust:g}"] for w in VARIED]
    for label, found in zip([*labels, [CHOSEN, "", ""]], [*maps, by_choice]):
        means = [
            np.average(values[set_of == one], weights=weights[set_of == one])
            for one in range(len(names))
            for values in found
        ]
        rows.append([*label, *(f"{mean:.3f}" for mean in means)])
    return rows


def add_options(command: argparse.ArgumentParser) -> None:
    add_labelled_stores(command, "one or several of the same model")


def run(args: argparse.Namespace) -> None:
    kinds = read_kinds(args)
    galleries, groups, unseen = open_cross_fitted(args)
    maps = measure(galleries, groups, unseen)
    set_of = np.repeat(np.arange(len(groups)), [len(named) for named in groups])
    names = [path.name for path in args.store]
    print_text(format_rows(table(names, set_of, maps, group_weights(groups, kinds))))
    print_lines("", f"Measured: {conditions(galleries[0].engine.extractor.engine)}.")
