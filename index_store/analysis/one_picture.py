"""Test whether two photos are the same picture: the same pixels, re-encoded or resized.

A crop, another shot and another document with the same layout are different pictures. So layouts
only rule pairs out, and detail decides: no small window may differ by more than JPEG, WebP and
resampling can change it. Differences too small to survive at the resolution of the smaller picture
are invisible.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

# Largest differences between an original and its copy, as thumbnails, over 107 photos and 15
# documents in 24 encodings (JPEG and WebP at quality 20 to 95, PNG, scales 0.33 to 1.5 with six
# filters, +12 or x 1.1 brighter, sharpened), in units of the limits below: 0.9 with antialiased
# resizing, 1.5 without. Smallest differences between 20 documents of one layout: 3.1 at 480 pixels
# (engraved plates; at least 4.3 for forms, slides, chats and pages), 2.0 at 320, 1.4 at 240, 0.74
# at 160. One digit in a form: 1.4 to 2.5. Two shots half a pixel apart: at least 2.0 in 95 of 100.
NOISE = 7.5  # tolerated difference in flat areas, grey levels
SHARE = 0.5  # tolerated difference as a share of the local contrast, in addition
SIGMA = 1.0  # blur in pixels: finer detail depends on the resampling filter
WINDOW = 6  # side of a window in pixels: about a letter in a thumbnail
# Text fades in small pictures, so below FULL_SIDE the tolerance shrinks in proportion: copies of
# 100 to 200 pixels differ by at most 0.6. Below MIN_SIDE plates differ no more than copies do.
FULL_SIDE = 240  # longest side of the smaller picture
MIN_SIDE = 140  # below this, only equal pixels are the same picture

# Layouts of copies correlate by at least 0.983; their cells differ by at most 26 levels if the copy
# is a tenth brighter, else by at most 22.
LAYOUT_SIDE = 16  # cells
LAYOUT_NOISE = 1.0  # tolerated difference between layouts, levels
LAYOUT_SHARE = 0.2  # share of a layout's contrast, in addition: correlation of 0.98
LAYOUT_LEVELS = 28  # maximum difference of a cell, in brightness and either colour


class Picture(NamedTuple):
    """A photo prepared for comparison.

    Attributes:
        grey: uint8 (H, W).
        layout: output of `layout_of`.
    """

    grey: np.ndarray
    layout: np.ndarray


def picture(photo: np.ndarray) -> Picture:
    """Prepare an RGB photo, uint8 (H, W, 3), for comparison."""
    return Picture(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY), layout_of(photo))


def layout_of(photo: np.ndarray) -> np.ndarray:
    """Brightness and two colours (YCrCb) of a photo's cells, uint8 (3, LAYOUT_SIDE ** 2).

    Args:
        photo: RGB, uint8 (H, W, 3).
    """
    cells = cv2.resize(photo, (LAYOUT_SIDE, LAYOUT_SIDE), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(cells, cv2.COLOR_RGB2YCrCb).reshape(-1, 3).T


def one_picture(first: Picture, second: Picture) -> bool:
    """Whether two photos are the same picture, re-encoded or resized. Symmetric."""
    return (
        same_shape(first.grey.shape, second.grey.shape)
        and bool(same_layout(first.layout, second.layout))
        and same_detail(first.grey, second.grey)
    )


def same_shape(first: tuple[int, ...], second: tuple[int, ...]) -> bool:
    """Whether two sizes (H, W) have the same aspect ratio, up to a pixel of rounding per side."""
    (h1, w1), (h2, w2) = first, second
    return abs(h1 * w2 - h2 * w1) <= max(h1 + w1, h2 + w2)


def same_layout(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Which layouts, uint8 (..., 3, cells), may be of the same picture: bool (...)."""
    a, b = first.astype(np.float32), second.astype(np.float32)
    levels = np.abs(a - b).max((-2, -1))
    brightness = a[..., 0, :], b[..., 0, :]
    difference = (brightness[0] - brightness[1]).var(-1)
    contrast = (brightness[0].var(-1) + brightness[1].var(-1)) / 2
    tolerated = LAYOUT_NOISE**2 + LAYOUT_SHARE**2 * contrast
    return (levels <= LAYOUT_LEVELS) & (difference <= tolerated)


def same_detail(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether no window of two grey images, uint8 (H, W), differs by more than copies do.

    The larger is shrunk to the smaller. Below MIN_SIDE only equal pixels count as the same.
    """
    if np.array_equal(first, second):
        return True
    height, width = np.minimum(first.shape, second.shape).tolist()
    if max(height, width) < MIN_SIDE:
        return False
    return agree(shrunk(first, height, width), shrunk(second, height, width))


def agree(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two grey images of one size agree at every scale, halving down to MIN_SIDE.

    Coarse scales come first: they reveal differences larger than a window, and rule out most pairs
    at a fraction of the cost.
    """
    height, width = first.shape
    side = max(height, width)
    if side >= 2 * MIN_SIDE:
        half = max(height // 2, 1), max(width // 2, 1)
        if not agree(shrunk(first, *half), shrunk(second, *half)):
            return False
    return bool(differences(first, second).max() <= min(1.0, side / FULL_SIDE) ** 2)


def differences(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Difference of two grey images in each window, in units of the tolerance there.

    The variance of the blurred difference, relative to NOISE squared plus SHARE squared times the
    local variance. A uniform change of brightness counts as no difference.

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
    """Variance in the window around each pixel, after a blur by SIGMA; float32 (H, W)."""
    smooth, window = cv2.GaussianBlur(values, (0, 0), SIGMA), (WINDOW, WINDOW)
    square = cv2.sqrBoxFilter(smooth, cv2.CV_32F, window)
    return np.maximum(square - cv2.blur(smooth, window) ** 2, 0)


def shrunk(grey: np.ndarray, height: int, width: int) -> np.ndarray:
    """A grey image at this size, shrunk if necessary."""
    if grey.shape == (height, width):
        return grey
    return cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA)
