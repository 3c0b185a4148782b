"""Reads a configuration: a small TOML file whose every key and every number is checked."""

from __future__ import annotations

import dataclasses
import math
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

from plurals import quantity

Config = TypeVar("Config")


class BadConfig(Exception):
    """The configuration cannot be used; the message names the key."""


@dataclass(frozen=True)
class Between:
    """The numbers a key may have.

    Attributes:
        least, most: both are allowed.
    """

    least: float
    most: float

    def __str__(self) -> str:
        if math.isinf(self.most):
            return f"at least {self.least:g}"
        return f"between {self.least:g} and {self.most:g}"


@dataclass(frozen=True)
class Above:
    """The numbers a key may have.

    Attributes:
        least: is not allowed itself.
        most: is allowed.
    """

    least: float
    most: float

    def __str__(self) -> str:
        if math.isinf(self.most):
            return f"above {self.least:g}"
        return f"above {self.least:g} and at most {self.most:g}"


INF = float("inf")
LARGEST = 2**1000  # beyond, a whole number has no floating-point form; it is in no range anyway
Count = Annotated[int, Between(1, 10**9)]
Seed = Annotated[int, Between(0, 2**32 - 1)]
# A ResNet divides both sides by 32, and one position must be left.
Side = Annotated[int, Between(32, 4096)]
Share = Annotated[float, Between(0, 1)]
Weight = Annotated[float, Between(0, 1e6)]
Rate = Annotated[float, Above(0, 10)]
Minutes = Annotated[float, Above(0, INF)]


def read_config(path: Path, kind: type[Config], changes: Sequence[str] = ()) -> Config:
    """Read a TOML file into a dataclass.

    Args:
        path: the file. Relative paths in it start at its folder.
        kind: the dataclass. A number's range is the `Between` or `Above` of its annotation.
        changes: "key=value" or "table.key=value", written as in the file. They replace its values.

    Returns:
        An instance of `kind`.

    Raises:
        BadConfig: for an unreadable file, an unknown or missing key, a wrong type or range.
    """
    try:
        with open(path, "rb") as file:
            table = tomllib.load(file)
        for change in changes:
            overlay(table, tomllib.loads(change))
    except RecursionError:
        raise BadConfig(f"{path}: it is nested too deeply") from None
    except (OSError, ValueError) as error:  # TOMLDecodeError, and numbers of thousands of digits
        raise BadConfig(f"{path}: {error}") from error
    return fill(kind, table, path.parent, "")


def overlay(table: dict[str, Any], change: dict[str, Any]) -> None:
    """Put the values of `change` into `table`, recursively."""
    for key, value in change.items():
        if isinstance(value, dict) and isinstance(table.get(key), dict):
            overlay(table[key], value)
        else:
            table[key] = value


def fill(kind: type[Config], table: dict[str, Any], base: Path, where: str) -> Config:
    """Make a dataclass of a table, recursively.

    Args:
        kind: the dataclass.
        table: its values by name.
        base: folder at which relative paths start.
        where: the table's own name with a dot, "" for the whole file. Messages begin with it.

    Raises:
        BadConfig: for an unknown or missing key, a wrong type or range.
    """
    hints = get_type_hints(kind, include_extras=True)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    if unknown := sorted(table.keys() - fields.keys()):
        raise BadConfig(f"unknown key {where}{unknown[0]}; known are {', '.join(fields)}")
    values = {}
    for name, field in fields.items():
        if name in table:
            values[name] = convert(hints[name], table[name], base, f"{where}{name}")
        elif field.default is dataclasses.MISSING:
            raise BadConfig(f"{where}{name} is missing")
    return kind(**values)


def convert(hint: Any, value: Any, base: Path, name: str) -> Any:
    """One value as its field wants it.

    Args:
        hint: the field's annotation: int, float, str, Path, a dataclass, a tuple of one of these,
            any of them annotated with a range, or one of them or None.
        value: what the file says.
        base: folder at which relative paths start.
        name: of the key, for the message.

    Raises:
        BadConfig: for a wrong type or a number out of its range.
    """
    allowed = None
    if get_origin(hint) is Annotated:
        hint, allowed = get_args(hint)
    choices = [choice for choice in get_args(hint) if choice is not type(None)]
    if type(None) in get_args(hint):
        return convert(choices[0], value, base, name)
    if get_origin(hint) is tuple:
        return convert_row(get_args(hint), value, base, name)
    if dataclasses.is_dataclass(hint) and isinstance(value, dict):
        return fill(hint, value, base, f"{name}.")
    if hint is Path and isinstance(value, str):
        return base / Path(value).expanduser()
    if hint is float and type(value) is int:
        value = float(max(-LARGEST, min(value, LARGEST)))
    if type(value) is not hint:
        raise BadConfig(f"{name} must be a {WORDS.get(hint, 'table')}, not {value!r}")
    if allowed is not None and not is_within(value, allowed):
        raise BadConfig(f"{name} must be {allowed}, not {value!r}")
    return value


WORDS = {int: "whole number", float: "number", str: "text", Path: "path", bool: "true or false"}


def convert_row(kinds: tuple[Any, ...], value: Any, base: Path, name: str) -> tuple[Any, ...]:
    """A list of the file as a tuple: of any length but 0 if `kinds` ends with an ellipsis."""
    if not isinstance(value, list):
        value = [value]
    if kinds[-1] is Ellipsis:
        kinds = kinds[:1] * max(1, len(value))
    if len(value) != len(kinds):
        raise BadConfig(f"{name} must have {quantity(len(kinds), 'value')}, not {len(value)}")
    return tuple(convert(kind, item, base, name) for kind, item in zip(kinds, value))


def is_within(value: float, allowed: Between | Above) -> bool:
    """Whether a number is allowed. A number that is none (NaN) never is."""
    if isinstance(allowed, Above):
        return allowed.least < value <= allowed.most
    return allowed.least <= value <= allowed.most
