"""JPEG 2000: the main header of the codestream, which determines the decoder's work."""

from __future__ import annotations

import struct

from .boxes import Boxes
from .found import Container, Overloaded

MAX_TILES = 20_000
MAX_COMPONENTS = 5
CODESTREAM = b"\xff\x4f\xff\x51"
STYLE = b"\xff\x52"  # the default coding style
MAIN_HEAD = 2**16  # maximum bytes of the main header


def inspect_jpeg2000(data: bytes) -> Container:
    """See `containers.inspect`. Raises Overloaded."""
    found, at = Container("jpeg2000"), 0
    if not data.startswith(CODESTREAM):
        codestream = Boxes(data).first(b"jp2c", 0, len(data))
        if codestream is None:
            return found
        at = codestream[0]
    if data[at : at + 4] != CODESTREAM or at + 42 > len(data):
        return found
    right, bottom, left, top, wide, high, tiles_left, tiles_top, components = struct.unpack_from(
        ">8IH", data, at + 8
    )
    found.size, found.components = (max(right - left, 0), max(bottom - top, 0)), components
    found.depth = (data[at + 42] & 0x7F) + 1 if at + 42 < len(data) else 8
    if components > MAX_COMPONENTS:
        raise Overloaded("The photo has more colours than any photo has.")
    across = -(-max(right - tiles_left, 0) // max(wide, 1))
    down = -(-max(bottom - tiles_top, 0) // max(high, 1))
    if across * down > MAX_TILES:
        raise Overloaded("The photo's file has too many tiles.")
    found.tile = min(wide * high, found.size[0] * found.size[1])
    style = data.find(STYLE, at, at + MAIN_HEAD)
    if 0 <= style < len(data) - 10:
        found.levels = data[style + 9]
    return found
