"""Cases of `evaluation ann`, and measurements of indexes on them."""

from __future__ import annotations

import argparse
import functools
import json
import multiprocessing
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from extractor import Extractor
from index_store.ann.faiss_index import FaissIndex
from index_store.ann.nearest import exact_search
from index_store.ann.presets import PRESETS, choose_parameters
from index_store.ann.tune import Questions, Trial, build_timed, efforts, searcher, sweep

from ..speed.memory import peak_mb
from .ann_data import CropModel, cached, crop_vectors, sift_vectors
from .ann_peers import PEERS

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


def make_case(kind: str, whole: np.memmap, first: int, size: int, queries: np.ndarray) -> Case:
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


def drawn(real: np.memmap, size: int, seed: int) -> np.ndarray:
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
    rows: np.memmap = case.questions.descriptors
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
