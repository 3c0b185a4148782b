"""JPEG: inspect the markers up to the end of the first picture."""

from __future__ import annotations

import re
import struct

from .found import MAX_EXIF, Container, Overloaded

MAX_SEGMENTS = 1_000  # photos have a few dozen
MAX_SCANS = 64  # of a progressive JPEG; common encoders write 10, thorough ones 20
COMMON_SCANS = 12  # allowed for a photo of any size
MAX_SCANNED = 480e6  # pixels times scans, limit for more scans than that
MAX_FILL = 4_096  # padding bytes before markers

# A marker inside a scan: 0xFF and a code that is neither stuffing, padding nor a restart.
NEXT_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)
START_OF_SCAN, END_OF_IMAGE, EXIF = 0xDA, 0xD9, 0xE1
FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
BLOCK = 64  # coefficients
BARE = frozenset(range(0xD0, 0xD9)) | {0x01}  # markers without a length


def inspect_jpeg(data: bytes) -> Container:
    """Walk the markers of the first picture; phones append others, which are not shown."""
    found, at, segments, fill, exif = Container("jpeg"), 2, 0, 0, 0
    nearly_exact: set[tuple[int, int]] = set()  # (component, coefficient)
    while at + 4 <= len(data):
        if data[at] != 0xFF:  # damaged: skip to the next marker, as decoders do
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
            found.is_ended = data[at - 2 : at] == b"\xff\xd9"
            break
        segments += 1
        if code not in BARE and code != 0:
            length = int.from_bytes(data[at : at + 2], "big")
            if code in FRAME_HEADERS and found.size is None and at + 8 <= len(data):
                found.depth, *sides, found.components = struct.unpack_from(">BHHB", data, at + 2)
                found.size, found.is_progressive = (sides[1], sides[0]), code in PROGRESSIVE
            if (
                code == EXIF
                and data[at + 2 : at + 6] == b"Exif"
                and (exif := exif + length) > MAX_EXIF
            ):
                raise Overloaded("The photo's file has too much metadata.")
            at += max(length, 2)
            if code == START_OF_SCAN:
                found.scans += 1
                scan = data[at - length + 2 : at]
                after = NEXT_MARKER.search(data, at)
                if after is not None:  # the scan is complete
                    nearly_exact.update(coefficients_of(scan))
                end = len(data) if after is None else after.start()
                fill += data.count(b"\xff\xff", at, end)
                at = end
        if fill > MAX_FILL:
            raise Overloaded("The photo's file is padded without end.")
        pixels = found.size[0] * found.size[1] if found.size else 0
        is_costly = found.scans > COMMON_SCANS and found.scans * pixels > MAX_SCANNED
        if found.scans > MAX_SCANS or is_costly:
            raise Overloaded("The photo's file has too many scans.")
        if segments > MAX_SEGMENTS:
            raise Overloaded("The photo's file has too many segments.")
    found.is_ended = found.is_ended or data[at : at + 2] == b"\xff\xd9"
    found.is_whole = len(nearly_exact) >= BLOCK * max(found.components, 1)
    return found


def coefficients_of(scan: bytes) -> set[tuple[int, int]]:
    """(component, coefficient) pairs for which at most the last bit is missing after a scan.

    Args:
        scan: header of the scan.
    """
    count = scan[0] if scan else 0
    if len(scan) < 4 + 2 * count or scan[3 + 2 * count] & 15 > 1:
        return set()
    first, last = scan[1 + 2 * count : 3 + 2 * count]
    components = scan[1 : 1 + 2 * count : 2]
    return {(c, k) for c in components for k in range(first, min(last, BLOCK - 1) + 1)}
