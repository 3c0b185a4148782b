"""Photo bytes -> safe, upright RGB array.

Gallery photos and queries take this one path, so their pixels agree. Order matters: container
formats from an allow-list only, dimensions checked before any pixel is decoded, JPEGs decoded at
reduced size by the codec itself, every failure one typed error with a sentence for a person.
"""

from __future__ import annotations

import io
import os
import threading
import warnings
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from .container import Container, Overloaded, inspect
from .files import open_regular

FORMATS = ("JPEG", "PNG", "WEBP")
SUFFIXES = (".jpg", ".jpeg", ".jfif", ".jpe", ".mpo", ".png", ".webp")
MAX_BYTES = 64 * 2**20
MAX_PIXELS = 40_000_000
# Some kinds need more memory a pixel. With these limits no photo takes more than 400 MB, all told.
MAX_PIXELS_WEBP = 16_000_000  # its decoder holds three canvases of 4 bytes a pixel
MAX_PIXELS_LAYERED = 20_000_000  # with transparency, or with the four colours of print
MAX_SIDE = 12_000
MAX_ASPECT = 20
MIN_SIDE = 16
WORKING_SIDE = (
    1024  # longest side of every decoded photo: enough for descriptors, SIFT and the match viewer
)
NEEDS_MEMORY = "The photo needs more memory than there is."

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
MAX_EXIF = 2**17  # bytes that are read for the orientation; cameras write less than half of that
RAW_EXIF = "Raw profile type exif"  # where older programs put it in a PNG
# Photos being decoded at one time, over all threads.
DECODING = threading.BoundedSemaphore(2)

# The sizes are checked below, more strictly than Pillow's warning does.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# One file can hold 65,536 oddities, and Pillow warns of each.
warnings.filterwarnings("ignore", module=r"PIL\.")


class BadPhoto(Exception):
    """The photo cannot be used; str(error) is a sentence for the person who sent it."""


class UnsupportedImage(BadPhoto):
    """Not a JPEG, PNG or WebP photo, or a damaged one."""


class ImageTooLarge(BadPhoto):
    """More bytes, pixels or stretch than the limits of this module allow."""


def decode(
    data: bytes, as_stored: bool = False, places: AbstractContextManager = DECODING
) -> np.ndarray:
    """The pixels of a photo, shrunk to WORKING_SIDE if it is larger.

    Args:
        data: the file.
        as_stored: leave the photo turned as it is stored, and drop transparency instead of laying
            the photo on white. People want neither; code that has published figures does both.
        places: entered while pixels are decoded. Visitors share DECODING; who counts the photos in
            hand in another way brings `nullcontext()`.

    Returns:
        uint8 RGB (H, W, 3), upright unless `as_stored`.

    Raises:
        UnsupportedImage: it is no photo of a format that is read, or a damaged one.
        ImageTooLarge: it passes the limits of this module.
    """
    check_bytes(len(data))
    try:
        check_container(inspect(data))
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            check_size(*image.size)
            # Lets libjpeg skip what the resize below would throw away: 3 to 4 times faster on a 12
            # MP photo.
            image.draft("RGB", (WORKING_SIDE, WORKING_SIDE))
            with places:
                image.load()  # first frame of phones' multi-picture JPEGs and of animations
                # Shrunk before anything is copied: a PNG of few bytes can have 40 million pixels.
                if as_stored:
                    return np.asarray(fit(opaque(image), WORKING_SIDE))
                small = to_rgb(fit(resizable(image), WORKING_SIDE))
            return np.asarray(upright(small, image))
    except BadPhoto:
        raise
    except Overloaded as error:
        raise ImageTooLarge(str(error)) from None
    except Image.UnidentifiedImageError:
        raise UnsupportedImage("This is not a JPEG, PNG or WebP photo.") from None
    except Image.DecompressionBombError:
        raise ImageTooLarge(f"The photo has more than {MAX_PIXELS // 10**6} megapixels.") from None
    except MemoryError:
        raise ImageTooLarge(NEEDS_MEMORY) from None
    except (
        Exception
    ) as error:  # codecs raise OSError, SyntaxError, ValueError, struct.error, IndexError, ...
        raise UnsupportedImage(
            f"The photo is damaged and cannot be read ({str(error) or type(error).__name__})."
        ) from error


def read_bytes(path: str | Path) -> bytes:
    """A photo file's bytes, refused by its size before it is read.

    Raises:
        OSError: It cannot be opened, or is a pipe, a device or a folder.
        ImageTooLarge: It has more than MAX_BYTES.
    """
    with open_regular(path) as file:
        check_bytes(os.fstat(file.fileno()).st_size)
        return read_stream(file)  # it may grow meanwhile


def read_stream(file: BinaryIO) -> bytes:
    """A photo's bytes from an open file or a pipe, of which no more than MAX_BYTES are read.

    Raises:
        ImageTooLarge: It has more than MAX_BYTES.
    """
    data = file.read(MAX_BYTES + 1)
    check_bytes(len(data))
    return data


def read_photo(path: str | Path, as_stored: bool = False) -> np.ndarray:
    """`decode` for a file. Raises OSError, UnsupportedImage, ImageTooLarge."""
    return decode(read_bytes(path), as_stored)


def check_bytes(count: int) -> None:
    """Raise ImageTooLarge for a file of more than MAX_BYTES."""
    if count > MAX_BYTES:
        raise ImageTooLarge(
            f"The file has {count / 2**20:.0f} MB; {MAX_BYTES // 2**20} MB is the most."
        )


def check_size(width: int, height: int) -> None:
    """Whether a photo's size is within this module's limits.

    Args:
        width, height: in pixels.

    Raises:
        ImageTooLarge, UnsupportedImage: it is not.
    """
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise ImageTooLarge(
            f"The photo has {width} x {height} pixels; at most {MAX_PIXELS // 10**6} megapixels "
            f"and {MAX_SIDE} pixels a side are allowed."
        )
    if min(width, height) < MIN_SIDE:
        raise UnsupportedImage(
            f"The photo has {width} x {height} pixels; {MIN_SIDE} a side is the least."
        )
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise ImageTooLarge(
            f"The photo is stretched {width} x {height}; {MAX_ASPECT} to 1 is the most."
        )


def check_container(found: Container) -> None:
    """Raise ImageTooLarge or UnsupportedImage for what a codec should not even open."""
    if found.size is None:
        return
    check_size(*found.size)
    most, what = MAX_PIXELS, "The photo"
    if found.kind == "WEBP":
        most, what = MAX_PIXELS_WEBP, "A WebP photo"
    elif found.is_transparent:
        most, what = MAX_PIXELS_LAYERED, "A photo with transparency"
    elif found.components == 4:
        most, what = MAX_PIXELS_LAYERED, "A photo in the colours of print"
    if found.size[0] * found.size[1] > most:
        width, height = found.size
        raise ImageTooLarge(
            f"{what} may have {most // 10**6} megapixels; this one has {width} x {height} pixels."
        )


def resizable(image: Image.Image) -> Image.Image:
    """The image in a mode that Lanczos can work on.

    Palettes and bitmaps become RGB(A), 16-bit grey becomes 8-bit.
    """
    if image.mode.startswith("I"):  # Pillow would clip instead of scale
        grey = np.asarray(image)
        small = (grey.clip(0, 65535) // 257).astype(np.uint8)
        if isinstance(clear := image.info.get("transparency"), int):
            small[grey == clear] = 255  # white, as all transparency becomes
        return Image.fromarray(small)
    if image.mode in ("P", "1", "PA") or (image.has_transparency_data and image.mode != "RGBA"):
        return image.convert("RGBA" if image.has_transparency_data else "RGB")
    return image


def to_rgb(image: Image.Image) -> Image.Image:
    """8-bit RGB; transparency becomes white."""
    if image.mode == "RGBA":
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def opaque(image: Image.Image) -> Image.Image:
    """8-bit RGB as Pillow converts it: the colours that transparency hides come to light."""
    return resizable(image).convert("RGB") if image.mode.startswith("I") else image.convert("RGB")


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
