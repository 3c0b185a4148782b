"""Weights in parts of at most 16 MB: one safetensors file, split, with a manifest.

    weights.json        name, size and SHA-256 of each part, and of the whole file
    weights-000.part
    weights-001.part

`load_checkpoint` accepts the folder or the manifest, and joins and verifies the parts.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..training.packs.parts import (
    MAX_PARTS,
    MB,
    BadParts,
    Part,
    read_manifest,
    read_part,
    write_manifest,
    write_part,
)

FILE = "weights.json"
MAX_PART = 16 * MB


class WeightPart(Part):
    """A part of the weights."""

    size: Annotated[int, Field(ge=1, le=MAX_PART)]


class Weights(BaseModel):
    """The manifest. sha256: of the whole file. parts: in order."""

    model_config = ConfigDict(extra="forbid", strict=True)

    layout: Literal[1] = 1
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    parts: Annotated[list[WeightPart], Field(min_length=1, max_length=MAX_PARTS)]


def split_weights(path: Path, folder: Path, max_bytes: int = MAX_PART) -> None:
    """Split a safetensors file into parts, replacing earlier ones.

    Args:
        path: path of the file.
        folder: folder for the parts.
        max_bytes: maximum bytes per part.

    Raises:
        OSError: the file cannot be read, or the parts cannot be written.
    """
    data = path.read_bytes()
    folder.mkdir(exist_ok=True)
    parts = [
        write_part(folder, f"weights-{number:03}.part", data[start : start + max_bytes])
        for number, start in enumerate(range(0, len(data), max_bytes))
    ]
    manifest = Weights(
        sha256=hashlib.sha256(data).hexdigest(),
        parts=[WeightPart(**part.model_dump()) for part in parts],
    )
    write_manifest(folder / FILE, manifest)


def manifest_at(path: Path) -> Path | None:
    """The manifest at a path, or in the folder at a path; None if there is none."""
    if path.is_dir():
        path = path / FILE
    return path if path.name == FILE and path.is_file() else None


def join_weights(manifest: Path, out: Path) -> None:
    """Reassemble the file from its parts.

    Args:
        manifest: path of the manifest, next to the parts.
        out: path for the safetensors file.

    Raises:
        BadParts: a part is missing or damaged; the message names it.
    """
    weights = read_manifest(manifest, Weights)
    whole = hashlib.sha256()
    with open(out, "wb") as file:
        for part in weights.parts:
            data = read_part(manifest.parent, part)
            whole.update(data)
            file.write(data)
    if whole.hexdigest() != weights.sha256:
        raise BadParts(f"the parts of {manifest} do not make the file that it describes")
