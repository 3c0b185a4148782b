"""Run a benchmark's queries with several methods, and summarise the results."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from extractor import read_bytes
from plurals import quantity
from search import MATCHERS, Engine, PreparedQuery, SearchResult
from search.stages.details import DETAILS

from .datasets import BadDataset, Benchmark, Query
from .metrics.bootstrap import Estimate, estimate
from .report.results import JudgedAnswer, QueryResult, SetupResult

Methods = Mapping[str, Mapping[str, Any]]
"""Name of a method -> arguments of `Engine.search`."""

FIRST = 10  # files kept per result
# A prepared query caches the results of these, so every method is charged what the first one paid.
SHARED = ("decode", "describe", "keypoints", "index", DETAILS, *MATCHERS)
RERANK = "rerank"  # common name here for the stage of every reranker


@dataclass(frozen=True)
class Answers:
    """Results of a benchmark run.

    Attributes:
        queries: results in the benchmark's order.
        stage_ms: method -> stage -> mean milliseconds per query.
        notes: notes of the engine.
    """

    queries: list[QueryResult]
    stage_ms: dict[str, dict[str, float]]
    notes: list[str]


def search_all(
    engine: Engine,
    benchmark: Benchmark,
    methods: Methods,
    progress: Callable[[Iterable], Iterable] = iter,
) -> Answers:
    """Run all queries with all methods.

    If the protocol excludes a query's own photo, the query is that gallery photo, which the engine
    excludes; others are uploads. A pair of photos is verified once, so verification is charged to
    each method at the cost of the first one that verified.

    Args:
        engine: engine on the benchmark's gallery.
        benchmark: queries and ground truth.
        methods: methods to run.
        progress: wraps the list of queries.

    Raises:
        BadDataset: a query is not in the store.
        OSError, BadPhoto: a query cannot be read.
    """
    warm_up(engine, benchmark, methods)
    results, notes = [], Counter()
    total_ms: dict[str, dict[str, float]] = {method: defaultdict(float) for method in methods}
    for query in progress(benchmark.queries):
        prepared = prepare(engine, query, methods)
        answers, shared = {}, {}
        for method, arguments in methods.items():
            result = engine.search(prepared, k=len(engine.store), **arguments)
            files = [hit.file for hit in result.hits]
            first = [(file, benchmark.verdict(query, file)) for file in files[:FIRST]]
            answers[method] = JudgedAnswer(benchmark.judge(query, files), first)
            for stage, ms in costs_of(result, arguments.get("verify")).items():
                if stage in SHARED:
                    total_ms[method][stage] += shared.setdefault(stage, ms)
                else:
                    name = RERANK if stage == arguments.get("rerank") else stage
                    total_ms[method][name] += ms
            notes.update(result.notes)
        results.append(
            QueryResult(query.name, query.group, str(query.photo), query.own, query.region, answers)
        )
    count = max(1, len(results))
    return Answers(
        results,
        {
            method: {stage: ms / count for stage, ms in stages.items()}
            for method, stages in total_ms.items()
        },
        [f"{note} ({quantity(times, 'search', 'searches')})" for note, times in notes.items()],
    )


def prepare(engine: Engine, query: Query, methods: Methods) -> PreparedQuery:
    """Prepare a query with the keypoints that the methods need. Raises as `search_all`."""
    source = gallery_id(engine, query) if query.own else read_bytes(query.photo)
    matchers = {arguments.get("verify") for arguments in methods.values()} - {None}
    return engine.prepare(source, query.region, sorted(matchers))


def costs_of(result: SearchResult, verify: str | None) -> dict[str, float]:
    """Cost of a result in milliseconds by stage, including reused stages.

    The keypoints of an upload are detected with the first method, whichever it is; they are only
    charged to methods that verify.
    """
    stages = {**result.reused_ms, **result.timings_ms}
    return {stage: ms for stage, ms in stages.items() if verify or stage != "keypoints"}


def warm_up(engine: Engine, benchmark: Benchmark, methods: Methods) -> None:
    """Create every reranker.

    Otherwise one that prepares itself on first use would charge that to a query.
    """
    for query in benchmark.queries[:1]:
        prepared = prepare(engine, query, methods)
        for arguments in methods.values():
            engine.search(prepared, rerank=arguments.get("rerank"))


def gallery_id(engine: Engine, query: Query) -> int:
    """Gallery id of a query's photo. Raises BadDataset."""
    photo = engine.store.catalogue.find(query.own)
    if photo is None:
        raise BadDataset(
            f"The query {query.own} is not in the store: its photo could not be read, or came "
            f"later."
        )
    return photo.id


def by_group(
    queries: list[QueryResult], method: str, setup: str, metric: str
) -> dict[str, list[float]]:
    """Values of one column by group, without queries that have no positives."""
    values = defaultdict(list)
    for query in queries:
        if setup in query.answers[method].values:
            values[query.group].append(query.answers[method].values[setup][metric])
    return dict(values)


def gain_by_group(
    queries: list[QueryResult], method: str, base: str, setup: str, metric: str
) -> dict[str, list[float]]:
    """As `by_group`, for the differences to the method `base`."""
    values, base_values = (by_group(queries, name, setup, metric) for name in (method, base))
    return {group: [a - b for a, b in zip(values[group], base_values[group])] for group in values}


def summarise(
    benchmark: Benchmark, queries: list[QueryResult], methods: Iterable[str], seed: int
) -> list[SetupResult]:
    """Means with intervals, by setup.

    Setups without queries, or with the same ground truth as an earlier one, are skipped.

    Args:
        benchmark: the benchmark.
        queries: results of its queries.
        methods: names of the methods; gains are relative to the first.
        seed: seed of the bootstrap.

    Raises:
        BadDataset: no query has positives.
    """
    base, *others = methods
    leading = next(iter(benchmark.metrics))
    setups, present = [], []
    for setup in benchmark.setups:
        values = by_group(queries, base, setup, leading)
        truths = [query.truths.get(setup) for query in benchmark.queries]
        if not values or (truths in present and setup != benchmark.main):
            continue
        present.append(truths)
        counted = sum(map(len, values.values()))
        estimates: dict[str, dict[str, Estimate]] = {
            metric: {
                method: estimate(by_group(queries, method, setup, metric), seed)
                for method in (base, *others)
            }
            for metric in benchmark.metrics
        }
        setups.append(
            SetupResult(
                name=setup,
                queries=counted,
                groups=len(values),
                skipped=sum(setup in query.truths for query in benchmark.queries) - counted,
                estimates=estimates,
                gains={
                    method: estimate(gain_by_group(queries, method, base, setup, leading), seed)
                    for method in others
                },
            )
        )
    if benchmark.main not in [setup.name for setup in setups]:
        raise BadDataset(f"No query of {benchmark.name} has anything to find.")
    return setups
