"""Geometric verification: whether two photos show the same thing, and where.

1. Match. Matching is one to one (`ratio_test`), because many matches onto one target point make a
   degenerate model look supported (OpenCV issue 25546). Matches in the same margin of both photos
   are dropped, because captions, watermarks and logos are there.
2. Vote. A keypoint has a size and an angle, so a single match implies a whole similarity transform
   (Philbin et al. 2007, section 4). The transform that most matches agree with selects the
   candidates. For most photos these are too few, and verification ends here. Few of the candidates
   are wrong, which is why matching may be loose and few points suffice.
3. Fit. USAC estimates the candidates' homography with the MAGSAC++ score (Barath et al. 2020). A
   homography that mirrors, folds or collapses the picture is rejected. All matches that agree with
   it are inliers, counted once per spot. A few inliers that are all shifted alike are an overlay,
   such as a tiled watermark, and rejected as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np

from extractor import LocalFeatures

from .overlays import (
    COPY_INLIERS,
    COPY_SHARE,
    CORNER,
    EDGE,
    SAME_SHIFT,
    is_overlay,
    outside_margins,
)
from .pool import on_all_cores
from .ratio_test import NOISE, RATIO, match

GUESSES = 100  # number of most distinctive matches, each of which proposes a transform
# Pixels at the larger of the two scales: a similarity only roughly models a facade from the side.
VOTE_ERROR = 25.0
VOTE_TURN = 30.0  # degrees between two rotations that agree
VOTE_ZOOM = 2.0  # maximum ratio of two zooms that agree, either way
MAX_ERROR = 6.0  # reprojection error, pixels at the features' size (640 longest side)
MIN_MATCHES = 6  # fewer can agree with a homography by chance
# Share of a photo's area, 25 x 25 pixels: points in a dot or on a line determine no homography.
MIN_COVERAGE = 0.002
MAX_ITERATIONS = 2000
RANSAC_CONFIDENCE = 0.999
MAX_AREA_CHANGE = 25.0  # a zoom of 5 either way
MAX_STRETCH = 6.0  # ratio of the axes of the ellipse that a small circle becomes
SPOT = 4.0  # pixels: inliers closer than this at both ends are one piece of evidence
PARAMETERS = {
    "ratio": RATIO,
    "noise": NOISE,
    "margins": [EDGE, CORNER],
    "votes": [GUESSES, VOTE_ERROR, VOTE_TURN, VOTE_ZOOM],
    "overlay": [SAME_SHIFT, COPY_INLIERS, COPY_SHARE],
    "model": [MAX_ERROR, MIN_MATCHES, MIN_COVERAGE, MAX_AREA_CHANGE, MAX_STRETCH, SPOT],
}


@dataclass(frozen=True)
class Verification:
    """Evidence that query and hit show the same thing.

    Attributes:
        inliers: number of distinct matched spots that agree with the homography, 0 without one.
        homography: float64 (3, 3) from query to hit pixels, or None.
        query_points, hit_points: the matched spots, most distinctive first, float32 (inliers, 2), x
            and y in pixels of the sizes below.
        query_size, hit_size: (height, width) of the photos in feature coordinates.
        matches: number of one-to-one matches that entered verification, without those in the same
            margin of both photos.
        coverage: share of a photo inside the convex hull of its matched spots, 0 to 1; the larger
            of the two photos' shares: a crop covers little of the whole photo, but all of the crop
            is covered.
        photo: index of the query's photo that matched, 0 for a query of one photo.
    """

    inliers: int
    homography: np.ndarray | None
    query_points: np.ndarray
    hit_points: np.ndarray
    query_size: tuple[int, int]
    hit_size: tuple[int, int]
    matches: int
    coverage: float
    photo: int = 0


def verify(query: LocalFeatures, hit: LocalFeatures) -> Verification:
    """Match the RootSIFT features of two photos and verify the matches. Uses one core."""
    pairs = outside_margins(query, hit, match(query.descriptors, hit.descriptors))
    rotations = hit.frames[pairs[:, 1]] / query.frames[pairs[:, 0]]
    return collect_evidence(
        query,
        hit,
        pairs,
        vote_for_transform(query.points[pairs[:, 0]], hit.points[pairs[:, 1]], rotations),
    )


def verify_many(
    query: LocalFeatures,
    hits: Sequence[LocalFeatures],
    verify: Callable[[LocalFeatures, LocalFeatures], Verification] = verify,
) -> list[Verification]:
    """Verify a query against many hits, on all cores.

    Args:
        query: features of the query.
        hits: features of the hits.
        verify: function that compares two photos on one core.

    Returns:
        The evidence for each hit, in the order of `hits`.
    """
    return on_all_cores(partial(verify, query), hits)


def collect_evidence(
    query: LocalFeatures, hit: LocalFeatures, pairs: np.ndarray, candidates: np.ndarray
) -> Verification:
    """Fit a homography to matches and collect the evidence.

    Args:
        query, hit: features of the two photos.
        pairs: row indices of matched points, most distinctive first, int (m, 2).
        candidates: indices of the matches from which to estimate the homography, int (c,).

    Returns:
        The evidence, with no inliers if no homography is plausible, or if they are an overlay.
    """
    source, target = query.points[pairs[:, 0]], hit.points[pairs[:, 1]]
    homography, inliers = fit_homography(source, target, candidates)
    coverage = max(
        covered_share(source[inliers], query.size), covered_share(target[inliers], hit.size)
    )
    fewest = min(len(query.points), len(hit.points))
    if coverage < MIN_COVERAGE or is_overlay(source[inliers], target[inliers], fewest):
        homography, inliers, coverage = None, inliers[:0], 0.0
    source, target = source[inliers], target[inliers]
    return Verification(
        len(inliers), homography, source, target, query.size, hit.size, len(pairs), coverage
    )


def vote_for_transform(source: np.ndarray, target: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """Find the similarity transform that most matches agree with, and return those matches.

    Each of the first GUESSES matches proposes the transform that its keypoints imply.

    Args:
        source, target: matched points in pixels, float32 (m, 2) each, most distinctive first.
        rotations: zoom x exp(i rotation) from each keypoint to its match, complex (m,).

    Returns:
        Indices of the agreeing matches, int (c,).
    """
    if len(rotations) == 0:
        return np.empty(0, np.int64)
    source, target = (
        points.astype(np.float64).view(np.complex128)[:, 0] for points in (source, target)
    )
    guess = rotations[:GUESSES, None]
    error = np.abs(target[:GUESSES, None] + guess * (source - source[:GUESSES, None]) - target)
    other = rotations / guess
    zoom = np.abs(other)
    votes = (
        (error < VOTE_ERROR * np.maximum(1, np.abs(guess)))
        & (other.real > zoom * np.cos(np.deg2rad(VOTE_TURN)))
        & (zoom < VOTE_ZOOM)
        & (zoom > 1 / VOTE_ZOOM)
    )
    return np.flatnonzero(votes[votes.sum(1).argmax()])


def fit_homography(
    source: np.ndarray, target: np.ndarray, candidates: np.ndarray
) -> tuple[np.ndarray | None, np.ndarray]:
    """Fit a homography, and find the matched spots that agree with it.

    Args:
        source, target: matched points in pixels, float32 (m, 2) each.
        candidates: indices of the matches from which to estimate it, int (c,).

    Returns:
        float64 (3, 3) from source to target, and the indices int (n,) of all matched spots that
        agree. None and no indices if no homography is plausible.
    """
    no_fit = None, np.empty(0, np.int64)
    if len(candidates) < MIN_MATCHES:
        return no_fit
    try:
        homography, _ = cv2.findHomography(
            source[candidates],
            target[candidates],
            cv2.USAC_MAGSAC,
            MAX_ERROR,
            maxIters=MAX_ITERATIONS,
            confidence=RANSAC_CONFIDENCE,
        )
    except cv2.error:  # some degenerate point sets raise instead of returning no model
        return no_fit
    if homography is None:
        return no_fit
    mapped = cv2.perspectiveTransform(source[:, None], homography)[:, 0]
    inliers = np.flatnonzero(np.linalg.norm(mapped - target, axis=1) < MAX_ERROR)
    inliers = inliers[distinct_spots(source[inliers], target[inliers])]
    if len(inliers) < MIN_MATCHES or not is_plausible(homography, source[inliers]):
        return no_fit
    return homography, inliers


def is_plausible(homography: np.ndarray, points: np.ndarray) -> bool:
    """Whether a homography does not mirror, collapse or smear the picture anywhere.

    Args:
        homography: (3, 3).
        points: the matched points, (n, 2). The corners of their bounding box are tested.
    """
    (left, top), (right, bottom) = points.min(0), points.max(0)
    corners = np.array([(x, y, 1.0) for x in (left, right) for y in (top, bottom)])
    x, y, w = homography @ corners.T
    if (
        not np.isfinite(homography).all()
        or (np.abs(w) < 1e-9).any()
        or (np.sign(w) != np.sign(w[0])).any()
    ):
        return False  # the horizon runs through the matched area
    for u, v, depth in zip(x / w, y / w, w):
        # Jacobian of the mapping at this corner
        jacobian = (homography[:2, :2] - np.outer((u, v), homography[2, :2])) / depth
        long, short = np.linalg.svd(jacobian, compute_uv=False)
        if np.linalg.det(jacobian) <= 0 or long > MAX_STRETCH * short:
            return False
        if not 1 / MAX_AREA_CHANGE <= long * short <= MAX_AREA_CHANGE:
            return False
    return True


def distinct_spots(query_points: np.ndarray, hit_points: np.ndarray) -> np.ndarray:
    """Which matches are separate evidence: one per cell of SPOT pixels in each photo.

    SIFT detects several keypoints at one corner, with other orientations and scales. Counted
    individually they would inflate the evidence.

    Args:
        query_points, hit_points: matched points in pixels, (n, 2) each.

    Returns:
        Indices of the matches to keep, int (k,), ascending.
    """
    indices = np.arange(len(query_points))
    for points in (query_points, hit_points):
        _, first = np.unique(np.floor(points[indices] / SPOT), axis=0, return_index=True)
        indices = indices[np.sort(first)]
    return indices


def covered_share(points: np.ndarray, size: tuple[int, int]) -> float:
    """Share of a photo's area inside the convex hull of points.

    Args:
        points: float32 (n, 2), in pixels.
        size: (height, width) of the photo.

    Returns:
        0 to 1; 0 without points.
    """
    if len(points) == 0:
        return 0.0
    return min(1.0, cv2.contourArea(cv2.convexHull(points)) / (size[0] * size[1]))
