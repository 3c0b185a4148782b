"""Long strips: panoramas, screenshots of whole pages, receipts. They are described by parts.

At the size that other photos are worked on at, a screenshot of 1080 x 23,000 pixels would be 48
pixels wide and show nothing. So a strip keeps more pixels, is cut along its longer side, and its
descriptor is the mean of its parts', as for several photos of one thing.
"""

from __future__ import annotations

import numpy as np

STRIP = 8  # ratio of the sides beyond which a photo is a strip
MAX_ASPECT = 200
SHORT_SIDE = 256  # pixels that a strip keeps of its shorter side
LONG_SIDE = 8192  # and of its longer side, at most
PART = 2.0  # ratio of the sides of a part
MOST_PARTS = 24


def is_strip(width: int, height: int) -> bool:
    """Whether a photo of this size is one."""
    return max(width, height) > STRIP * min(width, height)


def longest_side(width: int, height: int, others: int) -> int:
    """Pixels that the longer side of a photo is shrunk to. others: of one that is no strip."""
    if not is_strip(width, height):
        return others
    return min(LONG_SIDE, round(SHORT_SIDE * max(width, height) / min(width, height)))


def parts_of(photo: np.ndarray) -> list[np.ndarray]:
    """A photo, or the parts of a strip, from end to end; neighbours overlap by half.

    Args:
        photo: uint8 RGB (H, W, 3).
    """
    height, width = photo.shape[:2]
    if not is_strip(width, height):
        return [photo]
    long, short = max(width, height), min(width, height)
    side = round(max(PART * short, 2 * long / (MOST_PARTS + 1)))
    count = -(-2 * (long - side) // side) + 1
    starts = np.linspace(0, long - side, count).round().astype(int)
    if width > height:
        return [photo[:, start : start + side] for start in starts]
    return [photo[start : start + side] for start in starts]
