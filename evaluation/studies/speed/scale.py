"""`evaluation scale`: cost of a store as it grows, with synthetic photos.

Each step runs in a separate process, so that its peak memory is its own.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from command import print_lines, print_text
from evaluation.arguments import count
from evaluation.report.conditions import hardware
from evaluation.report.results import format_rows
from index_store import Store, add, build, compact, remove, update, verify
from index_store.keypoints.keypoint_form import form_for
from search import Engine

from .memory import peak_mb
from .synthetic import (
    SyntheticExtractor,
    inject,
    lay_out,
    real_features,
    synthetic_file,
    synthetic_rows,
)

DIM = 512
SIZES = (10_000, 30_000)
QUERIES = 50
BUILD_STAGES = ("index", "neighbours", "diffusion", "keypoints")
DISTANCES = [1, 10]  # ranks of neighbours whose median distances describe the synthetic photos
QUERY_STAGES = ("candidates", "diffusion")
Step = Callable[[Path, int, int], dict[str, float] | None]


class Stages:
    """Progress callback of a build that records the seconds of each stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def __call__(self, items: Iterable, total: int, label: str) -> Iterable:
        start = time.perf_counter()
        yield from items
        self.seconds[label] = self.seconds.get(label, 0) + time.perf_counter() - start


def write_segments(work: Path, size: int, dim: int) -> None:
    """Turn synthetic photos into segments."""
    features = real_features(form_for(size).points)
    inject(work / "store", synthetic_rows(size, dim), SyntheticExtractor(dim), features)


def build_all(work: Path, size: int, dim: int) -> dict[str, float]:
    """Run a build with all photos cached."""
    stages = Stages()
    manifest = build(work / "photos", work / "store", SyntheticExtractor(dim), stages)
    with Store(work / "store") as store:
        cosines = np.median(store.list_sims[:, DISTANCES], axis=0)
    distances = dict(zip(map(str, DISTANCES), np.sqrt(2 - 2 * cosines).tolist()))
    facts = {"bytes": manifest.size, "recall": manifest.shortlist_recall}
    return {**stages.seconds, **facts, **distances}


def verify_store(work: Path, size: int, dim: int) -> None:
    """Verify the whole store."""
    with Store(work / "store") as store:
        verify(store)


def query(work: Path, size: int, dim: int) -> dict[str, float]:
    """Search with gallery photos; medians in milliseconds."""
    extractor = SyntheticExtractor(dim)
    engine = Engine(Store(work / "store"), extractor)
    took: dict[str, list[float]] = {}
    for id in np.random.default_rng(1).integers(size, size=QUERIES).tolist():
        start = time.perf_counter()
        prepared = engine.prepare(id)
        middle = time.perf_counter()
        engine.search(prepared, rerank="diffusion")
        end = time.perf_counter()
        took.setdefault("candidates", []).append(1000 * (middle - start))
        took.setdefault("diffusion", []).append(1000 * (end - middle))
    return {stage: float(np.median(times)) for stage, times in took.items()}


def update_unchanged(work: Path, size: int, dim: int) -> None:
    """Update without changes."""
    update(work / "store", SyntheticExtractor(dim))


def add_one(work: Path, size: int, dim: int) -> dict[str, float]:
    """Add the previously removed photo."""
    stages = Stages()
    manifest = add(
        [synthetic_file(work / "photos", 0)], work / "store", SyntheticExtractor(dim), stages
    )
    return {**stages.seconds, "drift": manifest.drift.rows}


def remove_one(work: Path, size: int, dim: int) -> dict[str, float]:
    """Remove a photo."""
    stages = Stages()
    remove([synthetic_file(Path("."), 0).as_posix()], work / "store", stages)
    return stages.seconds


def compact_all(work: Path, size: int, dim: int) -> None:
    """Compact after removals."""
    compact(work / "store")


STEPS: dict[str, Step] = {
    "segments": write_segments,
    "build": build_all,
    "open": lambda work, size, dim: Store(work / "store").close(),
    "verify": verify_store,
    "query": query,
    "update, nothing new": update_unchanged,
    "remove one": remove_one,
    "add one": add_one,
    "compact": compact_all,
}


def timed(step: str, work: Path, size: int, dim: int, results: Any) -> None:
    """Run a step in this separate process; send its results, seconds and peak memory."""
    start = time.perf_counter()
    costs = STEPS[step](work, size, dim) or {}
    seconds = time.perf_counter() - start
    peak = peak_mb()
    results.send({**costs, "seconds": seconds, "MB": peak})


def measure(size: int, dim: int, work: Path) -> dict[str, dict[str, float]]:
    """Run all steps for a gallery of `size` photos with `dim` components, in an empty folder."""
    lay_out(work / "photos", range(size))
    context = multiprocessing.get_context("spawn")
    found = {}
    for step in STEPS:
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=timed, args=(step, work, size, dim, sender))
        process.start()
        sender.close()
        found[step] = receiver.recv()
        process.join()
        print_lines(f"{size} {step}: {found[step]}")
    return found


Costs = Mapping[int, Mapping[str, Mapping[str, float]]]  # by size and step, as sent by `timed`


def cost_rows(found: Costs) -> list[list[str]]:
    """Table, head first, one column per size."""
    columns = []
    for size, cost_of in found.items():
        build, query = cost_of["build"], cost_of["query"]
        columns.append(
            {"photos": f"{size:,}"}
            | {f"{s}, s (MB)": f"{c['seconds']:.1f} ({c['MB']:.0f})" for s, c in cost_of.items()}
            | {f"build: {stage}, s": f"{build[stage]:.1f}" for stage in BUILD_STAGES}
            | {f"query: {stage}, ms": f"{query[stage]:.1f}" for stage in QUERY_STAGES}
            | {"store, bytes a photo": f"{build['bytes'] / size:,.0f}"}
            | {f"distance to neighbour {n}": f"{build[str(n)]:.2f}" for n in DISTANCES}
            | {"recall@10 of 100": f"{build['recall']:.3f}"}
        )
    return [[title, *(column[title] for column in columns)] for title in columns[0]]


def draw(found: Costs, path: Path) -> None:
    """Plot seconds, memory and query times against the number of photos, and save the picture."""
    from matplotlib.figure import Figure  # slow to import

    def against_size(step: str, cost: str) -> list[float]:
        return [cost_of[step][cost] for cost_of in found.values()]

    seconds = {s: against_size(s, "seconds") for s in STEPS if s not in ("build", "query")}
    seconds |= {f"build: {stage}": against_size("build", stage) for stage in BUILD_STAGES}
    sizes = np.array(list(found))
    growth = sizes * np.log(sizes) / (sizes[-1] * np.log(sizes[-1]))
    panels = {
        "seconds of a step": seconds,
        "its peak of memory, MB": {step: against_size(step, "MB") for step in STEPS},
        "a query, ms": {stage: against_size("query", stage) for stage in QUERY_STAGES},
    }
    figure = Figure(figsize=(15, 5.5), layout="constrained")
    for axis, (title, curves) in zip(figure.subplots(1, 3), panels.items()):
        for name, costs in curves.items():
            axis.plot(sizes, costs, marker="o", label=name)
        if curves is seconds:
            axis.plot(
                sizes, max(costs[-1] for costs in curves.values()) * growth, "k:", label="N log N"
            )
        axis.set(xscale="log", yscale="log", xlabel="photos", title=title)
        axis.grid(alpha=0.3)
        axis.legend(fontsize="small")
    figure.savefig(path, dpi=80)


def add_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--sizes", type=count, nargs="+", default=SIZES)
    command.add_argument("--dim", type=count, default=DIM, help="components of a descriptor")
    command.add_argument("--plot", type=Path, help="picture, PNG")


def run(args: argparse.Namespace) -> None:
    print_lines(f"Hardware: {hardware()}", "")
    found = {}
    for size in args.sizes:
        with tempfile.TemporaryDirectory() as work:
            found[size] = measure(size, args.dim, Path(work))
    print_text(format_rows(cost_rows(found)))
    if args.plot:
        draw(found, args.plot)
