"""Overlays: captions, logos and watermarks, whose matches say nothing about what two photos show.

An overlay in a margin is recognised by its place in both photos, a tiled watermark by having the
same size and direction in both.
"""

from __future__ import annotations

import numpy as np

from extractor import LocalFeatures

EDGE = 0.1  # share of a photo's width or height: a line of text along the edge, with its margin
# Share of width and height: a logo with its margin. No true pair of the development set depends on
# matches in one corner of this size.
CORNER = 0.25
# Standard deviation of the inliers' shifts, pixels: photos of a thing from two places differ more.
# Of 1,039 true pairs of the labelled sets with 6 to 19 inliers this rejects one.
SAME_SHIFT = 1.5
COPY_INLIERS = 20  # as many inliers, or COPY_SHARE of the keypoints, can be a copy or a crop
COPY_SHARE = 0.5


def outside_margins(query: LocalFeatures, hit: LocalFeatures, pairs: np.ndarray) -> np.ndarray:
    """The matches that are not in the same margin of both photos, see `in_same_margin`.

    Args:
        query, hit: features of the two photos.
        pairs: row indices of matched points, int (m, 2).
    """
    return pairs[
        ~in_same_margin(query.points[pairs[:, 0]], query.size, hit.points[pairs[:, 1]], hit.size)
    ]


def in_same_margin(
    source: np.ndarray,
    source_size: tuple[int, int],
    target: np.ndarray,
    target_size: tuple[int, int],
) -> np.ndarray:
    """Which matches are along the same edge of both photos, or in the same corner.

    Captions, watermarks and logos are there. The thing that two photos show is rarely in the same
    margin of both.

    Args:
        source, target: matched points in pixels, float32 (m, 2) each.
        source_size, target_size: (height, width) of their photos.

    Returns:
        bool (m,).
    """
    source, target = source / np.float32(source_size[::-1]), target / np.float32(target_size[::-1])
    # For each side, the distance of the point that is further from it. Near means both are.
    side_distance = np.minimum(np.maximum(source, target), 1 - np.minimum(source, target))
    return (side_distance < EDGE).any(1) | (side_distance < CORNER).all(1)


def is_overlay(source: np.ndarray, target: np.ndarray, keypoints: int) -> bool:
    """Whether inliers are those of an overlay, which has one size and direction in all photos.

    Args:
        source, target: the inliers in pixels, float32 (n, 2) each.
        keypoints: number of keypoints of the photo with fewer.
    """
    is_small = len(source) < min(COPY_INLIERS, COPY_SHARE * keypoints)
    return is_small and bool(((source - target).std(0) < SAME_SHIFT).all())
