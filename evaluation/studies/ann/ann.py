"""`evaluation ann`: all index presets over gallery sizes, next to hnswlib and usearch.

On three kinds of vectors: SIFT descriptors of photos, this model's descriptors of crops of photos,
and vectors drawn from a model of those crops, of which there can be a million. Queries are never in
the index. Recall is defined as in `index_store.ann.tune`. Times are for one query after another on
one thread, including rescoring from the stored descriptors.
"""

from __future__ import annotations

import argparse
import functools
import json
import multiprocessing
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from command import print_lines, print_text
from evaluation.arguments import count, share
from evaluation.report.conditions import hardware
from evaluation.report.results import format_rows
from extractor import DEFAULT_MODEL, Extractor
from extractor.descriptor.registry import model_path
from index_store.ann.faiss_index import FaissIndex
from index_store.ann.nearest import exact_search
from index_store.ann.pareto import draw_front, on_front
from index_store.ann.presets import PRESETS, choose_parameters
from index_store.ann.tune import Questions, Trial, build_timed, efforts, searcher, sweep

from ..speed.memory import peak_mb
from .ann_data import (
    CropModel,
    cached,
    crop_vectors,
    neighbour_distances,
    sift_vectors,
)
from .ann_peers import PEERS, check_peers

QUERIES = 500
RESCORED = (0, 30, 100, 300, 1000)
KINDS = ("sift", "crops", "drawn")


@dataclass(frozen=True, eq=False)
class Case:
    """Vectors to index and queries.

    Attributes:
        kind: name in KINDS.
        questions: its memory-mapped vectors, and the queries.
        first: first row of the vectors in their file.
        file: stem of the files that are cached for it.
    """

    kind: str
    questions: Questions
    first: int
    file: Path

    @property
    def title(self) -> str:
        rows = self.questions.descriptors
        return f"{self.kind} {len(rows):,} x {rows.shape[1]}"


# -- vectors ---------------------------------------------------------------------------------------


def make_case(kind: str, whole: np.ndarray, first: int, size: int, queries: np.ndarray) -> Case:
    """A case of some rows of a file, with its exact results, which are cached next to it."""
    rows = whole[first : first + size]
    beside = Path(whole.filename)
    file = beside.with_name(f"{beside.stem}-{len(rows)}")
    truth = cached(beside.with_name(f"{file.name}.truth.npy"), lambda: answers(rows, queries))
    return Case(kind, Questions(rows, queries, np.array(truth)), first, file)


def answers(rows: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Ids of the exact ten nearest rows of each query."""
    return exact_search(rows, queries, 10)[0]


def make_cases(args: argparse.Namespace, bar: Callable[[Iterable, str], Iterable]) -> list[Case]:
    """All requested cases, smallest first within a kind."""
    cases = []
    if "sift" in args.data:
        sift = sift_vectors(args.photos, args.cache, lambda files: bar(files, "sift"))
        queries = np.float32(sift[:QUERIES])
        sizes = sorted({min(size, len(sift) - QUERIES) for size in args.sizes})
        cases += [make_case("sift", sift, QUERIES, size, queries) for size in sizes]
    if {"crops", "drawn"} & set(args.data):
        # Other engines may be faster, but plan again for each shape, and crops rarely share one.
        extractor = Extractor(args.model)
        crops = crop_vectors(
            args.photos, extractor, args.crops, args.cache, lambda files: bar(files, "crops")
        )
        if "crops" in args.data:
            queries = np.float32(crops[:QUERIES])
            cases.append(make_case("crops", crops, QUERIES, len(crops) - QUERIES, queries))
        if "drawn" in args.data:
            cases += drawn_cases(crops, args.sizes)
    return cases


def drawn_cases(real: np.ndarray, sizes: list[int]) -> list[Case]:
    """Cases of drawn vectors; smaller ones are prefixes of the largest."""
    queries = drawn(real, QUERIES, 2)
    rows = drawn(real, max(sizes), 1)
    return [make_case("drawn", rows, 0, size, np.float32(queries)) for size in sorted(sizes)]


def drawn(real: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Vectors drawn from a model of real ones, cached next to their file, float16 (size, D)."""
    file = Path(real.filename)
    return cached(
        file.with_name(f"drawn-{file.stem}-{seed}-{size}.npy"),
        lambda: fitted_to(str(file)).draw(size, seed),
    )


@functools.cache
def fitted_to(file: str) -> CropModel:
    """The model of the real vectors in a file, without the queries at its start."""
    return CropModel(np.float32(np.load(file, mmap_mode="r")[QUERIES:]))


# -- indexes ---------------------------------------------------------------------------------------


def is_exact(name: str) -> bool:
    """Whether an index stores vectors uncompressed, so that rescoring would change nothing."""
    return (PRESETS[name] if name in PRESETS else PEERS[name]).exact


def index_file(case: Case, name: str) -> Path:
    """Path of a case's cached index."""
    return case.file.with_name(f"{case.file.name}-{name}.index")


def build(case: Case, name: str) -> float:
    """Build an index of a case unless it is cached.

    Returns:
        Processor seconds that building took.
    """
    file = index_file(case, name)
    facts = file.with_suffix(".json")
    rows = case.questions.descriptors
    if not facts.exists():
        if name in PRESETS:
            index, build_s = build_timed(rows, name)
        else:
            index, start = PEERS[name].open(rows.shape[1]), time.process_time()
            index.build(rows)
            build_s = time.process_time() - start
        index.save(file)
        facts.write_text(json.dumps({"build_s": build_s}))
    return json.loads(facts.read_text())["build_s"]


def opened(file: Path, name: str, size: int, dim: int) -> Any:
    """Open a cached index of `size` vectors."""
    if name in PRESETS:
        return FaissIndex.load(file, choose_parameters(size, dim, name))
    return PEERS[name].open(dim, file)


def measure_index(case: Case, name: str) -> list[Trial]:
    """All trials of one index on one case."""
    build_s = build(case, name)
    index = opened(index_file(case, name), name, *case.questions.descriptors.shape)
    rescored = (0,) if is_exact(name) else RESCORED
    tried = efforts(name if name in PRESETS else "hnsw")
    return sweep(name, index, tried, rescored, case.questions, build_s)


def resident_mb(case: Case, trial: Trial) -> float:
    """Resident memory in MB of a process that has opened an index and run all queries."""
    rows = case.questions.descriptors
    block = slice(case.first, case.first + len(rows))
    how = (index_file(case, trial.name), Path(rows.filename), block, trial, case.questions.queries)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(serve, how)


def serve(
    index_file: Path, rows_file: Path, block: slice, trial: Trial, queries: np.ndarray
) -> float:
    """Body of `resident_mb`, run in a separate process."""
    rows = np.load(rows_file, mmap_mode="r")[block]
    index = opened(index_file, trial.name, *rows.shape)
    index.effort = trial.effort
    search = searcher(index, rows, trial.rescored)
    for query in queries:
        search(query[None])
    return peak_mb()


# -- tables ----------------------------------------------------------------------------------------


def best_of(trials: list[Trial], recall: float) -> Trial:
    """The fastest with this recall 10@10; if there is none, the one with the highest recall."""
    enough = [trial for trial in trials if trial.recall10 >= recall]
    return max(enough, key=lambda t: t.speed) if enough else max(trials, key=lambda t: t.recall10)


def case_rows(case: Case, trials: list[Trial], recall: float) -> list[list[str]]:
    """Table, head first: each index at its fastest setting with this recall, fastest first."""
    star = dict(zip(trials, on_front(*points(trials))))
    best = [best_of(list(same), recall) for same in by_name(trials).values()]
    rows = [
        [
            case.title, "setting", "rescored", "recall 10@10", "1@10", "median ms", "queries/s",
            "bytes a vector", "build, processor s", "resident MB", "on the front",
        ]
    ]  # fmt: skip
    for trial in sorted(best, key=lambda t: (t.recall10 < recall, t.ms)):
        rows.append(
            [
                trial.name,
                str(trial.effort or ""),
                str(trial.rescored or ""),
                f"{trial.recall10:.3f}",
                f"{trial.recall1:.3f}",
                f"{trial.ms:.3f}",
                f"{trial.speed:.0f}",
                f"{trial.bytes:.1f}",
                f"{trial.build_s:.0f}",
                f"{resident_mb(case, trial):.0f}",
                "yes" if star[trial] else "",
            ]
        )
    return rows


def by_name(trials: list[Trial]) -> dict[str, list[Trial]]:
    """Trials grouped by index."""
    names = dict.fromkeys(trial.name for trial in trials)
    return {name: [trial for trial in trials if trial.name == name] for name in names}


def points(trials: list[Trial]) -> tuple[np.ndarray, np.ndarray]:
    """Recall 10@10 and queries per second, (n,) each."""
    return np.array([t.recall10 for t in trials]), np.array([t.speed for t in trials])


def growth_rows(measured: dict[Case, list[Trial]], recall: float) -> list[list[str]]:
    """Table, head first: growth of a query's time with the number of drawn vectors."""
    cases = [case for case in measured if case.kind == "drawn"]
    head = [
        "median ms at that recall",
        *(f"{len(c.questions.descriptors):,}" for c in cases),
        "growth",
    ]
    rows = [head]
    for name in by_name(measured[cases[0]]):
        best = [best_of(by_name(measured[case])[name], recall) for case in cases]
        if all(trial.recall10 >= recall for trial in best):
            times = [f"{trial.ms:.3f}" for trial in best]
            rows.append([name, *times, f"{best[-1].ms / best[0].ms:.1f}"])
    return rows


# -- picture ---------------------------------------------------------------------------------------


def draw(measured: dict[Case, list[Trial]], path: Path) -> None:
    """Plot recall against speed for each case, and the distances among real and drawn vectors."""
    from matplotlib.figure import Figure  # slow to import

    crops = next((case for case in measured if case.kind == "crops"), None)
    panels = len(measured) + (crops is not None)
    figure = Figure(figsize=(16, 5.5 * -(-panels // 2)), layout="constrained")
    axes = figure.subplots(-(-panels // 2), 2, squeeze=False).ravel()
    for ax, (case, trials) in zip(axes, measured.items()):
        curves = {name: points(envelope(same)) for name, same in by_name(trials).items()}
        draw_front(ax, curves, case.title)
    if crops is not None:
        draw_distances(axes[panels - 1], crops.questions.descriptors)
    for ax in axes[panels:]:
        ax.remove()
    figure.savefig(path, dpi=80)


def envelope(trials: list[Trial]) -> list[Trial]:
    """The Pareto front of an index's own trials."""
    return [trial for trial, best in zip(trials, on_front(*points(trials))) if best]


def draw_distances(ax: Any, real: np.ndarray) -> None:
    """Histograms of the distances to the first and tenth neighbour, real and drawn."""
    synthetic = np.float32(drawn(real, len(real), 3))
    bins = np.linspace(0, 1.4, 71)
    for rows, name, style in ((np.float32(real), "crops", "-"), (synthetic, "drawn", "--")):
        distances = neighbour_distances(rows)
        for rank, colour in ((1, "C0"), (10, "C3")):
            ax.hist(
                distances[:, rank], bins, histtype="step", ls=style, color=colour,
                label=f"{name}, neighbour {rank}",
            )  # fmt: skip
    ax.set(xlabel="distance", ylabel="vectors", title=f"neighbours among {len(real):,} vectors")
    ax.legend()


# -- command ---------------------------------------------------------------------------------------


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add `ann` to the command line's sub-parsers."""
    command = commands.add_parser(
        "ann", help="recall, speed and memory of all forms of index over sizes, beside others'"
    )
    command.add_argument("--sizes", type=count, nargs="+", default=[10_000, 100_000])
    command.add_argument("--photos", type=Path, default=Path("gallery/photos"))
    command.add_argument("--crops", type=count, default=20_000, help="how many to describe")
    command.add_argument("--data", nargs="+", choices=KINDS, default=KINDS)
    command.add_argument("--indexes", nargs="+", choices=[*PRESETS, *PEERS], metavar="NAME")
    command.add_argument("--recall", type=share, default=0.95, help="10@10 that the tables are for")
    command.add_argument("--model", type=model_path, default=DEFAULT_MODEL)
    command.add_argument(
        "--cache", type=Path, default=Path("stores/ann"), help="keeps vectors and built indexes"
    )
    command.add_argument("--build-only", action="store_true", help="measure later")
    command.add_argument("--plot", type=Path, help="picture, PNG")
    command.add_argument("--json", type=Path, help="write every trial to this file")
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    names = args.indexes or [*PRESETS, *PEERS]
    if set(names) & PEERS.keys():
        check_peers()
    cases = make_cases(args, lambda items, what: tqdm(items, desc=what, disable=None))
    jobs = [(case, name) for case in cases for name in names]
    if args.build_only:
        for case, name in tqdm(jobs, desc="indexes", disable=None):
            build(case, name)
        return
    print_lines(f"Hardware: {hardware()}; searches on one thread, one query after the other.", "")
    measured: dict[Case, list[Trial]] = {case: [] for case in cases}
    for case, name in tqdm(jobs, desc="indexes", disable=None):
        measured[case] += measure_index(case, name)
    for case, trials in measured.items():
        print_text(format_rows(case_rows(case, trials, args.recall)) + "\n")
    if "drawn" in args.data and len(args.sizes) > 1:
        print_text(format_rows(growth_rows(measured, args.recall)))
    if args.json:
        written = [{"case": c.title, **asdict(t)} for c, trials in measured.items() for t in trials]
        args.json.write_text(json.dumps(written, indent=1) + "\n")
    if args.plot:
        draw(measured, args.plot)
