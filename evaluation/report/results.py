"""Results of a run: file format, tables, input of the report."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from command import printable
from extractor import Region
from plurals import quantity
from search import MATCHERS

from ..datasets import Values
from ..metrics.bootstrap import LEVEL, Estimate

SCHEMA = 1
LARGEST = 1e100  # no measurement is larger, and chart arithmetic overflows not far above


class BadResults(Exception):
    """The file does not contain results. The message is one sentence."""


@dataclass(frozen=True)
class JudgedAnswer:
    """One method's result for one query.

    Attributes:
        values: metrics by setup, for setups with positives.
        first: the first files, each with "relevant", "irrelevant" or "junk" in the main setup.
    """

    values: Values
    first: list[tuple[str, str]]


@dataclass(frozen=True)
class QueryResult:
    """One query and its results.

    Attributes:
        name: name of the query.
        group: group that it is averaged with.
        photo: path of its photo.
        own: its gallery file, if it was excluded from its own results.
        region: part of the photo that was searched, None for the whole photo.
        answers: results by method.
    """

    name: str
    group: str
    photo: str
    own: str | None
    region: Region | None
    answers: dict[str, JudgedAnswer]


@dataclass(frozen=True)
class SetupResult:
    """Results in one setup: one table.

    Attributes:
        name: name of the setup.
        queries, groups: numbers of counted queries and groups.
        skipped: number of queries without positives, which do not count.
        estimates: metric -> method -> mean with interval.
        gains: method -> gain in the leading metric over the first method, paired by query.
    """

    name: str
    queries: int
    groups: int
    skipped: int
    estimates: dict[str, dict[str, Estimate]]
    gains: dict[str, Estimate]


@dataclass(frozen=True)
class Results:
    """A whole run.

    Attributes:
        dataset: name of the data set.
        created: time of the run, ISO 8601.
        command: command line.
        seed: seed of the bootstrap.
        hardware: description of the machine.
        model, store: facts for readers.
        notes: sentences on caveats.
        methods: methods in the order of tables. Gains are relative to the first.
        main: name of the leading setup.
        setups: the tables.
        stage_ms: method -> stage -> mean milliseconds per query.
        queries: results by query, in the benchmark's order.
        schema: schema of the file.
    """

    dataset: str
    created: str
    command: str
    seed: int
    hardware: str
    model: dict[str, Any]
    store: dict[str, Any]
    notes: list[str]
    methods: list[str]
    main: str
    setups: list[SetupResult]
    stage_ms: dict[str, dict[str, float]]
    queries: list[QueryResult]
    schema: int = SCHEMA

    @property
    def main_setup(self) -> SetupResult:
        return next(setup for setup in self.setups if setup.name == self.main)

    @property
    def metric(self) -> str:
        """The leading metric."""
        return next(iter(self.main_setup.estimates))


def write_results(results: Results, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dataclasses.asdict(results), indent=1) + "\n")


def results_from(facts: Any) -> Results:
    """Parse what `write_results` wrote.

    Args:
        facts: content of the JSON file.

    Raises:
        BadResults: the content is not results, or its tables do not match its queries.
    """
    try:
        if facts["schema"] != SCHEMA:
            raise BadResults(
                f"These results have schema {facts['schema']!s:.20}; this version reads {SCHEMA}."
            )
        results = typed(Results, facts)
        check_whole(results)
        return results
    except (LookupError, TypeError, ValueError, AttributeError, StopIteration) as error:
        raise BadResults(
            f"These are no results of this version ({type(error).__name__}: {str(error)[:200]})."
        ) from error


def typed(hint: Any, value: Any) -> Any:
    """Convert a JSON value to the type of a dataclass field. Raises TypeError or ValueError."""
    if hint is Any:
        return value
    if dataclasses.is_dataclass(hint):
        hints = get_type_hints(hint)
        return hint(**{name: typed(hints[name], part) for name, part in value.items()})
    origin, parts = get_origin(hint), get_args(hint)
    if origin is UnionType:  # X | None
        return None if value is None else typed(parts[0], value)
    if origin is list and isinstance(value, list):
        return [typed(parts[0], part) for part in value]
    if origin is tuple and isinstance(value, list) and len(value) == len(parts):
        return tuple(typed(part, item) for part, item in zip(parts, value))
    if origin is dict and isinstance(value, dict):
        return {name: typed(parts[1], part) for name, part in value.items()}
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if hint is float and number and abs(value) <= LARGEST:  # also rejects NaN
        return float(value)
    if hint in (int, str) and type(value) is hint:
        return value
    raise TypeError(f"{str(value)[:40]!r} is no {getattr(hint, '__name__', hint)}")


def check_whole(results: Results) -> None:
    """Raise ValueError or LookupError unless everything the tables and the report read exists."""
    if not results.methods or not results.metric:
        raise ValueError("no methods")
    for name in ("name", "architecture", "dimensions", "longest_side", "fingerprint"):
        results.model[name]
    if not isinstance(results.store["path"], str) or not isinstance(results.store["photos"], int):
        raise ValueError("no store")
    if not isinstance(results.model["fingerprint"], str):
        raise ValueError("no fingerprint")
    if not isinstance(results.store["parameters"], dict):
        raise ValueError("no parameters of the store")
    methods = set(results.methods)
    if not methods <= results.stage_ms.keys() or len(methods) < len(results.methods):
        raise ValueError("stages of other methods")
    for setup in results.setups:
        if not setup.estimates or any(
            not methods <= row.keys() for row in setup.estimates.values()
        ):
            raise ValueError(f"no estimates of all methods in {setup.name!r}")
    for query in results.queries:
        if not methods <= query.answers.keys():
            raise ValueError(f"not all methods have answered {query.name!r}")
        judged = [query.answers[method].values.get(results.main) for method in results.methods]
        if any((values is None) != (judged[0] is None) for values in judged) or any(
            results.metric not in values for values in judged if values is not None
        ):
            raise ValueError(f"not all methods are judged on {query.name!r}")
        if query.region is not None:
            left, top, right, bottom = query.region
            if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
                raise ValueError(f"no region of {query.name!r}")


def stages_of(results: Results) -> list[str]:
    """Names of all stages, in execution order."""
    names = list(dict.fromkeys(stage for stages in results.stage_ms.values() for stage in stages))
    return sorted(names, key=lambda stage: stage in MATCHERS)  # stable: verification is last


def format_estimate(estimate: Estimate) -> str:
    return f"{estimate.mean:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


def format_gain(estimate: Estimate) -> str:
    return f"{estimate.mean:+.3f} [{estimate.low:+.3f}, {estimate.high:+.3f}]"


def setup_title(setup: SetupResult) -> str:
    """ "Medium: 68 queries in 68 groups, 2 without positives left out"."""
    queries = quantity(setup.queries, "query", "queries")
    groups = f" in {quantity(setup.groups, 'group')}" if setup.groups != setup.queries else ""
    skipped = f", {setup.skipped} without positives left out" if setup.skipped else ""
    return f"{setup.name}: {queries}{groups}{skipped}"


def setup_rows(results: Results, setup: SetupResult) -> list[list[str]]:
    """Table of a setup, head first: one row per method, one column per metric, and the gain."""
    head = ["method", *setup.estimates, f"gain in {next(iter(setup.estimates))}"]
    rows = [
        [
            method,
            *(format_estimate(row[method]) for row in setup.estimates.values()),
            format_gain(setup.gains[method]) if method in setup.gains else "",
        ]
        for method in results.methods
    ]
    return [head, *rows]


def stage_rows(results: Results) -> list[list[str]]:
    """Table of mean milliseconds per query, head first: one row per method, stages and sum."""
    stages = stages_of(results)
    rows = []
    for method in results.methods:
        ms = results.stage_ms[method]
        rows.append(
            [
                method,
                *(f"{ms[s]:.1f}" if s in ms else "" for s in stages),
                f"{sum(ms.values()):.1f}",
            ]
        )
    return [["ms a query", *stages, "together"], *rows]


def facts_of(results: Results) -> dict[str, str]:
    """Facts that a reader needs besides the numbers."""
    model, store = results.model, results.store
    return {
        "Data set": f"{results.dataset}, {quantity(store['photos'], 'gallery photo')}, "
        f"{quantity(len(results.queries), 'query', 'queries')}",
        "Model": f"{model['name']}, {model['architecture']}, {model['dimensions']} dimensions, "
        f"longest side {model['longest_side']}, fingerprint {model['fingerprint'][:16]}",
        "Intervals": f"{LEVEL:.0%} of bootstrap resamples, seed {results.seed}",
        "Hardware": results.hardware,
        "Command": results.command,
        "Run": results.created,
    }


def format_rows(rows: list[list[str]]) -> str:
    """Markdown table from rows of cells, head first."""
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(text.ljust(width) for text, width in zip(row, widths)) + " |"
        for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def format_results(results: Results) -> str:
    """Everything except single queries, as Markdown."""
    parts = ["\n".join(f"{name}: {printable(text)}" for name, text in facts_of(results).items())]
    if results.notes:
        parts.append("\n".join(f"- {printable(note)}" for note in results.notes))
    parts += [
        f"{setup_title(setup)}\n\n{format_rows(setup_rows(results, setup))}"
        for setup in results.setups
    ]
    parts.append(format_rows(stage_rows(results)))
    return "\n\n".join(parts)
