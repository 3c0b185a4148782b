"""Keypoints as few bytes: what comes back is as near as the steps and words are, and nothing else
is taken for them.
"""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from extractor import LocalFeatures, local_features, read_photo
from extractor.keypoints import keypoint_codes, learn_codebook, sift
from extractor.keypoints.keypoint_codes import HEADER, PLACES, SIZES, TURN, Codebook
from extractor.keypoints.learn_codebook import PARTS
from index_store.storage.extraction_cache import EXACT_PHOTOS, LOCAL_FEATURES_BUDGET
from tests.conftest import GALLERY


def made(rng, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[int, int]]:
    """Points anywhere, sizes of 1 to 500, any angle, any descriptor."""
    frames = np.exp(rng.uniform(0, np.log(500), count) + 1j * rng.uniform(-np.pi, np.pi, count))
    return (
        (rng.random((count, 2)) * (640, 480)).astype(np.float32),
        frames.astype(np.complex64),
        rng.integers(0, 256, (count, 128), np.uint8),
        (480, 640),
    )


@pytest.fixture(params=[8, 16, 32])
def codebook(request, rng) -> Codebook:
    parts = request.param
    return Codebook(rng.integers(0, 256, (parts, 256, 128 // parts), np.uint8))


@pytest.mark.parametrize("count", [0, 1, 300])
def test_keypoints_come_back_to_a_step(rng, codebook, count):
    points, frames, descriptors, size = made(rng, count)
    data = keypoint_codes.encode(points, frames, descriptors, size, codebook)
    found = keypoint_codes.decode(data, codebook)
    assert len(data) == HEADER.itemsize + count * (6 + len(codebook.words)) and found[3] == size
    assert np.abs(found[0] - points).max(initial=0) <= 0.5 / PLACES
    turn = found[1] / frames
    assert np.abs(np.log2(np.abs(turn))).max(initial=0) <= 0.501 / SIZES
    assert np.abs(np.angle(turn)).max(initial=0) <= 0.501 * 2 * np.pi / TURN
    # The reference: every word compared with every part.
    shape = (count, len(codebook.words), 1, codebook.words.shape[2])
    parts = descriptors.reshape(shape).astype(int)
    distances = ((parts - codebook.words[None].astype(int)) ** 2).sum(3)
    words = found[2].reshape(shape).astype(int)
    np.testing.assert_array_equal(((parts - words) ** 2).sum((2, 3)), distances.min(2))


def test_what_is_out_of_range_becomes_the_nearest_step(codebook):
    points = np.float32([[-3, 2000]])
    found = keypoint_codes.decode(
        keypoint_codes.encode(
            points, np.complex64([0]), np.zeros((1, 128), np.uint8), (480, 640), codebook
        ),
        codebook,
    )
    assert found[0].tolist() == [[0, 65_535 / PLACES]] and found[1].tolist() == [1]


def test_a_photo_and_a_flat_one():
    features = local_features(read_photo(GALLERY / "petra.jpg"))
    data = features.to_bytes()
    found = LocalFeatures.from_bytes(data)
    few = features.best(sift.STORED_POINTS)
    assert len(found.points) == len(few.points) > 300 and found.size == features.size
    one, other = (f.descriptors.astype(float) for f in (few, found))
    cosine = (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    assert cosine.mean() > 0.98 and np.abs(np.linalg.norm(other, axis=1).mean() / 512 - 1) < 0.005
    flat = local_features(np.zeros((100, 200, 3), np.uint8))
    again = LocalFeatures.from_bytes(flat.to_bytes())
    assert again.descriptors.shape == (0, 128) and again.size == (100, 200)


def test_small_galleries_keep_descriptors_as_they_are():
    features = local_features(read_photo(GALLERY / "petra.jpg"))
    data = features.to_bytes(exact=True)
    found = LocalFeatures.from_bytes(data)
    assert keypoint_codes.is_exact(data) and not keypoint_codes.is_exact(features.to_bytes())
    assert not keypoint_codes.is_exact(b"")
    assert len(data) == HEADER.itemsize + 134 * len(features.points)
    np.testing.assert_array_equal(found.descriptors, features.descriptors)
    assert found.size == features.size and np.abs(found.points - features.points).max() <= 1 / 128
    turned = found.frames / features.frames
    assert np.abs(np.angle(turned)).max() < 0.013
    large = np.abs(features.frames) >= 1
    assert np.abs(np.log2(np.abs(turned[large]))).max() < 0.02


def test_the_best_are_large_for_their_strength():
    features = local_features(read_photo(GALLERY / "petra.jpg"))
    assert features.best(10_000).points.tolist() == features.points.tolist()
    few = features.best(100)
    worth = np.abs(features.frames) / np.arange(1, len(features.points) + 1)
    kept = worth >= np.sort(worth)[-100]
    np.testing.assert_array_equal(few.points, features.points[kept])
    np.testing.assert_array_equal(few.descriptors, features.descriptors[kept])


def test_the_budget_holds_200_000_photos():
    most = HEADER.itemsize + sift.STORED_POINTS * keypoint_codes.shipped().record.itemsize
    assert most <= 40_000 and 200_000 * most <= LOCAL_FEATURES_BUDGET
    whole = HEADER.itemsize + sift.MAX_POINTS * keypoint_codes.exact().record.itemsize
    assert EXACT_PHOTOS * whole <= LOCAL_FEATURES_BUDGET / 3


def test_other_bytes_are_refused(rng, codebook):
    data = keypoint_codes.encode(*made(rng, 3), codebook)
    for length in range(len(data)):
        with pytest.raises(ValueError):
            keypoint_codes.decode(data[:length], codebook)
    with pytest.raises(ValueError, match="size"):
        keypoint_codes.decode(data + b"x", codebook)
    with pytest.raises(ValueError, match="size"):
        keypoint_codes.decode(data[:4] + b"\xff\xff" + data[6:], codebook)
    other = Codebook(codebook.words[::-1].copy())
    with pytest.raises(ValueError, match="another codebook"):
        keypoint_codes.decode(data, other)


def test_learned_words_are_the_middles_of_what_is_there(rng):
    centres = np.arange(256)[:, None] * np.ones(128 // PARTS)  # 256 of each part
    chosen = rng.integers(0, 256, (4_000, PARTS))
    descriptors = centres[chosen].reshape(-1, 128).astype(np.uint8)
    codebook = learn_codebook.learn_codebook(descriptors)
    assert codebook.words.shape == (PARTS, 256, 128 // PARTS) and codebook.stretch < 1.01
    again = learn_codebook.learn_codebook(descriptors)
    np.testing.assert_array_equal(codebook.words, again.words)
    spelled = codebook.spelled_out(codebook.nearest(descriptors))
    assert np.abs(spelled.astype(int) - descriptors).mean() < 2


def test_keypoints_of_a_smaller_copy_in_pixels_of_the_photo():
    photo = read_photo(GALLERY / "petra.jpg")
    assert sift.shrunk((480, 1280)) == (240, 640) and sift.shrunk((30, 20)) == (30, 20)
    whole = local_features(photo)
    half = cv2.resize(photo, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    found = local_features(half).at_size(whole.size)
    assert found.size == whole.size
    distances = np.abs(found.points[:, None] - whole.points[None]).max(2)
    near = np.argwhere(distances < 1)  # points that were found in both
    zoom = np.abs(found.frames[near[:, 0]]) / np.abs(whole.frames[near[:, 1]])
    assert len(near) > 50 and abs(np.median(zoom) - 1) < 0.05
