"""Keypoints as bytes: what comes back is what was stored, whatever the type of the descriptors."""

from __future__ import annotations

import numpy as np
import pytest

from extractor import LocalFeatures, local_features, read_photo
from tests.conftest import GALLERY


def made(rng, count: int, length: int, kind: str) -> LocalFeatures:
    return LocalFeatures(
        points=rng.random((count, 2)).astype(np.float32),
        frames=rng.random(count).astype(np.complex64),
        descriptors=(rng.random((count, length)) * 200).astype(kind),
        size=(480, 640),
    )


@pytest.mark.parametrize("kind", ["uint8", "float16", "float32", ">f2"])
@pytest.mark.parametrize("count, length", [(0, 128), (1, 64), (500, 128), (7, 33)])
def test_bytes_give_back_the_same(rng, kind, count, length):
    features = made(rng, count, length, kind)
    found = LocalFeatures.from_bytes(features.to_bytes())
    for name in ("points", "frames", "descriptors"):
        np.testing.assert_array_equal(getattr(found, name), getattr(features, name))
    assert found.descriptors.dtype == np.dtype(kind).newbyteorder("<") and found.size == (480, 640)


def test_a_photo_and_a_flat_one():
    features = local_features(read_photo(GALLERY / "petra.jpg"))
    found = LocalFeatures.from_bytes(features.to_bytes())
    np.testing.assert_array_equal(found.descriptors, features.descriptors)
    assert len(found.points) > 300 and found.size == features.size
    flat = local_features(np.zeros((100, 200, 3), np.uint8))
    assert LocalFeatures.from_bytes(flat.to_bytes()).descriptors.shape == (0, 128)


def test_other_types_are_not_stored(rng):
    with pytest.raises(ValueError, match="float64"):
        made(rng, 3, 8, "float64").to_bytes()


def test_other_bytes_are_refused(rng):
    data = made(rng, 5, 16, "float16").to_bytes()
    for length in range(len(data)):
        with pytest.raises(ValueError):
            LocalFeatures.from_bytes(data[:length])
    with pytest.raises(ValueError, match="size"):
        LocalFeatures.from_bytes(data + b"x")
    with pytest.raises(ValueError, match="type"):
        LocalFeatures.from_bytes(data[:12] + b"|O\0\0" + data[16:])
    huge = b"\xff" * 4 + data[4:]
    with pytest.raises(ValueError, match="size"):
        LocalFeatures.from_bytes(huge)
