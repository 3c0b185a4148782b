"""SIFT keypoints of gallery photos, from the store, or else detected in their thumbnails.

Detecting them takes a hundred times as long as reading them, so results are cached in the store's
folder.

Keypoints of marks, such as logos, are excluded here: they say nothing about what a photo shows.
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
)  # parameters that affect the keypoints


class GalleryKeypoints:
    """Keypoints of one store's photos. Thread-safe."""

    def __init__(self, store: Store):
        self._store = store
        made_by = [store.manifest.parameters.get(name) for name in MADE_BY]
        made_by.append({"longest_side": THUMBNAIL_SIFT_SIDE})
        version = zlib.crc32(json.dumps(made_by, sort_keys=True).encode())
        self._cache = KeypointCache(store.path, version)

    def at_hand(self, id: int) -> LocalFeatures | None:
        """Keypoints of a photo, None if they must be detected. Raises KeyError, IndexError."""
        data = self._stored(id) or self._cache.get(self._sha256(id))
        return self._read(id, data) if data else None

    def find(self, id: int) -> LocalFeatures:
        """Keypoints of a photo, detected and cached if necessary.

        Raises:
            KeyError, IndexError: there is no such photo.
            StoreCorrupt: its thumbnail is damaged.
        """
        found = self.at_hand(id)
        if found is None:
            data = self._store.thumbnail_features(id).to_bytes()
            self._cache.put(self._sha256(id), data)
            found = self._read(id, data)  # decoded, so that all searches get the same values
        return found

    def as_query(self, id: int) -> LocalFeatures:
        """Keypoints of a photo used as a query: those of an upload of it, without marks.

        If the store does not hold all of them unquantised, they are detected in the file. If that
        is missing or has changed, the available ones are used. Raises as `find`.
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
        """Keypoints in the store; empty beyond its budget, or if they are damaged."""
        try:
            return self._store.stored_features(id)
        except StoreCorrupt:
            return b""

    def _sha256(self, id: int) -> str:
        return self._store.catalogue.photo(id).sha256
