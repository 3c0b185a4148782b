"""Cache of descriptors and keypoints for links to uploads, never of the photos."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from extractor import Region
from search import QueryPhoto

from ..settings import settings

PARTS = 6  # cached descriptions of one upload: by each model, and of its last few parts
LINK_BYTES = 300_000  # for a whole upload: a descriptor and 2,000 SIFT keypoints of 144 bytes
Described = Mapping[tuple[str, Region | None], QueryPhoto]
"""Descriptions of an upload by (fingerprint of the model, part of the photo)."""


@dataclass(eq=False)
class CachedUpload:
    """One upload.

    Attributes:
        token: token of its link.
        until: expiry of the link, seconds since 1970.
        photos: its descriptions. An immutable snapshot for any thread: `UploadCache.add` replaces
            it.
    """

    token: str
    until: float
    photos: Described = field(default_factory=dict)


class UploadCache:
    """Uploads by an unguessable token. Thread-safe.

    Args:
        seconds: lifetime of an entry. Access does not extend it.
        max_uploads: maximum number of uploads; the oldest is dropped first.
        max_bytes: maximum size of all descriptions. Parts of photos are dropped first, starting
            with the oldest uploads, then the oldest uploads themselves.
        clock: seconds since 1970; tests replace it.
    """

    def __init__(
        self,
        seconds: float,
        max_uploads: int,
        max_bytes: int,
        clock: Callable[[], float] = time.time,
    ):
        self._seconds, self._max_uploads, self._max_bytes = seconds, max_uploads, max_bytes
        self._clock = clock
        self._lock = threading.Lock()
        self._uploads: OrderedDict[str, CachedUpload] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._uploads)

    def keep(self) -> CachedUpload:
        """Add an empty entry for an upload."""
        upload = CachedUpload(secrets.token_urlsafe(16), self._clock() + self._seconds)
        with self._lock:
            self._uploads[upload.token] = upload
            while len(self._uploads) > self._max_uploads:
                self._drop_oldest()
        return upload

    def add(
        self, upload: CachedUpload, model: str, region: Region | None, photo: QueryPhoto
    ) -> None:
        """Cache a description of an upload; beyond PARTS its oldest part is dropped.

        Args:
            upload: entry returned by `keep`. An expired entry still works for its holder.
            model: fingerprint of the model that described it.
            region: part of the photo, None for all of it.
            photo: the description.
        """
        with self._lock:
            photos = {
                key: description
                for key, description in upload.photos.items()
                if key != (model, region)
            }
            photos[model, region] = photo
            parts = [key for key in photos if key[1] is not None]
            for key in parts[: max(0, len(photos) - PARTS)]:
                del photos[key]
            self._replace(upload, photos)
            self._keep_within_bytes()

    def find(self, token: str) -> CachedUpload | None:
        """The entry of a token; None if it is unknown or expired."""
        self.purge()
        return self._uploads.get(token)

    def purge(self) -> None:
        """Drop expired entries."""
        now = self._clock()
        with self._lock:
            while self._uploads and next(iter(self._uploads.values())).until <= now:
                self._drop_oldest()

    def _keep_within_bytes(self) -> None:
        for upload in self._uploads.values():
            if self._bytes <= self._max_bytes:
                return
            whole = {key: photo for key, photo in upload.photos.items() if key[1] is None}
            self._replace(upload, whole)
        while self._bytes > self._max_bytes:
            self._drop_oldest()

    def _replace(self, upload: CachedUpload, photos: Described) -> None:
        if self._uploads.get(upload.token) is upload:
            self._bytes += size(photos) - size(upload.photos)
        upload.photos = photos

    def _drop_oldest(self) -> None:
        _, upload = self._uploads.popitem(last=False)
        self._bytes -= size(upload.photos)


def size(photos: Described) -> int:
    """Total bytes of the arrays in an upload's descriptions."""
    return sum(
        buffer(array).nbytes
        for photo in photos.values()
        for array in (
            photo.descriptor,
            *(a for f in photo.keypoints.values() for a in (f.points, f.frames, f.descriptors)),
        )
    )


def buffer(array: np.ndarray) -> np.ndarray:
    """The array that owns the memory of a view: a row keeps its whole matrix alive."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


@cache
def upload_cache() -> UploadCache:
    """The upload cache of this process, with the limits of the settings."""
    limits = settings()
    return UploadCache(60 * limits.link_minutes, limits.links, limits.links * LINK_BYTES)
