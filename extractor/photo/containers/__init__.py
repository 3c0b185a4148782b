"""Inspect a photo's file before any codec opens it, in time linear in its size.

A file can be small, of an allowed format and of a modest size in pixels, and still keep a decoder
busy for an hour: a JPEG with thousands of scans, each of which touches every pixel, or with a
million empty segments. A WebP of 138 bytes makes its decoder reserve the whole canvas as soon as it
is opened; a HEIC can declare that its picture is one tile, a thousand times. So scans, segments,
chunks, boxes, tiles and frames are counted here, and canvases are measured.
"""

from __future__ import annotations

import struct

from ..formats import START, format_of
from .found import Container, Overloaded
from .heif import inspect_heif
from .jpeg import inspect_jpeg
from .jpeg2000 import inspect_jpeg2000
from .jpegxl import inspect_jpegxl
from .png import inspect_png
from .tiff import inspect_tiff
from .webp import inspect_webp


def inspect(data: bytes) -> Container:
    """Count and measure the contents of a file.

    Damage is left to the codec to report.

    Raises:
        Overloaded: the file exceeds a limit that no real photo reaches.
    """
    format = format_of(data[:START])
    if format is None:
        return Container()
    return INSPECTORS.get(format.key, lambda data: Container(format.key))(data)


def inspect_gif(data: bytes) -> Container:
    """Read the canvas size. Later frames are never decoded."""
    found = Container("gif", is_transparent=True)
    if len(data) >= 10:
        found.size = struct.unpack_from("<HH", data, 6)
    return found


def inspect_bmp(data: bytes) -> Container:
    """Read the size from the second header."""
    found = Container("bmp")
    if len(data) < 26:
        return found
    if data[14] == 12:
        found.size = struct.unpack_from("<HH", data, 18)
    else:
        width, height = struct.unpack_from("<ii", data, 18)
        found.size = abs(width), abs(height)
    return found


INSPECTORS = {
    "jpeg": inspect_jpeg,
    "png": inspect_png,
    "webp": inspect_webp,
    "heic": lambda data: inspect_heif(data, "heic"),
    "avif": lambda data: inspect_heif(data, "avif"),
    "tiff": inspect_tiff,
    "gif": inspect_gif,
    "bmp": inspect_bmp,
    "jpeg2000": inspect_jpeg2000,
    "jpegxl": inspect_jpegxl,
}
