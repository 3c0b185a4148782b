"""The journal: what a build has extracted since its last segment, so that a killed one can go on.

STORE/extracted.sqlite holds one record for each finished photo that is in no segment yet. Each
record carries its own checksum, because what it holds goes into a segment and would be sealed
there.
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
COMMIT_EVERY = 16  # photos; a killed build loses fewer than this and those in hand
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
# What SQLite reports of the machine or of another process, not of the file's content.
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
    """What the store keeps of one photo.

    Attributes:
        descriptor: float16 (D,).
        size: Height and width of the decoded photo.
        thumbnail: A JPEG.
        features: `LocalFeatures.to_bytes`; empty beyond the store's budget.
    """

    descriptor: np.ndarray
    size: tuple[int, int]
    thumbnail: bytes
    features: bytes


def to_record(sha256: str, photo: Extracted) -> bytes:
    """A photo as bytes: the checksum of all the rest, a header, descriptor, thumbnail, features."""
    parts = (photo.descriptor.astype("<f2").tobytes(), photo.thumbnail, photo.features)
    header = np.array((sha256.encode(), *photo.size, *map(len, parts)), HEADER)
    content = header.tobytes() + b"".join(parts)
    return hashlib.sha256(content).digest() + content


def from_record(record: bytes) -> tuple[str, Extracted]:
    """SHA-256 and content of a photo, from what `to_record` returned.

    Raises:
        ValueError: The record is damaged.
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
    """Whether a record is what `to_record` returned, to the last bit."""
    content = memoryview(record)[DIGEST:]
    return hashlib.sha256(content).digest() == record[:DIGEST] and len(content) >= HEADER.itemsize


class Journal:
    """Extracted photos by the SHA-256 of their bytes. Only one build at a time opens it.

    A damaged record is left out, a damaged file is begun anew: both cost time only.

    Args:
        path: The file, made if it is missing.
        fingerprint: Equal for builds that would keep the same of a photo. The content of a
            journal with another one is dropped.

    Raises:
        sqlite3.Error: The file cannot be used, for a reason outside of it: the disk is full,
            another process has locked it.
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
        """A photo of `finished`. Raises KeyError, StoreCorrupt."""
        query = "SELECT record FROM photos WHERE id = ?"
        try:
            (record,) = self._db.execute(query, (self._ids[sha256],)).fetchone()
            found, photo = from_record(record)
        except (TypeError, ValueError):
            found = ""
        if found != sha256:
            raise StoreCorrupt(
                f"{self.path} was damaged while the build ran. Run the same build again: "
                "it does anew what was damaged, and nothing else."
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
        """Forget photos, by their SHA-256: they lie in a segment now, or nobody wants them."""
        ids = [(self._ids.pop(sha256),) for sha256 in photos]
        self._db.executemany("DELETE FROM photos WHERE id = ?", ids)
        self.commit()

    def commit(self) -> None:
        """Make everything so far survive a kill."""
        self._db.commit()
        self._pending = 0

    def close(self) -> None:
        """Keep the journal for a build that goes on."""
        with closing(self._db):
            self.commit()


def digest(fingerprint: str) -> str:
    """A fingerprint in 64 characters."""
    return hashlib.sha256(fingerprint.encode()).hexdigest()


def read_fingerprint(path: Path) -> str | None:
    """The fingerprint that a killed build's journal was begun with; None if there is no journal."""
    with suppress(sqlite3.Error):
        uri = f"{path.resolve().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True)) as db:
            row = db.execute("SELECT fingerprint FROM model").fetchone()
            return None if row is None else str(row[0])
    return None


def is_damage(error: Exception) -> bool:
    """Whether an error means that the file is damaged, and not that it cannot be used now."""
    code = getattr(error, "sqlite_errorcode", None)  # absent where Python itself found the fault
    return code is None or code & 0xFF not in OUTSIDE


def delete_journal(path: Path) -> None:
    """Remove a journal and what SQLite keeps beside it, if they are there."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
