"""Groups protocol on an existing store: the quality of each stage in a short table.

`run` adds intervals, and saves everything. The rules are those of `evaluation/datasets/groups.py`.
Each photo of a group is the query once, and is removed from its own results and from the diffusion
graph. Queries are averaged by group before groups are.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from command import print_lines, print_text
from extractor import Extractor
from index_store import Store, model_of
from search import Engine

from .datasets import BadGroups
from .datasets.groups import (
    EVERY,
    FEW_VIEW,
    MANY_VIEW,
    check_groups,
    load_groups,
    of_groups,
)
from .measure import by_group, search_all
from .metrics import mean_over_groups
from .report.conditions import conditions
from .report.results import QueryResult, format_rows

METHODS = {
    "rerank off": {},
    "diffusion": {"rerank": "diffusion"},
    "SIFT": {"verify": "sift"},
    "diffusion + SIFT": {"rerank": "diffusion", "verify": "sift"},
}

__all__ = [
    "METHODS",
    "BadGroups",
    "MethodResult",
    "Score",
    "evaluate_groups",
    "format_table",
    "store_groups",
]


@dataclass(frozen=True)
class Score:
    """One method on one set of groups.

    Attributes:
        groups, queries: number of groups and of queries.
        map: mean over groups of the mean average precision of their queries, 0 to 1.
        recall_at_1: likewise, the share of queries whose first hit is right.
    """

    groups: int
    queries: int
    map: float
    recall_at_1: float


@dataclass(frozen=True)
class MethodResult:
    """One row of the table.

    Attributes:
        method: key in METHODS.
        all: score on all groups.
        few, many: scores on groups of few and of many photos, None if there are none.
        group_map: mAP by group.
    """

    method: str
    all: Score
    few: Score | None
    many: Score | None
    group_map: dict[str, float]


def store_groups(path: Path, store: Store) -> dict[str, list[str]]:
    """Load groups of photos of a store.

    Args:
        path: JSON file, {"name": ["file", ...], ...}.
        store: store of the photos.

    Returns:
        Group name -> gallery files.

    Raises:
        BadGroups: the file is not such JSON, or names photos that are not in the store.
        OSError: the file cannot be read.
    """
    return check_groups(
        load_groups(path),
        [photo.file for photo in store.catalogue.photos()],
        "the store",
        store.roots.file_of,
    )


def store_group_ids(path: Path, store: Store) -> dict[str, list[int]]:
    """Group name -> gallery ids. Arguments and errors as in `store_groups`."""
    ids = {photo.file: photo.id for photo in store.catalogue.photos()}
    return {
        name: [ids[file] for file in files] for name, files in store_groups(path, store).items()
    }


def score(queries: list[QueryResult], method: str, setup: str) -> Score | None:
    """One cell of the table; None without groups."""
    aps = by_group(queries, method, setup, "mAP")
    if not aps:
        return None
    r1s = by_group(queries, method, setup, "recall@1")
    return Score(
        len(aps), sum(map(len, aps.values())), mean_over_groups(aps), mean_over_groups(r1s)
    )


def evaluate_groups(
    engine: Engine, groups: dict[str, list[str]], progress: Callable[[Iterable], Iterable] = iter
) -> list[MethodResult]:
    """Run all METHODS on groups from `store_groups`. progress: wraps the list of queries."""
    gallery = [photo.file for photo in engine.store.catalogue.photos()]
    queries = search_all(
        engine, of_groups("groups", engine.store.roots, gallery, groups), METHODS, progress
    ).queries
    return [
        MethodResult(
            method,
            all=score(queries, method, EVERY),
            few=score(queries, method, FEW_VIEW),
            many=score(queries, method, MANY_VIEW),
            group_map={
                name: float(np.mean(aps))
                for name, aps in by_group(queries, method, EVERY, "mAP").items()
            },
        )
        for method in METHODS
    ]


def format_table(results: list[MethodResult]) -> str:
    """Markdown table of mAP / recall@1, as means over groups."""
    first = results[0]

    def title(name: str, score: Score | None) -> str:
        return f"{name} ({score.groups if score else 0})"

    def cell(score: Score | None) -> str:
        return f"{score.map:.3f} / {score.recall_at_1:.3f}" if score else "-"

    columns = [title(EVERY, first.all), title(FEW_VIEW, first.few), title(MANY_VIEW, first.many)]
    rows = [[r.method, cell(r.all), cell(r.few), cell(r.many)] for r in results]
    return format_rows([["mAP / recall@1", *columns], *rows])


def add_labelled_store(command: argparse.ArgumentParser) -> None:
    """Add the options of commands that measure one store with labelled groups."""
    command.add_argument("--store", type=Path, required=True)
    command.add_argument(
        "--groups", type=Path, required=True, help='JSON: {"name": ["file", ...], ...}'
    )
    command.add_argument("--model", help="for a store of a model that is not the project's own")


def add_labelled_stores(command: argparse.ArgumentParser, description: str) -> None:
    """Add the options of commands that measure several stores. description: stores may be given."""
    command.add_argument("--store", type=Path, nargs="+", required=True, help=description)
    command.add_argument(
        "--groups",
        type=Path,
        nargs="+",
        required=True,
        help='JSON of each store, in the same order: {"name": ["file", ...], ...}',
    )
    command.add_argument(
        "--kinds", type=Path, nargs="*", default=[], help='JSON: {"kind": ["name", ...], ...}'
    )


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add `groups` to the command line's sub-parsers."""
    command = commands.add_parser(
        "groups", help="photos of the same thing find each other: mAP and recall@1 by stage"
    )
    add_labelled_store(command)
    command.add_argument("--by-group", action="store_true", help="also one line for each group")
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    extractor = Extractor(model_of(args.store, args.model))
    engine = Engine(Store(args.store, extractor), extractor)
    groups = store_groups(args.groups, engine.store)
    results = evaluate_groups(
        engine, groups, lambda queries: tqdm(queries, desc="queries", disable=None)
    )
    print_text(format_table(results))
    print_lines("", f"Measured: {conditions(extractor.engine)}.")
    if args.by_group:
        print_lines("", f"{'mAP':>30s}  " + "  ".join(f"{r.method:>16s}" for r in results))
        for name, files in groups.items():
            print_lines(
                f"{name[:24]:>24s} ({len(files):3d})  "
                + "  ".join(f"{r.group_map[name]:16.3f}" for r in results)
            )
