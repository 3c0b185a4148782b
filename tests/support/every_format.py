"""A folder with one file of each kind of photo, and what each is.

    python -m tests.support.every_format FOLDER

Every file that can be read shows PICTURE, so that a search with one finds all the others.
"""

from __future__ import annotations

import io
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageCms

from extractor.photo.codecs.icc_profiles import matrix_profile
from extractor.photo.codecs.openers import prepare
from tests.support.raw_photo import raw_photo

PICTURE = Path(__file__).parents[2] / "gallery" / "photos" / "colosseum.jpg"
WIDTH, HEIGHT = 480, 312
ORIENTATION = 0x0112


@dataclass(frozen=True)
class Kind:
    """One file.

    Attributes:
        name: of the file.
        what: it is, for people.
        make: its bytes.
        error: a part of the sentence with which it is left out; "" if it is read.
        tolerance: mean difference of its pixels from the picture's, at most; of 255.
        is_grey: whether it has no colours.
    """

    name: str
    what: str
    make: Callable[[], bytes]
    error: str = ""
    tolerance: float = 4.0
    is_grey: bool = False


@cache
def picture() -> Image.Image:
    """What all of them show."""
    with Image.open(PICTURE) as image:
        return image.convert("RGB").resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    """An image's file."""
    prepare()
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def of_picture(format: str, mode: str = "RGB", **options: object) -> Callable[[], bytes]:
    """Makes the picture's file in a mode of Pillow's."""
    return lambda: encoded(picture().convert(mode), format, **options)


def in_palette(format: str) -> Callable[[], bytes]:
    """Makes the picture's file in 256 colours."""
    return lambda: encoded(picture().quantize(256), format)


def in_space(
    format: str, space: str, embedded: bool = True, **options: object
) -> Callable[[], bytes]:
    """Makes the picture's file in another RGB space, with its profile if that is embedded."""

    def make() -> bytes:
        data = matrix_profile(space)
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        srgb = ImageCms.createProfile("sRGB")
        wide = ImageCms.profileToProfile(
            picture(), srgb, profile, ImageCms.Intent.RELATIVE_COLORIMETRIC
        )
        assert wide is not None
        return encoded(wide, format, **({"icc_profile": data} if embedded else {}), **options)

    return make


def turned(format: str, **options: object) -> Callable[[], bytes]:
    """Makes a file whose pixels lie on their side, and that says so."""

    def make() -> bytes:
        exif = Image.Exif()
        exif[ORIENTATION] = 6
        stored = picture().transpose(Image.Transpose.ROTATE_90)
        return encoded(stored, format, exif=exif.tobytes(), **options)

    return make


def numbers(extension: str, bits: int, dtype: type, grey: bool = False) -> Callable[[], bytes]:
    """Makes a file of numbers of more than 8 bits, or of fractions, by OpenCV.

    bits: that the numbers use; 0 for fractions from 0 to 1.
    """

    def make() -> bytes:
        pixels = np.asarray(picture().convert("L") if grey else picture())
        scale = 1 / 255 if bits == 0 else (2**bits - 1) / 255
        values = (pixels * scale).astype(dtype)
        done, data = cv2.imencode(extension, values if grey else values[:, :, ::-1])
        assert done
        return data.tobytes()

    return make


def pages() -> bytes:
    """A TIFF with a small picture of something else before the large one."""
    small = Image.new("RGB", (100, 65), "red")
    return encoded(small, "TIFF", save_all=True, append_images=[picture(), small])


def tiled() -> bytes:
    """A TIFF in tiles, packed by deflate."""
    tiles = {322: 128, 323: 128}
    return encoded(picture(), "TIFF", compression="tiff_adobe_deflate", tiffinfo=tiles)


def burst() -> bytes:
    """A HEIC of three pictures, of which the second is the primary one."""
    import pillow_heif

    other = Image.new("RGB", (WIDTH, HEIGHT), "red")
    file = pillow_heif.from_pillow(other)
    file.add_from_pillow(picture())
    file.add_from_pillow(other)
    buffer = io.BytesIO()
    file.save(buffer, quality=90, primary_index=1)
    return buffer.getvalue()


def tiles_of_heic() -> bytes:
    """A HEIC made of a grid of tiles, as phones write it."""
    import pillow_heif

    before = pillow_heif.options.GRID_TILE_SIZE
    pillow_heif.options.GRID_TILE_SIZE = 128
    try:
        return encoded(picture(), "HEIF", quality=90)
    finally:
        pillow_heif.options.GRID_TILE_SIZE = before


def ten_bits_of_heic() -> bytes:
    """A HEIC of 10 bits a colour."""
    import pillow_heif

    deep = np.asarray(picture()).astype(np.uint16) * 257
    file = pillow_heif.from_bytes("RGB;16", picture().size, deep.tobytes())
    buffer = io.BytesIO()
    file.save(buffer, quality=90)
    return buffer.getvalue()


def broken_text() -> bytes:
    """A PNG with a text whose checksum is wrong."""
    data = encoded(picture(), "PNG")
    body = b"tEXtComment\0made by a test"
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body) ^ 1)
    return data[:33] + chunk + data[33:]


def animated(format: str) -> Callable[[], bytes]:
    """Makes an animation that begins with the picture."""
    others = [Image.new("RGB", (WIDTH, HEIGHT), colour) for colour in ("red", "blue")]
    return lambda: encoded(picture(), format, save_all=True, append_images=others)


def clear() -> bytes:
    """A PNG with transparency, white where it is clear."""
    image = picture().convert("RGBA")
    image.putalpha(255)
    return encoded(image, "PNG")


def cut_off(share: float) -> Callable[[], bytes]:
    """Makes a JPEG of which only a share of the bytes is there."""

    def make() -> bytes:
        data = encoded(picture(), "JPEG", quality=90)
        return data[: int(len(data) * share)]

    return make


def twelve_bits() -> bytes:
    """A JPEG that says that it has 12 bits a colour."""
    data = bytearray(encoded(picture(), "JPEG"))
    data[data.index(b"\xff\xc0") + 4] = 12
    return bytes(data)


def large() -> bytes:
    """A JPEG of 101 megapixels, as phones write them."""
    wide = picture().resize((26 * WIDTH, 26 * HEIGHT), Image.Resampling.NEAREST)
    return encoded(wide, "JPEG", quality=30)


def raw(side: int, orientation: int = 1) -> Callable[[], bytes]:
    """Makes a DNG whose preview has `side` pixels on its longer side."""

    def make() -> bytes:
        size = side, round(side * HEIGHT / WIDTH)
        preview = picture().resize(size, Image.Resampling.BICUBIC)
        if orientation == 6:
            preview = preview.transpose(Image.Transpose.ROTATE_90)
        return raw_photo(encoded(preview, "JPEG", quality=90), preview.size, orientation)

    return make


KINDS = (
    Kind("baseline.jpg", "JPEG, baseline", of_picture("JPEG", quality=90)),
    Kind("progressive.jpeg", "JPEG, progressive", of_picture("JPEG", quality=90, progressive=True)),
    Kind("grey.jpe", "JPEG, grey", of_picture("JPEG", "L", quality=90), is_grey=True),
    Kind("print.jfif", "JPEG, CMYK", of_picture("JPEG", "CMYK", quality=90)),
    Kind("turned.jpg", "JPEG, turned by its EXIF", turned("JPEG", quality=90)),
    Kind("adobe-rgb.jpg", "JPEG in Adobe RGB", in_space("JPEG", "Adobe RGB", quality=95)),
    Kind("display-p3.jpg", "JPEG in Display P3", in_space("JPEG", "Display P3", quality=95)),
    Kind(
        "phone.mpo",
        "JPEG of two pictures (MPO)",
        lambda: encoded(
            picture(), "MPO", quality=90, save_all=True, append_images=[Image.new("RGB", (64, 48))]
        ),
    ),
    Kind("large.jpg", "JPEG of 101 megapixels", large, tolerance=5),
    Kind("end-missing.jpg", "JPEG without its last bytes", cut_off(0.97)),
    Kind("half.jpg", "JPEG, half of it", cut_off(0.5), error="damaged"),
    Kind("twelve-bits.jpg", "JPEG, 12 bits a colour", twelve_bits, error="12-bit colours"),
    Kind("plain.png", "PNG", of_picture("PNG")),
    Kind("palette.png", "PNG, palette", in_palette("PNG"), tolerance=8),
    Kind("clear.png", "PNG with transparency", clear),
    Kind("pro-photo.png", "PNG in ProPhoto RGB", in_space("PNG", "ProPhoto RGB")),
    Kind("sixteen-bits.png", "PNG, 16 bits a colour", numbers(".png", 16, np.uint16)),
    Kind("twelve-bits.png", "PNG, 12 bits in 16", numbers(".png", 12, np.uint16)),
    Kind(
        "twelve-bits-grey.png",
        "PNG, grey, 12 bits in 16",
        numbers(".png", 12, np.uint16, grey=True),
        is_grey=True,
    ),
    Kind("broken-text.png", "PNG whose text has a wrong checksum", broken_text),
    Kind("animated.apng", "APNG", animated("PNG")),
    Kind("lossy.webp", "WebP", of_picture("WEBP", quality=90)),
    Kind("exact.webp", "WebP, lossless", of_picture("WEBP", lossless=True)),
    Kind("phone.heic", "HEIC", of_picture("HEIF", quality=90)),
    Kind("tiles.heic", "HEIC, a grid of tiles", tiles_of_heic),
    Kind("burst.heic", "HEIC, a burst", burst),
    Kind("turned.heif", "HEIC, turned by its container and its EXIF", turned("HEIF", quality=90)),
    Kind("display-p3.heic", "HEIC in Display P3", in_space("HEIF", "Display P3", quality=90)),
    Kind(
        "named-p3.heic",
        "HEIC that names Display P3 by a number",
        in_space(
            "HEIF", "Display P3", False, quality=90, color_primaries=12, transfer_characteristics=13
        ),
    ),
    Kind("ten-bits.heic", "HEIC, 10 bits a colour", ten_bits_of_heic),
    Kind("plain.avif", "AVIF", of_picture("AVIF", quality=90)),
    Kind("turned.avif", "AVIF, turned by its container", turned("AVIF", quality=90)),
    Kind("plain.tif", "TIFF", of_picture("TIFF")),
    Kind("turned.tif", "TIFF, turned by its orientation", turned("TIFF")),
    Kind("lzw.tiff", "TIFF, LZW", of_picture("TIFF", compression="tiff_lzw")),
    Kind("jpeg.tif", "TIFF, JPEG", of_picture("TIFF", compression="jpeg", quality=90)),
    Kind("print.tif", "TIFF, CMYK", of_picture("TIFF", "CMYK")),
    Kind(
        "palette.tif",
        "TIFF, palette",
        in_palette("TIFF"),
        tolerance=8,
    ),
    Kind("lab.tif", "TIFF, Lab", lambda: encoded(to_lab(), "TIFF"), tolerance=4),
    Kind("big.tif", "BigTIFF", of_picture("TIFF", big_tiff=True)),
    Kind("pages.tif", "TIFF of three pages, the second the largest", pages),
    Kind("tiled.tif", "TIFF, tiled, deflate", tiled),
    Kind("sixteen-bits.tif", "TIFF, 16 bits a colour", numbers(".tiff", 16, np.uint16)),
    Kind("twelve-bits.tif", "TIFF, 12 bits in 16", numbers(".tiff", 12, np.uint16)),
    Kind(
        "float-grey.tif",
        "TIFF, grey, floating point",
        numbers(".tiff", 0, np.float32, grey=True),
        is_grey=True,
    ),
    Kind("float.tif", "TIFF, floating point", numbers(".tiff", 0, np.float32)),
    Kind("plain.bmp", "BMP", of_picture("BMP")),
    Kind("animated.gif", "GIF, animated", animated("GIF"), tolerance=12),
    Kind("exact.jp2", "JPEG 2000", of_picture("JPEG2000")),
    Kind("bare.j2k", "JPEG 2000, bare codestream", of_picture("JPEG2000", no_jp2=True)),
    Kind("plain.jxl", "JPEG XL", of_picture("JXL", quality=90)),
    Kind("camera.dng", "Camera raw", raw(1200)),
    Kind("camera-turned.dng", "Camera raw, turned", raw(1200, 6)),
    Kind("camera-small.dng", "Camera raw with a small preview", raw(640), error="at least 1024"),
    Kind("layers.psd", "Photoshop", lambda: b"8BPS\0\1" + bytes(40), error="type .psd"),
)


def to_lab() -> Image.Image:
    """The picture in Lab."""
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(picture(), srgb, lab, outputMode="LAB")
    assert converted is not None
    return converted


def write(folder: Path) -> Iterator[str]:
    """Write all of them into a folder, made if it is missing. Yields a line on each."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind in KINDS:
        (folder / kind.name).write_bytes(kind.make())
        yield f"{kind.name:24}{kind.what}{' (left out)' if kind.error else ''}"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(str(__doc__))
    for line in write(Path(sys.argv[1])):
        print(line)
