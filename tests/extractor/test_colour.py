"""Colours of any profile and depth become sRGB as an independent calculation says."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from extractor import decode
from extractor.photo.codecs.colour import scaled
from extractor.photo.codecs.icc_profiles import SPACES, matrix_profile, to_d50
from tests.support.every_format import encoded

# IEC 61966-2-1 with Bradford adaptation to D50, as published with the standard profile.
SRGB_TO_D50 = np.array(
    [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169]]
    + [[0.0139322, 0.0971045, 0.7141733]]
)


def in_srgb(colour: tuple[int, int, int], space: str) -> np.ndarray:
    """An 8-bit colour of a space in 8-bit sRGB, by the definitions of both; clipped."""
    gamma = SPACES[space][2]
    encoded = np.array(colour) / 255
    linear = (
        encoded**gamma
        if gamma
        else np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    )
    light = np.linalg.solve(SRGB_TO_D50, to_d50(space) @ linear).clip(0, 1)
    curved = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return 255 * curved


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("colour", [(200, 100, 50), (30, 90, 60), (128, 128, 128), (90, 60, 160)])
def test_an_embedded_profile_is_converted_from(space, colour):
    data = encoded(Image.new("RGB", (32, 32), colour), "PNG", icc_profile=matrix_profile(space))
    np.testing.assert_allclose(decode(data)[5, 5], in_srgb(colour, space), atol=1.5)
    np.testing.assert_array_equal(decode(data, as_stored=True)[5, 5], colour)


def test_a_profile_that_does_not_fit_or_is_broken_is_passed_over():
    profile = matrix_profile("Adobe RGB")
    grey = encoded(Image.new("L", (32, 32), 77), "PNG", icc_profile=profile)
    assert (decode(grey) == 77).all()
    red = Image.new("RGB", (32, 32), (200, 0, 0))
    for broken in (b"no profile", profile[:200], profile[:132] + b"\xff" * 400):
        assert (decode(encoded(red, "PNG", icc_profile=broken))[3, 3] == (200, 0, 0)).all()


def test_transparency_is_laid_on_white_after_the_conversion():
    image = Image.new("RGBA", (32, 32), (200, 100, 50, 255))
    image.paste((0, 0, 0, 0), (0, 0, 32, 16))
    pixels = decode(encoded(image, "PNG", icc_profile=matrix_profile("Adobe RGB")))
    assert (pixels[4, 4] == 255).all()
    expected = in_srgb((200, 100, 50), "Adobe RGB")
    np.testing.assert_allclose(pixels[28, 28], expected, atol=1.5)


@pytest.mark.parametrize(
    "values, expected",
    [
        (np.array([0, 2048, 4095], np.uint16), [0, 127, 255]),  # 12 bits
        (np.array([0, 512, 1023], np.uint16), [0, 127, 255]),
        (np.array([0, 32768, 65535], np.uint16), [0, 127, 255]),
        (np.array([0, 100, 255], np.uint16), [0, 100, 255]),
        (np.array([0, 0.5, 1], np.float32), [0, 127, 255]),
        (np.array([-10, 0, 10], np.float32), [0, 127, 255]),
        (np.array([0, 500, 1000], np.float64), [0, 127, 255]),
        (np.array([-(2**31), 0, 2**31 - 1], np.int32), [0, 127, 255]),
        (np.array([np.nan, 0.5, np.inf], np.float32), [0, 127, 255]),
        (np.array([np.nan, np.nan], np.float32), [0, 0]),
        (np.array([7, 7], np.int32), [7, 7]),
        (np.array([0, 0], np.uint16), [0, 0]),
    ],
)
def test_numbers_are_scaled_by_what_they_use(values, expected):
    assert np.abs(scaled(values).astype(int) - expected).max() <= 1


def test_a_dark_photo_of_16_bits_keeps_its_transparency():
    dark = np.full((32, 32, 4), 2048, np.uint16)
    dark[:16, :, 3] = 0
    dark[16:, :, 3] = 65535
    dark[0, 0, :3] = 4095
    import cv2

    data = cv2.imencode(".png", dark)[1].tobytes()
    pixels = decode(data)
    assert (pixels[4, 4] == 255).all() and (abs(pixels[28, 28].astype(int) - 127) <= 1).all()


def test_a_photo_without_a_profile_stays_as_it_is():
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    np.testing.assert_array_equal(decode(buffer.getvalue()), pixels)
