"""Truncated JPEGs: decode the rows that exist if nearly all of them do."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
from PIL import Image, ImageFile

from ..containers import Container
from .openers import open_image

MIN_SHARE = 0.9  # minimum share of the rows
CUT_OFF = "The end of the photo's file is missing; the rest is used."
END = b"\xff\xd9"
# Fill colour of undecoded rows. No decoded row is entirely of this colour.
BLANK = {"L": (255,), "RGB": (255, 0, 255), "CMYK": (255, 0, 255, 0)}


def rescued(data: bytes, found: Container) -> Image.Image | None:
    """Decode the intact part of a truncated JPEG.

    Args:
        data: content of the file.
        found: result of inspecting it.

    Returns:
        A loaded image without the missing rows, or None if too much is missing.
    """
    if found.is_ended or (found.is_progressive and not found.is_whole):
        return None
    if found.is_progressive:  # only the finest detail is missing
        image = open_image(data + END, found)
        image.load()
        return image
    image = open_image(data, found)
    assert isinstance(image, ImageFile.ImageFile)
    image.im = Image.new(image.mode, image.size, BLANK[image.mode]).im
    with suppress(OSError):
        image.load()
    image.tile = []
    rows = decoded_rows(image)
    if rows < MIN_SHARE * image.height:
        return None
    part = image.crop((0, 0, image.width, rows))
    part.info = image.info  # keeps the colour profile
    return part


def decoded_rows(image: Image.Image) -> int:
    """Number of rows from the top down to the last that is not BLANK."""
    pixels = np.asarray(image).reshape(image.height, image.width, -1)
    is_blank = (pixels == np.array(BLANK[image.mode], np.uint8)).all((1, 2))
    return int(np.flatnonzero(~is_blank).max(initial=-1)) + 1
