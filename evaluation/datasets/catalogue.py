"""Catalogue of named data sets.

    gallery                landmarks of the sample gallery, in the repository
    landmarks, things      own labels on photos of public repositories: `open/NAME.json`
    roxford5k and others   published sets: `published.json`

Only the photos of the first are part of this repository, and no others are redistributed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import quote

from download import Remote

from . import BadDataset
from .names import inside

HERE = Path(__file__).resolve().parent
GALLERY = "gallery"
GALLERY_PHOTOS = HERE.parent.parent / "gallery" / "photos"
RAW = "https://raw.githubusercontent.com"


@dataclass(frozen=True)
class Piece:
    """A file of a published set.

    Attributes:
        remote: URL and checksum.
        to: target in the set's folder: a file, or a folder of photos for an archive.
        members: pattern of the photos in an archive, "" for other files.
    """

    remote: Remote
    to: str
    members: str


@dataclass(frozen=True)
class PublishedSet:
    """A data set published by others. `name` is one of `datasets.READERS`."""

    name: str
    title: str
    page: str
    licence: str
    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class OpenPhoto:
    """A photo in a public repository.

    Attributes:
        file: name in the data set.
        remote: the original at its commit.
        rendering: SHA-256 of the output of `render`, with the library versions pinned in
            requirements.txt.
        group: the thing it shows; None for a distractor.
        repository: "owner/name".
    """

    file: str
    remote: Remote
    rendering: str
    group: str | None
    repository: str


@dataclass(frozen=True)
class OpenSet:
    """The project's own labels on photos in public repositories, by their licences.

    `kinds` are the groups by kind, empty for a set of one kind.
    """

    name: str
    title: str
    photos: tuple[OpenPhoto, ...]
    licences: dict[str, str]
    kinds: dict[str, list[str]]

    @property
    def groups(self) -> dict[str, list[str]]:
        """Files of each thing, both sorted by name."""
        groups: dict[str, list[str]] = {}
        for photo in sorted(self.photos, key=lambda photo: (photo.group or "", photo.file)):
            if photo.group is not None:
                groups.setdefault(photo.group, []).append(photo.file)
        return groups


def set_names() -> list[str]:
    """Names of all data sets."""
    return [GALLERY, *open_names(), *published_sets()]


def open_names() -> list[str]:
    return sorted(path.stem for path in (HERE / "open").glob("*.json"))


@cache
def open_set(name: str) -> OpenSet:
    """The open data set with a name. Raises BadDataset for unknown names."""
    if name not in open_names():
        raise BadDataset(f"There is no data set {name!r}; there are {', '.join(set_names())}.")
    facts = json.loads((HERE / "open" / f"{name}.json").read_text("utf-8"))
    repositories = facts["repositories"]
    photos = []
    for file, photo in facts["photos"].items():
        repository = photo["repository"]
        path = quote(f"{repository}/{repositories[repository]['commit']}/{photo['path']}")
        remote = Remote(f"{RAW}/{path}", photo["sha256"], photo["bytes"])
        photos.append(
            OpenPhoto(inside(file), remote, photo["rendering"], photo["group"], repository)
        )
    licences = {repository: facts["licence"] for repository, facts in repositories.items()}
    return OpenSet(name, facts["title"], tuple(photos), licences, facts.get("kinds", {}))


@cache
def published_sets() -> dict[str, PublishedSet]:
    """Data sets published by others, by name."""
    table = json.loads((HERE / "published.json").read_text("utf-8"))
    return {
        name: PublishedSet(
            name,
            facts["title"],
            facts["page"],
            facts["licence"],
            tuple(
                Piece(
                    Remote(piece["url"], piece.get("sha256", ""), secure=False),
                    inside(piece["to"]),
                    piece.get("members", ""),
                )
                for piece in facts["pieces"]
            ),
        )
        for name, facts in table.items()
    }
