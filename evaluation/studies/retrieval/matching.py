"""`evaluation matching`: mAP of the same store without and with its matching graph."""

from __future__ import annotations

import argparse
import copy
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from command import print_lines, print_text
from evaluation.datasets.groups import EVERY, FEW, FEW_VIEW, MANY_VIEW, load_groups
from evaluation.groups import (
    MethodResult,
    add_labelled_store,
    evaluate_groups,
    store_groups,
)
from evaluation.report.results import format_rows
from extractor import Extractor
from index_store import Store, model_of
from index_store.graph.matching_graph import no_edges
from index_store.report import matching_line
from search import Engine

HEAD = ["mAP", "matching graph"]


def without_edges(store: Store) -> Store:
    """The same store without its matching graph."""
    unmatched = copy.copy(store)
    unmatched.edges = no_edges(len(store))
    return unmatched


def parts_of(
    groups: Mapping[str, Sequence[str]], kinds: Mapping[str, Sequence[str]]
) -> dict[str, list[str]]:
    """Names of groups that are averaged together: all, by number of photos, and by kind."""
    small = [name for name, files in groups.items() if len(files) <= FEW]
    parts = {EVERY: list(groups), FEW_VIEW: small, MANY_VIEW: [n for n in groups if n not in small]}
    parts |= {kind: [name for name in names if name in groups] for kind, names in kinds.items()}
    return {part: names for part, names in parts.items() if names}


def table(
    plain: Sequence[MethodResult], chained: Sequence[MethodResult], parts: Mapping[str, list[str]]
) -> list[list[str]]:
    """mAP of each method on each part, without and with the graph.

    Args:
        plain, chained: output of `evaluate_groups`, for the same methods.
        parts: output of `parts_of`.
    """
    rows = [[*HEAD, *(f"{part} ({len(names)})" for part, names in parts.items())]]
    for pair in zip(plain, chained):
        for result, has_graph in zip(pair, ("without", "with")):
            maps = (np.mean([result.group_map[name] for name in names]) for names in parts.values())
            rows.append([result.method, has_graph, *(f"{value:.3f}" for value in maps)])
    return rows


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add `matching` to the command line's sub-parsers."""
    command = commands.add_parser(
        "matching", help="mAP of one store without and with its matching graph, by kind of thing"
    )
    add_labelled_store(command)
    command.add_argument("--kinds", type=Path, help='JSON: {"kind": ["name", ...], ...}')
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    extractor = Extractor(model_of(args.store, args.model))
    with Store(args.store, extractor) as store:
        groups = store_groups(args.groups, store)
        kinds = load_groups(args.kinds) if args.kinds else {}
        plain, chained = (
            evaluate_groups(
                Engine(variant, extractor), groups, lambda q: tqdm(q, desc="queries", disable=None)
            )
            for variant in (without_edges(store), store)
        )
        print_text(format_rows(table(plain, chained, parts_of(groups, kinds))))
        print_lines("", matching_line(store.edges))
