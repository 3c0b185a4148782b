"""Crop a query region by the rule of the revisited Oxford and Paris protocol.

Radenovic et al. 2018.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from .decode import resize
from .strips import is_strip

Region = tuple[float, float, float, float]
"""left, top, right, bottom as fractions of the upright photo's width and height, 0 to 1."""


def inside_photo(region: Region) -> Region:
    """The region itself. Raises ValueError if it is empty or not a part of a photo."""
    left, top, right, bottom = region
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise ValueError("the region is empty or outside the photo")
    return region


def crop_region(photo: np.ndarray, region: Region | None, longest_side: int) -> np.ndarray:
    """The region, at the size it has inside the photo shrunk to `longest_side`.

    Published rule: crop first, then shrink to longest_side x (longest side of the crop) / (longest
    side of the photo), never enlarging. A part of a strip keeps as many pixels as a whole photo.

    Args:
        photo: uint8 RGB (H, W, 3).
        region: part of the photo; None for the whole photo.
        longest_side: size in pixels to which the whole photo would be shrunk.

    Returns:
        uint8 RGB (h, w, 3).

    Raises:
        ValueError: the region is empty or outside the photo.
    """
    if region is None:
        return resize(photo, longest_side)
    left, top, right, bottom = inside_photo(region)
    height, width = photo.shape[:2]
    box = (round(left * width), round(top * height), round(right * width), round(bottom * height))
    box = (*box[:2], max(box[2], box[0] + 1), max(box[3], box[1] + 1))
    part = np.asarray(Image.fromarray(photo).crop(box))
    if is_strip(width, height):
        return resize(part, longest_side)
    return resize(part, max(1, int(longest_side * max(part.shape[:2]) / max(height, width))))
