"""16-bit colour photos that use only the lower bits, of which Pillow keeps only the upper bytes.

A scanner's 12-bit data in a 16-bit file would be nearly black. So the lower bytes are read too, by
unpacking the file a second time in the other byte order.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from PIL import Image, ImageFile

from ..containers import Container
from .colour import white_of
from .openers import open_image

DARK = 64  # if all upper bytes are below this, two bits are unused
NATIVE = "16L" if sys.byteorder == "little" else "16B"
OTHER_BYTE = {"16L": "16B", "16B": "16L"}


def deep_image(image: Image.Image, data: bytes, found: Container) -> Image.Image | None:
    """Full 16-bit pixels of such a photo, scaled by the bits that they use.

    Args:
        image: loaded image, with the upper bytes.
        data: content of the file.
        found: result of inspecting it.

    Returns:
        8-bit RGB or RGBA with the image's `info`; None for any other photo.
    """
    if found.depth != 16 or image.mode not in ("RGB", "RGBA"):
        return None
    upper = np.asarray(image)
    if upper[:, :, :3].max() >= DARK:
        return None
    reopened = open_image(data, found)
    if not isinstance(reopened, ImageFile.ImageFile):  # all 16 bits were already scaled
        return None
    reopened.tile = [tile._replace(args=swapped(tile.args)) for tile in reopened.tile]
    reopened.load()
    lower = np.asarray(reopened)
    planes = [upper[:, :, n].astype(np.uint16) << 8 | lower[:, :, n] for n in range(3)]
    white = white_of(max(int(plane.max()) for plane in planes))
    # One plane at a time: as floats they take twice the memory.
    pixels = [(plane * np.float32(255 / white)).astype(np.uint8) for plane in planes]
    whole = Image.fromarray(np.dstack([*pixels, upper[:, :, 3:]]), image.mode)
    whole.info = image.info
    return whole


def swapped(args: Any) -> Any:
    """Arguments for unpacking a tile in the other byte order."""
    if isinstance(args, tuple):
        return swapped(args[0]), *args[1:]
    mode, _, order = str(args).partition(";")
    return f"{mode};{OTHER_BYTE.get(order.replace('16N', NATIVE), order)}"
