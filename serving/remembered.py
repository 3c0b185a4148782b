"""What links to uploads need: descriptors and keypoints, for a while, never the photo."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from extractor import Region
from search import QueryPhoto

from .settings import settings

PARTS = 6  # descriptions of one upload that are kept: by each model, and of its last few parts
Described = dict[tuple[str, Region | None], QueryPhoto]
"""What is known of an upload: by the fingerprint of the model, and the part that counts."""


@dataclass(frozen=True)
class Known:
    """One upload.

    Attributes:
        photos: what was described of it.
        until: when it is forgotten, seconds since 1970.
    """

    photos: Described
    until: float

    def add(self, model: str, region: Region | None, photo: QueryPhoto) -> None:
        """Know one more description, and let go of the oldest beyond PARTS, never of a whole."""
        self.photos.pop((model, region), None)
        self.photos[model, region] = photo
        parts = [key for key in self.photos if key[1] is not None]
        for key in parts[: max(0, len(self.photos) - PARTS)]:
            self.photos.pop(key, None)


class Remembered:
    """Uploads by a token that cannot be guessed. Thread-safe.

    Args:
        seconds: how long each is remembered. Looking does not prolong it.
        most: how many are; then the oldest goes.
        clock: seconds since 1970, for tests.
    """

    def __init__(self, seconds: float, most: int, clock: Callable[[], float] = time.time):
        self._seconds, self._most, self._clock = seconds, most, clock
        self._lock = threading.Lock()
        self._known: OrderedDict[str, Known] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def keep(self) -> tuple[str, Known]:
        """Begin to remember an upload. Returns its token, and where to add what is known of it."""
        token, known = secrets.token_urlsafe(16), Known({}, self._clock() + self._seconds)
        with self._lock:
            self._known[token] = known
            while len(self._known) > self._most:
                self._known.popitem(last=False)
        return token, known

    def find(self, token: str) -> Known | None:
        """What is remembered under a token; None if nothing is, or no more."""
        self.purge()
        return self._known.get(token)

    def purge(self) -> None:
        """Forget what is past its time."""
        now = self._clock()
        with self._lock:
            while self._known and next(iter(self._known.values())).until <= now:
                self._known.popitem(last=False)


@cache
def remembered() -> Remembered:
    """The one of this process, as the settings say."""
    limits = settings()
    return Remembered(60 * limits.link_minutes, limits.links)
