"""Results of a run: file format, tables, input of the report."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from command import printable
from extractor import Region
from extractor.photo.crop import inside_photo
from plurals import quantity
from search import MATCHERS
from search.stages.graph import GRAPH
from validation import KNOWN_KEYS, Count, HasEntries, Number, Text, sentence

from ..metrics.bootstrap import LEVEL, Estimate

SCHEMA = 1


class BadResults(Exception):
    """The file does not contain results. The message is one sentence."""


class ModelFacts(TypedDict):
    """What the report shows of the model."""

    name: Text
    architecture: Text
    dimensions: Count
    longest_side: Count
    fingerprint: Text


class StoreFacts(TypedDict):
    """What the report shows of the store."""

    path: Text
    photos: Count
    parameters: dict[str, Any]


@dataclass(frozen=True)
class JudgedAnswer:
    """One method's result for one query.

    Attributes:
        values: metrics by setup, for setups with positives.
        first: the first files, each with "relevant", "irrelevant" or "junk" in the main setup.
    """

    __pydantic_config__ = KNOWN_KEYS

    values: dict[Text, dict[Text, Number]]
    first: list[tuple[Text, Text]]


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

    __pydantic_config__ = KNOWN_KEYS

    name: Text
    group: Text
    photo: Text
    own: Text | None
    region: Annotated[Region, AfterValidator(inside_photo)] | None
    answers: dict[Text, JudgedAnswer]


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

    __pydantic_config__ = KNOWN_KEYS

    name: Text
    queries: Count
    groups: Count
    skipped: Count
    estimates: Annotated[dict[Text, dict[Text, Estimate]], Field(min_length=1)]
    gains: dict[Text, Estimate]


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

    __pydantic_config__ = KNOWN_KEYS

    dataset: Text
    created: Text
    command: Text
    seed: Count
    hardware: Text
    model: Annotated[dict[str, Any], HasEntries(ModelFacts)]
    store: Annotated[dict[str, Any], HasEntries(StoreFacts)]
    notes: list[Text]
    methods: Annotated[list[Text], Field(min_length=1)]
    main: Text
    setups: list[SetupResult]
    stage_ms: dict[Text, dict[Text, Number]]
    queries: list[QueryResult]
    schema: Count = SCHEMA

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
    schema = facts.get("schema") if isinstance(facts, dict) else None
    if schema != SCHEMA:
        raise BadResults(f"These results have schema {schema!s:.20}; this version reads {SCHEMA}.")
    try:
        results = TypeAdapter(Results).validate_python(facts)
        check_whole(results)
    except ValueError as error:
        why = sentence(error) if isinstance(error, ValidationError) else str(error)[:200]
        raise BadResults(f"These are not results of this version ({why}).") from None
    return results


def check_whole(results: Results) -> None:
    """Raise ValueError unless everything the tables and the report read exists."""
    methods = set(results.methods)
    if not methods <= results.stage_ms.keys() or len(methods) < len(results.methods):
        raise ValueError("stages of other methods")
    if results.main not in [setup.name for setup in results.setups]:
        raise ValueError(f"no setup {results.main!r}")
    for setup in results.setups:
        if not all(methods <= row.keys() for row in setup.estimates.values()):
            raise ValueError(f"no estimates of all methods in {setup.name!r}")
    for query in results.queries:
        if not methods <= query.answers.keys():
            raise ValueError(f"not all methods have answered {query.name!r}")
        judged = [query.answers[method].values.get(results.main) for method in results.methods]
        if any((values is None) != (judged[0] is None) for values in judged) or any(
            results.metric not in values for values in judged if values is not None
        ):
            raise ValueError(f"not all methods are judged on {query.name!r}")


def stages_of(results: Results) -> list[str]:
    """Names of all stages, in execution order."""
    names = list(dict.fromkeys(stage for stages in results.stage_ms.values() for stage in stages))
    # The sort is stable: verification and then the matching graph come last.
    return sorted(names, key=lambda stage: (stage == GRAPH, stage in MATCHERS))


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
