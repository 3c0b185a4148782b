"""Build journal: photos extracted since the last segment, so that a killed build can resume.

STORE/extracted.sqlite holds one record for each finished photo that is not in a segment yet. Each
record has its own checksum, because its content will go into a segment and be sealed there by that
segment's checksum.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import StoreCorrupt

FILE_NAME = "extracted.sqlite"
COMMIT_EVERY = 16  # photos; a killed build loses fewer than this, plus those in progress
DIGEST = hashlib.sha256().digest_size
HEADER = np.dtype(
    [
        ("sha256", "S64"),
        ("height", "<u4"),
        ("width", "<u4"),
        ("descriptor", "<u4"),  # bytes of each part
        ("thumbnail", "<u4"),
        ("features", "<u4"),
    ]
)
# SQLite errors caused by the machine or another process, not by the file's content.
OUTSIDE = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_AUTH,
        sqlite3.SQLITE_READONLY,
    }
)


@dataclass(frozen=True)
class Extracted:
    """Stored data of one photo.

    Attributes:
        descriptor: float16 (D,).
        size: height and width of the decoded photo.
        thumbnail: JPEG.
        features: `LocalFeatures.to_bytes`; empty beyond the store's budget.
    """

    descriptor: np.ndarray
    size: tuple[int, int]
    thumbnail: bytes
    features: bytes


def to_record(sha256: str, photo: Extracted) -> bytes:
    """A photo as bytes: checksum of the rest, header, descriptor, thumbnail, features."""
    parts = (photo.descriptor.astype("<f2").tobytes(), photo.thumbnail, photo.features)
    header = np.array((sha256.encode(), *photo.size, *map(len, parts)), HEADER)
    content = header.tobytes() + b"".join(parts)
    return hashlib.sha256(content).digest() + content


def from_record(record: bytes) -> tuple[str, Extracted]:
    """SHA-256 and data of a photo, from the output of `to_record`.

    Raises:
        ValueError: the record is damaged.
    """
    if not isinstance(record, bytes) or not is_sound(record):
        raise ValueError("The checksum of a record differs.")
    header = np.frombuffer(record, HEADER, 1, DIGEST)[0]
    thumbnail_at = DIGEST + HEADER.itemsize + int(header["descriptor"])
    features_at = thumbnail_at + int(header["thumbnail"])
    return header["sha256"].decode(), Extracted(
        descriptor=np.frombuffer(record[DIGEST + HEADER.itemsize : thumbnail_at], "<f2"),
        size=(int(header["height"]), int(header["width"])),
        thumbnail=record[thumbnail_at:features_at],
        features=record[features_at:],
    )


def is_sound(record: bytes) -> bool:
    """Whether a record is exactly what `to_record` returned."""
    content = memoryview(record)[DIGEST:]
    return hashlib.sha256(content).digest() == record[:DIGEST] and len(content) >= HEADER.itemsize


class Journal:
    """Extracted photos by the SHA-256 of their bytes. Only one build at a time opens it.

    Damaged records are dropped, and a damaged file is recreated: both only cost time.

    Args:
        path: path of the file, created if it is missing.
        fingerprint: equal for builds that would store the same data for a photo. The content of a
            journal with another fingerprint is dropped.

    Raises:
        sqlite3.Error: the file is unusable for an external reason: the disk is full, another
            process has locked it.
    """

    def __init__(self, path: Path, fingerprint: str):
        self.path = path
        self._db = sqlite3.connect(path)
        try:
            self._prepare(fingerprint)
        except sqlite3.Error as error:
            self._db.close()
            if not is_damage(error):
                raise
            delete_journal(path)
            self._db = sqlite3.connect(path)
            self._prepare(fingerprint)

    def _prepare(self, fingerprint: str) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        if self._db.execute("PRAGMA quick_check").fetchone() != ("ok",):
            raise sqlite3.DatabaseError("damaged")
        self._db.execute("CREATE TABLE IF NOT EXISTS model (fingerprint TEXT)")
        self._db.execute("CREATE TABLE IF NOT EXISTS photos (id INTEGER PRIMARY KEY, record BLOB)")
        if self._db.execute("SELECT fingerprint FROM model").fetchall() != [(fingerprint,)]:
            self._db.execute("DELETE FROM photos")
            self._db.execute("DELETE FROM model")
            self._db.execute("INSERT INTO model VALUES (?)", (fingerprint,))
        self._ids: dict[str, int] = {}
        damaged = []
        for id, record in self._db.execute("SELECT id, record FROM photos"):
            try:
                self._ids[from_record(record)[0]] = id
            except ValueError:
                damaged.append((id,))
        self._db.executemany("DELETE FROM photos WHERE id = ?", damaged)
        self.commit()

    def finished(self) -> set[str]:
        """SHA-256 digests of all photos in the journal."""
        return set(self._ids)

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, sha256: object) -> bool:
        return sha256 in self._ids

    def __getitem__(self, sha256: str) -> Extracted:
        """Data of a photo in `finished`. Raises KeyError, StoreCorrupt."""
        query = "SELECT record FROM photos WHERE id = ?"
        try:
            (record,) = self._db.execute(query, (self._ids[sha256],)).fetchone()
            found, photo = from_record(record)
        except (TypeError, ValueError):
            found = ""
        if found != sha256:
            raise StoreCorrupt(
                f"{self.path} was damaged while the build ran. Run the same build again: "
                "it repeats only what was damaged."
            )
        return photo

    def __setitem__(self, sha256: str, photo: Extracted) -> None:
        record = to_record(sha256, photo)
        written = self._db.execute("INSERT INTO photos (record) VALUES (?)", (record,))
        assert written.lastrowid is not None
        self._ids[sha256] = written.lastrowid
        self._pending += 1
        if self._pending >= COMMIT_EVERY:
            self.commit()

    def drop(self, photos: Iterable[str]) -> None:
        """Delete photos by their SHA-256: they are in a segment now, or no longer needed."""
        ids = [(self._ids.pop(sha256),) for sha256 in photos]
        self._db.executemany("DELETE FROM photos WHERE id = ?", ids)
        self.commit()

    def commit(self) -> None:
        """Commit everything so far, so that it survives a kill."""
        self._db.commit()
        self._pending = 0

    def close(self) -> None:
        """Close the journal and keep it, so that a later build can resume."""
        with closing(self._db):
            self.commit()


def digest(fingerprint: str) -> str:
    """A fingerprint as 64 hexadecimal characters."""
    return hashlib.sha256(fingerprint.encode()).hexdigest()


def read_fingerprint(path: Path) -> str | None:
    """The fingerprint in a killed build's journal; None if there is no journal."""
    with suppress(sqlite3.Error):
        uri = f"{path.resolve().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True)) as db:
            row = db.execute("SELECT fingerprint FROM model").fetchone()
            return None if row is None else str(row[0])
    return None


def is_damage(error: Exception) -> bool:
    """Whether an error means that the file is damaged, rather than temporarily unusable."""
    code = getattr(error, "sqlite_errorcode", None)  # absent if Python itself detected the error
    return code is None or code & 0xFF not in OUTSIDE


def delete_journal(path: Path) -> None:
    """Delete a journal and SQLite's files next to it, if they exist."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
