"""Groups protocol on an existing store: the quality of each stage in a short table.

`run` adds intervals, and saves everything. The rules are those of `evaluation/datasets/groups.py`.
Each photo of a group is the query once, and is removed from its own results and from the diffusion
graph. Queries are averaged by group before groups are.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from tqdm import tqdm

from command import print_lines, print_text
from extractor import Extractor
from index_store import Store, model_of
from plurals import quantity
from search import Engine

from .datasets import BadDataset
from .datasets.groups import EVERY, FEW_VIEW, MANY_VIEW, check_groups, load_groups, of_groups
from .measure import by_group, search_all
from .metrics import mean_over_groups
from .report.conditions import conditions
from .report.results import QueryResult, format_rows
from .run import STAGES


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


def evaluate_groups(
    engine: Engine, groups: dict[str, list[str]], progress: Callable[[Iterable], Iterable] = iter
) -> list[QueryResult]:
    """Run all STAGES on groups from `store_groups`. progress: wraps the list of queries."""
    gallery = [photo.file for photo in engine.store.catalogue.photos()]
    benchmark = of_groups("groups", engine.store.roots, gallery, groups)
    return search_all(engine, benchmark, STAGES, progress).queries


def group_maps(queries: list[QueryResult], method: str) -> dict[str, float]:
    """mAP of each group with a method."""
    aps = by_group(queries, method, EVERY, "mAP")
    return {name: float(np.mean(values)) for name, values in aps.items()}


def format_table(queries: list[QueryResult]) -> str:
    """Markdown table of mAP / recall@1, as means over groups."""
    rows = [["mAP / recall@1"], *([method] for method in STAGES)]
    for setup in (EVERY, FEW_VIEW, MANY_VIEW):
        for row, method in zip(rows[1:], STAGES):
            metrics = [by_group(queries, method, setup, name) for name in ("mAP", "recall@1")]
            means = [f"{mean_over_groups(values):.3f}" for values in metrics if values]
            row.append(" / ".join(means) or "-")
        rows[0].append(f"{setup} ({len(metrics[0])})")
    return format_rows(rows)


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


def read_kinds(args: argparse.Namespace) -> dict[str, list[str]]:
    """Kind -> names of groups, from the options of `add_labelled_stores`.

    Raises:
        BadDataset: there is not one groups file for each store.
        BadGroups: a file of kinds cannot be read.
    """
    if len(args.store) != len(args.groups):
        raise BadDataset(
            f"{quantity(len(args.store), 'store')} and {quantity(len(args.groups), 'groups file')} "
            "were given; each store needs one groups file."
        )
    return {kind: names for path in args.kinds for kind, names in load_groups(path).items()}


def add_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--store", type=Path, required=True)
    command.add_argument(
        "--groups", type=Path, required=True, help='JSON: {"name": ["file", ...], ...}'
    )
    command.add_argument("--model", help="for a store of a model that is not the project's own")
    command.add_argument("--by-group", action="store_true", help="also one line for each group")


def run(args: argparse.Namespace) -> None:
    extractor = Extractor(model_of(args.store, args.model))
    engine = Engine(Store(args.store, extractor), extractor)
    groups = store_groups(args.groups, engine.store)
    queries = evaluate_groups(
        engine, groups, lambda queries: tqdm(queries, desc="queries", disable=None)
    )
    print_text(format_table(queries))
    print_lines("", f"Measured: {conditions(extractor.engine)}.")
    if args.by_group:
        maps = [group_maps(queries, method) for method in STAGES]
        print_lines("", f"{'mAP':>30s}  " + "  ".join(f"{method:>16s}" for method in STAGES))
        for name, files in groups.items():
            print_lines(
                f"{name[:24]:>24s} ({len(files):3d})  "
                + "  ".join(f"{found[name]:16.3f}" for found in maps)
            )
