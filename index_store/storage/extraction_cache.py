"""Extraction cache: finished photos, in segments and the journal, while a store is written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from ..errors import StoreError
from . import build_journal
from .build_journal import Extracted, Journal
from .generation import SEGMENTS
from .rows import Rows
from .segment import Segment, is_whole, segments_in, write_segment

SEGMENT = 4096  # photos in a full segment
# Bytes; enough for at least 200,000 photos when encoded. Keypoints of other photos are detected on
# demand.
LOCAL_FEATURES_BUDGET = 8 * 2**30
EXACT_PHOTOS = 10_000  # photos up to which keypoints are kept unquantised: a third of the budget


def kept_exactly(photos: int) -> bool:
    """Whether a gallery of `photos` photos stores new keypoints unquantised."""
    return photos <= EXACT_PHOTOS


class ExtractionCache:
    """Finished photos by the SHA-256 of their files. The caller holds `writing(store)`.

    New photos go into the journal; whenever it holds SEGMENT of them, they become a segment. So a
    killed build loses only photos in progress, and the next one finds all others here.
    """

    def __init__(self, store: Path, fingerprint: str, dim: int, live: Sequence[Segment] = ()):
        """Load the existing data.

        Args:
            store: folder of the store.
            fingerprint: `ExtractionSpec.facts`; data with another fingerprint is not used.
            dim: components of a descriptor (D).
            live: segments of the live generation, if it can be built on. Other segments in the
                folder, left by a killed build, are used if they are intact. Of damaged ones, the
                intact photos are used.
        """
        self._folder = store / SEGMENTS
        self._folder.mkdir(exist_ok=True)
        self._dim, self._fingerprint = dim, build_journal.digest(fingerprint)
        self.segments: list[Segment] = []
        self._slots: dict[str, int] = {}
        self._size = 0
        for segment in live:
            self._take(segment)
        damaged = []
        for name in set(segments_in(self._folder)) - {segment.facts.name for segment in live}:
            with suppress(StoreError, FileNotFoundError, ValueError):
                segment = Segment(self._folder, name)
                facts = segment.fingerprint, segment.descriptors.shape[1]
                if facts != (self._fingerprint, dim):
                    continue
                if is_whole(self._folder, name):
                    self._take(segment)
                else:
                    damaged.append(segment)
        self.journal = Journal(store / build_journal.FILE_NAME, fingerprint)
        self.journal.drop([sha256 for sha256 in self.journal.finished() if sha256 in self._slots])
        for segment in damaged:
            self._rescue(segment)

    def _take(self, segment: Segment) -> None:
        names = segment.table["sha256"].astype("U64").tolist()
        for slot, sha256 in enumerate(names, self._size):
            self._slots.setdefault(sha256, slot)
        self.segments.append(segment)
        self._size += len(names)

    def _rescue(self, segment: Segment) -> None:
        """Put the intact photos of a damaged segment into the journal, unless already available."""
        for row in sorted(set(range(len(segment.table))) - set(segment.damaged())):
            sha256 = segment.sha256(row)
            if sha256 not in self:
                self.put(sha256, segment.extracted(row))

    def __contains__(self, sha256: object) -> bool:
        return sha256 in self._slots or sha256 in self.journal

    def __reduce__(self) -> tuple:
        """Pickle as the set of current digests: other processes only need membership tests."""
        return frozenset, ([*self._slots, *self.journal.finished()],)

    def put(self, sha256: str, photo: Extracted) -> None:
        """Add a photo. Raises OSError, sqlite3.Error."""
        self.journal[sha256] = photo
        if len(self.journal) >= SEGMENT:
            self._seal(self.journal.finished())

    def _seal(self, photos: Iterable[str]) -> None:
        """Move photos from the journal into a new segment."""
        hashes = sorted(photos)
        if not hashes:
            return
        stored = sum(int(segment.table["features"].sum()) for segment in self.segments)
        facts = write_segment(
            self._folder,
            ((sha256, self.journal[sha256]) for sha256 in hashes),
            self._dim,
            self._fingerprint,
            LOCAL_FEATURES_BUDGET - stored,
        )
        self._take(Segment(self._folder, facts.name))
        self.journal.drop(hashes)

    def finish(self, photos: Sequence[str]) -> Rows:
        """The rows of photos that are all in the cache, with the segments they need.

        Args:
            photos: SHA-256 of each photo, in the order of their ids.
        """
        hashes = set(photos)
        self._seal(hashes & self.journal.finished())
        slots = np.array([self._slots[sha256] for sha256 in photos], np.int64)
        return Rows(self.segments, slots).needed()

    def close(self) -> None:
        """Close the journal and keep it, so that a later build can resume."""
        self.journal.close()
