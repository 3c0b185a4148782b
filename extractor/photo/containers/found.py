"""Result of inspecting a photo's file."""

from __future__ import annotations

from dataclasses import dataclass

MAX_EXIF = 2**18  # bytes of Exif, which Pillow reads while it opens the file


class Overloaded(Exception):
    """The file is built to keep a decoder busy. The message is a sentence for the user."""


@dataclass
class Container:
    """Properties that a photo's file declares.

    Attributes:
        kind: key of its `Format`, "" for an unknown format.
        size: width and height in pixels, if the file declares them.
        is_transparent: whether it declares an alpha channel or a transparent colour.
        depth: bits per colour.
        components: colours of a JPEG, samples per pixel of a TIFF.
        scans: number of scans of a JPEG.
        is_progressive: whether a JPEG decoder must keep all scans until the last.
        is_ended: whether a JPEG has its end marker.
        is_whole: whether a JPEG has all but the last bit of every coefficient.
        page: index of a TIFF's largest page, from 0.
        tile: maximum pixels that are unpacked at a time, if the file declares it.
        levels: resolution levels of a JPEG 2000, besides the full one.
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
