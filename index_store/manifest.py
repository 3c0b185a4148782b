"""The manifest of a generation: what it was made from and with, and the checksum of every file in it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import StoreCorrupt

SCHEMA = 2
FILE_NAME = "manifest.json"


@dataclass(frozen=True)
class Manifest:
    """Everything a reader must know before it opens the other files.

    photos_root: absolute folder the catalogue's paths are relative to. listing: `Listing.digest` of it.
    fingerprint: `Extractor.fingerprint`. parameters: per stage ("ann", "graph", "diffusion", "thumbnails",
    "local_features"), as built. shortlist_recall: share of the exact 10 nearest among the index's first 100.
    artefacts: {file name: {"sha256", "bytes"}}.
    """

    created: str
    photos_root: str
    listing: str
    photos: int
    skipped: int
    dim: int
    fingerprint: str
    model: dict[str, Any]
    parameters: dict[str, dict[str, Any]]
    shortlist_recall: float
    artefacts: dict[str, dict[str, Any]]
    schema: int = SCHEMA

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2, sort_keys=True) + "\n"

    @staticmethod
    def from_json(text: str) -> Manifest:
        """Raises StoreCorrupt for anything but a manifest of this schema."""
        try:
            facts = json.loads(text)
            if facts.get("schema") != SCHEMA:
                raise StoreCorrupt(
                    f"The store has schema {facts.get('schema')}, this version reads {SCHEMA}. Build it again."
                )
            return Manifest(**facts)
        except (ValueError, TypeError, AttributeError) as error:
            raise StoreCorrupt(
                f"{FILE_NAME} is damaged ({error}). Build the store again."
            ) from None


def checksum(path: Path) -> dict[str, Any]:
    """SHA-256 and size of a file."""
    with open(path, "rb") as file:
        return {
            "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
            "bytes": path.stat().st_size,
        }


def verify_artefacts(folder: Path, manifest: Manifest) -> None:
    """Compare every file with its checksum. Raises StoreCorrupt naming the first that differs."""
    for name, expected in manifest.artefacts.items():
        path = folder / name
        if not path.is_file():
            raise StoreCorrupt(f"{name} is missing from the store. Build it again.")
        if checksum(path) != expected:
            raise StoreCorrupt(f"{name} is damaged (its checksum differs). Build the store again.")
