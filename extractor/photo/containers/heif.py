"""HEIC and AVIF: the items of the file, and what it takes to make the primary picture of them.

ISO/IEC 23008-12 (HEIF) and 14496-12. A picture is a coded item, or made of others: a grid of
tiles, an overlay, a turned or cropped one. The size that a decoder reserves is that of the item, or
that in the grid's own data, whichever is larger; what it decodes is each tile, as often as it is
named.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .boxes import Boxes, Fields
from .found import MAX_EXIF, Container, Overloaded

MAX_ITEMS = 4_000
MAX_TILES = 2_000  # of one picture; phones' tiles have 512 pixels a side
MAX_LEVELS = 4  # pictures made of pictures made of pictures
MAX_DEPTH = 16  # bits a colour
MADE = (b"grid", b"iovl", b"iden", b"tmap")
ALPHA = b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", b"urn:mpeg:hevc:2015:auxid:1"


@dataclass
class Item:
    """One item.

    Attributes:
        kind: Its type, four letters.
        properties: Indices into the file's list, counted from 1.
        extents: Where its data is: method of construction, offset, length.
        inputs: Items that it is made of, once for each time.
        serves: Items of which this is an auxiliary picture.
    """

    kind: bytes = b""
    properties: list[int] = field(default_factory=list)
    extents: list[tuple[int, int, int]] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    serves: list[int] = field(default_factory=list)


class Heif:
    """The items of one file. What cannot be parsed is missing. Raises Overloaded."""

    def __init__(self, data: bytes):
        self.data, self.boxes = data, Boxes(data)
        self.items: dict[int, Item] = {}
        self.properties: list[tuple[bytes, int, int]] = []
        self.primary = 0
        self.idat = 0
        self.costs: dict[tuple[int, int], int] = {}  # of items at levels
        meta = self.boxes.first(b"meta", 0, len(data))
        if meta is None:
            return
        for kind, start, end in self.boxes.inside(meta[0] + 4, meta[1]):
            fields = Fields(data, start, end)
            try:
                if kind == b"pitm":
                    version, _ = fields.full()
                    self.primary = fields.take(4 if version else 2)
                elif kind == b"iinf":
                    self._read_infos(fields)
                elif kind == b"iloc":
                    self._read_places(fields)
                elif kind == b"iref":
                    self._read_references(fields)
                elif kind == b"iprp":
                    self._read_properties(start, end)
                elif kind == b"idat":
                    self.idat = start
            except IndexError:
                continue  # damaged: the codec will say so

    def item(self, number: int) -> Item:
        """An item, made if it was not named before."""
        if len(self.items) > MAX_ITEMS:
            raise Overloaded("The photo's file has too many parts.")
        return self.items.setdefault(number, Item())

    def _read_infos(self, fields: Fields) -> None:
        version, _ = fields.full()
        fields.take(4 if version else 2)
        for kind, start, end in self.boxes.inside(fields.at, fields.end):
            if kind == b"infe":
                entry = Fields(self.data, start, end)
                version, _ = entry.full()
                number = entry.take(4 if version == 3 else 2)
                entry.take(2)
                self.item(number).kind = self.data[entry.at : entry.at + 4]

    def _read_places(self, fields: Fields) -> None:
        version, _ = fields.full()
        sizes = fields.take(2)
        offset_size, length_size, base_size = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
        index_size = sizes & 15 if version else 0
        wide = 4 if version == 2 else 2
        for _ in range(fields.take(wide)):
            item = self.item(fields.take(wide))
            method = fields.take(2) & 15 if version else 0
            fields.take(2)
            base = fields.take(base_size)
            for _ in range(fields.take(2)):
                fields.take(index_size)
                offset = fields.take(offset_size)
                item.extents.append((method, base + offset, fields.take(length_size)))
                if len(item.extents) > MAX_ITEMS:
                    raise Overloaded("The photo's file has too many parts.")

    def _read_references(self, fields: Fields) -> None:
        version, _ = fields.full()
        wide = 4 if version else 2
        for kind, start, end in self.boxes.inside(fields.at, fields.end):
            entry = Fields(self.data, start, end)
            item = self.item(entry.take(wide))
            count = entry.take(2)
            if kind == b"dimg":
                item.inputs += [entry.take(wide) for _ in range(count)]
            elif kind == b"auxl":
                item.serves += [entry.take(wide) for _ in range(count)]
            if len(item.inputs) > MAX_TILES:
                raise Overloaded("The photo's file has too many tiles.")

    def _read_properties(self, start: int, end: int) -> None:
        for kind, begin, finish in self.boxes.inside(start, end):
            if kind == b"ipco":
                self.properties += self.boxes.inside(begin, finish)
            elif kind == b"ipma":
                fields = Fields(self.data, begin, finish)
                version, flags = fields.full()
                for _ in range(fields.take(4)):
                    item = self.item(fields.take(4 if version else 2))
                    for _ in range(fields.take(1)):
                        index = fields.take(2 if flags & 1 else 1)
                        item.properties.append(index & (0x7FFF if flags & 1 else 0x7F))

    def content(self, item: Item, most: int) -> bytes:
        """The first bytes of an item's data, as far as they lie in one piece."""
        for method, offset, length in item.extents[:1]:
            start = offset + (self.idat if method == 1 else 0)
            return self.data[start : start + min(length or most, most)]
        return b""

    def property(self, item: Item, wanted: bytes) -> bytes | None:
        """Content of an item's first property of a kind."""
        for index in item.properties:
            if 0 < index <= len(self.properties):
                kind, start, end = self.properties[index - 1]
                if kind == wanted:
                    return self.data[start:end]
        return None

    def size(self, item: Item) -> tuple[int, int]:
        """Width and height that decoding an item reserves; (0, 0) if it does not say."""
        said = self.property(item, b"ispe") or b""
        width, height = int.from_bytes(said[4:8], "big"), int.from_bytes(said[8:12], "big")
        if item.kind == b"grid":
            head = self.content(item, 12)
            wide = 4 if head[1:2] and head[1] & 1 else 2
            own = [int.from_bytes(head[4 + n * wide : 4 + (n + 1) * wide], "big") for n in (0, 1)]
            width, height = max(width, own[0]), max(height, own[1])
        return width, height

    def cost(self, number: int, level: int = 0) -> int:
        """Pixels that are decoded for an item, of everything that it is made of.

        Each item is counted once a level: items that share parts would take exponential time.
        """
        if (number, level) not in self.costs:
            self.costs[number, level] = self._count(number, level)
        return self.costs[number, level]

    def _count(self, number: int, level: int) -> int:
        item = self.items.get(number, Item())
        width, height = self.size(item)
        if not item.inputs or item.kind not in MADE:
            return width * height
        if level == MAX_LEVELS:
            raise Overloaded("The photo's file is made of pictures in pictures without end.")
        costs = {part: self.cost(part, level + 1) for part in set(item.inputs)}
        return max(width * height, sum(costs[part] for part in item.inputs))

    def depth(self, item: Item) -> int:
        """Most bits a colour of an item, as far as it says."""
        said = self.property(item, b"pixi") or b""
        return max([*said[5 : 5 + (said[4] if len(said) > 4 else 0)], 8])


def inspect_heif(data: bytes, kind: str) -> Container:
    """See `containers.inspect`.

    Args:
        data: the file.
        kind: "heic" or "avif".
    """
    found, heif = Container(kind), Heif(data)
    for item in heif.items.values():
        if item.kind == b"Exif" and sum(length for *_, length in item.extents) > MAX_EXIF:
            raise Overloaded("The photo's file has too much metadata.")
        said = heif.property(item, b"auxC") or b""
        if heif.primary in item.serves and said[4:].split(b"\0")[0] in ALPHA:
            found.is_transparent = True
    primary = heif.items.get(heif.primary)
    if primary is None:
        return found
    width, height = heif.size(primary)
    found.depth = heif.depth(primary)
    if found.depth > MAX_DEPTH:
        raise Overloaded(f"The photo has {found.depth} bits a colour, more than any photo has.")
    if not width or not height:
        return found
    found.size = width, height
    # Tiles reach over the picture's edge by less than one tile each way.
    if heif.cost(heif.primary) > 4 * max(width * height, 2**20):
        raise Overloaded("The photo's file is made of far more tiles than its size needs.")
    return found
