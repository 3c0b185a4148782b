"""Strips: very long photos (panoramas, screenshots of whole pages, receipts), described by parts.

At the working size of other photos, a screenshot of 1080 x 23,000 pixels would be 48 pixels wide
and show nothing. So a strip keeps more pixels and is cut along its longer side. Its descriptor is
the mean over the parts, as for several photos of one thing.
"""

from __future__ import annotations

import numpy as np

STRIP_ASPECT = 8  # a photo with a larger aspect ratio is a strip
MAX_ASPECT = 200  # photos with a larger aspect ratio are refused
SHORT_SIDE = 256  # pixels of a strip's shorter side after shrinking
LONG_SIDE = 8192  # maximum pixels of its longer side
PART_ASPECT = 2.0  # aspect ratio of a part
MAX_PARTS = 24


def is_strip(width: int, height: int) -> bool:
    """Whether a photo of this size is a strip."""
    return max(width, height) > STRIP_ASPECT * min(width, height)


def longest_side(width: int, height: int, default: int) -> int:
    """Pixels to which a photo's longer side is shrunk. default: the value for all but strips."""
    if not is_strip(width, height):
        return default
    return min(LONG_SIDE, round(SHORT_SIDE * max(width, height) / min(width, height)))


def parts_of(photo: np.ndarray) -> list[np.ndarray]:
    """The photo itself, or the parts of a strip from end to end, each overlapping half of the next.

    Args:
        photo: uint8 RGB (H, W, 3).
    """
    height, width = photo.shape[:2]
    if not is_strip(width, height):
        return [photo]
    long, short = max(width, height), min(width, height)
    side = round(max(PART_ASPECT * short, 2 * long / (MAX_PARTS + 1)))
    count = -(-2 * (long - side) // side) + 1
    starts = np.linspace(0, long - side, count).round().astype(int)
    if width > height:
        return [photo[:, start : start + side] for start in starts]
    return [photo[start : start + side] for start in starts]
