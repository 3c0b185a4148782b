"""Limits on photos: visitors' uploads, and photos in the owner's folders."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

from . import formats
from .containers import Container
from .errors import ImageTooLarge, UnsupportedImage
from .strips import MAX_ASPECT, SHORT_SIDE, is_strip

WORKING_SIDE = (
    1024  # longest side of every decoded photo: enough for descriptors, SIFT and the match viewer
)
MIN_SIDE = 16
NEEDS_MEMORY = "The photo needs more memory than there is."
# Bytes of memory per pixel for decoding and shrinking a photo, at most, over modes and compressions
# (`tests/extractor/test_decoder.py` verifies each).
COST = {
    "png": 10,
    "webp": 25,  # its decoder holds three canvases of 4 bytes per pixel
    "heic": 10,
    "avif": 10,
    "bmp": 10,
    "gif": 20,
    "jpeg2000": 22,
    "jpegxl": 22,
}
LAYERED = 20  # with transparency, or CMYK
DEEP = 24  # numbers of 16 and more bits, which are scaled by their range


@dataclass(frozen=True)
class Limits:
    """Limits on a photo and on the cost of decoding it.

    Attributes:
        formats: keys of the accepted formats.
        megabytes: file size (2^20 bytes).
        megapixels: picture size (10^6 pixels).
        memory: megabytes that decoding may use.
        seconds: processor time that decoding may use.
        prefix: prefix of the environment variables that change the last four; "" where the sender
            of the photo cannot change them.
    """

    formats: tuple[str, ...]
    megabytes: int
    megapixels: int
    memory: int
    seconds: float
    prefix: str = ""

    def hint(self, name: str) -> str:
        """A sentence on how to raise a limit, or "" if the sender cannot."""
        return f" {self.prefix}{name} sets the limit." if self.prefix else ""

    def check_bytes(self, count: int) -> None:
        """Raise ImageTooLarge if a file has more than `megabytes`."""
        if count > self.megabytes * 2**20:
            raise ImageTooLarge(
                f"The file has {count / 2**20:.0f} MB; at most {self.megabytes} MB are allowed."
                + self.hint("MB")
            )

    def check_size(self, width: int, height: int) -> None:
        """Check a photo's size in pixels and its aspect ratio.

        Raises:
            ImageTooLarge, UnsupportedImage: the size is outside the limits.
        """
        if width * height > self.megapixels * 10**6:
            raise ImageTooLarge(
                f"The photo has {width} x {height} pixels; at most {self.megapixels} megapixels "
                f"are allowed.{self.hint('MEGAPIXELS')}"
            )
        if min(width, height) < MIN_SIDE:
            raise UnsupportedImage(
                f"The photo has {width} x {height} pixels; at least {MIN_SIDE} on each side are "
                "needed."
            )
        if max(width, height) > MAX_ASPECT * min(width, height):
            raise ImageTooLarge(
                f"The photo has {width} x {height} pixels; its longer side may be at most "
                f"{MAX_ASPECT} times as long as the shorter one."
            )

    def check(self, found: Container, count: int) -> None:
        """Reject a file before any codec opens it.

        Args:
            found: result of inspecting the file.
            count: size of the file in bytes.

        Raises:
            ImageTooLarge, UnsupportedImage: the file exceeds the limits or is not supported.
        """
        if found.kind == "jpeg" and found.depth not in (0, 8):
            raise UnsupportedImage(
                f"A JPEG with {found.depth}-bit colours cannot be read; one with 8-bit colours can."
            )
        if found.size is None:
            return
        self.check_size(*found.size)
        needed = memory_of(found) + count
        if needed > self.memory * 2**20:
            width, height = found.size
            raise ImageTooLarge(
                f"A photo of this kind and {width} x {height} pixels needs about "
                f"{needed / 2**20:.0f} MB of memory; at most {self.memory} MB are allowed."
                + self.hint("MEMORY_MB")
            )


# Defaults for photos in one's own folder (see `owner_limits`), and for visitors' uploads.
OWNER = Limits(tuple(formats.BY_KEY), 1024, 500, 3000, 60.0, "GEM_PHOTO_")
VISITOR = Limits(formats.UPLOADED, 12, 64, 400, 5.0)
# Settings read by `owner_limits`: name after `GEM_PHOTO_`, field, minimum, maximum.
SETTINGS = (
    ("MB", "megabytes", 1, 16_384),
    ("MEGAPIXELS", "megapixels", 1, 100_000),
    ("MEMORY_MB", "memory", 50, 1_048_576),
    ("SECONDS", "seconds", 1, 3_600),
)


class BadLimit(ValueError):
    """A setting has an invalid value; str(error) is a sentence that names it."""


def owner_limits() -> Limits:
    """OWNER with the changes of the environment, see `SETTINGS`. Raises BadLimit."""
    changed: dict[str, Any] = {}
    for name, field, minimum, maximum in SETTINGS:
        text = os.environ.get(OWNER.prefix + name, "")
        if not text:
            continue
        if not text.isascii() or not text.isdigit() or not minimum <= int(text) <= maximum:
            raise BadLimit(
                f"{OWNER.prefix}{name} is {text!r}; it must be a whole number from {minimum} to "
                f"{maximum}."
            )
        changed[field] = int(text)
    return replace(OWNER, **changed) if changed else OWNER


def memory_of(found: Container) -> float:
    """Estimated bytes for decoding a photo, without its file. Its size must be known."""
    assert found.size is not None
    width, height = found.size
    pixels = width * height
    if found.kind == "jpeg":
        scale = jpeg_scale(width, height)
        coefficients = 2 * max(found.components, 1) * pixels if found.is_progressive else 0
        return coefficients + (LAYERED if found.components == 4 else 10) * pixels / scale**2
    if found.kind == "tiff":
        unpacked = found.tile * found.components * max(found.depth, 8) / 8
        # The numbers themselves, and their floats while they are scaled.
        numbers = max(5, 3 * found.components) * found.depth / 8 if found.depth > 8 else 0
        return (12 + numbers) * pixels + unpacked
    if found.kind == "jpeg2000":
        return COST["jpeg2000"] * pixels / 4 ** jpeg2000_levels(found) + 4 * found.tile
    cost = COST[found.kind]
    if found.is_transparent:
        cost = max(cost, LAYERED)
    return max(cost, DEEP if found.depth > 8 and found.kind == "png" else 0) * pixels


def draft_side(width: int, height: int) -> int:
    """Pixels of the shorter side below which a JPEG is not shrunk during decoding."""
    return SHORT_SIDE if is_strip(width, height) else WORKING_SIDE


def jpeg_scale(width: int, height: int) -> int:
    """Factor by which libjpeg shrinks a photo during decoding: 1, 2, 4 or 8 (`Image.draft`)."""
    factor = min(width, height) // draft_side(width, height)
    return max(scale for scale in (1, 2, 4, 8) if scale <= max(factor, 1))


def jpeg2000_levels(found: Container) -> int:
    """Number of a JPEG 2000's resolution levels that need not be decoded."""
    assert found.size is not None
    factor = max(found.size) // WORKING_SIDE
    return max(0, min(found.levels, factor.bit_length() - 1))
