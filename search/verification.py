"""Do two photos show the same thing? RootSIFT matches that agree on one homography say so, and where.

Matching: ratio test (Lowe 2004), then one-to-one, because many matches onto one target point make a degenerate model
look supported (OpenCV issue 25546). Model: homography by USAC with the MAGSAC++ score (Barath et al. 2020), refused when
it mirrors, folds or collapses the picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from extractor import LocalFeatures

RATIO = 0.85  # loose on purpose: the geometry below is the judge
MAX_ERROR = 6.0  # reprojection error, pixels at the features' size (640 longest side)
MIN_MATCHES = 6  # below this a homography says nothing
MAX_ITERATIONS = 2000
CONFIDENCE = 0.999
MAX_AREA_CHANGE = 25.0  # a zoom of 5 either way
MAX_STRETCH = 6.0  # longer over shorter axis of a small circle after the homography
ROUNDING = 1e-6  # of a cosine in float32
SPOT = 4.0  # pixels: inliers closer than this at both ends are one piece of evidence


@dataclass(frozen=True)
class Verification:
    """Evidence that query and hit show the same thing.

    inliers: number of distinct matched spots that agree with the homography (0: none found).
    homography: float64 (3, 3) from query to hit pixels, or None.
    query_points, hit_points: float32 (inliers, 2), matched spots, most distinctive first, in pixels of the sizes below.
    query_size, hit_size: (height, width) of the photos as the features saw them.
    """

    inliers: int
    homography: np.ndarray | None
    query_points: np.ndarray
    hit_points: np.ndarray
    query_size: tuple[int, int]
    hit_size: tuple[int, int]


def unit(descriptors: np.ndarray) -> np.ndarray:
    """uint8 RootSIFT (n, 128) -> float32 rows of norm 1."""
    rows = descriptors.astype(np.float32)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-7)


def match(query: np.ndarray, hit: np.ndarray, ratio: float = RATIO) -> np.ndarray:
    """One-to-one matches int (m, 2) of unit descriptors (n, 128) and (k, 128), most distinctive first.

    A query point matches its nearest hit point if that is nearer than `ratio` times the second nearest; of several query
    points that want the same hit point, the most distinctive keeps it.
    """
    if len(query) == 0 or len(hit) < 2:
        return np.empty((0, 2), np.int64)
    similarity = query @ hit.T
    rows = np.arange(len(query))
    nearest = similarity.argmax(1)
    best = similarity[rows, nearest]
    similarity[rows, nearest] = -1
    second = similarity.max(1)
    # Squared distances of unit vectors are 2 - 2 cos. The floor makes two perfect targets (0 / 0) no match at all.
    quotient = np.sqrt(np.maximum(1 - best, ROUNDING) / np.maximum(1 - second, ROUNDING))
    order = np.argsort(quotient, kind="stable")
    order = order[quotient[order] < ratio]
    _, first = np.unique(nearest[order], return_index=True)
    kept = order[np.sort(first)]
    return np.stack([kept, nearest[kept]], axis=1)


def is_plausible(homography: np.ndarray, points: np.ndarray) -> bool:
    """Whether the homography keeps orientation and does not collapse or smear the picture anywhere around `points` (n, 2)."""
    (left, top), (right, bottom) = points.min(0), points.max(0)
    corners = np.array([(x, y, 1.0) for x in (left, right) for y in (top, bottom)])
    x, y, w = homography @ corners.T
    if not np.isfinite(homography).all() or (np.abs(w) < 1e-9).any() or (np.sign(w) != np.sign(w[0])).any():
        return False  # the horizon runs through the matched area
    for u, v, depth in zip(x / w, y / w, w):
        # Jacobian of the mapping at this corner
        jacobian = (
            np.array([homography[0, :2] - u * homography[2, :2], homography[1, :2] - v * homography[2, :2]]) / depth
        )
        long, short = np.linalg.svd(jacobian, compute_uv=False)
        if np.linalg.det(jacobian) <= 0 or long > MAX_STRETCH * short:
            return False
        if not 1 / MAX_AREA_CHANGE <= long * short <= MAX_AREA_CHANGE:
            return False
    return True


def distinct_spots(query_points: np.ndarray, hit_points: np.ndarray) -> np.ndarray:
    """Indices of matches that are separate evidence: one per cell of SPOT pixels in each photo.

    SIFT gives one corner several keypoints (orientations, scales); counted one by one they would pass for many.
    """
    kept = np.arange(len(query_points))
    for points in (query_points, hit_points):
        _, first = np.unique(np.floor(points[kept] / SPOT), axis=0, return_index=True)
        kept = kept[np.sort(first)]
    return kept


def verify(query: LocalFeatures, hit: LocalFeatures) -> Verification:
    """Match two photos' features and fit a homography; no inliers when there is no plausible one."""
    none = np.empty((0, 2), np.float32)
    nothing = Verification(0, None, none, none, query.size, hit.size)
    pairs = match(unit(query.descriptors), unit(hit.descriptors))
    if len(pairs) < MIN_MATCHES:
        return nothing
    source, target = query.points[pairs[:, 0]], hit.points[pairs[:, 1]]
    try:
        homography, mask = cv2.findHomography(
            source, target, cv2.USAC_MAGSAC, MAX_ERROR, maxIters=MAX_ITERATIONS, confidence=CONFIDENCE
        )
    except cv2.error:  # some degenerate point sets raise instead of returning no model
        return nothing
    if homography is None:
        return nothing
    inside = mask.ravel().astype(bool)
    source, target = source[inside], target[inside]
    if len(source) < MIN_MATCHES or not is_plausible(homography, source):
        return nothing
    spots = distinct_spots(source, target)
    return Verification(len(spots), homography, source[spots], target[spots], query.size, hit.size)
