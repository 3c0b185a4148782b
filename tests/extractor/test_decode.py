"""Whatever the bytes: an upright RGB array within the limits, or one typed error."""

from __future__ import annotations

import io
import struct
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from extractor import (
    VISITOR,
    WORKING_SIDE,
    BadPhoto,
    ImageTooLarge,
    UnsupportedImage,
    decode,
    encode_jpeg,
    read_photo,
    resize,
)
from extractor.photo.decode import DECODING
from index_store import build
from tests.conftest import GALLERY, PATIENCE, QuickExtractor


def encoded(image: Image.Image, format: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def quadrants(width: int = 64, height: int = 48) -> Image.Image:
    """Red, green / blue, white: tells every rotation and reflection apart."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = (255, 0, 0)
    pixels[: height // 2, width // 2 :] = (0, 255, 0)
    pixels[height // 2 :, : width // 2] = (0, 0, 255)
    pixels[height // 2 :, width // 2 :] = 255
    return Image.fromarray(pixels)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_formats(format):
    pixels = decode(encoded(quadrants(), format))
    assert pixels.shape == (48, 64, 3) and pixels.dtype == np.uint8
    np.testing.assert_allclose(pixels[4, 4], (255, 0, 0), atol=8)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_comes_out_upright(orientation):
    upright = quadrants()
    undo = {
        2: 0,
        3: 3,
        4: 1,
        5: 5,
        6: 2,
        7: 6,
        8: 4,
    }  # PIL transposes that turn upright into the stored pixels
    stored = upright.transpose(Image.Transpose(undo[orientation])) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = decode(encoded(stored, "PNG", exif=exif))
    np.testing.assert_array_equal(pixels, np.asarray(upright))


def exif_block(*tags: bytes) -> bytes:
    """EXIF of raw 12-byte tags, for what Pillow reads but would not write."""
    return (
        b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(tags)) + b"".join(tags) + struct.pack("<I", 0)
    )


def test_broken_metadata_does_not_cost_the_photo():
    sound = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)  # Orientation 6
    text_unit = struct.pack("<HHI4s", 0x0128, 2, 4, b"two\0")  # ResolutionUnit should be a number
    text_orientation = struct.pack("<HHI4s", 0x0112, 2, 4, b"six\0")
    turned = decode(encoded(quadrants(), "JPEG", exif=exif_block(sound, text_unit)))
    assert turned.shape == (64, 48, 3)
    as_is = decode(encoded(quadrants(), "JPEG", exif=exif_block(text_orientation)))
    assert as_is.shape == (48, 64, 3)


def test_multi_picture_jpeg_of_a_phone_gives_its_first_picture():
    data = encoded(
        quadrants(), "MPO", save_all=True, append_images=[Image.new("RGB", (64, 48), "black")]
    )
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "MPO" and image.n_frames == 2
    np.testing.assert_allclose(decode(data)[4, 4], (255, 0, 0), atol=8)


def test_animation_gives_its_first_frame():
    data = encoded(
        quadrants(),
        "WEBP",
        save_all=True,
        append_images=[Image.new("RGB", (64, 48))],
        lossless=True,
    )
    np.testing.assert_array_equal(decode(data)[4, 4], (255, 0, 0))


def test_modes():
    transparent = Image.new("RGBA", (32, 32), (10, 20, 30, 0))
    assert (decode(encoded(transparent)) == 255).all(), "transparency becomes white"
    red = decode(encoded(Image.new("CMYK", (32, 32), (0, 255, 255, 0)), "JPEG"))[5, 5]
    np.testing.assert_allclose(red, (255, 0, 0), atol=8)
    grey = Image.new("LA", (32, 32), (77, 255))
    assert (decode(encoded(grey)) == 77).all() and (
        decode(encoded(Image.new("1", (32, 32), 1))) == 255
    ).all()
    deep = Image.fromarray(np.full((32, 32), 0x8080, np.uint16))
    assert (decode(encoded(deep)) == 128).all(), "16 bits are scaled, not clipped"
    palette = quadrants().convert("P")
    np.testing.assert_allclose(decode(encoded(palette))[4, 4], (255, 0, 0), atol=8)


def test_large_photos_are_shrunk_and_small_ones_left():
    assert decode(encoded(Image.new("RGB", (3000, 1500)), "JPEG")).shape == (
        WORKING_SIDE // 2,
        WORKING_SIDE,
        3,
    )
    assert decode(encoded(Image.new("RGB", (100, 40)))).shape == (40, 100, 3)


def test_draft_mode_changes_pixels_little():
    photo = Image.fromarray(read_photo(GALLERY / "colosseum.jpg")).resize(
        (2560, 1920), Image.Resampling.BICUBIC
    )
    data = encoded(photo, "JPEG", quality=95)
    full = Image.open(io.BytesIO(data)).convert("RGB")
    full.thumbnail((WORKING_SIDE, WORKING_SIDE), Image.Resampling.LANCZOS)
    assert np.abs(decode(data).astype(int) - np.asarray(full)).mean() < 2


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and has no pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("size", [(9000, 9000), (30000, 30000), (4200, 20)])
def test_too_large_is_refused_before_any_pixel_is_read(size):
    with pytest.raises(ImageTooLarge):
        decode(png_header(*size), limits=VISITOR)


def test_too_many_bytes():
    with pytest.raises(ImageTooLarge, match="13 MB; at most 12 MB are allowed"):
        decode(bytes(13 * 2**20), limits=VISITOR)


@pytest.mark.parametrize("size", [(1, 1), (15, 40)])
def test_too_small(size):
    with pytest.raises(UnsupportedImage):
        decode(encoded(Image.new("RGB", size)))


@pytest.mark.parametrize("format", ["PPM", "TGA", "EPS", "ICO", "PCX"])
def test_other_formats_are_refused_whatever_their_name(format):
    with pytest.raises(UnsupportedImage, match="not a photo in a supported format"):
        decode(encoded(quadrants(), format))


@pytest.mark.parametrize("format", ["GIF", "TIFF", "BMP"])
def test_a_format_that_is_not_taken_is_named_with_those_that_are(format):
    sentence = f"the format {format} are not read here; JPEG, PNG, WebP, HEIC, AVIF are"
    with pytest.raises(UnsupportedImage, match=sentence):
        decode(encoded(quadrants(), format), limits=VISITOR)


def test_a_format_that_is_not_taken_is_refused_before_its_container_is_read(monkeypatch):
    def never(_):
        raise AssertionError("inspected")

    monkeypatch.setattr(sys.modules["extractor.photo.decode"], "inspect", never)
    with pytest.raises(UnsupportedImage, match="TIFF are not read here"):
        decode(encoded(quadrants(), "TIFF"), limits=VISITOR)


@pytest.mark.parametrize(
    "data",
    [b"", b"hello", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"\xff\xd8\xff", b"RIFF1234WEBP"],
)
def test_not_photos(data):
    with pytest.raises(UnsupportedImage):
        decode(data)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_cut_off_files_give_one_typed_error(format):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 60, 3), np.uint8))
    data = encoded(noise, format)
    for end in range(0, len(data) - 8, len(data) // 12):
        with pytest.raises(BadPhoto):
            decode(data[:end])


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_flipped_bytes_give_pixels_or_a_typed_error(format):
    rng = np.random.default_rng(3)
    data = np.frombuffer(encoded(quadrants(), format), np.uint8)
    for _ in range(150):
        broken = data.copy()
        broken[rng.integers(len(data), size=3)] ^= rng.integers(1, 256, 3).astype(np.uint8)
        try:
            pixels = decode(broken.tobytes())
        except BadPhoto as error:
            assert str(error)
        else:
            assert pixels.ndim == 3 and pixels.shape[2] == 3 and max(pixels.shape) <= WORKING_SIDE


def test_fresh_jpeg_has_no_metadata():
    with Image.open(io.BytesIO(encode_jpeg(decode(encoded(quadrants()))))) as image:
        assert (
            not image.getexif() and "icc_profile" not in image.info and "comment" not in image.info
        )


def test_resize_never_enlarges():
    photo = np.zeros((30, 90, 3), np.uint8)
    assert resize(photo, 200) is photo
    assert resize(photo, 45).shape == (15, 45, 3)


def test_as_stored_leaves_the_turn_and_drops_transparency(tmp_path):
    """What the published code does: PIL's convert("RGB"), and no look at EXIF."""
    pixels = np.random.default_rng(3).integers(0, 256, (40, 60, 4), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels, "RGBA").save(tmp_path / "x.png", exif=exif)
    plain = np.asarray(Image.open(tmp_path / "x.png").convert("RGB"))
    data = (tmp_path / "x.png").read_bytes()
    assert np.array_equal(decode(data, as_stored=True), plain)
    assert np.array_equal(read_photo(tmp_path / "x.png", as_stored=True), plain)
    assert decode(data).shape == (60, 40, 3) and not np.array_equal(decode(data)[::-1], plain)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "CMYK", "I;16"])
def test_as_stored_gives_rgb_of_every_mode(mode):
    buffer = io.BytesIO()
    grey = Image.fromarray(np.arange(1024, dtype=np.uint8).reshape(32, 32))
    image = Image.fromarray(np.ones((32, 32), np.uint16)) if mode == "I;16" else grey.convert(mode)
    image.save(buffer, "JPEG" if mode == "CMYK" else "PNG")
    assert decode(buffer.getvalue(), as_stored=True).shape == (32, 32, 3)


def test_an_index_is_not_held_to_the_visitors_places(photos, tmp_path):
    places = [DECODING.acquire(timeout=PATIENCE) for _ in range(2)]
    pool = ThreadPoolExecutor(1)
    try:
        assert all(places) and not DECODING.acquire(blocking=False)
        indexed = pool.submit(build, photos, tmp_path / "s", QuickExtractor())
        assert indexed.result(timeout=PATIENCE).photos == 12
    finally:
        for _ in places:
            DECODING.release()
        pool.shutdown()
