"""Accuracy of the warning that photos of one query may show different things.

Queries with photos of one thing should not trigger it, queries with photos of different things
should (`search.stages.agreement`).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from tqdm import tqdm

from command import print_text
from evaluation.groups import add_labelled_store, store_group_ids
from evaluation.report.results import format_rows
from extractor import Extractor
from index_store import Store, model_of
from search import Engine
from search.stages.agreement import FEW, compare, warnings
from search.stopwatch import Stopwatch

COUNTS = (2, 3, 4, 6, 12)  # photos per query
DRAWS = 200  # queries per count and kind
SEED = 0
MATCHER = "sift"

Progress = Callable[[Iterable], Iterable]


def is_warned(engine: Engine, ids: list[int]) -> bool:
    """Whether a query with these gallery photos gets the warning; with SIFT if they are few."""
    query = engine.prepare(ids)
    verify = MATCHER if len(ids) <= FEW else None
    if verify is not None:
        compare(query, verify, engine.matchers[verify], Stopwatch())
    return bool(warnings(query, engine.fusion, verify))


def of_one_thing(
    groups: list[list[int]], count: int, rng: np.random.Generator
) -> Iterator[list[int]]:
    """Queries with photos of one group each, cycling through groups that are large enough.

    Args:
        groups: ids of photos of the same thing.
        count: photos per query.
        rng: random generator.
    """
    large = [members for members in groups if len(members) >= count]
    for number in range(DRAWS if large else 0):
        yield rng.permutation(large[number % len(large)])[:count].tolist()


def of_different_things(
    groups: list[list[int]], count: int, rng: np.random.Generator
) -> Iterator[list[int]]:
    """Queries with one photo each of `count` groups; none if there are fewer groups.

    Args:
        groups: ids of photos of the same thing.
        count: photos per query.
        rng: random generator.
    """
    for _ in range(DRAWS if len(groups) >= count else 0):
        chosen = rng.permutation(len(groups))[:count]
        yield [int(rng.choice(groups[group])) for group in chosen]


def measure(
    engine: Engine, groups: list[list[int]], progress: Progress = iter
) -> list[tuple[int, float, float]]:
    """For each of COUNTS: the count, the share of queries with one thing that get the warning, and
    the share of queries with different things that do not. NaN if there are no such queries.

    Args:
        engine: engine on the gallery.
        groups: ids of photos of the same thing.
        progress: wraps the counts.
    """
    rows = []
    for count in progress(COUNTS):
        rng = np.random.default_rng([SEED, count])
        same = [is_warned(engine, ids) for ids in of_one_thing(groups, count, rng)]
        different = [not is_warned(engine, ids) for ids in of_different_things(groups, count, rng)]
        rows.append((count, *(float(np.mean(r)) if r else np.nan for r in (same, different))))
    return rows


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add `agreement` to the command line's sub-parsers."""
    command = commands.add_parser(
        "agreement", help="how often the warning of photos that show different things is right"
    )
    add_labelled_store(command)
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print the two shares by the number of photos."""
    extractor = Extractor(model_of(args.store, args.model))
    store = Store(args.store, extractor)
    groups = list(store_group_ids(args.groups, store).values())
    rows = measure(
        Engine(store, extractor), groups, lambda counts: tqdm(counts, desc="counts", disable=None)
    )
    head = ["photos", "of one thing, warned", "of different things, not warned"]
    print_text(format_rows([head, *([str(n), f"{a:.3f}", f"{b:.3f}"] for n, a, b in rows)]))
