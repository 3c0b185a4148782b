"""Detect gallery photos that are the query itself, pixel for pixel, in any file."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from extractor import LocalFeatures
from extractor.keypoints import keypoint_codes
from index_store import Store

from ..query import PreparedQuery, QueryPhoto
from ..ranking import Ranking, cosine
from ..verify.matcher import SIFT, UNREADABLE

FEWEST = 20  # keypoints; fewer say too little about the pixels
EQUAL = 0.999  # minimum cosine: stored descriptors, and those of other engines, are rounded


def identical_ids(query: PreparedQuery, store: Store) -> np.ndarray:
    """Gallery photos with the same pixels as one of the query's photos, int (n,).

    Equal pixels have equal keypoints; a photo that was re-encoded or changed in one place does not.
    A part of a photo is never identical to a photo.

    Args:
        query: the query.
        store: the gallery.
    """
    whole = [photo for photo in query.photos if photo.region is None]
    same = [id for id in query.copy_ids.tolist() if any(is_same(p, id, store) for p in whole)]
    return np.array(same, np.int64)


def is_same(photo: QueryPhoto, id: int, store: Store) -> bool:
    """Whether a photo of the query and a gallery photo have the same descriptor and keypoints.

    Keypoints alone ignore colour. False if the gallery photo has too few keypoints to decide.
    """
    if cosine(photo.descriptor, store.descriptors[[id]])[0] < EQUAL:
        return False
    try:
        theirs = store.stored_features(id)
        if not theirs or len(LocalFeatures.from_bytes(theirs).points) < FEWEST:
            return False
        if photo.id is not None:
            return store.stored_features(photo.id) == theirs
    except UNREADABLE:
        return False
    own = photo.keypoints.get(SIFT)
    return own is not None and own.to_bytes(keypoint_codes.is_exact(theirs)) == theirs


def with_identical(ranking: Ranking, ids: np.ndarray) -> Ranking:
    """The same photos, with these ids first and certain.

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
