"""Interface and registry of methods that compare two photos by keypoints."""

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
"""Errors of detecting a gallery photo's keypoints: only that photo cannot be verified."""


class Matcher(Protocol):
    """One method on one store: `MATCHERS[name](store)`. Thread-safe.

    Constructors raise BadModel if a model they need is missing.

    Attributes:
        label: display name.
        first: number of best photos that are verified at once.
        shortlist: maximum number of best photos that are verified.
        floor: matched points from which two photos are assumed to show the same thing.
        is_indexed: whether the store's keypoint index holds such keypoints.
    """

    label: str
    first: int
    shortlist: int
    floor: int
    is_indexed: bool

    def features(self, photo: np.ndarray) -> LocalFeatures:
        """Keypoints of a decoded photo, uint8 RGB (H, W, 3)."""
        ...

    def gallery_features(self, id: int) -> LocalFeatures:
        """Keypoints of a gallery photo, detected if necessary.

        Raises:
            KeyError: there is no such photo.
            OSError, BadPhoto, StoreCorrupt: the file or thumbnail to detect them in is missing, has
                changed, or is damaged: UNREADABLE.
        """
        ...

    def query_features(self, id: int) -> LocalFeatures:
        """Keypoints of a gallery photo used as a query. Raises as `gallery_features`."""
        ...

    def match(self, query: LocalFeatures, hit: LocalFeatures) -> np.ndarray:
        """Matched points before any geometric verification, int (m, 2), most distinctive first."""
        ...

    def verify_many(
        self, query: LocalFeatures, hits: Sequence[LocalFeatures]
    ) -> list[Verification]:
        """Verify the query with each of the hits."""
        ...


class Sift:
    """RootSIFT, with keypoints from the store or detected in its thumbnails."""

    label = "SIFT"
    first = 15
    shortlist = 25
    floor = 8
    is_indexed = True

    def __init__(self, store: Store):
        self.features = local_features
        keypoints = GalleryKeypoints(store)
        self.gallery_features, self.query_features = keypoints.find, keypoints.as_query
        self.verify_many = verify_many

    def match(self, query: LocalFeatures, hit: LocalFeatures) -> np.ndarray:
        return match(query.descriptors, hit.descriptors)


SIFT = "sift"
MATCHERS: dict[str, type[Matcher]] = {SIFT: Sift, "xfeat": XFeat}
