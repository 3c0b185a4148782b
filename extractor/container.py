"""What a photo's file says of itself, read before any codec sees it, in time linear in its size.

A file can be small, of an allowed format and of a modest size in pixels, and still keep a decoder
busy for an hour: a JPEG with thousands of scans, each of which touches every pixel, or with a
million empty segments. A WebP of 138 bytes makes its decoder reserve the whole canvas as soon as it
is opened. So scans, segments, chunks and frames are counted here, and canvases measured.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

MAX_SEGMENTS = 1_000  # of a JPEG, or chunks of a WebP; photos have a few dozen
MAX_CHUNKS = 50_000  # of a PNG; some programs write pixels in pieces of 8 kB
MAX_SCANS = 64  # of a progressive JPEG; common encoders write 10, thorough ones 20
MAX_SCANNED = 480e6  # pixels times scans: 12 scans of the largest photo
MAX_EXIF = 2**18  # bytes of a JPEG's Exif, which Pillow reads while it opens the file
MAX_FILL = 4_096  # padding bytes before a JPEG's markers
MAX_FRAMES = 1_000  # of an animation, of which the first is shown

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# A marker inside a scan: 0xFF and a code that is neither stuffing, padding nor a restart.
NEXT_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)
START_OF_SCAN, END_OF_IMAGE, EXIF = 0xDA, 0xD9, 0xE1
FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
BARE = frozenset(range(0xD0, 0xD9)) | {0x01}  # markers without a length


class Overloaded(Exception):
    """The file is built to keep a decoder busy; the message is a sentence for a person."""


@dataclass
class Container:
    """What was found.

    Attributes:
        kind: "JPEG", "PNG", "WEBP", or "" for anything else.
        size: width and height in pixels, as far as the file says.
        is_transparent: whether it says that it has an alpha channel, or a transparent colour.
        scans: of a JPEG.
        components: colours of a JPEG.
        is_progressive: whether a JPEG's scans are kept until all of them are there.
    """

    kind: str = ""
    size: tuple[int, int] | None = None
    is_transparent: bool = False
    scans: int = 0
    components: int = 0
    is_progressive: bool = False


def inspect(data: bytes) -> Container:
    """Count and measure what is in a file.

    What is damaged is left to the codec, which says so.

    Raises:
        Overloaded: there is more of something than any photo has.
    """
    if data.startswith(b"\xff\xd8"):
        return inspect_jpeg(data)
    if data.startswith(PNG_SIGNATURE):
        return inspect_png(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return inspect_webp(data)
    return Container()


def inspect_jpeg(data: bytes) -> Container:
    """Markers up to the end of the first picture; phones append others, which are not shown."""
    found, at, segments, fill, exif = Container("JPEG"), 2, 0, 0, 0
    while at + 4 <= len(data):
        if data[at] != 0xFF:  # damage: on to the next marker, as decoders do
            after = NEXT_MARKER.search(data, at)
            if after is None:
                break
            at = after.start()
        while data[at + 1 : at + 2] == b"\xff":
            at, fill = at + 1, fill + 1
            if fill > MAX_FILL:
                break
        code, at = data[at + 1] if at + 1 < len(data) else END_OF_IMAGE, at + 2
        if code == END_OF_IMAGE:
            break
        segments += 1
        if code not in BARE and code != 0:
            length = int.from_bytes(data[at : at + 2], "big")
            if code in FRAME_HEADERS and found.size is None and at + 8 <= len(data):
                height, width, found.components = struct.unpack_from(">HHB", data, at + 3)
                found.size, found.is_progressive = (width, height), code in (0xC2, 0xC6, 0xCA, 0xCE)
            if (
                code == EXIF
                and data[at + 2 : at + 6] == b"Exif"
                and (exif := exif + length) > MAX_EXIF
            ):
                raise Overloaded("The photo's file has too much metadata.")
            at += max(length, 2)
            if code == START_OF_SCAN:
                found.scans += 1
                after = NEXT_MARKER.search(data, at)
                end = len(data) if after is None else after.start()
                fill += data.count(b"\xff\xff", at, end)
                at = end
        if fill > MAX_FILL:
            raise Overloaded("The photo's file is padded without end.")
        pixels = found.size[0] * found.size[1] if found.size else 0
        if found.scans > MAX_SCANS or found.scans * pixels > MAX_SCANNED:
            raise Overloaded("The photo's file has too many scans.")
        if segments > MAX_SEGMENTS:
            raise Overloaded("The photo's file has too many segments.")
    return found


def inspect_png(data: bytes) -> Container:
    """Chunks up to the end."""
    found, at = Container("PNG"), len(PNG_SIGNATURE)
    for _ in range(MAX_CHUNKS + 1):
        if at + 8 > len(data):
            return found
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"IHDR" and found.size is None and at + 18 <= len(data):
            width, height, _, colour = struct.unpack_from(">IIBB", data, at + 8)
            found.size, found.is_transparent = (width, height), colour in (4, 6)
        elif kind == b"tRNS":
            found.is_transparent = True
        elif kind == b"acTL" and at + 12 <= len(data):
            if struct.unpack_from(">I", data, at + 8)[0] > MAX_FRAMES:
                raise Overloaded("The photo's file is an animation of too many frames.")
        elif kind == b"IEND":
            return found
        at += 12 + length
    raise Overloaded("The photo's file has too many chunks.")


def inspect_webp(data: bytes) -> Container:
    """Chunks up to the end. The canvas is what the decoder will reserve memory for."""
    found, at, frames = Container("WEBP"), 12, 0
    for _ in range(MAX_FRAMES + MAX_SEGMENTS + 1):
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
