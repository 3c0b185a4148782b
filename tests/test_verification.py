"""SIFT verification against homographies that are known because the test made them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from extractor import LocalFeatures, local_features, read_photo
from search.verification import distinct_spots, is_plausible, match, unit, verify

from .conftest import GALLERY


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return read_photo(GALLERY / "neuschwanstein-castle.jpg")


def warped(photo: np.ndarray, homography: np.ndarray) -> np.ndarray:
    return cv2.warpPerspective(photo, homography, (photo.shape[1], photo.shape[0]))


PERSPECTIVE = np.array([[0.85, 0.12, 20], [-0.1, 0.9, 40], [1e-4, -5e-5, 1]])


def test_recovers_a_known_homography(photo):
    result = verify(local_features(photo), local_features(warped(photo, PERSPECTIVE)))
    assert result.inliers >= 100
    corners = np.float32([[[0, 0]], [[600, 0]], [[0, 380]], [[600, 380]]])
    expected = cv2.perspectiveTransform(corners, PERSPECTIVE)
    found = cv2.perspectiveTransform(corners, result.homography)
    assert np.abs(expected - found).max() < 4
    projected = cv2.perspectiveTransform(result.query_points[:, None], result.homography)[:, 0]
    assert np.median(np.linalg.norm(projected - result.hit_points, axis=1)) < 1.5
    assert result.query_size == photo.shape[:2]


def test_other_things_are_not_verified(photo):
    query = local_features(photo)
    for name in ("hammer-1.jpg", "wine.jpg", "taj-mahal.jpg", "igloo.jpg", "alphabets.jpg"):
        assert verify(query, local_features(read_photo(GALLERY / name))).inliers < 10, name


def test_mirrored_photo_is_refused_as_a_whole(photo):
    result = verify(local_features(photo), local_features(np.ascontiguousarray(photo[:, ::-1])))
    assert result.inliers < 10


@pytest.mark.parametrize(
    "homography, plausible",
    [
        (np.eye(3), True),
        (PERSPECTIVE, True),
        (np.diag([3.0, 3.0, 1.0]), True),
        (np.diag([-1.0, 1.0, 1.0]), False),  # mirrors
        (np.diag([0.01, 0.01, 1.0]), False),  # collapses
        (np.diag([10.0, 1.0, 1.0]), False),  # smears
        (np.array([[1, 0, 0], [0, 1, 0], [-0.01, 0, 1.0]]), False),  # the horizon crosses the photo
        (np.full((3, 3), np.nan), False),
    ],
)
def test_plausible_homographies(homography, plausible):
    points = np.float32([[10, 10], [500, 20], [480, 400], [30, 380]])
    assert is_plausible(homography, points) is plausible


def test_match_equals_brute_force(rng):
    query, hit = (unit(rng.integers(0, 200, (60, 128), np.uint8)) for _ in range(2))
    hit[:20] = query[:20]
    hit[20] = query[0]  # query 0 has two equal targets: no ratio, no match
    query[59] = query[5]  # queries 5 and 59 want the same target: one gets it
    distance = np.sqrt(np.maximum(2 - 2 * query.astype(np.float64) @ hit.T.astype(np.float64), 2e-6))
    expected = {}
    for i, row in enumerate(distance):
        first, second = np.argsort(row, kind="stable")[:2]
        quotient = row[first] / row[second]
        if quotient < 0.85 and (first not in expected or quotient < expected[first][0] - 1e-6):
            expected[int(first)] = (quotient, i)
    found = {int(target): int(source) for source, target in match(query, hit)}
    assert 0 not in found and found == {target: source for target, (_, source) in expected.items()}
    assert set(range(1, 20)) <= set(found)


def test_many_matches_on_one_spot_are_one_match():
    spot = np.float32([100, 50]) + np.linspace(0, 1, 27, dtype=np.float32)[:, None]
    spread = np.float32([[10 * i, 20 * i] for i in range(27)])
    assert len(distinct_spots(spot, spread)) == 1
    assert len(distinct_spots(spread, spot)) == 1
    assert len(distinct_spots(spread, spread)) == 27


def test_features_survive_storage_and_flat_photos_have_none(photo):
    features = local_features(photo)
    again = LocalFeatures.from_bytes(features.to_bytes())
    np.testing.assert_array_equal(again.points, features.points)
    np.testing.assert_array_equal(again.descriptors, features.descriptors)
    assert again.size == features.size and 0 < len(again.points) <= 1000
    flat = local_features(np.full((60, 80, 3), 90, np.uint8))
    assert len(flat.points) == 0 and LocalFeatures.from_bytes(flat.to_bytes()).size == (60, 80)
    assert verify(flat, features).inliers == verify(features, flat).inliers == verify(flat, flat).inliers == 0


def test_root_sift_is_the_root_of_the_l1_normalised_histogram(photo):
    features = local_features(photo)
    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)
    _, sift = cv2.SIFT_create(nfeatures=1000).detectAndCompute(grey, None)
    root = np.sqrt(sift / sift.sum(1, keepdims=True))
    nearest = (unit(features.descriptors) @ root.T).max(1)
    assert len(features.points) > 500 and nearest.min() > 0.999
