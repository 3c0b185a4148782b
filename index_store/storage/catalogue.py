"""Catalogue: the photos of a generation by row, and skipped files with their reasons.

One SQLite file per generation.
"""

from __future__ import annotations

import os
import re
import sqlite3
import threading
import weakref
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from extractor import same_name

MAX_VALUES = 900  # per query; old SQLite allows 999
COLUMNS = "id, file, title, sha256, width, height, stamp"
SCHEMA = """
CREATE TABLE photos (
    id INTEGER PRIMARY KEY,   -- row in slots, graph and diffusion rows
    file TEXT NOT NULL UNIQUE,  -- path relative to the indexed folder, with forward slashes
    name TEXT NOT NULL UNIQUE,  -- `same_name` of it, by which it is found
    title TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    width INTEGER NOT NULL,   -- of the decoded photo, upright, longest side at most 1024
    height INTEGER NOT NULL,
    stamp TEXT NOT NULL       -- size and times of the file when it was listed
);
CREATE TABLE skipped (file TEXT PRIMARY KEY, reason TEXT NOT NULL);
-- Taken out on request: no build brings back what lies there, nor this content elsewhere.
CREATE TABLE removed (file TEXT PRIMARY KEY, sha256 TEXT NOT NULL);
CREATE TABLE about (text TEXT NOT NULL);  -- one row, `About.to_json`
"""


@dataclass(frozen=True)
class Photo:
    """One row of the catalogue."""

    id: int
    file: str
    title: str
    sha256: str
    width: int
    height: int
    stamp: str = ""


@dataclass(frozen=True)
class Skipped:
    """A file that is not indexed, and the reason as a sentence."""

    file: str
    reason: str


class Removed(NamedTuple):
    """A photo that was removed on request.

    Attributes:
        file: name; an absolute path if it is in none of the store's current folders.
        sha256: SHA-256 of its content.
    """

    file: str
    sha256: str


class Entry(NamedTuple):
    """A photo as passed between builds: its file, its content's hash, and its `scan` stamp."""

    file: str
    sha256: str
    stamp: str = ""


def title_of(file: str) -> str:
    """A readable title from a file name: "sights/taj-mahal_2.jpg" -> "Taj mahal 2"."""
    words = re.sub(r"[-_\s]+", " ", os.path.splitext(os.path.basename(file))[0]).strip()
    return words[:1].upper() + words[1:] if words else file


def write_catalogue(
    path: Path,
    photos: Iterable[Photo],
    skipped: Iterable[Skipped],
    removed: Iterable[Removed] = (),
    about: str = "",
) -> None:
    """Create the catalogue file.

    Args:
        path: path of the file, which must not exist.
        photos: indexed photos; ids count from 0.
        skipped: skipped files.
        removed: photos removed on request.
        about: the gallery's description, `About.to_json`.
    """
    with closing(sqlite3.connect(path)) as db, db:
        db.executescript(SCHEMA)
        db.executemany(
            f"INSERT INTO photos (name, {COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (same_name(p.file), p.id, p.file, p.title, p.sha256, p.width, p.height, p.stamp)
                for p in photos
            ),
        )
        db.executemany("INSERT INTO skipped VALUES (?, ?)", ((s.file, s.reason) for s in skipped))
        db.executemany("INSERT INTO removed VALUES (?, ?)", removed)
        db.execute("INSERT INTO about VALUES (?)", (about,))


class Catalogue:
    """Read access, safe to use from many threads; open until `close` or garbage collection.

    Attributes:
        hidden: ids of photos that `served` and `find` treat as missing.
    """

    def __init__(self, path: Path):
        self.hidden: frozenset[int] = frozenset()
        self._db = sqlite3.connect(
            f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False
        )
        self._lock = threading.Lock()
        self._close = weakref.finalize(self, self._db.close)

    def _rows(self, query: str, *values: int | str) -> list[tuple]:
        with self._lock:
            return self._db.execute(query, values).fetchall()

    def __len__(self) -> int:
        return self._rows("SELECT count(*) FROM photos")[0][0]

    def photo(self, id: int) -> Photo:
        """Raises KeyError for an unknown id."""
        return self.photos_of([id])[0]

    def served(self, id: int) -> Photo:
        """A photo that may be searched with. Raises KeyError for any other id."""
        if id in self.hidden:
            raise KeyError(id)
        return self.photo(id)

    def photos_of(self, ids: Iterable[int]) -> list[Photo]:
        """The photos with these ids, in the order of the ids; much faster than one by one.

        Args:
            ids: any number of ids, including numpy integers; may repeat.

        Raises:
            KeyError: an id is unknown.
        """
        ids_wanted = [int(id) for id in ids]
        found: dict[int, Photo] = {}
        for start in range(0, len(ids_wanted), MAX_VALUES):
            some = ids_wanted[start : start + MAX_VALUES]
            marks = ",".join("?" * len(some))
            for row in self._rows(f"SELECT {COLUMNS} FROM photos WHERE id IN ({marks})", *some):
                found[row[0]] = Photo(*row)
        return [found[id] for id in ids_wanted]

    def find(self, file: str) -> Photo | None:
        """The photo at this relative path, in any Unicode form, or None."""
        try:
            rows = self._rows(f"SELECT {COLUMNS} FROM photos WHERE name = ?", same_name(file))
        except UnicodeEncodeError:  # files with such names are never indexed
            return None
        return Photo(*rows[0]) if rows and rows[0][0] not in self.hidden else None

    def photos(self) -> list[Photo]:
        """All photos, in the order of their ids."""
        return [Photo(*row) for row in self._rows(f"SELECT {COLUMNS} FROM photos ORDER BY id")]

    def entries(self) -> list[Entry]:
        """All photos as build entries, in the order of their ids."""
        return [
            Entry(*row) for row in self._rows("SELECT file, sha256, stamp FROM photos ORDER BY id")
        ]

    def removed(self) -> list[Removed]:
        """Photos removed on request."""
        return [Removed(*row) for row in self._rows("SELECT * FROM removed ORDER BY file")]

    def about(self) -> str:
        """The gallery's description, as it was written."""
        return "".join(text for (text,) in self._rows("SELECT text FROM about"))

    def skipped(self) -> list[Skipped]:
        """All skipped files."""
        return [Skipped(*row) for row in self._rows("SELECT * FROM skipped ORDER BY file")]

    def close(self) -> None:
        """Close the file. Later queries raise sqlite3.ProgrammingError."""
        with self._lock:
            self._close()
