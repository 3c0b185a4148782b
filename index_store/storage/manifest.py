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
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from extractor import open_regular, read_at_most
from validation import KNOWN_KEYS, Count, HasEntries, OneOf, Positive, sentence

from ..ann.presets import PRESETS
from ..ann.remote.collection import Collection
from ..errors import StoreCorrupt, StoreMismatch, unreadable
from ..sources.sources import Sources
from .segment import SegmentFacts

SCHEMA = 10
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


class FileFacts(TypedDict):
    """SHA-256 and size of a file."""

    sha256: str
    bytes: Count


class ModelFacts(TypedDict):
    """What is read of a model's card."""

    architecture: str
    longest_side: Count


class DescribedBy(TypedDict):
    """What computed the descriptors."""

    engine: str
    precision: str


class AnnParameters(TypedDict):
    """What is read of `IndexParameters`."""

    preset: Annotated[str, OneOf(PRESETS)]
    factory: str
    effort: Count


class StageParameters(TypedDict):
    """Parameters of the stages that every generation has."""

    ann: AnnParameters
    diffusion: dict[str, Annotated[float, Field(strict=True)]]


def all_artefacts(files: dict[str, FileFacts]) -> dict[str, FileFacts]:
    """Raise ValueError unless the files are exactly ARTEFACTS."""
    if files.keys() != ARTEFACTS:
        raise ValueError("the list of files is not complete")
    return files


@dataclass(frozen=True)
class Drift:
    """Difference between a generation and a full build of the same photos.

    Attributes:
        added: number of photos added to the index since it was trained.
        removed: number of photos removed since then; their codes are skipped.
        rows: mean relative error of the diffusion rows over all photos, estimated on samples after
            each change, accumulated.
    """

    __pydantic_config__ = KNOWN_KEYS

    added: Count = 0
    removed: Count = 0
    rows: Annotated[float, Field(strict=True, ge=0)] = 0.0


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

    __pydantic_config__ = KNOWN_KEYS

    created: str
    sources: Sources
    listing: str
    photos: Positive
    skipped: Count
    dim: Positive
    fingerprint: str
    model: Annotated[dict[str, Any], HasEntries(ModelFacts)]
    described_by: Annotated[dict[str, str], HasEntries(DescribedBy)]
    parameters: Annotated[dict[str, dict[str, Any]], HasEntries(StageParameters)]
    shortlist_recall: Annotated[float, Field(strict=True)]
    neighbour_recall: Annotated[float, Field(strict=True)]
    artefacts: Annotated[dict[str, FileFacts], AfterValidator(all_artefacts)]
    segments: Annotated[list[SegmentFacts], Field(min_length=1)]
    drift: Drift
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
        files = (self.artefacts[name]["sha256"] for name in ("index.faiss", "index_ids.npy"))
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
                return MANIFEST.validate_python(facts)
        except ValidationError as error:
            problem = sentence(error)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            problem = f"{type(error).__name__}: {error}"[:200]
        else:
            raise StoreMismatch(
                f"The store has schema {str(schema)[:20]}, this version reads {SCHEMA}. "
                "Build it again."
            )
        raise StoreCorrupt(f"{FILE_NAME} is damaged ({problem}). Build the store again.")


MANIFEST = TypeAdapter(Manifest)


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
        raise unreadable(FILE_NAME, error) from None
    if hashlib.sha256(data).hexdigest() != version:
        raise StoreCorrupt(f"{FILE_NAME} is damaged (its checksum differs). Build the store again.")
    return Manifest.from_json(data)


def checksum(path: Path) -> FileFacts:
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
        raise unreadable(name, error) from None
