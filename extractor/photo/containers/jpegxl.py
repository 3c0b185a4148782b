"""JPEG XL: the size at the start of the codestream (ISO/IEC 18181-1, SizeHeader)."""

from __future__ import annotations

from .boxes import Boxes
from .found import Container

CODESTREAM = b"\xff\x0a"
RATIOS = ((0, 0), (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
HEAD = 16  # bytes that contain the size


class Bits:
    """Reads numbers of a few bits each, least significant first."""

    def __init__(self, data: bytes):
        self.left = int.from_bytes(data, "little")

    def take(self, count: int) -> int:
        """The next number."""
        value = self.left & (1 << count) - 1
        self.left >>= count
        return value

    def side(self) -> int:
        """One side of a picture: 9, 13, 18 or 30 bits."""
        return 1 + self.take((9, 13, 18, 30)[self.take(2)])


def inspect_jpegxl(data: bytes) -> Container:
    """See `containers.inspect`."""
    found, at = Container("jpegxl"), 0
    if not data.startswith(CODESTREAM):
        boxes = Boxes(data)
        for kind, start, end in boxes.inside(0, len(data)):
            if kind in (b"jxlc", b"jxlp") and start < end:
                at = start + (4 if kind == b"jxlp" else 0)
                break
    if data[at : at + 2] != CODESTREAM:
        return found
    bits = Bits(data[at + 2 : at + 2 + HEAD])
    is_small = bits.take(1)
    height = 8 * (1 + bits.take(5)) if is_small else bits.side()
    across, down = RATIOS[bits.take(3)]
    if across:
        width = height * across // down
    else:
        width = 8 * (1 + bits.take(5)) if is_small else bits.side()
    found.size = width, height
    return found
