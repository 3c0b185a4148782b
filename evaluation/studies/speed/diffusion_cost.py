"""Cost and quality of offline diffusion: builds, queries, and rows of several lengths."""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.sparse.linalg import cg
from tqdm import tqdm

from command import print_lines, print_text
from evaluation.arguments import count
from evaluation.groups import BadGroups, store_groups
from evaluation.metrics import average_precision, mean_over_groups
from evaluation.report.conditions import hardware
from evaluation.report.results import format_rows
from extractor import DEFAULT_MODEL, Extractor
from index_store import Store
from index_store.graph import affinity
from index_store.graph.neighbours import exact_neighbours
from index_store.graph.offline_diffusion import ALPHA, KEPT, diffusion_rows
from search import Engine
from search.rerank.diffusion import diffuse

from ..retrieval.published_diffusion import laplacian
from .offline_speed import speed_rows

QUERIES = 400

Progress = Callable[[Iterable], Iterable]


# -- a query ---------------------------------------------------------------------------------------


def write_synthetic_rows(
    folder: Path, count: int, row_length: int, batch: int = 20_000
) -> tuple[np.ndarray, np.ndarray]:
    """Write synthetic memory-mapped rows like a store's, with a harmonic series as values.

    The ids are random over the gallery. That is the worst case for a query, whose seeds then have
    nothing in common.

    Args:
        folder: folder for the files.
        count: number of rows.
        row_length: values per row.
        batch: rows written at a time.

    Returns:
        Ids and values, (count, kept) each.

    Raises:
        OSError: there is too little disk space.
    """
    needed = count * row_length * 6
    if shutil.disk_usage(folder).free < 1.2 * needed:
        raise OSError(
            f"The rows need {needed / 1e9:.1f} GB in {folder}; there is not enough free space."
        )
    rng = np.random.default_rng(0)
    ids = np.lib.format.open_memmap(folder / "ids.npy", "w+", np.int32, (count, row_length))
    values = np.lib.format.open_memmap(folder / "values.npy", "w+", np.float16, (count, row_length))
    for start in range(0, count, batch):
        stop = min(count, start + batch)
        ids[start:stop] = rng.integers(count, size=(stop - start, row_length))
        ids[start:stop, 0] = np.arange(start, stop)
        values[start:stop] = 1.5 / np.arange(1, row_length + 1)
    ids.flush()
    values.flush()
    return ids, values


def query_ms(
    row_ids: np.ndarray, row_values: np.ndarray, seeds: int, queries: int = QUERIES
) -> np.ndarray:
    """Time of a query's diffusion, from the seeds' ids to the scores of all reached photos.

    Args:
        row_ids, row_values: offline rows, (N, M) each.
        seeds: seeds per query.
        queries: number of timed queries.

    Returns:
        Milliseconds (queries,).
    """
    rng = np.random.default_rng(seeds)
    times = []
    for _ in range(queries):
        chosen, weights = (
            rng.integers(len(row_ids), size=seeds),
            rng.random(seeds).astype(np.float32) + 0.1,
        )
        begin = time.perf_counter()
        diffuse(row_ids[chosen], row_values[chosen], weights)
        times.append(1000 * (time.perf_counter() - begin))
    return np.array(times)


def query_rows(count: int, row_length: int) -> list[list[str]]:
    """Table of query times, head first."""
    rows = [[f"{count} rows of {row_length}", "median ms", "99th percentile ms", "ids a query"]]
    with tempfile.TemporaryDirectory() as folder:
        ids, values = write_synthetic_rows(Path(folder), count, row_length)
        for seeds in (5, 20, 100):
            query_ms(ids, values, seeds, 20)
            times = query_ms(ids, values, seeds)
            rows.append(
                [
                    f"{seeds} seeds",
                    f"{np.median(times):.2f}",
                    f"{np.percentile(times, 99):.2f}",
                    f"{seeds * row_length}",
                ]
            )
        del ids, values
    return rows


# -- how short rows may be -------------------------------------------------------------------------


@dataclass(frozen=True)
class Cut:
    """Quality of diffusion with shorter rows.

    Attributes:
        row_length: values per row.
        map: mAP of the groups, with diffusion.
        mass: mean share of the complete rows' sums.
        bytes: bytes per photo.
    """

    kept: int
    map: float
    mass: float
    bytes: int


def measure_cuts(
    store: Store,
    extractor: Extractor,
    groups: dict[str, list[str]],
    cuts: list[int],
    progress: Progress = iter,
) -> list[Cut]:
    """Diffusion with rows of different lengths, recomputed from the store's descriptors.

    Args:
        store: the gallery.
        extractor: extractor of the store.
        groups: output of `store_groups`.
        cuts: values per row.
        progress: wraps long stages.
    """
    count = len(store)
    ids, sims = exact_neighbours(store.descriptors, min(count, affinity.BACKGROUND + 1))
    walk = affinity.neighbour_graph(ids, sims)
    row_ids = np.empty((count, min(count, max(cuts))), np.int32)
    row_values = np.empty(row_ids.shape, np.float16)
    diffusion_rows(walk, row_ids, row_values)
    whole = cg(laplacian(walk, ALPHA), np.ones(count), rtol=1e-9, maxiter=5000)[0]
    measured = []
    for kept in progress(sorted(cuts)):
        cut = copy.copy(store)
        cut.diffusion_ids, cut.diffusion_values = row_ids[:, :kept], row_values[:, :kept]
        engine = Engine(cut, extractor)
        precision = {}
        for name, files in groups.items():
            for file in files:
                query = engine.prepare(store.catalogue.find(file).id)
                hits = engine.search(query, rerank="diffusion", k=count).hits
                found = average_precision([hit.file for hit in hits], set(files) - {file})
                precision.setdefault(name, []).append(found)
        mass = float((row_values[:, :kept].sum(1, dtype=np.float64) / whole).mean())
        measured.append(Cut(kept, mean_over_groups(precision), mass, min(kept, count) * 6))
    return measured


def cut_rows(cuts: list[Cut]) -> list[list[str]]:
    """Table of row lengths, head first."""
    head = [
        "kept values",
        "mAP with diffusion",
        "share of mass",
        "bytes a photo",
        "GB at a million",
    ]
    return [
        head,
        *(
            [f"{c.kept}", f"{c.map:.4f}", f"{c.mass:.4f}", f"{c.bytes}", f"{c.bytes / 1e3:.2f}"]
            for c in cuts
        ),
    ]


# -- command ---------------------------------------------------------------------------------------


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add `diffusion` to the command line's sub-parsers."""
    command = commands.add_parser(
        "diffusion", help="offline diffusion: rows a second, a query's time, kept values"
    )
    command.add_argument(
        "--rows", type=count, nargs="+", default=[], metavar="N", help="rows a second, made photos"
    )
    command.add_argument("--dim", type=count, default=128, help="of the made descriptors")
    command.add_argument(
        "--query", type=count, metavar="N", help="a query's diffusion on a file of N made rows"
    )
    command.add_argument(
        "--store", type=Path, help="with --groups: mAP against the values kept of a row"
    )
    command.add_argument("--groups", type=Path, help='JSON: {"name": ["file", ...], ...}')
    command.add_argument("--cuts", type=count, nargs="+", default=[20, 50, 100, 200, 300])
    command.add_argument("--model", type=Path, default=DEFAULT_MODEL)
    command.add_argument("--json", type=Path, help="write the cuts to this file")
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    print_lines(f"Hardware: {hardware()}", "")
    if bool(args.store) != bool(args.groups):
        raise BadGroups("--store and --groups go together.")
    for rows in args.rows or ([] if args.query or args.store else [20_000]):
        print_text(format_rows(speed_rows(rows, args.dim)) + "\n")
    if args.query:
        print_text(format_rows(query_rows(args.query, KEPT)) + "\n")
    if args.store:
        extractor = Extractor(args.model)
        store = Store(args.store, extractor)
        cuts = measure_cuts(
            store,
            extractor,
            store_groups(args.groups, store),
            args.cuts,
            lambda cuts: tqdm(cuts, desc="cuts", disable=None),
        )
        print_text(format_rows(cut_rows(cuts)))
        if args.json:
            args.json.write_text(
                json.dumps([dataclasses.asdict(cut) for cut in cuts], indent=1) + "\n"
            )
