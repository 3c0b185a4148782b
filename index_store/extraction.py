"""Photos -> stored data of each: descriptor, thumbnail, local features.

This is the longest stage, so it is resumable: finished photos go into the cache by the SHA-256 of
their bytes. Cached photos are not computed again: those of a killed build, and those of the live
generation.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Container, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from extractor import (
    BadPhoto,
    Extractor,
    Limits,
    decoder_for,
    encode_jpeg,
    in_order,
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
    """Result for one photo file.

    Attributes:
        file: name in `Roots`.
        sha256: SHA-256 of its bytes.
        problem: why it cannot be used, or "".
        note: a defect that does not prevent its use, or "".
        photo: the extracted data; None if the content was known.
    """

    file: str
    sha256: str = ""
    problem: str = ""
    note: str = ""
    photo: Extracted | None = None


@dataclass(frozen=True)
class Extraction:
    """Reads a photo and computes its stored data, unless its content is known.

    Attributes:
        roots: the indexed folders.
        extractor: extractor that computes descriptors.
        known: SHA-256 digests of photos that need no work.
        exact: see `LocalFeatures.to_bytes`.
        as_stored: see `decode`.
        limits: limits on a photo and its cost.
    """

    roots: Roots | Path
    extractor: Extractor
    known: Container[str]
    exact: bool
    as_stored: bool = False
    limits: Limits = field(default_factory=owner_limits)

    def __call__(self, file: str) -> Read:
        """Process one photo. `file` is its name in `roots`."""
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
    """Turn off OpenCV's own threads, which would compete with the photos processed in parallel."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


def side_by_side(work: Extraction, files: list[str]) -> Generator[Read, None, None]:
    """Process files in one thread per core, yielding results in order.

    Each thread takes a photo through all stages; an extractor with as many `calls` as there are
    cores suits that best.
    """
    with one_thread_each():
        yield from in_order(work, files)


@dataclass(frozen=True)
class Either:
    """The union of two containers."""

    first: Container[str]
    second: Container[str]

    def __contains__(self, item: object) -> bool:
        return item in self.first or item in self.second


# Function that processes every file, here or elsewhere, and yields one `Read` per file, in any
# order.
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
        roots: the indexed folders.
        files: names in these folders.
        extractor: extractor that computes descriptors.
        cache: holds previous results and receives new ones.
        progress: receives the results, one per file, and must yield them.
        exact: see `LocalFeatures.to_bytes`.
        as_stored: see `decode`.
        spread: function that processes the files.
        withheld: SHA-256 digests of photos that must not be described or cached.

    Returns:
        The SHA-256 of each usable file, and the unusable files.

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
