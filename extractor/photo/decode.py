"""Photo bytes -> safe, upright sRGB array.

Gallery photos and queries take this one path, so their pixels agree. Order matters: formats from an
allow-list only, dimensions and cost checked before any pixel is decoded, JPEGs decoded at reduced
size by the codec itself, every failure one typed error with a sentence for a person.
"""

from __future__ import annotations

import io
import os
import threading
import warnings
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image

from . import formats
from .codecs.colour import resizable, to_rgb
from .codecs.incomplete import CUT_OFF, rescued
from .codecs.openers import open_image, raw_preview
from .codecs.sixteen_bit import deep_image
from .containers import Container, Overloaded, inspect
from .containers.png import picture_of
from .errors import BadPhoto, ImageTooLarge, UnsupportedImage
from .files import open_regular
from .limits import NEEDS_MEMORY, OWNER, WORKING_SIDE, Limits
from .strips import longest_side

EXIF_ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
FLIPS = {3: 3, 5: 8, 6: 6}  # LibRaw's number of a turn -> EXIF's
MAX_EXIF = 2**17  # bytes that are read for the orientation; cameras write less than half of that
RAW_EXIF = "Raw profile type exif"  # where older programs put it in a PNG
PREVIEW_SIDE = 1024  # pixels of a raw photo's preview, at least
# Photos being decoded at one time, over all threads.
DECODING = threading.BoundedSemaphore(2)

# The sizes are checked below, more strictly than Pillow's limit does.
Image.MAX_IMAGE_PIXELS = None
# One file can hold 65,536 oddities, and Pillow warns of each.
warnings.filterwarnings("ignore", module=r"PIL\.")


class Decoded(NamedTuple):
    """A photo.

    Attributes:
        pixels: uint8 sRGB (H, W, 3), upright.
        note: a sentence on what is not as it should be, or "".
    """

    pixels: np.ndarray
    note: str = ""


def decode(
    data: bytes,
    as_stored: bool = False,
    places: AbstractContextManager = DECODING,
    limits: Limits = OWNER,
) -> np.ndarray:
    """The pixels of a photo. Arguments, result and errors as `read`."""
    return read(data, as_stored, places, limits).pixels


def read(
    data: bytes,
    as_stored: bool = False,
    places: AbstractContextManager = DECODING,
    limits: Limits = OWNER,
) -> Decoded:
    """The pixels of a photo, shrunk to WORKING_SIDE if it is larger, and what is to be said of it.

    A strip keeps more of its longer side, see `strips`.

    Args:
        data: the file.
        as_stored: leave the photo turned as it is stored and in its own colours, and drop
            transparency instead of laying the photo on white. People want neither; code that has
            published figures does all of it.
        places: entered while pixels are decoded. Visitors share DECODING; who counts the photos in
            hand in another way brings `nullcontext()`.
        limits: what the photo may be and cost.

    Raises:
        UnsupportedImage: it is no photo of a format that is read, or a damaged one.
        ImageTooLarge: it passes the limits.
    """
    limits.check_bytes(len(data))
    try:
        check_start(data, limits)
        found = inspect(data)
        check_format(found.kind, limits)
        if found.kind == "raw":
            return preview(data, as_stored, places, limits)
        limits.check(found, len(data))
        if found.kind == "png":
            data = picture_of(data)
        with open_image(data, found) as image:
            if found.size is None:
                limits.check_size(*image.size)
            with places:
                return finished(image, data, found, as_stored)
    except BadPhoto:
        raise
    except Overloaded as error:
        raise ImageTooLarge(str(error)) from None
    except MemoryError:
        raise ImageTooLarge(NEEDS_MEMORY + limits.hint("MEMORY_MB")) from None
    except (
        Exception
    ) as error:  # codecs raise OSError, SyntaxError, ValueError, struct.error, IndexError, ...
        raise damaged(error) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # of a codec written in Rust
            raise
        raise damaged(error) from None


def finished(image: Image.Image, data: bytes, found: Container, as_stored: bool) -> Decoded:
    """An opened image, decoded. The arguments as in `read`."""
    note = ""
    try:
        image.load()  # first frame of phones' multi-picture JPEGs and of animations
    except OSError:
        rest = rescued(data, found) if found.kind == "jpeg" else None
        if rest is None:
            raise
        image, note = rest, CUT_OFF
    deep = None if as_stored else deep_image(image, data, found)
    side = longest_side(*image.size, WORKING_SIDE)
    # Shrunk before anything is copied: a PNG of few bytes can have 40 million pixels.
    if as_stored:
        return Decoded(np.asarray(fit(opaque(image), side)), note)
    small = fit(resizable(image if deep is None else deep), side)
    return Decoded(np.asarray(upright(to_rgb(small), image)), note)


def preview(
    data: bytes, as_stored: bool, places: AbstractContextManager, limits: Limits
) -> Decoded:
    """`read` of the preview in a raw photo."""
    with places:
        jpeg, flip = raw_preview(data)
        found = inspect(jpeg)
        if found.kind != "jpeg" or found.size is None:
            raise UnsupportedImage("The raw photo's preview is no JPEG.")
        if max(found.size) < PREVIEW_SIDE:
            raise UnsupportedImage(
                f"The raw photo's preview has {found.size[0]} x {found.size[1]} pixels; at least "
                f"{PREVIEW_SIDE} on the longer side are needed."
            )
        limits.check(found, len(data))
        with open_image(jpeg, found) as image:
            turn = image.getexif().get(EXIF_ORIENTATION)
            pixels, note = finished(image, jpeg, found, as_stored)
    if turn is None and flip in FLIPS and not as_stored:
        pixels = np.asarray(Image.fromarray(pixels).transpose(TURNS[FLIPS[flip]]))
    return Decoded(pixels, note)


def check_start(data: bytes, limits: Limits) -> None:
    """`check_format` by a file's first bytes, before its container is inspected."""
    start = formats.format_of(data[: formats.START])
    kind = start.key if start else ""
    if kind == "tiff" and "raw" in limits.formats:
        return  # many raw photos begin as TIFFs do
    check_format(kind, limits)


def check_format(kind: str, limits: Limits) -> None:
    """Raise UnsupportedImage for a file of a format that is not taken."""
    taken = formats.names(limits.formats)
    if not kind:
        raise UnsupportedImage(f"This is not a photo of a format that is read ({taken}).")
    if kind not in limits.formats:
        name = formats.BY_KEY[kind].name
        raise UnsupportedImage(f"Photos of the format {name} are not read here; {taken} are.")


def damaged(error: BaseException) -> UnsupportedImage:
    """What to say of a file that a codec gives up."""
    if isinstance(error, Image.UnidentifiedImageError) or not str(error):
        return UnsupportedImage("The photo is damaged and cannot be read.")
    return UnsupportedImage(f"The photo is damaged and cannot be read ({error}).")


def read_bytes(path: str | Path, limits: Limits = OWNER) -> bytes:
    """A photo file's bytes, refused by its size before it is read.

    Raises:
        OSError: It cannot be opened, or is a pipe, a device or a folder.
        ImageTooLarge: It has more bytes than the limits allow.
    """
    with open_regular(path) as file:
        limits.check_bytes(os.fstat(file.fileno()).st_size)
        return read_stream(file, limits)  # it may grow meanwhile


def read_stream(file: BinaryIO, limits: Limits = OWNER) -> bytes:
    """A photo's bytes from an open file or a pipe, of which no more than the limits allow are read.

    Raises:
        ImageTooLarge: It has more bytes.
    """
    data = file.read(limits.megabytes * 2**20 + 1)
    limits.check_bytes(len(data))
    return data


def read_photo(path: str | Path, as_stored: bool = False) -> np.ndarray:
    """`decode` for a file. Raises OSError, UnsupportedImage, ImageTooLarge."""
    return decode(read_bytes(path), as_stored)


def read_size(path: str | Path) -> tuple[int, int] | None:
    """Width and height in pixels that a photo's file says, as stored; None if it says none.

    Raises OSError.
    """
    try:
        return inspect(read_bytes(path)).size
    except (BadPhoto, Overloaded):
        return None


def opaque(image: Image.Image) -> Image.Image:
    """8-bit RGB as Pillow converts it: the colours that transparency hides come to light."""
    deep = image.mode.startswith(("I", "F"))
    return (resizable(image) if deep else image).convert("RGB")


def upright(pixels: Image.Image, image: Image.Image) -> Image.Image:
    """Pixels turned as a photo's EXIF orientation says.

    Args:
        pixels: to be turned. They stay as they are where the tag is absent or broken.
        image: that has the tag.
    """
    if any(len(image.info.get(name) or "") > MAX_EXIF for name in ("exif", RAW_EXIF)):
        return pixels  # each of its entries may repeat all of it
    try:
        orientation = image.getexif().get(EXIF_ORIENTATION)
    except Exception:  # damaged metadata is no reason to refuse sound pixels
        return pixels
    turn = TURNS.get(orientation) if isinstance(orientation, int) else None
    return pixels if turn is None else pixels.transpose(turn)


def fit(image: Image.Image, longest_side: int) -> Image.Image:
    """The image shrunk by Lanczos, never enlarged, to at most `longest_side` pixels a side."""
    image.thumbnail((longest_side, longest_side), Image.Resampling.LANCZOS)
    return image


def resize(photo: np.ndarray, longest_side: int) -> np.ndarray:
    """`fit` for an RGB array (H, W, 3) uint8."""
    return (
        photo
        if max(photo.shape[:2]) <= longest_side
        else np.asarray(fit(Image.fromarray(photo), longest_side))
    )


def encode_jpeg(photo: np.ndarray, quality: int = 85) -> bytes:
    """A fresh JPEG of RGB pixels (H, W, 3) uint8, without any metadata of the original."""
    buffer = io.BytesIO()
    Image.fromarray(photo).save(buffer, "JPEG", quality=quality, optimize=True, progressive=True)
    return buffer.getvalue()
