"""On-disk cache of keypoints that searches have detected: STORE/keypoints.sqlite.

A store holds the keypoints of as many photos as its budget allows. Those of other photos are
detected when a search first needs them, and cached here, the newest of a fixed number. All searches
in all processes share the file. Everything in it can be recomputed: if it is damaged or not
writable, results are cached in memory instead.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import weakref
import zlib
from collections.abc import Set
from contextlib import closing
from pathlib import Path

FILE_NAME = "keypoints.sqlite"
MAX_PHOTOS = 50_000  # 2 GB, at 40 kB each
MAX_IN_MEMORY = 2_500  # if the disk cannot be used: 100 MB
WAIT = 2.0  # seconds to wait for another process that is writing
SCHEMA = """
CREATE TABLE IF NOT EXISTS keypoints (
    id INTEGER PRIMARY KEY,       -- rises with every photo, so that the lowest is the oldest
    sha256 TEXT NOT NULL UNIQUE,  -- of the photo's bytes
    checksum INTEGER NOT NULL,    -- CRC-32 of the data
    data BLOB NOT NULL
);
"""

log = logging.getLogger(__name__)


class KeypointCache:
    """Encoded keypoints by the SHA-256 of the photo's bytes. Thread-safe.

    The file is created on first use; a store with keypoints of all its photos never uses it.

    Args:
        store: folder of the store.
        version: equal for keypoints that were detected and encoded in the same way, 32 bits.
            Entries of another version are dropped.
    """

    def __init__(self, store: Path, version: int):
        self._path, self._version = store / FILE_NAME, version % 2**31  # SQLite's is signed
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._most = MAX_PHOTOS

    def get(self, sha256: str) -> bytes | None:
        """Cached keypoints of a photo; None if there are none, or they are damaged."""
        query = "SELECT checksum, data FROM keypoints WHERE sha256 = ?"
        for checksum, data in self._rows(query, sha256):
            if isinstance(data, bytes) and zlib.crc32(data) == checksum:
                return data
        return None

    def put(self, sha256: str, data: bytes) -> None:
        """Cache a photo's keypoints, and evict the oldest entry."""
        self._rows(
            "INSERT OR REPLACE INTO keypoints (sha256, checksum, data) VALUES (?, ?, ?)",
            sha256,
            zlib.crc32(data),
            data,
        )
        self._rows(
            "DELETE FROM keypoints WHERE id <= (SELECT max(id) FROM keypoints) - ?", self._most
        )

    def _rows(self, query: str, *values: int | str | bytes) -> list[tuple]:
        """Result rows; none if the database fails, which must not make a search fail."""
        with self._lock:
            try:
                return self._opened().execute(query, values).fetchall()
            except sqlite3.Error as error:
                log.warning("%s could not be used now (%s).", self._path, error)
                return []

    def _opened(self) -> sqlite3.Connection:
        """The database, on disk if possible."""
        if self._db is None:
            try:
                self._db = connect(self._path, self._version)
            except sqlite3.Error as error:
                log.warning(
                    "%s cannot be used (%s): keypoints that searches find are kept in memory.",
                    self._path,
                    error,
                )
                self._db = connect(":memory:", self._version)
                self._most = MAX_IN_MEMORY
            weakref.finalize(self, self._db.close)
        return self._db


def connect(path: str | Path, version: int) -> sqlite3.Connection:
    """Open the database; create it, or empty it if its version differs. Raises sqlite3.Error."""
    db = sqlite3.connect(path, WAIT, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = OFF")  # a power cut only loses what can be recomputed
        if db.execute("PRAGMA user_version").fetchone() != (version,):
            db.execute("DROP TABLE IF EXISTS keypoints")
            db.execute(f"PRAGMA user_version = {version}")
        db.executescript(SCHEMA)
    except sqlite3.Error:
        db.close()
        raise
    return db


def keep_only(store: Path, photos: Set[str]) -> None:
    """Delete cached keypoints of photos that a store no longer holds.

    Args:
        store: folder of the store.
        photos: SHA-256 digests of the photos it holds.
    """
    path = store / FILE_NAME
    if not path.is_file():
        return
    try:
        with closing(sqlite3.connect(path, WAIT)) as db, db:
            db.execute("PRAGMA secure_delete = ON")  # overwrite their bytes, too
            cached = [sha256 for (sha256,) in db.execute("SELECT sha256 FROM keypoints")]
            obsolete = [(sha256,) for sha256 in cached if sha256 not in photos]
            db.executemany("DELETE FROM keypoints WHERE sha256 = ?", obsolete)
    except sqlite3.Error as error:
        log.warning("%s may hold keypoints of photos that are gone (%s): delete it.", path, error)
