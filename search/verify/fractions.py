"""Matched points and homographies in fractions of width and height, for display at any size."""

from __future__ import annotations

import numpy as np

from matching.verification import Verification


def relative_points(verification: Verification) -> list[list[float]]:
    """Matched points [x, y, x', y'] as fractions of the query's and the hit's width and height."""
    query = verification.query_points / verification.query_size[::-1]
    hit = verification.hit_points / verification.hit_size[::-1]
    return np.hstack([query, hit]).round(5).tolist()


def relative_homography(verification: Verification) -> list[float]:
    """The homography between fractions of width and height, row by row, from query to hit."""
    query = np.diag([verification.query_size[1], verification.query_size[0], 1.0])
    hit = np.diag([1 / verification.hit_size[1], 1 / verification.hit_size[0], 1.0])
    matrix = hit @ verification.homography @ query
    return (matrix / np.abs(matrix).max()).ravel().tolist()
