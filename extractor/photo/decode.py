"""Photo bytes -> safe, upright sRGB array.

Gallery photos and queries are decoded by the same code, so their pixels agree. Order matters: only
formats on an allow-list, dimensions and cost checked before any pixel is decoded, JPEGs decoded at
reduced size by the codec itself, every failure one typed error with a sentence for the user.
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
FLIPS = {3: 3, 5: 8, 6: 6}  # LibRaw's orientation code -> EXIF's
MAX_EXIF = 2**17  # maximum bytes parsed for the orientation; cameras write less than half of that
RAW_EXIF = "Raw profile type exif"  # where older programs store it in a PNG
PREVIEW_SIDE = 1024  # minimum longer side of a raw photo's preview, pixels
# Photos decoded at a time, over all threads.
DECODING = threading.BoundedSemaphore(2)

# The size limits below are stricter than Pillow's.
Image.MAX_IMAGE_PIXELS = None
# One file can contain 65,536 oddities, and Pillow warns about each of them.
warnings.filterwarnings("ignore", module=r"PIL\.")


class Decoded(NamedTuple):
    """A decoded photo.

    Attributes:
        pixels: uint8 sRGB (H, W, 3), upright.
        note: a sentence about a defect of the file, or "".
    """

    pixels: np.ndarray
    note: str = ""


def decode(
    data: bytes,
    as_stored: bool = False,
    places: AbstractContextManager = DECODING,
    limits: Limits = OWNER,
) -> np.ndarray:
    """The pixels of a photo. See `read` for arguments, result and errors."""
    return read(data, as_stored, places, limits).pixels


def read(
    data: bytes,
    as_stored: bool = False,
    places: AbstractContextManager = DECODING,
    limits: Limits = OWNER,
) -> Decoded:
    """Decode a photo, shrunk to WORKING_SIDE if it is larger.

    A strip keeps more pixels on its longer side, see `strips`.

    Args:
        data: content of the file.
        as_stored: keep the stored orientation and colours, and drop transparency instead of
            compositing over white. Users want neither; code that reproduces published figures
            needs this.
        places: context entered while pixels are decoded. Visitors share DECODING; callers that
            limit concurrent decoding themselves pass `nullcontext()`.
        limits: limits on the file and on the cost of decoding it.

    Raises:
        UnsupportedImage: the photo is damaged or not of a supported format.
        ImageTooLarge: the photo exceeds the limits.
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
        if type(error).__name__ != "PanicException":  # raised by codecs written in Rust
            raise
        raise damaged(error) from None


def finished(image: Image.Image, data: bytes, found: Container, as_stored: bool) -> Decoded:
    """Decode an opened image. Arguments as in `read`."""
    note = ""
    try:
        image.load()  # first frame of multi-picture JPEGs and of animations
    except OSError:
        recovered = rescued(data, found) if found.kind == "jpeg" else None
        if recovered is None:
            raise
        image, note = recovered, CUT_OFF
    deep = None if as_stored else deep_image(image, data, found)
    side = longest_side(*image.size, WORKING_SIDE)
    # Shrink before anything is copied: a PNG of few bytes can have 40 million pixels.
    if as_stored:
        return Decoded(np.asarray(fit(opaque(image), side)), note)
    small = fit(resizable(image if deep is None else deep), side)
    return Decoded(np.asarray(upright(to_rgb(small), image)), note)


def preview(
    data: bytes, as_stored: bool, places: AbstractContextManager, limits: Limits
) -> Decoded:
    """`read` for the preview of a raw photo."""
    with places:
        jpeg, flip = raw_preview(data)
        found = inspect(jpeg)
        if found.kind != "jpeg" or found.size is None:
            raise UnsupportedImage("The raw photo's preview is not a JPEG.")
        if max(found.size) < PREVIEW_SIDE:
            raise UnsupportedImage(
                f"The raw photo's preview has {found.size[0]} x {found.size[1]} pixels; at least "
                f"{PREVIEW_SIDE} on the longer side are needed."
            )
        limits.check(found, len(data))
        with open_image(jpeg, found) as image:
            orientation = image.getexif().get(EXIF_ORIENTATION)
            pixels, note = finished(image, jpeg, found, as_stored)
    if orientation is None and flip in FLIPS and not as_stored:
        pixels = np.asarray(Image.fromarray(pixels).transpose(TURNS[FLIPS[flip]]))
    return Decoded(pixels, note)


def check_start(data: bytes, limits: Limits) -> None:
    """`check_format` by a file's first bytes, before the container is inspected."""
    start = formats.format_of(data[: formats.START])
    kind = start.key if start else ""
    if kind == "tiff" and "raw" in limits.formats:
        return  # many raw photos start like a TIFF
    check_format(kind, limits)


def check_format(kind: str, limits: Limits) -> None:
    """Raise UnsupportedImage for a format that is not accepted."""
    accepted = formats.names(limits.formats)
    if not kind:
        raise UnsupportedImage(f"This is not a photo in a supported format ({accepted}).")
    if kind not in limits.formats:
        name = formats.BY_KEY[kind].name
        raise UnsupportedImage(f"Photos of the format {name} are not read here; {accepted} are.")


def damaged(error: BaseException) -> UnsupportedImage:
    """The error for a file that a codec failed to decode."""
    if isinstance(error, Image.UnidentifiedImageError) or not str(error):
        return UnsupportedImage("The photo is damaged and cannot be read.")
    return UnsupportedImage(f"The photo is damaged and cannot be read ({error}).")


def read_bytes(path: str | Path, limits: Limits = OWNER) -> bytes:
    """Read a photo file, checking its size first.

    Raises:
        OSError: the file cannot be opened, or is a pipe, a device or a folder.
        ImageTooLarge: the file has more bytes than the limits allow.
    """
    with open_regular(path) as file:
        limits.check_bytes(os.fstat(file.fileno()).st_size)
        return read_stream(file, limits)  # the file may have grown meanwhile


def read_stream(file: BinaryIO, limits: Limits = OWNER) -> bytes:
    """Read a photo from an open file or a pipe, up to the limits.

    Raises:
        ImageTooLarge: there are more bytes than the limits allow.
    """
    data = file.read(limits.megabytes * 2**20 + 1)
    limits.check_bytes(len(data))
    return data


def read_photo(path: str | Path, as_stored: bool = False) -> np.ndarray:
    """`decode` for a file. Raises OSError, UnsupportedImage, ImageTooLarge."""
    return decode(read_bytes(path), as_stored)


def read_size(path: str | Path) -> tuple[int, int] | None:
    """Width and height in pixels that a photo's file declares, as stored; None if undeclared.

    Raises OSError.
    """
    try:
        return inspect(read_bytes(path)).size
    except (BadPhoto, Overloaded):
        return None


def opaque(image: Image.Image) -> Image.Image:
    """8-bit RGB as Pillow converts it: transparency is dropped, which shows the hidden colours."""
    deep = image.mode.startswith(("I", "F"))
    return (resizable(image) if deep else image).convert("RGB")


def upright(pixels: Image.Image, image: Image.Image) -> Image.Image:
    """Pixels rotated by a photo's EXIF orientation.

    Args:
        pixels: image to rotate; returned unchanged if the tag is absent or broken.
        image: image with the EXIF metadata.
    """
    if any(len(image.info.get(name) or "") > MAX_EXIF for name in ("exif", RAW_EXIF)):
        return pixels  # each of its entries may reference all of it
    try:
        orientation = image.getexif().get(EXIF_ORIENTATION)
    except Exception:  # damaged metadata is no reason to reject intact pixels
        return pixels
    turn = TURNS.get(orientation) if isinstance(orientation, int) else None
    return pixels if turn is None else pixels.transpose(turn)


def fit(image: Image.Image, longest_side: int) -> Image.Image:
    """The image shrunk by Lanczos, never enlarged, to sides of at most `longest_side` pixels."""
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
    """A new JPEG of RGB pixels (H, W, 3) uint8, without any metadata of the original."""
    buffer = io.BytesIO()
    Image.fromarray(photo).save(buffer, "JPEG", quality=quality, optimize=True, progressive=True)
    return buffer.getvalue()
