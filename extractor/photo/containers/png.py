"""PNG: chunks up to IEND, and a copy of the file with only the chunks of the still picture."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from .found import Container, Overloaded

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_CHUNKS = 50_000  # some programs write pixels in chunks of 8 kB
# Chunks that determine how the picture looks. All others are dropped: texts, times, animation.
NEEDED = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
USEFUL = (b"tRNS", b"iCCP", b"eXIf")
TEXTS = (b"tEXt", b"zTXt")
RAW_EXIF = b"Raw profile type exif\0"  # a text chunk in which older programs store EXIF


def chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, offset of the body and length of each chunk, up to IEND. Raises Overloaded."""
    at = len(SIGNATURE)
    for _ in range(MAX_CHUNKS + 1):
        if at + 8 > len(data):
            return
        length, kind = struct.unpack_from(">I4s", data, at)
        yield kind, at + 8, length
        if kind == b"IEND":
            return
        at += 12 + length
    raise Overloaded("The photo's file has too many chunks.")


def inspect_png(data: bytes) -> Container:
    """See `containers.inspect`. Raises Overloaded."""
    found = Container("png")
    for kind, at, _ in chunks(data):
        if kind == b"IHDR" and found.size is None and at + 10 <= len(data):
            width, height, found.depth, colour = struct.unpack_from(">IIBB", data, at)
            found.size, found.is_transparent = (width, height), colour in (4, 6)
        elif kind == b"tRNS":
            found.is_transparent = True
    return found


def picture_of(data: bytes) -> bytes:
    """The same PNG with only its still picture.

    A wrong checksum in an ancillary chunk is no reason to reject the photo.
    """
    kept = [SIGNATURE]
    for kind, at, length in chunks(data):
        body_end = at + length
        is_useful = kind in USEFUL or (kind in TEXTS and data[at : at + len(RAW_EXIF)] == RAW_EXIF)
        checksum = data[body_end : body_end + 4]
        is_sound = is_useful and checksum == zlib.crc32(data[at - 4 : body_end]).to_bytes(4, "big")
        if kind in NEEDED or is_sound:
            kept.append(data[at - 8 : body_end + 4])
    return b"".join(kept)
