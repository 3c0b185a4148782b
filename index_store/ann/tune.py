"""Compare all index presets on a gallery's own descriptors.

Some photos are held out of the indexes and serve as queries. Recall 10@10 is the share of the exact
ten nearest photos among the first ten results. Recall 1@10 is how often the exact nearest is among
them. Speed is measured for one query after another on one thread, including rescoring.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from ..builder import CANDIDATES
from ..errors import StoreError
from ..global_artifacts import Derived
from ..storage.manifest import Manifest
from ..storage.publish import content_of, locked_for_update, publish
from ..storage.rows import Rows
from .faiss_index import SEED, FaissIndex, VectorIndex
from .id_map import all_numbered
from .nearest import build_index, exact_search, rescore
from .presets import PRESETS, choose_parameters

QUERIES = 500
QUERY_SHARE = 0.1  # maximum share of a gallery
MIN_PHOTOS = 10  # photos
WARM_UP = 20  # queries
LONGEST_S = 4.0  # time limit for a trial's queries, after at least
MIN_QUERIES = 50
FIRST_EFFORT = {"nprobe": 1, "efSearch": 16}
STEPS = 10  # each doubles the last
ENOUGH = 0.9995  # recall from which more effort is pointless

Progress = Callable[[Iterable, int, str], Iterable]
Search = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Trial:
    """Measurement of one index at one effort.

    Attributes:
        name: name of the preset.
        effort: value of its parameter; 0 without one.
        rescored: number of proposals rescored with the descriptors; 0 for none.
        recall10, recall1: recall 10@10 and 1@10.
        ms: median milliseconds per query.
        bytes: memory per vector, without the descriptors on disk.
        build_s: processor seconds for training and adding.
    """

    name: str
    effort: int
    rescored: int
    recall10: float
    recall1: float
    ms: float
    bytes: float
    build_s: float

    @property
    def speed(self) -> float:
        """Queries per second."""
        return 1000 / self.ms


@dataclass(frozen=True)
class Questions:
    """Benchmark data.

    Attributes:
        descriptors: indexed descriptors, float16 or float32 (N, D).
        queries: held-out descriptors, float32 (n, D).
        truth: ids of the exact ten nearest of each query, (n, 10).
    """

    descriptors: np.ndarray
    queries: np.ndarray
    truth: np.ndarray


def held_out(descriptors: np.ndarray) -> Questions:
    """Hold out some photos of a gallery as queries."""
    order = np.random.default_rng(SEED).permutation(len(descriptors))
    held = min(QUERIES, int(len(order) * QUERY_SHARE))
    queries = descriptors[order[:held]].astype(np.float32)
    remaining = descriptors[np.sort(order[held:])]
    return Questions(
        remaining, queries, exact_search(remaining, queries, min(10, len(remaining)))[0]
    )


def measure(search: Search, queries: np.ndarray, truth: np.ndarray) -> tuple[float, float, float]:
    """Recall and time of a search function, one query after another.

    A slow function is measured on fewer queries.

    Args:
        search: function from a query float32 (1, D) to ids, best first, at least ten if there are
            as many.
        queries: float32 (n, D).
        truth: ids of the exact ten nearest, (n, 10).

    Returns:
        Recall 10@10, recall 1@10, median milliseconds.
    """
    for query in queries[:WARM_UP]:
        search(query[None])
    found, seconds = [], []
    for query in queries:
        start = time.perf_counter()
        ids = search(query[None])
        seconds.append(time.perf_counter() - start)
        found.append(ids)
        if sum(seconds) > LONGEST_S and len(seconds) >= MIN_QUERIES:
            break
    width = truth.shape[1]
    ten = np.mean([np.isin(exact, ids[:width]).mean() for exact, ids in zip(truth, found)])
    recall1 = np.mean([exact[0] in ids[:width] for exact, ids in zip(truth, found)])
    return float(ten), float(recall1), 1000 * float(np.median(seconds))


def searcher(index: VectorIndex, descriptors: np.ndarray, rescored: int) -> Search:
    """A search with an index: its own order (rescored = 0), or its best `rescored` rescored."""
    rescored = min(rescored, len(descriptors))

    def search(query: np.ndarray) -> np.ndarray:
        ids = index.search(query, rescored or 10)[1]
        return rescore(descriptors, query, ids, min(10, rescored))[0][0] if rescored else ids[0]

    return search


def sweep(
    name: str,
    index: VectorIndex,
    efforts: Sequence[int],
    rescored: Sequence[int],
    questions: Questions,
    build_s: float,
) -> list[Trial]:
    """Measure an index with increasing effort, until the recall is ENOUGH.

    Args:
        name: name of its preset.
        index: index over `asked.descriptors`.
        efforts: parameter values, ascending.
        rescored: numbers of proposals to rescore, each measured in turn; 0 for none.
        questions: the benchmark data.
        build_s: processor seconds that building took.
    """
    size = index.stats().bytes / len(questions.descriptors)
    trials: list[Trial] = []
    with threadpool_limits(1):
        for effort in efforts:
            index.effort = effort
            for count in rescored:
                search = searcher(index, questions.descriptors, count)
                found = measure(search, questions.queries, questions.truth)
                trials.append(Trial(name, effort, count, *found, size, build_s))
            if trials[-1].recall10 >= ENOUGH:
                break
    return trials


def efforts(name: str) -> list[int]:
    """Values of a preset's parameter that are worth trying, ascending."""
    parameter = PRESETS[name].parameter
    return [FIRST_EFFORT[parameter] * 2**i for i in range(STEPS)] if parameter else [0]


def build_timed(descriptors: np.ndarray, name: str) -> tuple[FaissIndex, float]:
    """An index with a preset, and the processor seconds that building it took."""
    start = time.process_time()
    parameters = choose_parameters(len(descriptors), descriptors.shape[1], name)
    return build_index(descriptors, parameters), time.process_time() - start


def try_presets(
    descriptors: np.ndarray, progress: Progress, presets: Iterable[str] = PRESETS
) -> list[Trial]:
    """Measure presets on a gallery in both ways they are used: alone, and with CANDIDATES rescored.

    Args:
        descriptors: float16 (N, D).
        progress: see `build`.
        presets: names of presets in PRESETS.

    Raises:
        StoreError: there are too few photos to hold some out.
    """
    if len(descriptors) < MIN_PHOTOS:
        raise StoreError(f"Indexes are compared on galleries of at least {MIN_PHOTOS} photos.")
    questions, names = held_out(descriptors), list(presets)
    trials: list[Trial] = []
    for name in progress(names, len(names), "presets"):
        index, build_s = build_timed(questions.descriptors, name)
        trials += sweep(name, index, efforts(name), (0, CANDIDATES), questions, build_s)
    return trials


def choose(trials: list[Trial], recall: float, bytes: float) -> Trial | None:
    """The fastest rescored trial with at least this recall 10@10 and at most `bytes` per vector.

    A query's candidates are always rescored: later stages need their similarities.
    """
    fit = [t for t in trials if t.rescored and t.recall10 >= recall and t.bytes <= bytes]
    return max(fit, key=lambda trial: trial.speed, default=None)


def replace_index(path: Path, preset: str, effort: int) -> Manifest:
    """Give a store another index, in a new generation that is otherwise the same.

    Raises:
        StoreMissing, StoreMismatch, StoreCorrupt: see `Store`.
        StoreBusy, StoreUnwritable: see `build`.
    """
    with locked_for_update(path) as live:
        parameters = choose_parameters(len(live), live.manifest.dim, preset)
        parameters = dataclasses.replace(parameters, effort=effort)

        def derived(rows: Rows) -> Derived:
            artifacts = Derived.of(live)
            artifacts.index = all_numbered(build_index(np.asarray(live.descriptors), parameters))
            artifacts.parameters = {**artifacts.parameters, "ann": asdict(parameters)}
            return artifacts

        # Tuning chooses one of the store's own indexes, so a pushed collection is set aside.
        pushed = live.manifest.collection
        unused = None if pushed is None else pushed.set_aside()
        return publish(path, content_of(live), live.rows, derived, unused)
