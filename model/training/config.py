"""Training configuration: a small TOML file, every key checked."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints


class BadConfig(Exception):
    """The configuration cannot be used; the message names the key."""


@dataclass(frozen=True)
class Data:
    """kind: "unlabelled" (any photos), "folders" (sub-folders are things), "sfm" or "landmarks-csv" (with their table)."""

    kind: str
    root: Path
    table: Path | None = None


@dataclass(frozen=True)
class LossChoice:
    """name: see losses.FIRST_ORDER. margin: its margin or, for "n-tuple", temperature. second_order: weight, 0 for none."""

    name: str
    margin: float
    second_order: float = 0.0


@dataclass(frozen=True)
class Validation:
    """Photos with groups.json; mAP is the mean over groups, each photo the query once."""

    photos: Path
    groups: Path


@dataclass(frozen=True)
class TrainConfig:
    """One training run.

    start: checkpoint of any kind `load_checkpoint` reads. out: folder of the run. size: pixels, side of the square views
    of unlabelled photos, longest side of others. queries, pool: photos drawn for each epoch's mining. negatives: of a
    tuple. batch: tuples to an optimiser step. together: tuples in one forward pass. p_rate: learning rate of GeM's p as a
    multiple of `rate`. decay: exponent of the schedule, rate x exp(-decay x epoch). minutes: budget, training ends after it.
    """

    start: Path
    out: Path
    data: Data
    loss: LossChoice
    validation: Validation
    size: int = 128
    queries: int = 400
    pool: int = 2000
    negatives: int = 4
    batch: int = 8
    together: int = 4
    rate: float = 1e-6
    p_rate: float = 10.0
    weight_decay: float = 1e-6
    decay: float = 0.01
    epochs: int = 100
    minutes: float = float("inf")
    seed: int = 0
    save_every: int = 10


def read_config(path: Path, kind: type, changes: Sequence[str] = ()) -> Any:
    """A configuration dataclass from a TOML file; relative paths start at the file. Raises BadConfig.

    changes: "key=value" or "table.key=value" with values as in the file, instead of what the file says.
    """
    try:
        with open(path, "rb") as file:
            table = tomllib.load(file)
        for change in changes:
            overlay(table, tomllib.loads(change))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise BadConfig(f"{path}: {error}") from error
    return fill(kind, table, path.parent, "")


def overlay(table: dict[str, Any], change: dict[str, Any]) -> None:
    """Put the values of `change` into `table`, recursively."""
    for key, value in change.items():
        if isinstance(value, dict) and isinstance(table.get(key), dict):
            overlay(table[key], value)
        else:
            table[key] = value


def fill(kind: type, table: dict[str, Any], base: Path, where: str) -> Any:
    """A dataclass from a table, recursively."""
    hints, fields = get_type_hints(kind), {f.name: f for f in dataclasses.fields(kind)}
    if unknown := sorted(table.keys() - fields.keys()):
        raise BadConfig(f"unknown key {where}{unknown[0]}; known are {', '.join(fields)}")
    values = {}
    for name, field in fields.items():
        if name not in table:
            if field.default is dataclasses.MISSING:
                raise BadConfig(f"{where}{name} is missing")
            continue
        value, hint = table[name], hints[name]
        if dataclasses.is_dataclass(hint) and isinstance(value, dict):
            values[name] = fill(hint, value, base, f"{where}{name}.")
        elif hint in (Path, Path | None) and isinstance(value, str):
            values[name] = base / Path(value).expanduser()
        elif hint is float and isinstance(value, int | float) and not isinstance(value, bool):
            values[name] = float(value)
        elif type(value) is hint:
            values[name] = value
        else:
            raise BadConfig(
                f"{where}{name} must be a {getattr(hint, '__name__', hint)}, not {value!r}"
            )
    return kind(**values)
