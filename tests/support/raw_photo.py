"""A camera's raw photo (DNG 1.4), made here: a small sensor's picture with a JPEG preview."""

from __future__ import annotations

import struct

import numpy as np

Tag = tuple[int, int, bytes]  # type, count and values
SENSOR_SIDE = 64  # pixels


def short(*values: int) -> Tag:
    return 3, len(values), struct.pack(f"<{len(values)}H", *values)


def long(*values: int) -> Tag:
    return 4, len(values), struct.pack(f"<{len(values)}I", *values)


def byte(*values: int) -> Tag:
    return 1, len(values), bytes(values)


def text(value: str) -> Tag:
    data = value.encode() + b"\0"
    return 2, len(data), data


def rational(kind: int, *values: float) -> Tag:
    """kind: 5, or 10 for signed ones."""
    pairs = [struct.pack("<ii", round(value * 10_000), 10_000) for value in values]
    return kind, len(values), b"".join(pairs)


class File:
    """A little-endian TIFF that grows."""

    def __init__(self) -> None:
        self.data = bytearray(b"II*\0" + bytes(4))

    def put(self, data: bytes) -> int:
        """Append data at an even place, and say where."""
        self.data += bytes(len(self.data) % 2)
        self.data += data
        return len(self.data) - len(data)

    def page(self, tags: dict[int, Tag]) -> int:
        """Append a directory, and say where."""
        entries = []
        for tag, (kind, count, data) in sorted(tags.items()):
            value = data.ljust(4, b"\0") if len(data) <= 4 else struct.pack("<I", self.put(data))
            entries.append(struct.pack("<HHI", tag, kind, count) + value)
        return self.put(struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4))


def raw_photo(preview: bytes, size: tuple[int, int], orientation: int = 1) -> bytes:
    """A DNG.

    Args:
        preview: a JPEG.
        size: its width and height.
        orientation: as EXIF counts, of preview and sensor.
    """
    file, side = File(), SENSOR_SIDE
    sensor = (np.arange(side * side) % 4096).astype("<u2").tobytes()
    preview_at, sensor_at = file.put(preview), file.put(sensor)
    sensor_page = file.page(
        {
            254: long(0),
            256: long(side),
            257: long(side),
            258: short(16),
            259: short(1),
            262: short(32803),  # a colour filter
            273: long(sensor_at),
            277: short(1),
            278: long(side),
            279: long(len(sensor)),
            33421: short(2, 2),
            33422: byte(0, 1, 1, 2),
            50717: long(4095),
        }
    )
    first = file.page(
        {
            254: long(1),
            256: long(size[0]),
            257: long(size[1]),
            258: short(8, 8, 8),
            259: short(7),  # JPEG
            262: short(6),
            271: text("Made"),
            272: text("By a test"),
            273: long(preview_at),
            274: short(orientation),
            277: short(3),
            278: long(size[1]),
            279: long(len(preview)),
            330: long(sensor_page),
            50706: byte(1, 4, 0, 0),
            50707: byte(1, 1, 0, 0),
            50708: text("Made by a test"),
            50721: rational(10, 1, 0, 0, 0, 1, 0, 0, 0, 1),
            50728: rational(5, 1, 1, 1),
            50778: short(21),
        }
    )
    struct.pack_into("<I", file.data, 4, first)
    return bytes(file.data)
