"""Photos -> what the store keeps of each: descriptor, thumbnail, local features. Resumable, because it takes the longest.

Finished photos go into a journal (STORE/extracted.sqlite) by the SHA-256 of their bytes. A build that was killed finds
there what it had done; a rebuild takes what has not changed from the live generation.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from extractor import BadPhoto, Extractor, available_cores, decode, encode_jpeg, local_features, read_bytes, resize

from .catalogue import Skipped

THUMBNAIL_SIDE = 480
THUMBNAIL_QUALITY = 80
COMMIT_EVERY = 16  # photos; a killed build loses fewer than this


@dataclass(frozen=True)
class Extracted:
    """What the store keeps of one photo. descriptor: float16 (D,); size: (height, width) of the decoded photo."""

    descriptor: np.ndarray
    size: tuple[int, int]
    thumbnail: bytes
    features: bytes


class Journal:
    """Extracted photos by content, on disk. Only one build at a time opens it (the store's write lock)."""

    def __init__(self, path: Path, fingerprint: str):
        self.path = path
        try:
            self._open(fingerprint)
            if self._db.execute("PRAGMA quick_check").fetchone() != ("ok",):
                raise sqlite3.DatabaseError("damaged")
        except sqlite3.DatabaseError:  # damaged by a crash of the machine: it only saves time, start anew
            for file in path.parent.glob(f"{path.name}*"):
                file.unlink()
            self._open(fingerprint)

    def _open(self, fingerprint: str) -> None:
        self._db = sqlite3.connect(self.path)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("CREATE TABLE IF NOT EXISTS model (fingerprint TEXT)")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS photos"
            " (sha256 TEXT PRIMARY KEY, descriptor BLOB, height INTEGER, width INTEGER, thumbnail BLOB, features BLOB)"
        )
        if self._db.execute("SELECT fingerprint FROM model").fetchall() != [(fingerprint,)]:
            self._db.execute("DELETE FROM photos")
            self._db.execute("DELETE FROM model")
            self._db.execute("INSERT INTO model VALUES (?)", (fingerprint,))
        self._db.commit()
        self._pending = 0

    def finished(self) -> set[str]:
        """SHA-256 digests of all photos in the journal."""
        return {sha256 for (sha256,) in self._db.execute("SELECT sha256 FROM photos")}

    def __contains__(self, sha256: str) -> bool:
        return self._db.execute("SELECT 1 FROM photos WHERE sha256 = ?", (sha256,)).fetchone() is not None

    def __getitem__(self, sha256: str) -> Extracted:
        row = self._db.execute("SELECT * FROM photos WHERE sha256 = ?", (sha256,)).fetchone()
        _, descriptor, height, width, thumbnail, features = row
        return Extracted(np.frombuffer(descriptor, np.float16), (height, width), thumbnail, features)

    def __setitem__(self, sha256: str, photo: Extracted) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO photos VALUES (?, ?, ?, ?, ?, ?)",
            (sha256, photo.descriptor.tobytes(), *photo.size, photo.thumbnail, photo.features),
        )
        self._pending += 1
        if self._pending >= COMMIT_EVERY:
            self.commit()

    def commit(self) -> None:
        self._db.commit()
        self._pending = 0

    def close(self) -> None:
        self.commit()
        self._db.close()

    def discard(self) -> None:
        """Close and delete: the generation now holds all of it."""
        self.close()
        self.path.unlink()


@dataclass(frozen=True)
class Read:
    """One photo file as a reading thread leaves it. problem: why it cannot be used, or "". photo: None if known already."""

    file: str
    sha256: str = ""
    problem: str = ""
    photo: np.ndarray | None = None
    thumbnail: bytes = b""
    features: bytes = b""


def read_file(root: Path, file: str, known: Set[str]) -> Read:
    """Decode a photo and make all of it that needs no network, unless its content is in `known` (SHA-256 digests)."""
    try:
        data = read_bytes(root / file)
        sha256 = hashlib.sha256(data).hexdigest()
        if sha256 in known:
            return Read(file, sha256)
        photo = decode(data)
    except (BadPhoto, OSError) as error:
        return Read(file, problem=str(error))
    thumbnail = encode_jpeg(resize(photo, THUMBNAIL_SIDE), THUMBNAIL_QUALITY)
    return Read(file, sha256, photo=photo, thumbnail=thumbnail, features=local_features(photo).to_bytes())


def extract_all(
    root: Path,
    files: list[str],
    extractor: Extractor,
    journal: Journal,
    live: Mapping[str, Extracted],
    progress: Callable[[Iterable[Read]], Iterable[Read]],
) -> tuple[list[tuple[str, str]], list[Skipped]]:
    """Bring every photo into the journal. Returns ([(file, sha256)] in order, the files that cannot be used).

    live: photos of the live generation by SHA-256, empty if there is none of this model.
    """
    indexed: list[tuple[str, str]] = []
    skipped: list[Skipped] = []
    known = journal.finished() | live.keys()
    for item in progress(ahead(lambda file: read_file(root, file, known), files)):
        if item.problem:
            skipped.append(Skipped(item.file, item.problem))
            continue
        indexed.append((item.file, item.sha256))
        if item.sha256 in journal:
            continue
        if item.photo is None:
            journal[item.sha256] = live[item.sha256]
        else:
            descriptor = extractor.describe([item.photo])[0].astype(np.float16)
            journal[item.sha256] = Extracted(descriptor, item.photo.shape[:2], item.thumbnail, item.features)
    journal.commit()
    return indexed, skipped


def ahead(function: Callable, items: Iterable) -> Iterator:
    """`map` in threads that keeps a few results ready, in order, without running away from the consumer."""
    workers = available_cores()
    queue: deque = deque()
    with ThreadPoolExecutor(workers) as pool:
        for item in items:
            queue.append(pool.submit(function, item))
            if len(queue) > 2 * workers:
                yield queue.popleft().result()
        while queue:
            yield queue.popleft().result()
