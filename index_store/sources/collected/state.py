"""Database of a collected folder: what was fetched, listed, and failed."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection
from contextlib import closing, suppress
from pathlib import Path

from extractor import same_name

from ...storage.catalogue import Skipped

FOLDER = "collected"
STATE = "collected.sqlite"
SCHEMA = """
CREATE TABLE IF NOT EXISTS photos (
    name TEXT PRIMARY KEY, file TEXT NOT NULL, etag TEXT NOT NULL, modified TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS documents (
    url TEXT PRIMARY KEY, text BLOB NOT NULL, etag TEXT NOT NULL, modified TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS failures (name TEXT PRIMARY KEY, reason TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS listed (file TEXT PRIMARY KEY);
"""


def failures_of(store: Path) -> list[Skipped]:
    """Photos that could not be collected for a store, and why."""
    path = store / STATE
    if not path.is_file():
        return []
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as db:
        rows = db.execute("SELECT name, reason FROM failures ORDER BY name").fetchall()
    return [Skipped(name, f"{reason} `update` tries again.") for name, reason in rows]


def listed_in(store: Path) -> frozenset[str] | None:
    """The folder's files that the lists named at the last collection; None if unknown."""
    path = store / STATE
    if not path.is_file():
        return None
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as db:
        try:
            return frozenset(file for (file,) in db.execute("SELECT file FROM listed"))
        except sqlite3.OperationalError:  # written by a version without this table
            return None


def delete_unlisted(store: Path, removed: Collection[str], live: Collection[str]) -> None:
    """Delete links and fetched photos that are no longer listed, or were removed from the store.

    Args:
        store: folder of the store.
        removed: names of removed photos in the collected folder.
        live: names of photos there that the live generation holds; they are kept.
    """
    folder, listed = store / FOLDER, listed_in(store)
    if listed is None:
        return
    with closing(sqlite3.connect(store / STATE)) as db:
        files = [file for (file,) in db.execute("SELECT file FROM photos")]
    for inside, _, names in os.walk(folder):
        links = (Path(inside) / name for name in names)
        files += [path.relative_to(folder).as_posix() for path in links if path.is_symlink()]
    live_names = {same_name(file) for file in live}
    for file in files:
        if (file not in listed or file in removed) and same_name(file) not in live_names:
            with suppress(OSError):
                (folder / file).unlink(missing_ok=True)
