"""SIFT keypoints of gallery photos: those the store holds, and of the others those of their
thumbnails.

Finding them takes a hundred times as long as reading them. So what is found is kept in the store's
cache, and one search finds those of so many photos only.

Keypoints of marks, such as logos, are left out here: they say nothing of what a photo shows.
"""

from __future__ import annotations

import json
import zlib

from extractor import BadPhoto, LocalFeatures, local_features
from extractor.keypoints import keypoint_codes
from index_store import KeypointCache, Store, StoreCorrupt
from index_store.store import THUMBNAIL_SIFT_SIDE

MADE_BY = (
    "decode",
    "colours",
    "thumbnails",
    "local_features",
)  # parameters that shape what is found


class GalleryKeypoints:
    """Keypoints of one store's photos. Thread-safe."""

    def __init__(self, store: Store):
        self._store = store
        made_by = [store.manifest.parameters.get(name) for name in MADE_BY]
        made_by.append({"longest_side": THUMBNAIL_SIFT_SIDE})
        version = zlib.crc32(json.dumps(made_by, sort_keys=True).encode())
        self._cache = KeypointCache(store.path, version)

    def at_hand(self, id: int) -> LocalFeatures | None:
        """Keypoints of a photo, None if they must be found first. Raises KeyError, IndexError."""
        data = self._stored(id) or self._cache.get(self._sha256(id))
        return self._read(id, data) if data else None

    def find(self, id: int) -> LocalFeatures:
        """Keypoints of a photo, found and kept if they are not at hand.

        Raises:
            KeyError, IndexError: There is no such photo.
            StoreCorrupt: Its thumbnail is damaged.
        """
        found = self.at_hand(id)
        if found is None:
            data = self._store.thumbnail_features(id).to_bytes()
            self._cache.put(self._sha256(id), data)
            found = self._read(id, data)  # as every later search will see them
        return found

    def as_query(self, id: int) -> LocalFeatures:
        """Keypoints of a photo that is searched with: those an upload of it would have, but marks.

        Where the store does not hold all of them exactly, they are found in the file. If that is
        gone or has changed, those at hand are taken. Raises as `find`.
        """
        data = self._stored(id)
        if keypoint_codes.is_exact(data):
            return self._read(id, data)
        try:
            return self._store.marks.outside(id, local_features(self._store.pixels(id)))
        except (OSError, BadPhoto):
            return self.find(id)

    def _read(self, id: int, data: bytes) -> LocalFeatures:
        return self._store.marks.outside(id, LocalFeatures.from_bytes(data))

    def _stored(self, id: int) -> bytes:
        """Keypoints in the store; empty beyond its budget, and where they are damaged."""
        try:
            return self._store.stored_features(id)
        except StoreCorrupt:
            return b""

    def _sha256(self, id: int) -> str:
        return self._store.catalogue.photo(id).sha256
