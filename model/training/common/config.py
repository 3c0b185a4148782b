"""Read a TOML configuration file into a dataclass, validated by pydantic."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError, ValidationInfo

from validation import sentence

Config = TypeVar("Config")
INF = float("inf")


class BadConfig(Exception):
    """The configuration is invalid. The message names the key."""


def Between(least: float, most: float) -> Any:
    """Range of a number, inclusive at both ends."""
    return Field(ge=least, le=most, strict=True)


def Above(least: float, most: float) -> Any:
    """Range of a number, exclusive of `least`."""
    return Field(gt=least, le=most, strict=True)


def _from_folder(value: Any, info: ValidationInfo) -> Any:
    if isinstance(value, str) and info.context is not None:
        return info.context / Path(value).expanduser()
    return value


Count = Annotated[int, Between(1, 10**9)]
Seed = Annotated[int, Between(0, 2**32 - 1)]
# A ResNet divides both sides by 32, and at least one position must remain.
Side = Annotated[int, Between(32, 4096)]
Share = Annotated[float, Between(0, 1)]
Weight = Annotated[float, Between(0, 1e6)]
Rate = Annotated[float, Above(0, 10)]
Minutes = Annotated[float, Above(0, INF)]
Place = Annotated[Path, BeforeValidator(_from_folder)]
"""A path relative to the folder of the configuration."""


def read_config(path: Path, kind: type[Config], changes: Sequence[str] = ()) -> Config:
    """Read a TOML file into a dataclass.

    Args:
        path: path of the file. Relative paths in it are relative to its folder.
        kind: the dataclass, of pydantic.
        changes: "key=value" or "table.key=value" in TOML syntax, which override the file's values.

    Returns:
        An instance of `kind`.

    Raises:
        BadConfig: the file is unreadable, or has an unknown or missing key or an invalid value.
    """
    try:
        with open(path, "rb") as file:
            table = tomllib.load(file)
        for change in changes:
            overlay(table, tomllib.loads(change))
        return TypeAdapter(kind).validate_python(table, context=path.parent)
    except ValidationError as error:
        raise BadConfig(sentence(error)) from None
    except RecursionError:
        raise BadConfig(f"{path}: it is nested too deeply") from None
    except (OSError, ValueError) as error:  # TOMLDecodeError, or numbers with thousands of digits
        raise BadConfig(f"{path}: {error}") from error


def overlay(table: dict[str, Any], change: dict[str, Any]) -> None:
    """Merge the values of `change` into `table`, recursively."""
    for key, value in change.items():
        if isinstance(value, dict) and isinstance(table.get(key), dict):
            overlay(table[key], value)
        else:
            table[key] = value
