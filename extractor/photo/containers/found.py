"""What a photo's file says of itself."""

from __future__ import annotations

from dataclasses import dataclass

MAX_EXIF = 2**18  # bytes of Exif, which Pillow reads while it opens the file


class Overloaded(Exception):
    """The file is built to keep a decoder busy; the message is a sentence for a person."""


@dataclass
class Container:
    """What was found.

    Attributes:
        kind: key of its `Format`, "" for anything else.
        size: width and height in pixels, as far as the file says.
        is_transparent: whether it says that it has an alpha channel, or a transparent colour.
        depth: bits a colour.
        components: colours of a JPEG, samples a pixel of a TIFF.
        scans: of a JPEG.
        is_progressive: whether a JPEG's scans are kept until all of them are there.
        is_ended: whether a JPEG has its last marker.
        is_whole: whether a JPEG has all but the last bit of every coefficient.
        page: of a TIFF, the largest, counted from 0.
        tile: largest number of pixels that are unpacked at one time, where the file says.
        levels: of a JPEG 2000's resolution, besides the full one.
    """

    kind: str = ""
    size: tuple[int, int] | None = None
    is_transparent: bool = False
    depth: int = 8
    components: int = 0
    scans: int = 0
    is_progressive: bool = False
    is_ended: bool = False
    is_whole: bool = False
    page: int = 0
    tile: int = 0
    levels: int = 0
