"""Photos -> what the store keeps of each: descriptor, thumbnail, local features.

This takes the longest, so it is resumable: finished photos go into the cache by the SHA-256 of
their bytes. What is cached is not computed again: photos of a killed build, and of the live
generation.
"""

from __future__ import annotations

import hashlib
import logging
from collections import deque
from collections.abc import Callable, Container, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from extractor import (
    BadPhoto,
    Extractor,
    Limits,
    available_cores,
    decoder_for,
    encode_jpeg,
    local_features,
    owner_limits,
    read_bytes,
    resize,
)

from .sources.sources import Roots
from .storage.build_journal import Extracted
from .storage.catalogue import Skipped
from .storage.extraction_cache import ExtractionCache

THUMBNAIL_SIDE = 480
THUMBNAIL_QUALITY = 80

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Read:
    """One photo file as a worker leaves it.

    Attributes:
        file: As `Roots` names it.
        sha256: Of its bytes.
        problem: Why it cannot be used, or "".
        note: What is not as it should be, though it is used, or "".
        photo: None if its content was known.
    """

    file: str
    sha256: str = ""
    problem: str = ""
    note: str = ""
    photo: Extracted | None = None


@dataclass(frozen=True)
class Extraction:
    """Reads a photo and makes all that is kept of it, unless its content is known.

    Attributes:
        roots: The indexed folders.
        extractor: Makes the descriptors.
        known: SHA-256 digests of photos that need no work.
        exact: As of `LocalFeatures.to_bytes`.
        as_stored: As of `decode`.
        limits: What a photo may be and cost.
    """

    roots: Roots | Path
    extractor: Extractor
    known: Container[str]
    exact: bool
    as_stored: bool = False
    limits: Limits = field(default_factory=owner_limits)

    def __call__(self, file: str) -> Read:
        """All of one photo. `file` is its name in `roots`."""
        try:
            data = read_bytes(self.roots / file, self.limits)
            sha256 = hashlib.sha256(data).hexdigest()
            if sha256 in self.known:
                return Read(file, sha256)
            pixels, note = decoder_for(self.limits).read(data, self.as_stored)
        except BadPhoto as error:
            return Read(file, problem=str(error))
        except OSError as error:
            return Read(file, problem=f"The file cannot be read ({error.strerror or error}).")
        height, width = pixels.shape[:2]
        return Read(
            file,
            sha256,
            note=note,
            photo=Extracted(
                descriptor=self.extractor.describe([pixels])[0].astype(np.float16),
                size=(height, width),
                thumbnail=encode_jpeg(resize(pixels, THUMBNAIL_SIDE), THUMBNAIL_QUALITY),
                features=local_features(pixels).to_bytes(self.exact),
            ),
        )


@contextmanager
def one_thread_each() -> Iterator[None]:
    """OpenCV's own threads would compete with the photos that are handled side by side."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


def side_by_side(work: Extraction, files: list[str]) -> Generator[Read, None, None]:
    """The work on many files in one thread a core, in order.

    Each core takes a photo through all stages by itself; an extractor made for as many `calls` as
    there are cores suits that best. (Batches of equal shape gain less, see
    `python -m evaluation extraction`.) A few results are kept ready, without running away from the
    consumer.
    """
    workers = available_cores()
    queue: deque[Future[Read]] = deque()
    with one_thread_each(), ThreadPoolExecutor(workers) as pool:
        try:
            for file in files:
                queue.append(pool.submit(work, file))
                if len(queue) > 2 * workers:
                    yield queue.popleft().result()
            while queue:
                yield queue.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True)
class Either:
    """What is in one of two containers."""

    first: Container[str]
    second: Container[str]

    def __contains__(self, item: object) -> bool:
        return item in self.first or item in self.second


# Does the work on every file, here or elsewhere, and yields what came of it, one `Read` a file, in
# any order.
Spread = Callable[[Extraction, list[str]], Generator[Read, None, None]]


def extract_all(
    roots: Roots | Path,
    files: list[str],
    extractor: Extractor,
    cache: ExtractionCache,
    progress: Callable[[Iterable[Read]], Iterable[Read]],
    exact: bool,
    as_stored: bool = False,
    spread: Spread = side_by_side,
    withheld: frozenset[str] = frozenset(),
) -> tuple[dict[str, str], list[Skipped]]:
    """Bring every photo into the cache.

    Args:
        roots: The indexed folders.
        files: Names in these.
        extractor: Makes the descriptors.
        cache: Holds what was made before, and takes what is made now.
        progress: Is handed all results, one a file, and must yield them.
        exact: As of `LocalFeatures.to_bytes`.
        as_stored: As of `decode`.
        spread: Has the work done.
        withheld: SHA-256 digests of what shall not be described, nor cached.

    Returns:
        The SHA-256 of each file that can be used, and the files that cannot.
    """
    indexed: dict[str, str] = {}
    skipped: list[Skipped] = []
    work = Extraction(roots, extractor, Either(cache, withheld), exact, as_stored)
    with closing(spread(work, files)) as results:
        for item in progress(results):
            if item.problem:
                skipped.append(Skipped(item.file, item.problem))
                continue
            if item.note:
                log.warning("%r: %s", item.file, item.note)
            indexed[item.file] = item.sha256
            if item.photo is not None and item.sha256 not in cache:
                cache.put(item.sha256, item.photo)
    cache.journal.commit()
    return indexed, skipped
