"""XFeat keypoints matched by LighterGlue: learned, slower than SIFT, less strict about identity.

Potje et al. 2024, "XFeat: accelerated features for lightweight image matching"; LighterGlue is its
small LightGlue (Lindenberger et al. 2023). Matches are verified like those of SIFT
(`verification`), but without a vote: these keypoints have no size or angle, and LighterGlue itself
has already rejected most wrong matches.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from extractor import LocalFeatures, XFeatKeypoints, read_matching_model
from extractor.keypoints.xfeat import XFEAT_MODEL
from index_store import Store
from matching.overlays import outside_margins
from matching.verification import Verification, collect_evidence, verify_many

CACHED = 1000  # gallery photos whose keypoints are cached, 75 kB each
LEAST_CONFIDENCE = 0.1  # minimum confidence of a match, as published
FEWEST = 2  # minimum keypoints for the matcher


class XFeat:
    """XFeat and LighterGlue on one store. Raises BadModel if their models are missing."""

    label = "XFeat"
    first = 15
    shortlist = 40  # a pair costs about twenty times as much as with SIFT
    is_indexed = False
    floor = 30  # fewer points sometimes agree on photos of different things: porticos, towers

    def __init__(self, store: Store, model: Path = XFEAT_MODEL):
        self.features = find = XFeatKeypoints(model)
        self.gallery_features = lru_cache(CACHED)(lambda id: find(store.pixels(id)))
        self.query_features = self.gallery_features
        self._matcher = read_matching_model(model.with_name("lighterglue.onnx"), threads=1)

    def verify_many(
        self, query: LocalFeatures, hits: Sequence[LocalFeatures]
    ) -> list[Verification]:
        return verify_many(query, hits, self.verify)

    def verify(self, query: LocalFeatures, hit: LocalFeatures) -> Verification:
        """Match two photos' features and verify the matches. Uses one core."""
        pairs = outside_margins(query, hit, self.match(query, hit))
        return collect_evidence(query, hit, pairs, np.arange(len(pairs)))

    def match(self, query: LocalFeatures, hit: LocalFeatures) -> np.ndarray:
        """One-to-one matches int (m, 2), most confident first."""
        if min(len(query.points), len(hit.points)) < FEWEST:
            return np.empty((0, 2), np.int64)
        inputs = {
            "query_points": centred(query),
            "query_descriptors": query.descriptors.astype(np.float32)[None],
            "hit_points": centred(hit),
            "hit_descriptors": hit.descriptors.astype(np.float32)[None],
        }
        confidence = self._matcher.run(None, inputs)[0]
        nearest = confidence.argmax(1)
        rows = np.flatnonzero(confidence.argmax(0)[nearest] == np.arange(len(nearest)))
        best = confidence[rows, nearest[rows]]
        order = np.argsort(-best, kind="stable")
        order = order[best[order] > LEAST_CONFIDENCE]
        return np.stack([rows[order], nearest[rows[order]]], axis=1)


def centred(features: LocalFeatures) -> np.ndarray:
    """float32 (1, n, 2): points relative to the photo's centre, in halves of its longest side."""
    size = np.float32(features.size[::-1])
    return ((features.points - size / 2) / (size.max() / 2))[None]
