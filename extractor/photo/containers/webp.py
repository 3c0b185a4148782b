"""WebP: inspect the chunks up to the end."""

from __future__ import annotations

import struct

from .found import Container, Overloaded

MAX_CHUNKS = 1_000
MAX_FRAMES = 1_000  # per animation, of which only the first is shown


def inspect_webp(data: bytes) -> Container:
    """Read the canvas size, for which the decoder will reserve memory. Raises Overloaded."""
    found, at, frames = Container("webp"), 12, 0
    for _ in range(MAX_FRAMES + MAX_CHUNKS + 1):
        if at + 8 > len(data):
            return found
        kind, length = struct.unpack_from("<4sI", data, at)
        body = data[at + 8 : at + 18]
        if found.size is None and len(body) == 10:
            if kind == b"VP8X":
                width = 1 + int.from_bytes(body[4:7], "little")
                height = 1 + int.from_bytes(body[7:10], "little")
                found.size, found.is_transparent = (width, height), bool(body[0] & 0x10)
            elif kind == b"VP8L":
                bits = int.from_bytes(body[1:5], "little")
                found.size = (1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
                found.is_transparent = bool(bits >> 28 & 1)
            elif kind == b"VP8 ":
                width, height = struct.unpack_from("<HH", body, 6)
                found.size = (width & 0x3FFF, height & 0x3FFF)
        if kind == b"ANMF" and (frames := frames + 1) > MAX_FRAMES:
            raise Overloaded("The photo's file is an animation of too many frames.")
        at += 8 + length + length % 2
    raise Overloaded("The photo's file has too many chunks.")
