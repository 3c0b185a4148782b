"""TIFF and BigTIFF: the page directories of the file, without decoding a pixel."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from .found import Container, Overloaded

MAX_PAGES = 2_000  # including sub-IFDs
MAX_TAGS = 4_096  # per page
MAX_ALL_TAGS = 100_000  # over all pages
MASK = 4  # bit of KIND that marks a transparency mask
WIDTHS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
WIDTHS |= {13: 4, 16: 8, 17: 8, 18: 8}  # bytes per value, by type
KIND, WIDTH, HEIGHT, DEPTH, PACKING, COLOURS = 254, 256, 257, 258, 259, 262
SAMPLES, ROWS, TILE_WIDTH, TILE_HEIGHT, INNER = 277, 278, 322, 323, 330
EXTRA, DNG = 338, 50706
# Colour filter array and linear raw; compressions of Nikon, Sony, Pentax and others.
RAW_COLOURS, RAW_PACKINGS = (32803, 34892), (34713, 32767, 65535, 34892, 65000)


@dataclass
class Page:
    """One page: the first value of each tag, offsets of inner pages, and of the next page."""

    values: dict[int, int]
    inner: list[int]
    after: int

    @property
    def size(self) -> tuple[int, int]:
        return self.values.get(WIDTH, 0), self.values.get(HEIGHT, 0)

    @property
    def is_raw(self) -> bool:
        """Whether the page holds raw sensor data, or declares the file a DNG."""
        colours, packing = self.values.get(COLOURS), self.values.get(PACKING)
        return colours in RAW_COLOURS or packing in RAW_PACKINGS or DNG in self.values


class Tiff:
    """Reads the directories of one file, in either byte order."""

    def __init__(self, data: bytes):
        self.data = data
        self.order = "<" if data[:2] == b"II" else ">"
        self.is_big = self.number("H", 2) == 43
        self.word, self.count, self.entry = ("Q", "Q", 20) if self.is_big else ("I", "H", 12)
        self.first = self.number(self.word, 8 if self.is_big else 4)
        self.pages = self.tags = 0  # read so far

    def number(self, form: str, at: int) -> int:
        """The number at an offset; 0 outside the file."""
        if not 0 <= at <= len(self.data) - struct.calcsize(form):
            return 0
        return struct.unpack_from(self.order + form, self.data, at)[0]

    def page(self, at: int) -> Page:
        """The page whose directory is at an offset. Raises Overloaded."""
        count = self.number(self.count, at)
        self.pages += 1
        self.tags += count
        if self.pages > MAX_PAGES:
            raise Overloaded("The photo's file has too many pages.")
        if count > MAX_TAGS or self.tags > MAX_ALL_TAGS:
            raise Overloaded("The photo's file has too many tags.")
        at += struct.calcsize(self.count)
        wide, total = struct.calcsize(self.word), 0
        values: dict[int, int] = {}
        inner: list[int] = []
        for entry in range(at, at + count * self.entry, self.entry):
            tag, kind = self.number("H", entry), self.number("H", entry + 2)
            amount, offset = self.number(self.word, entry + 4), entry + 4 + wide
            size = WIDTHS.get(kind, 0) * amount
            total += size
            if size > wide:
                offset = self.number(self.word, offset)
            form = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}.get(kind)
            if form is None or not amount:
                values.setdefault(tag, 0)
                continue
            values.setdefault(tag, self.number(form, offset))
            if tag == INNER:
                step = struct.calcsize(form)
                inner += [self.number(form, offset + n * step) for n in range(min(amount, 16))]
        if total > 2 * len(self.data) + 2**16:  # many tags reference the same bytes
            raise Overloaded("The photo's file has too much metadata.")
        return Page(values, inner, self.number(self.word, at + count * self.entry))


def inspect_tiff(data: bytes) -> Container:
    """See `containers.inspect`. Describes the largest page; for a raw photo only its kind."""

    found, tiff = Container("tiff"), Tiff(data)
    at, area = tiff.first, 0
    visited: set[int] = set()
    while at and at not in visited and at < len(data):
        number = len(visited)
        visited.add(at)
        page = tiff.page(at)
        if page.is_raw or any(tiff.page(offset).is_raw for offset in page.inner if offset):
            return Container("raw")
        width, height = page.size
        if width * height > area and not page.values.get(KIND, 0) & MASK:
            area, found.size, found.page = width * height, (width, height), number
            values = page.values
            found.depth = values.get(DEPTH, 1)
            found.components = values.get(SAMPLES, 1)
            found.is_transparent = EXTRA in values
            tile = values.get(TILE_WIDTH, 0) * values.get(TILE_HEIGHT, 0)
            found.tile = tile or width * min(values.get(ROWS, height), height)
        at = page.after
    return found
