"""Manifest of a generation: sources, parameters and the checksum of every file.

Data extracted from single photos is in segments, which generations may share. Data derived from all
photos together is in the generation's own files, the artefacts.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from extractor import open_regular, read_at_most

from ..ann.presets import PRESETS
from ..ann.remote.collection import Collection
from ..errors import StoreCorrupt, StoreMismatch
from ..sources.sources import Sources
from .segment import NAME, SegmentFacts

SCHEMA = 9
FILE_NAME = "manifest.json"
MAX_BYTES = 2**20
ARTEFACTS = frozenset(
    {
        "catalogue.sqlite",
        "diffusion_ids.npy",
        "diffusion_values.npy",
        "edges.npy",
        "index.faiss",
        "index_ids.npy",
        "keypoints.lists",
        "mark_words.npy",
        "marks.npy",
        "neighbour_ids.npy",
        "neighbour_sims.npy",
        "slots.npy",
    }
)


@dataclass(frozen=True)
class Drift:
    """Difference between a generation and a full build of the same photos.

    Attributes:
        added: number of photos added to the index since it was trained.
        removed: number of photos removed since then; their codes are skipped.
        rows: mean relative error of the diffusion rows over all photos, estimated on samples after
            each change, accumulated.
    """

    added: int = 0
    removed: int = 0
    rows: float = 0.0


@dataclass(frozen=True)
class Manifest:
    """Everything a reader must know before it opens the other files.

    Attributes:
        created: end of the build, ISO 8601 in UTC.
        sources: sources of its photos.
        listing: `Listing.digest` of the sources; empty if single photos were added since.
        photos: number of indexed photos (N).
        skipped: number of skipped files.
        dim: components of a descriptor (D).
        fingerprint: `Extractor.fingerprint` of the model.
        model: the model's card, and the SHA-256 of its file.
        described_by: "engine" and "precision" that computed every descriptor of the store.
        parameters: parameters as built, by stage: "ann", "graph", "diffusion", "keypoints",
            "matching", "thumbnails", "local_features".
        shortlist_recall: share of the exact 10 nearest among the index's first 100.
        neighbour_recall: share of the exact neighbours in the lists that the graph was built from.
        artefacts: "sha256" and "bytes" by file name.
        segments: the segments; slots count through them in this order.
        drift: difference from a full build of the same photos.
        collection: Milvus collection that this or an earlier generation was pushed to.
        schema: version of this layout.
    """

    created: str
    sources: Sources
    listing: str
    photos: int
    skipped: int
    dim: int
    fingerprint: str
    model: dict[str, Any]
    described_by: dict[str, str]
    parameters: dict[str, dict[str, Any]]
    shortlist_recall: float
    neighbour_recall: float
    artefacts: dict[str, dict[str, Any]]
    segments: list[SegmentFacts]
    drift: Drift = field(default_factory=Drift)
    collection: Collection | None = None
    schema: int = SCHEMA

    @property
    def size(self) -> int:
        """Total bytes of all files that the generation needs."""
        artefacts = sum(facts["bytes"] for facts in self.artefacts.values())
        return artefacts + sum(segment.bytes for segment in self.segments)

    @property
    def content(self) -> str:
        """Changes whenever ids are reassigned or the index is rebuilt with other parameters."""
        files = (str(self.artefacts[name]["sha256"]) for name in ("index.faiss", "index_ids.npy"))
        return hashlib.sha256(" ".join(files).encode()).hexdigest()[:16]

    @property
    def searched_in(self) -> Collection | None:
        """The collection, if it holds this very generation; None if the own index is searched."""
        held = self.collection
        return held if held is not None and held.content == self.content else None

    def to_json(self) -> str:
        """The text of the manifest file."""
        return json.dumps(dataclasses.asdict(self), indent=2, sort_keys=True) + "\n"

    @staticmethod
    def from_json(text: str | bytes) -> Manifest:
        """Parse the text of a manifest file.

        Raises:
            StoreMismatch: it has another schema.
            StoreCorrupt: it is not a complete manifest.
        """
        try:
            facts = json.loads(text)
            schema = facts["schema"]
            if schema == SCHEMA:
                facts["segments"] = [SegmentFacts(**segment) for segment in facts["segments"]]
                facts["drift"] = Drift(**facts["drift"])
                facts["sources"] = Sources.from_json(facts["sources"])
                if facts.get("collection") is not None:
                    facts["collection"] = Collection(**facts["collection"])
                manifest = Manifest(**facts)
                check(manifest)
                return manifest
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            problem = f"{type(error).__name__}: {error}"
            raise StoreCorrupt(
                f"{FILE_NAME} is damaged ({problem[:200]}). Build the store again."
            ) from None
        raise StoreMismatch(
            f"The store has schema {str(schema)[:20]}, this version reads {SCHEMA}. Build it again."
        )


def check(manifest: Manifest) -> None:
    """Raise ValueError, TypeError or KeyError unless every value has the right type and range."""
    kinds = {
        str: ("created", "listing", "fingerprint"),
        int: ("photos", "skipped", "dim"),
        float: ("shortlist_recall", "neighbour_recall"),
        dict: ("model", "described_by", "parameters", "artefacts"),
    }
    for kind, names in kinds.items():
        for name in names:
            if type(getattr(manifest, name)) is not kind:
                raise TypeError(f"{name} is no {kind.__name__}")
    if min(manifest.photos, manifest.dim) < 1:
        raise ValueError("photos or dim cannot be")
    if manifest.artefacts.keys() != ARTEFACTS:
        raise ValueError("the list of files is not complete")
    for facts in (*manifest.artefacts.values(), *manifest.parameters.values()):
        if type(facts) is not dict:
            raise TypeError("a file's or a stage's facts are no dict")
    for name, facts in manifest.artefacts.items():
        if type(facts["bytes"]) is not int:
            raise TypeError(f"the size of {name} is no int")
    if not all(type(value) in (int, float) for value in manifest.parameters["diffusion"].values()):
        raise TypeError("a parameter of diffusion is no number")
    index = manifest.parameters["ann"]
    if [type(index[name]) for name in ("preset", "factory", "effort")] != [str, str, int]:
        raise TypeError("a parameter of the index is of another kind")
    if index["preset"] not in PRESETS or index["effort"] < 0:
        raise ValueError("there is no such index")
    for name in ("engine", "precision"):
        if type(manifest.described_by[name]) is not str:
            raise TypeError(f"{name} is no str")
    for segment in manifest.segments:
        if not NAME.fullmatch(segment.name) or min(segment.bytes, segment.photos) < 1:
            raise ValueError("a segment cannot be")
    if not manifest.segments:
        raise ValueError("there is no segment")
    drift = dataclasses.astuple(manifest.drift)
    if not all(type(value) in (int, float) and value >= 0 for value in drift):
        raise ValueError("drift cannot be")
    if type(manifest.model["architecture"]) is not str:
        raise TypeError("the model's architecture is no str")
    if type(manifest.model["longest_side"]) is not int:
        raise TypeError("the model's longest_side is no int")


def read_manifest(folder: Path, version: str) -> Manifest:
    """Read the manifest in a generation's folder.

    Args:
        folder: folder of the generation.
        version: SHA-256 that the manifest file must have.

    Raises:
        StoreMismatch: it has another schema.
        StoreCorrupt: it is missing or damaged, or its checksum differs from `version`.
    """
    try:
        data = read_at_most(folder / FILE_NAME, MAX_BYTES)
    except OSError as error:
        raise StoreCorrupt(
            f"{FILE_NAME} cannot be read ({error.strerror}). Build the store again."
        ) from None
    if hashlib.sha256(data).hexdigest() != version:
        raise StoreCorrupt(f"{FILE_NAME} is damaged (its checksum differs). Build the store again.")
    return Manifest.from_json(data)


def checksum(path: Path) -> dict[str, Any]:
    """SHA-256 and size of a file, as "sha256" and "bytes"."""
    with open_regular(path) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"sha256": digest, "bytes": file.tell()}


def check_sizes(folder: Path, manifest: Manifest) -> None:
    """Compare the size of every file of a generation with the manifest.

    Raises:
        StoreCorrupt: names the first file that differs.
    """
    for name, expected in manifest.artefacts.items():
        with naming(name):
            with open_regular(folder / name) as file:
                size = os.fstat(file.fileno()).st_size
        if size != expected["bytes"]:
            raise StoreCorrupt(f"{name} is damaged (its size differs). Build the store again.")


def verify_artefact(folder: Path, manifest: Manifest, name: str) -> None:
    """Compare a file of a generation with its checksum. Raises StoreCorrupt with its name."""
    with naming(name):
        found = checksum(folder / name)
    if found != manifest.artefacts[name]:
        raise StoreCorrupt(f"{name} is damaged (its checksum differs). Build the store again.")


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Convert file errors to StoreCorrupt with the file's name."""
    try:
        yield
    except FileNotFoundError:
        raise StoreCorrupt(f"{name} is missing from the store. Build it again.") from None
    except OSError as error:
        raise StoreCorrupt(
            f"{name} cannot be read ({error.strerror}). Build the store again."
        ) from None
