"""Colour TIFFs with more than 16 bits per sample, or floats, which Pillow does not read."""

from __future__ import annotations

import numpy as np
from PIL import Image

from ..containers import Container
from .colour import scaled


def wide_image(data: bytes, found: Container) -> Image.Image:
    """The largest page of such a TIFF, its numbers scaled by their range; transparency is dropped.

    Args:
        data: content of the file.
        found: result of inspecting it.

    Returns:
        8-bit RGB.

    Raises:
        ValueError: OpenCV cannot read it either.
    """
    import cv2  # a large library, needed for few photos

    file = np.frombuffer(data, np.uint8)
    page = (found.page, found.page + 1)
    done, pages = cv2.imdecodemulti(file, cv2.IMREAD_UNCHANGED, range=page)
    if not done or not len(pages) or pages[0].ndim != 3 or pages[0].shape[2] < 3:
        raise ValueError("its numbers are of a kind that is not read")
    return Image.fromarray(scaled(pages[0][:, :, 2::-1]))
