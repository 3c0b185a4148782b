"""HEIC and AVIF: the items of the file, and the cost of decoding its primary picture.

ISO/IEC 23008-12 (HEIF) and 14496-12. A picture is a coded item, or derived from others: a grid of
tiles, an overlay, a rotated or cropped item. A decoder reserves the size of the item or the one in
the grid's own data, whichever is larger; it decodes each tile as many times as the tile is
referenced.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .boxes import Boxes, Fields
from .found import MAX_EXIF, Container, Overloaded

MAX_ITEMS = 4_000
MAX_TILES = 2_000  # per picture; phones' tiles have sides of 512 pixels
MAX_LEVELS = 4  # nesting depth of derived pictures
MAX_DEPTH = 16  # bits per colour
DERIVED_ITEMS = (b"grid", b"iovl", b"iden", b"tmap")
ALPHA = b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", b"urn:mpeg:hevc:2015:auxid:1"


@dataclass
class Item:
    """One item.

    Attributes:
        kind: four-letter type.
        properties: indices into the file's list, counted from 1.
        extents: location of its data: construction method, offset, length.
        inputs: items it is derived from, repeated as often as they are referenced.
        serves: items of which this is an auxiliary picture.
    """

    kind: bytes = b""
    properties: list[int] = field(default_factory=list)
    extents: list[tuple[int, int, int]] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    serves: list[int] = field(default_factory=list)


class Heif:
    """The items of one file, without those that cannot be parsed. Raises Overloaded."""

    def __init__(self, data: bytes):
        self.data, self.boxes = data, Boxes(data)
        self.items: dict[int, Item] = {}
        self.properties: list[tuple[bytes, int, int]] = []
        self.primary = 0
        self.idat = 0
        self.costs: dict[tuple[int, int], int] = {}  # by item and level
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
                continue  # damaged: the codec will report it

    def item(self, number: int) -> Item:
        """An item by number, created on first use. Raises Overloaded."""
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

    def content(self, item: Item, max_bytes: int) -> bytes:
        """At most `max_bytes` bytes of an item's data, from its first extent."""
        for method, offset, length in item.extents[:1]:
            start = offset + (self.idat if method == 1 else 0)
            return self.data[start : start + min(length or max_bytes, max_bytes)]
        return b""

    def property(self, item: Item, kind_wanted: bytes) -> bytes | None:
        """Content of an item's first property of a kind, None if it has none."""
        for index in item.properties:
            if 0 < index <= len(self.properties):
                kind, start, end = self.properties[index - 1]
                if kind == kind_wanted:
                    return self.data[start:end]
        return None

    def size(self, item: Item) -> tuple[int, int]:
        """Width and height that decoding an item reserves; (0, 0) if they are not declared."""
        box = self.property(item, b"ispe") or b""
        width, height = int.from_bytes(box[4:8], "big"), int.from_bytes(box[8:12], "big")
        if item.kind == b"grid":
            head = self.content(item, 12)
            wide = 4 if head[1:2] and head[1] & 1 else 2
            sizes = [int.from_bytes(head[4 + n * wide : 4 + (n + 1) * wide], "big") for n in (0, 1)]
            width, height = max(width, sizes[0]), max(height, sizes[1])
        return width, height

    def cost(self, number: int, level: int = 0) -> int:
        """Pixels that are decoded for an item, over everything it is derived from.

        Cached per item and level: items that share inputs would otherwise take exponential time.
        """
        if (number, level) not in self.costs:
            self.costs[number, level] = self._count(number, level)
        return self.costs[number, level]

    def _count(self, number: int, level: int) -> int:
        item = self.items.get(number, Item())
        width, height = self.size(item)
        if not item.inputs or item.kind not in DERIVED_ITEMS:
            return width * height
        if level == MAX_LEVELS:
            raise Overloaded("The photo's file is made of pictures in pictures without end.")
        costs = {part: self.cost(part, level + 1) for part in set(item.inputs)}
        return max(width * height, sum(costs[part] for part in item.inputs))

    def depth(self, item: Item) -> int:
        """Maximum bits per colour of an item, as declared; at least 8."""
        box = self.property(item, b"pixi") or b""
        return max([*box[5 : 5 + (box[4] if len(box) > 4 else 0)], 8])


def inspect_heif(data: bytes, kind: str) -> Container:
    """See `containers.inspect`.

    Args:
        data: content of the file.
        kind: "heic" or "avif".
    """
    found, heif = Container(kind), Heif(data)
    for item in heif.items.values():
        if item.kind == b"Exif" and sum(length for *_, length in item.extents) > MAX_EXIF:
            raise Overloaded("The photo's file has too much metadata.")
        auxiliary = heif.property(item, b"auxC") or b""
        if heif.primary in item.serves and auxiliary[4:].split(b"\0")[0] in ALPHA:
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
    # Tiles extend past the picture's edge by less than one tile in each direction.
    if heif.cost(heif.primary) > 4 * max(width * height, 2**20):
        raise Overloaded("The photo's file is made of far more tiles than its size needs.")
    return found
