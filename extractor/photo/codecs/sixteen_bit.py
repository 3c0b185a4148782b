"""Colour photos of 16 bits that use only the lower ones: Pillow keeps the upper byte of each.

A scanner's 12-bit data in a 16-bit file would be nearly black. So the lower bytes are read as well,
by unpacking the file once more as if its bytes were in the other order.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from PIL import Image, ImageFile

from ..containers import Container
from .colour import white_of
from .openers import open_image

DARK = 64  # upper bytes below this leave two bits unused
NATIVE = "16L" if sys.byteorder == "little" else "16B"
OTHER_BYTE = {"16L": "16B", "16B": "16L"}


def deep_image(image: Image.Image, data: bytes, found: Container) -> Image.Image | None:
    """The whole numbers of such a photo, scaled by the bits that they use.

    Args:
        image: Loaded, with the upper bytes.
        data: The file.
        found: In it.

    Returns:
        8-bit RGB or RGBA with the image's `info`; None for any other photo.
    """
    if found.depth != 16 or image.mode not in ("RGB", "RGBA"):
        return None
    upper = np.asarray(image)
    if upper[:, :, :3].max() >= DARK:
        return None
    again = open_image(data, found)
    if not isinstance(again, ImageFile.ImageFile):  # its numbers were scaled as a whole
        return None
    again.tile = [tile._replace(args=swapped(tile.args)) for tile in again.tile]
    again.load()
    lower = np.asarray(again)
    planes = [upper[:, :, n].astype(np.uint16) << 8 | lower[:, :, n] for n in range(3)]
    white = white_of(max(int(plane.max()) for plane in planes))
    # One after the other: as fractions they take twice the memory.
    pixels = [(plane * np.float32(255 / white)).astype(np.uint8) for plane in planes]
    whole = Image.fromarray(np.dstack([*pixels, upper[:, :, 3:]]), image.mode)
    whole.info = image.info
    return whole


def swapped(args: Any) -> Any:
    """How a tile is unpacked, with the other byte of each number kept."""
    if isinstance(args, tuple):
        return swapped(args[0]), *args[1:]
    mode, _, order = str(args).partition(";")
    return f"{mode};{OTHER_BYTE.get(order.replace('16N', NATIVE), order)}"
