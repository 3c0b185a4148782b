"""Whether a gallery photo is the query itself, pixel for pixel, whatever file it comes in."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from extractor import LocalFeatures, keypoint_codes
from index_store import Store

from .prepared import PreparedQuery, QueryPhoto
from .ranking import Ranking
from .verify.matcher import UNREADABLE

SIFT = "sift"  # the keypoints that a store holds
FEWEST = 20  # keypoints; fewer say too little of the pixels


def identical_ids(query: PreparedQuery, store: Store) -> np.ndarray:
    """Gallery photos whose pixels are those of one of the query's photos, int (n,).

    Equal pixels have equal keypoints; a photo that was saved again or changed in one place has not.
    Copies of parts of a photo are not looked for.

    Args:
        query: asked for.
        store: the gallery.
    """
    whole = [photo for photo in query.photos if photo.region is None]
    same = [
        int(id) for id in query.copy_ids if any(is_same(photo, int(id), store) for photo in whole)
    ]
    return np.array(same, np.int64)


def is_same(photo: QueryPhoto, id: int, store: Store) -> bool:
    """Whether all keypoints of two photos are the same."""
    try:
        theirs = store.stored_features(id)
        if photo.id is not None:
            return bool(theirs) and theirs == store.stored_features(photo.id)
    except UNREADABLE:
        return False
    own: LocalFeatures | None = photo.keypoints.get(SIFT)
    if own is None or len(own.points) < FEWEST or not theirs:
        return False
    return own.to_bytes(keypoint_codes.is_exact(theirs)) == theirs


def with_identical(ranking: Ranking, ids: np.ndarray) -> Ranking:
    """The same photos, those with these ids first and certain.

    Args:
        ranking: best first.
        ids: int (n,).
    """
    same = np.isin(ranking.ids, ids)
    if not same.any():
        return ranking
    scores = np.where(same, ranking.scores.max(), ranking.scores)
    probability = ranking.probability
    if probability is not None:
        probability = np.where(same, 1.0, probability)
    raised = replace(ranking, scores=scores, probability=probability)
    return raised[np.argsort(~same, kind="stable")]
