"""Ways to compare two photos point by point, behind one interface."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from extractor import BadPhoto, LocalFeatures, local_features
from index_store import Store, StoreCorrupt
from matching.ratio_test import match
from matching.verification import Verification, verify_many

from .gallery_keypoints import GalleryKeypoints
from .lighterglue import XFeat

UNREADABLE = (OSError, BadPhoto, StoreCorrupt)
"""What finding a gallery photo's keypoints may raise: that photo cannot be verified, others can."""


class Matcher(Protocol):
    """One method on one store: `MATCHERS[name](store)`. Thread-safe.

    ExtractionSpec one raises BadModel if a model it needs is not there.

    Attributes:
        label: the name for people.
        shortlist: how many of the best photos are verified.
        floor: matched points from which on two photos are taken to show the same thing.
        is_indexed: whether the store's keypoint index holds such keypoints.
    """

    label: str
    shortlist: int
    floor: int
    is_indexed: bool

    def features(self, photo: np.ndarray) -> LocalFeatures:
        """Keypoints of a decoded photo, uint8 RGB (H, W, 3)."""
        ...

    def at_hand(self, id: int) -> LocalFeatures | None:
        """Keypoints of a gallery photo, None if they must be found first. Raises KeyError."""
        ...

    def gallery_features(self, id: int) -> LocalFeatures:
        """Keypoints of a gallery photo, found if need be.

        Raises:
            KeyError: There is no such photo.
            OSError, BadPhoto, StoreCorrupt: What they are found in is gone, has changed, or is
                damaged: UNREADABLE.
        """
        ...

    def query_features(self, id: int) -> LocalFeatures:
        """Keypoints of a gallery photo that is searched with. Raises as `gallery_features`."""
        ...

    def match(self, query: LocalFeatures, hit: LocalFeatures) -> np.ndarray:
        """Which points look alike, before any geometry: int (m, 2), the surest first."""
        ...

    def verify_many(
        self, query: LocalFeatures, hits: Sequence[LocalFeatures]
    ) -> list[Verification]:
        """The query with each of the hits."""
        ...


class Sift:
    """RootSIFT, with the keypoints that the store holds or its thumbnails show."""

    label = "SIFT"
    shortlist = 25
    floor = 8
    is_indexed = True

    def __init__(self, store: Store):
        self.features = local_features
        keypoints = GalleryKeypoints(store)
        self.at_hand, self.gallery_features = keypoints.at_hand, keypoints.find
        self.query_features = keypoints.as_query
        self.verify_many = verify_many

    def match(self, query: LocalFeatures, hit: LocalFeatures) -> np.ndarray:
        return match(query.descriptors, hit.descriptors)


SIFT = "sift"
MATCHERS: dict[str, type[Matcher]] = {SIFT: Sift, "xfeat": XFeat}
