"""The groups protocol: photos of the same thing find each other, each photo of a group being the query once.

The query is taken out of its own results (and out of the diffusion graph). Average precision is averaged over a group's
queries first, then over groups, so that a landmark with 80 photos counts no more than one with two.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from extractor import DEFAULT_MODEL, Extractor
from index_store import Store
from search import Engine

from .metrics import average_precision, recall_at_1

FEW = 3  # groups of at most so many photos are "few-view"

METHODS = {
    "rerank off": {},
    "diffusion": {"diffusion": True},
    "SIFT": {"sift": True},
    "diffusion + SIFT": {"diffusion": True, "sift": True},
}


class BadGroups(Exception):
    """The groups file cannot be used with this store."""


@dataclass(frozen=True)
class Score:
    """One method on one set of groups: mean over groups of the mean over their queries, 0 to 1."""

    groups: int
    queries: int
    map: float
    recall_at_1: float


@dataclass(frozen=True)
class MethodResult:
    """One row of the table."""

    method: str
    all: Score
    few: Score | None
    many: Score | None
    group_map: dict[str, float]


def read_groups(path: Path, store: Store) -> dict[str, list[int]]:
    """Group name -> gallery ids, from {"name": ["file", ...]}. Raises BadGroups naming what does not fit."""
    try:
        named = json.loads(path.read_text())
        if not isinstance(named, dict) or not all(isinstance(files, list) for files in named.values()):
            raise ValueError('it must be {"name": ["file", ...], ...}')
    except (OSError, ValueError) as error:
        raise BadGroups(f"{path} cannot be read: {error}") from None
    groups = {}
    for name, files in named.items():
        if len(set(map(str, files))) < max(2, len(files)):
            raise BadGroups(f"Group {name!r} needs at least two photos, each named once.")
        photos = [store.catalogue.find(str(file)) for file in files]
        if None in photos:
            raise BadGroups(f"Group {name!r} names {files[photos.index(None)]!r}, which is not in the store.")
        groups[name] = [photo.id for photo in photos]
    if not groups:
        raise BadGroups(f"{path} names no groups.")
    return groups


def mean_score(groups: dict[str, list[int]], aps: dict[str, list[float]], r1s: dict[str, list[float]]) -> Score | None:
    """Mean over the given groups of each group's mean; None without groups."""
    if not groups:
        return None
    return Score(
        groups=len(groups),
        queries=sum(map(len, groups.values())),
        map=float(np.mean([np.mean(aps[name]) for name in groups])),
        recall_at_1=float(np.mean([np.mean(r1s[name]) for name in groups])),
    )


def evaluate_groups(
    engine: Engine, groups: dict[str, list[int]], progress: Callable[[Iterable], Iterable] = iter
) -> list[MethodResult]:
    """All METHODS on all groups. progress wraps the list of (group, query id) pairs."""
    few = {name: ids for name, ids in groups.items() if len(ids) <= FEW}
    many = {name: ids for name, ids in groups.items() if len(ids) > FEW}
    aps = {method: {name: [] for name in groups} for method in METHODS}
    r1s = {method: {name: [] for name in groups} for method in METHODS}
    for name, query in progress([(name, id) for name, ids in groups.items() for id in ids]):
        positives = set(groups[name]) - {query}
        for method, stages in METHODS.items():
            hits = engine.search(query, k=len(engine.store), **stages).hits
            ranked = [hit.id for hit in hits]
            aps[method][name].append(average_precision(ranked, positives))
            r1s[method][name].append(recall_at_1(ranked, positives))
    return [
        MethodResult(
            method,
            all=mean_score(groups, aps[method], r1s[method]),
            few=mean_score(few, aps[method], r1s[method]),
            many=mean_score(many, aps[method], r1s[method]),
            group_map={name: float(np.mean(values)) for name, values in aps[method].items()},
        )
        for method in METHODS
    ]


def format_table(results: list[MethodResult]) -> str:
    """Markdown table: mAP / recall@1, each a mean over groups."""
    first = results[0]

    def title(name: str, score: Score | None) -> str:
        return f"{name} ({score.groups if score else 0})"

    def cell(score: Score | None) -> str:
        return f"{score.map:.3f} / {score.recall_at_1:.3f}" if score else "-"

    columns = [
        title("all groups", first.all),
        title("few-view, 2-3", first.few),
        title("many-view", first.many),
    ]
    rows = [[r.method, cell(r.all), cell(r.few), cell(r.many)] for r in results]
    table = [["mAP / recall@1", *columns], *rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    lines = ["| " + " | ".join(text.ljust(width) for text, width in zip(row, widths)) + " |" for row in table]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def add_command(commands) -> None:
    """Add `groups` to the command line's sub-parsers."""
    command = commands.add_parser("groups", help="photos of the same thing find each other: mAP and recall@1 by stage")
    command.add_argument("--store", type=Path, required=True)
    command.add_argument("--groups", type=Path, required=True, help='JSON: {"name": ["file", ...], ...}')
    command.add_argument("--model", type=Path, default=DEFAULT_MODEL)
    command.add_argument("--by-group", action="store_true", help="also one line for each group")
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    extractor = Extractor(args.model)
    engine = Engine(Store(args.store, extractor), extractor)
    groups = read_groups(args.groups, engine.store)
    results = evaluate_groups(engine, groups, lambda pairs: tqdm(pairs, desc="queries", disable=None))
    print(format_table(results))
    if args.by_group:
        print(f"\n{'mAP':>30s}  " + "  ".join(f"{r.method:>16s}" for r in results))
        for name, ids in groups.items():
            print(f"{name[:24]:>24s} ({len(ids):3d})  " + "  ".join(f"{r.group_map[name]:16.3f}" for r in results))
