"""What a run found, as it is kept in a file, printed as tables and shown by the report."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Values
from extractor import Region
from search import MATCHERS

from .bootstrap import LEVEL, Estimate

SCHEMA = 1


class BadResults(Exception):
    """The file holds no results; the message is one sentence."""


@dataclass(frozen=True)
class Answer:
    """One method's answer to one query. values: what it is worth, empty setups left out.

    first: the first files with "relevant", "irrelevant" or "junk" in the main setup.
    """

    values: Values
    first: list[tuple[str, str]]


@dataclass(frozen=True)
class QueryResult:
    """photo: the query's file. own: its gallery file if it was left out of its own results. answers: by method."""

    name: str
    group: str
    photo: str
    own: str | None
    region: Region | None
    answers: dict[str, Answer]


@dataclass(frozen=True)
class SetupResult:
    """One table. queries, groups: that count; skipped: queries without positives, which do not.

    estimates: metric -> method -> mean with interval. gains: method -> the leading metric above the first method's, query by
    query.
    """

    name: str
    queries: int
    groups: int
    skipped: int
    estimates: dict[str, dict[str, Estimate]]
    gains: dict[str, Estimate]


@dataclass(frozen=True)
class Results:
    """A whole run. stage_ms: method -> stage -> mean milliseconds a query. model, store: facts for a reader.

    methods: the first one is what gains are against. main: name of the leading setup.
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


def results_from(facts: dict[str, Any]) -> Results:
    """The object that `write_results` has written. Raises BadResults."""
    try:
        if facts["schema"] != SCHEMA:
            raise BadResults(
                f"These results have schema {facts['schema']}; this version reads {SCHEMA}."
            )
        setups = [
            SetupResult(
                **{
                    **setup,
                    "estimates": {
                        metric: estimates_from(rows) for metric, rows in setup["estimates"].items()
                    },
                    "gains": estimates_from(setup["gains"]),
                }
            )
            for setup in facts["setups"]
        ]
        queries = [
            QueryResult(
                **{
                    **query,
                    "region": tuple(query["region"]) if query["region"] else None,
                    "answers": {
                        method: Answer(
                            answer["values"], [(file, verdict) for file, verdict in answer["first"]]
                        )
                        for method, answer in query["answers"].items()
                    },
                }
            )
            for query in facts["queries"]
        ]
        results = Results(**{**facts, "setups": setups, "queries": queries})
        if not results.metric or not results.methods:
            raise ValueError("no methods")
        return results
    except (KeyError, TypeError, ValueError, AttributeError, StopIteration) as error:
        raise BadResults(
            f"These are no results of this version ({type(error).__name__}: {error})."
        ) from error


def estimates_from(rows: dict[str, dict[str, float]]) -> dict[str, Estimate]:
    return {method: Estimate(**row) for method, row in rows.items()}


def stages_of(results: Results) -> list[str]:
    """Names of all stages, in the order in which they run."""
    names = list(dict.fromkeys(stage for stages in results.stage_ms.values() for stage in stages))
    return sorted(names, key=lambda stage: stage in MATCHERS)  # stable: verification is last


def format_estimate(estimate: Estimate) -> str:
    return f"{estimate.mean:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


def format_gain(estimate: Estimate) -> str:
    return f"{estimate.mean:+.3f} [{estimate.low:+.3f}, {estimate.high:+.3f}]"


def setup_title(setup: SetupResult) -> str:
    """ "Medium: 68 queries in 68 groups, 2 without positives left out"."""
    groups = f" in {setup.groups} groups" if setup.groups != setup.queries else ""
    skipped = f", {setup.skipped} without positives left out" if setup.skipped else ""
    return f"{setup.name}: {setup.queries} queries{groups}{skipped}"


def setup_rows(results: Results, setup: SetupResult) -> list[list[str]]:
    """Table of a setup, head first: methods down, metrics and the gain across."""
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
    """Table of mean milliseconds a query, head first: methods down, stages and their sum across."""
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
    """What a reader must know beside the numbers."""
    model, store = results.model, results.store
    return {
        "Data set": f"{results.dataset}, {store['photos']} gallery photos, {len(results.queries)} queries",
        "Model": f"{model['name']}, {model['architecture']}, {model['dimensions']} dimensions, "
        f"longest side {model['longest_side']}, fingerprint {model['fingerprint'][:16]}",
        "Intervals": f"{LEVEL:.0%} of bootstrap resamples, seed {results.seed}",
        "Hardware": results.hardware,
        "Command": results.command,
        "Run": results.created,
    }


def format_rows(rows: list[list[str]]) -> str:
    """Markdown table from rows of cells, head first."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(text.ljust(width) for text, width in zip(row, widths)) + " |"
        for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def format_results(results: Results) -> str:
    """Everything but the single queries, as Markdown."""
    parts = ["\n".join(f"{name}: {text}" for name, text in facts_of(results).items())]
    if results.notes:
        parts.append("\n".join(f"- {note}" for note in results.notes))
    parts += [
        f"{setup_title(setup)}\n\n{format_rows(setup_rows(results, setup))}"
        for setup in results.setups
    ]
    parts.append(format_rows(stage_rows(results)))
    return "\n\n".join(parts)
