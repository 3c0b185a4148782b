"""How much a photo may be: of visitors' uploads, and of photos in the owner's own folder."""

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
# Bytes of memory a pixel while a photo of a kind is decoded and shrunk, the most over modes and
# ways of packing (`tests/extractor/test_decoder.py` holds each to it).
COST = {
    "png": 10,
    "webp": 25,  # its decoder holds three canvases of 4 bytes a pixel
    "heic": 10,
    "avif": 10,
    "bmp": 10,
    "gif": 20,
    "jpeg2000": 22,
    "jpegxl": 22,
}
LAYERED = 20  # with transparency, or with the four colours of print
DEEP = 24  # what is scaled by its range, as numbers of 16 and more bits


@dataclass(frozen=True)
class Limits:
    """What a photo may be, and what it may cost.

    Attributes:
        formats: Keys of the formats that are taken.
        megabytes: Of the file (2^20 bytes).
        megapixels: Of the picture (10^6).
        memory: Megabytes that decoding it may take.
        seconds: Of processor time that decoding it may take.
        prefix: Of the environment variables that change the last four, "" where the person who
            sent the photo cannot change them.
    """

    formats: tuple[str, ...]
    megabytes: int
    megapixels: int
    memory: int
    seconds: float
    prefix: str = ""

    def hint(self, name: str) -> str:
        """How to raise a limit, for who can."""
        return f" {self.prefix}{name} sets the limit." if self.prefix else ""

    def check_bytes(self, count: int) -> None:
        """Raise ImageTooLarge for a file of more than `megabytes`."""
        if count > self.megabytes * 2**20:
            raise ImageTooLarge(
                f"The file has {count / 2**20:.0f} MB; at most {self.megabytes} MB are allowed."
                + self.hint("MB")
            )

    def check_size(self, width: int, height: int) -> None:
        """Check a photo's size in pixels.

        Raises:
            ImageTooLarge, UnsupportedImage: it is not.
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
        """Refuse a file that no codec should open.

        Args:
            found: in the file.
            count: its bytes.

        Raises:
            ImageTooLarge, UnsupportedImage: it should not.
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


# Of photos in a folder of one's own, unless `owner_limits` are asked; of what strangers send.
OWNER = Limits(tuple(formats.BY_KEY), 1024, 500, 3000, 60.0, "GEM_PHOTO_")
VISITOR = Limits(formats.UPLOADED, 12, 64, 400, 5.0)
# What `owner_limits` reads: name after `GEM_PHOTO_`, field, least, most.
SETTINGS = (
    ("MB", "megabytes", 1, 16_384),
    ("MEGAPIXELS", "megapixels", 1, 100_000),
    ("MEMORY_MB", "memory", 50, 1_048_576),
    ("SECONDS", "seconds", 1, 3_600),
)


class BadLimit(ValueError):
    """A setting has a value that cannot be; str(error) is a sentence that names it."""


def owner_limits() -> Limits:
    """OWNER, changed by the environment as `SETTINGS` say. Raises BadLimit."""
    changed: dict[str, Any] = {}
    for name, field, least, most in SETTINGS:
        text = os.environ.get(OWNER.prefix + name, "")
        if not text:
            continue
        if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
            raise BadLimit(
                f"{OWNER.prefix}{name} is {text!r}; it must be a whole number from {least} to "
                f"{most}."
            )
        changed[field] = int(text)
    return replace(OWNER, **changed) if changed else OWNER


def memory_of(found: Container) -> float:
    """About how many bytes decoding a photo takes, without its file; its size must be known."""
    assert found.size is not None
    width, height = found.size
    pixels = width * height
    if found.kind == "jpeg":
        scale = jpeg_scale(width, height)
        kept = 2 * max(found.components, 1) * pixels if found.is_progressive else 0
        return kept + (LAYERED if found.components == 4 else 10) * pixels / scale**2
    if found.kind == "tiff":
        unpacked = found.tile * found.components * max(found.depth, 8) / 8
        # As they are, and as fractions while they are scaled.
        numbers = max(5, 3 * found.components) * found.depth / 8 if found.depth > 8 else 0
        return (12 + numbers) * pixels + unpacked
    if found.kind == "jpeg2000":
        return COST["jpeg2000"] * pixels / 4 ** jpeg2000_levels(found) + 4 * found.tile
    cost = COST[found.kind]
    if found.is_transparent:
        cost = max(cost, LAYERED)
    return max(cost, DEEP if found.depth > 8 and found.kind == "png" else 0) * pixels


def draft_side(width: int, height: int) -> int:
    """Pixels of the shorter side below which a JPEG is not shrunk while it is decoded."""
    return SHORT_SIDE if is_strip(width, height) else WORKING_SIDE


def jpeg_scale(width: int, height: int) -> int:
    """By how much libjpeg shrinks a photo while it decodes it: 1, 2, 4 or 8 (`Image.draft`)."""
    room = min(width, height) // draft_side(width, height)
    return max(scale for scale in (1, 2, 4, 8) if scale <= max(room, 1))


def jpeg2000_levels(found: Container) -> int:
    """How many levels of a JPEG 2000's resolution need not be decoded."""
    assert found.size is not None
    room = max(found.size) // WORKING_SIDE
    return max(0, min(found.levels, room.bit_length() - 1))
