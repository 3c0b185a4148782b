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
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from extractor import (
    BadPhoto,
    Extractor,
    available_cores,
    decode,
    encode_jpeg,
    local_features,
    read_bytes,
    resize,
)

from .catalogue import Skipped

THUMBNAIL_SIDE = 480
THUMBNAIL_QUALITY = 80
COMMIT_EVERY = 16  # photos; a killed build loses fewer than this and those in hand


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
        except (
            sqlite3.DatabaseError
        ):  # damaged by a crash of the machine: it only saves time, start anew
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
        self.commit()

    def finished(self) -> set[str]:
        """SHA-256 digests of all photos in the journal."""
        return {sha256 for (sha256,) in self._db.execute("SELECT sha256 FROM photos")}

    def __contains__(self, sha256: str) -> bool:
        return (
            self._db.execute("SELECT 1 FROM photos WHERE sha256 = ?", (sha256,)).fetchone()
            is not None
        )

    def __getitem__(self, sha256: str) -> Extracted:
        row = self._db.execute("SELECT * FROM photos WHERE sha256 = ?", (sha256,)).fetchone()
        _, descriptor, height, width, thumbnail, features = row
        return Extracted(
            np.frombuffer(descriptor, np.float16), (height, width), thumbnail, features
        )

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
    """One photo file as a worker leaves it. problem: why it cannot be used, or "". photo: None if its content was known."""

    file: str
    sha256: str = ""
    problem: str = ""
    photo: Extracted | None = None


def extract(root: Path, file: str, extractor: Extractor, known: Set[str]) -> Read:
    """Read a photo and make all that is kept of it, unless its content is in `known` (SHA-256 digests)."""
    try:
        data = read_bytes(root / file)
        sha256 = hashlib.sha256(data).hexdigest()
        if sha256 in known:
            return Read(file, sha256)
        pixels = decode(data)
    except (BadPhoto, OSError) as error:
        return Read(file, problem=str(error))
    return Read(
        file,
        sha256,
        photo=Extracted(
            descriptor=extractor.describe([pixels])[0].astype(np.float16),
            size=pixels.shape[:2],
            thumbnail=encode_jpeg(resize(pixels, THUMBNAIL_SIDE), THUMBNAIL_QUALITY),
            features=local_features(pixels).to_bytes(),
        ),
    )


def extract_all(
    root: Path,
    files: list[str],
    extractor: Extractor,
    journal: Journal,
    live: Mapping[str, Extracted],
    progress: Callable[[Iterable[Read]], Iterable[Read]],
) -> tuple[list[tuple[str, str]], list[Skipped]]:
    """Bring every photo into the journal. Returns ([(file, sha256)] in order, the files that cannot be used).

    Each core takes a photo through all stages by itself; an extractor made for as many `calls` as there are cores suits
    that best. (Batches of equal shape gain less, see `python -m evaluation extraction`.)
    live: photos of the live generation by SHA-256, empty if there is none of this model.
    """
    indexed: list[tuple[str, str]] = []
    skipped: list[Skipped] = []
    known = journal.finished() | live.keys()
    with one_thread_each():
        for item in progress(
            side_by_side(lambda file: extract(root, file, extractor, known), files)
        ):
            if item.problem:
                skipped.append(Skipped(item.file, item.problem))
                continue
            indexed.append((item.file, item.sha256))
            if item.sha256 not in journal:
                journal[item.sha256] = item.photo or live[item.sha256]
    journal.commit()
    return indexed, skipped


@contextmanager
def one_thread_each() -> Iterator[None]:
    """OpenCV's own threads would compete with the photos that are handled side by side."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


def side_by_side(function: Callable, items: Iterable) -> Iterator:
    """`map` in one thread a core that keeps a few results ready, in order, without running away from the consumer."""
    workers = available_cores()
    queue: deque = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                queue.append(pool.submit(function, item))
                if len(queue) > 2 * workers:
                    yield queue.popleft().result()
            while queue:
                yield queue.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
