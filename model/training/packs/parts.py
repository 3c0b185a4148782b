"""Large data in parts of limited size: files in one folder, with a manifest of their SHA-256.

Parts travel over channels that limit file sizes, so they are untrusted files: each is read only up
to the size in its manifest, and rejected by name if its hash differs.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from extractor import open_regular, read_at_most
from validation import sentence

from .atomic import write_whole

MB = 10**6  # bytes
MAX_MANIFEST = 1 * MB
MAX_PARTS = 999  # names have three digits


class BadParts(Exception):
    """Parts are missing, damaged or not what the manifest says. The message names the file."""


class Part(BaseModel):
    """A part's entry in a manifest: a file next to it, its size in bytes and its SHA-256."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: Annotated[str, Field(pattern=r"^[a-z]{1,20}-[0-9]{3}\.[a-z]{1,8}$")]
    size: Annotated[int, Field(ge=1, le=100 * MB)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


Manifest = TypeVar("Manifest", bound=BaseModel)


def write_part(folder: Path, name: str, data: bytes) -> Part:
    """Write a part; returns its manifest entry."""
    write_whole(folder / name, data)
    return Part(name=name, size=len(data), sha256=hashlib.sha256(data).hexdigest())


def read_part(folder: Path, part: Part) -> bytes:
    """The bytes of a part. Raises BadParts."""
    try:
        with open_regular(folder / part.name) as file:
            data = file.read(part.size + 1)
    except FileNotFoundError:
        raise BadParts(f"{part.name} is missing in {folder}") from None
    except OSError as error:
        raise BadParts(f"{folder / part.name}: {error.strerror}") from error
    if len(data) != part.size or hashlib.sha256(data).hexdigest() != part.sha256:
        raise BadParts(f"{folder / part.name} is damaged or of another set; copy it again")
    return data


def write_manifest(path: Path, manifest: BaseModel) -> None:
    """Write a manifest as JSON."""
    write_whole(path, manifest.model_dump_json(indent=1).encode() + b"\n")


def read_manifest(path: Path, kind: type[Manifest]) -> Manifest:
    """Read a manifest from JSON.

    Args:
        path: path of the file.
        kind: pydantic model of the manifest.

    Raises:
        BadParts: the file is missing, too large, or invalid.
    """
    try:
        return kind.model_validate_json(read_at_most(path, MAX_MANIFEST))
    except FileNotFoundError:
        raise BadParts(f"{path} is missing") from None
    except OSError as error:
        raise BadParts(f"{path}: {error.strerror}") from error
    except ValidationError as error:
        raise BadParts(f"{path} is damaged: {sentence(error)}") from None
