"""Whether two photos are one picture: the same pixels, saved again or resized.

A crop, another shot and another document of the same layout are other pictures. So layouts only
rule pairs out, and detail decides: in no small window may two pictures differ by more than JPEG,
WebP and resampling can make of one. Differences smaller than what survives at the resolution of
the smaller picture cannot be seen.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

# Largest differences between an original and its copy, as thumbnails, over 107 photos and 15
# documents in 24 ways of saving (JPEG and WebP at quality 20 to 95, PNG, scales 0.33 to 1.5 with
# six filters, +12 or x 1.1 brighter, sharpened), in units of the limits below: 0.9 with antialiased
# resizing, 1.5 without. Least differences between 20 documents of one layout: 3.1 at 480 pixels
# (engraved plates; forms, slides, chats and pages 4.3 and more), 2.0 at 320, 1.4 at 240, 0.74 at
# 160. One digit in a form: 1.4 to 2.5. Two shots half a pixel apart: 2.0 and more in 95 of 100.
NOISE = 7.5  # grey levels of difference that are tolerated in flat areas
SHARE = 0.5  # of the local contrast that is tolerated besides
SIGMA = 1.0  # pixels of blur: what is finer depends on the resampling filter
WINDOW = 6  # pixels of the side of a window: a letter of a thumbnail
# Text fades in small pictures, so less is tolerated below FULL_SIDE, in proportion: copies of 100
# to 200 pixels differ by 0.6 at most. Below LEAST_SIDE plates differ by no more than copies.
FULL_SIDE = 240  # longest side of the smaller picture
LEAST_SIDE = 140  # below which only equal pixels are one picture

# Layouts of copies correlate by at least 0.983, and their cells differ by at most 26 levels (where
# the copy is a tenth brighter), without that by 22.
LAYOUT_SIDE = 16  # cells
LAYOUT_NOISE = 1.0  # levels of difference that are tolerated in layouts
LAYOUT_SHARE = 0.2  # of a layout's contrast besides: correlation of 0.98
LAYOUT_LEVELS = 28  # between two cells, in brightness and either colour


class Picture(NamedTuple):
    """What is compared of a photo.

    Attributes:
        grey: uint8 (H, W).
        layout: of `layout_of`.
    """

    grey: np.ndarray
    layout: np.ndarray


def picture(photo: np.ndarray) -> Picture:
    """What is compared of an RGB photo, uint8 (H, W, 3)."""
    return Picture(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY), layout_of(photo))


def layout_of(photo: np.ndarray) -> np.ndarray:
    """Brightness and two colours (YCrCb) of a photo's cells, uint8 (3, LAYOUT_SIDE ** 2).

    Args:
        photo: RGB, uint8 (H, W, 3).
    """
    cells = cv2.resize(photo, (LAYOUT_SIDE, LAYOUT_SIDE), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(cells, cv2.COLOR_RGB2YCrCb).reshape(-1, 3).T


def one_picture(first: Picture, second: Picture) -> bool:
    """Whether two photos are the same picture, saved again or resized. Symmetric."""
    return (
        same_shape(first.grey.shape, second.grey.shape)
        and bool(same_layout(first.layout, second.layout))
        and same_detail(first.grey, second.grey)
    )


def same_shape(first: tuple[int, ...], second: tuple[int, ...]) -> bool:
    """Whether two sizes (H, W) have one aspect ratio, if each side was rounded by up to a pixel."""
    (h1, w1), (h2, w2) = first, second
    return abs(h1 * w2 - h2 * w1) <= max(h1 + w1, h2 + w2)


def same_layout(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Which layouts, uint8 (..., 3, cells), may be of one picture: bool (...)."""
    a, b = first.astype(np.float32), second.astype(np.float32)
    levels = np.abs(a - b).max((-2, -1))
    brightness = a[..., 0, :], b[..., 0, :]
    difference = (brightness[0] - brightness[1]).var(-1)
    contrast = (brightness[0].var(-1) + brightness[1].var(-1)) / 2
    tolerated = LAYOUT_NOISE**2 + LAYOUT_SHARE**2 * contrast
    return (levels <= LAYOUT_LEVELS) & (difference <= tolerated)


def same_detail(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether no window of two greys, uint8 (H, W), differs by more than copies do.

    The larger is shrunk to the smaller. Below LEAST_SIDE only equal pixels are the same.
    """
    if np.array_equal(first, second):
        return True
    height, width = np.minimum(first.shape, second.shape).tolist()
    if max(height, width) < LEAST_SIDE:
        return False
    return agree(shrunk(first, height, width), shrunk(second, height, width))


def agree(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two greys of one size agree at each scale, from half to half down to LEAST_SIDE.

    The coarse scales come first: they see what is larger than a window, and rule most pairs out at
    a fraction of the cost.
    """
    height, width = first.shape
    side = max(height, width)
    if side >= 2 * LEAST_SIDE:
        half = max(height // 2, 1), max(width // 2, 1)
        if not agree(shrunk(first, *half), shrunk(second, *half)):
            return False
    return bool(differences(first, second).max() <= min(1.0, side / FULL_SIDE) ** 2)


def differences(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """How much each window of two greys differs, in units of what is tolerated there.

    The standard deviation of the difference of what SIGMA leaves, squared, against NOISE squared
    plus SHARE squared of the local variance. What is brighter as a whole differs by nothing.

    Args:
        first, second: uint8 (H, W).

    Returns:
        float32 (H, W), squared.
    """
    mean = cv2.addWeighted(first, 0.5, second, 0.5, 0, dtype=cv2.CV_32F)
    difference = cv2.subtract(first, second, dtype=cv2.CV_32F)
    varied, contrast = map(local_variance, (difference, mean))
    return varied / (NOISE**2 + SHARE**2 * contrast)


def local_variance(values: np.ndarray) -> np.ndarray:
    """Variance within the window around each pixel, after a blur by SIGMA; float32 (H, W)."""
    smooth, window = cv2.GaussianBlur(values, (0, 0), SIGMA), (WINDOW, WINDOW)
    square = cv2.sqrBoxFilter(smooth, cv2.CV_32F, window)
    return np.maximum(square - cv2.blur(smooth, window) ** 2, 0)


def shrunk(grey: np.ndarray, height: int, width: int) -> np.ndarray:
    """A grey of this size, or shrunk to it."""
    if grey.shape == (height, width):
        return grey
    return cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA)
