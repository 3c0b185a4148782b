"""Boxes of ISO media files (HEIC, AVIF, JPEG 2000, JPEG XL), with a limit on their number."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from .found import Overloaded

MAX_BOXES = 10_000  # a phone's photo of 200 megapixels has about 3,000
UNIVERSAL_SIZE = 1


@dataclass
class Boxes:
    """The boxes of one file.

    Attributes:
        data: content of the file.
        seen: number of boxes visited, at all levels.
    """

    data: bytes
    seen: int = field(default=0)

    def inside(self, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
        """Kind, start and end of the content of each box in a range of the file.

        Stops at damage. Raises Overloaded.
        """
        at = start
        while at + 8 <= end:
            self.seen += 1
            if self.seen > MAX_BOXES:
                raise Overloaded("The photo's file has too many parts.")
            size, kind = struct.unpack_from(">I4s", self.data, at)
            head = 8
            if size == UNIVERSAL_SIZE and at + 16 <= end:
                head, size = 16, struct.unpack_from(">Q", self.data, at + 8)[0]
            elif size == 0:
                size = end - at
            if size < head or at + size > end:
                if kind in (b"mdat", b"jp2c"):  # truncated
                    yield kind, at + head, end
                return
            yield kind, at + head, at + size
            at += size

    def first(self, kind_wanted: bytes, start: int, end: int) -> tuple[int, int] | None:
        """Start and end of the content of the first box of a kind."""
        for kind, begin, finish in self.inside(start, end):
            if kind == kind_wanted:
                return begin, finish
        return None


class Fields:
    """Reads consecutive big-endian numbers. Raises IndexError at the end."""

    def __init__(self, data: bytes, at: int, end: int):
        self.data, self.at, self.end = data, at, end

    def take(self, count: int) -> int:
        """The next number, of `count` bytes."""
        if self.at + count > self.end:
            raise IndexError
        value = int.from_bytes(self.data[self.at : self.at + count], "big")
        self.at += count
        return value

    def full(self) -> tuple[int, int]:
        """Version and flags of a full box."""
        return self.take(1), self.take(3)
