"""Files that are small, well formed, and made to keep a decoder busy: refused before it starts."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from extractor import VISITOR, ImageTooLarge, decode
from extractor.photo.containers import inspect
from extractor.photo.containers.jpeg import MAX_SCANS, MAX_SEGMENTS
from tests.conftest import GALLERY


def encoded(mode: str = "RGB", format: str = "JPEG", side: int = 64, **options) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 4), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise, "RGBA").convert(mode).save(buffer, format, **options)
    return buffer.getvalue()


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def at_start(jpeg: bytes, inserted: bytes) -> bytes:
    return jpeg[:2] + inserted + jpeg[2:]


def scans_repeated(times: int) -> bytes:
    jpeg = encoded(progressive=True)
    last = jpeg.rindex(b"\xff\xda")
    return jpeg[:last] + jpeg[last:-2] * times + jpeg[-2:]


def entries(count: int, size: int) -> bytes:
    """An Exif directory whose entries all say that they are `size` bytes long."""
    each = b"".join(struct.pack("<HHII", tag, 7, size, 8) for tag in range(count))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", count) + each + bytes(4)


ROOT = Path(__file__).resolve().parents[2]
PLAIN = encoded()
CANVAS = (16_000).to_bytes(3, "little") * 2
LARGE_WEBP = b"RIFF\x82\0\0\0WEBPVP8X\x0a\0\0\0\x02\0\0\0" + CANVAS + bytes(110)


@pytest.mark.parametrize(
    "data, sentence",
    [
        (scans_repeated(MAX_SCANS), "too many scans"),
        (at_start(PLAIN, segment(0xFE, b"x") * (MAX_SEGMENTS + 1)), "too many segments"),
        (at_start(PLAIN, segment(0xE1, b"Exif\0\0" + bytes(12)) * 500_000), "too many segments"),
        (at_start(PLAIN, segment(0xE1, b"Exif\0\0" + bytes(65_000)) * 5), "too much metadata"),
        (at_start(PLAIN, b"\xff" * 1_000_000), "padded without end"),
        (PLAIN[:-2] + b"\xff" * 1_000_000 + PLAIN[-2:], "padded without end"),
        (PLAIN[:-2] + b"\xff\xd0" * 10 + b"\xff\x01" * 2_000 + PLAIN[-2:], "too many segments"),
        (LARGE_WEBP, "16001 x 16001 pixels"),
        (b"\x89PNG\r\n\x1a\n" + bytes(12) * 60_000, "chunks"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_keeps_a_decoder_busy_is_refused(data, sentence):
    with pytest.raises(ImageTooLarge, match=sentence):
        decode(data)


@pytest.mark.parametrize("scans", [1, 10])
def test_a_progressive_photo_of_many_scans_is_read(scans):
    data = scans_repeated(scans)
    assert decode(data).shape == (64, 64, 3)
    assert inspect(data).scans == inspect(scans_repeated(1)).scans + scans - 1


def large(mode: str, format: str) -> bytes:
    """The head of a photo of 5,000 x 5,000 pixels, by writing that into a small one's head."""
    data = bytearray(encoded(mode, format, lossless=True))
    if format == "PNG":
        data[16:24] = struct.pack(">II", 5000, 5000)
    elif format == "JPEG":
        frame = data.index(b"\xff\xc0")
        data[frame + 5 : frame + 9] = struct.pack(">HH", 5000, 5000)
    elif data[12:16] == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        data[21:25] = struct.pack("<I", bits >> 28 << 28 | 4999 << 14 | 4999)
    return bytes(data)


@pytest.mark.parametrize(
    "mode, format", [("RGB", "WEBP"), ("RGBA", "WEBP"), ("RGBA", "PNG"), ("LA", "PNG")]
)
def test_kinds_that_need_more_memory_a_pixel_may_have_fewer(mode, format):
    with pytest.raises(ImageTooLarge, match="5000 x 5000 pixels needs about .* at most 400 MB"):
        decode(large(mode, format), limits=VISITOR)


@pytest.mark.parametrize("mode, format", [("RGB", "PNG"), ("RGB", "JPEG")])
def test_others_may_have_25_megapixels(mode, format):
    found = inspect(large(mode, format))
    assert found.size == (5000, 5000) and not found.is_transparent


@pytest.mark.parametrize("format, mode", [("PNG", "RGBA"), ("WEBP", "RGB"), ("JPEG", "RGB")])
def test_size_and_kind_are_read_as_pillow_reads_them(format, mode):
    data = encoded(mode, format)
    found = inspect(data)
    assert (found.kind, found.size) == (format.lower(), (64, 64))
    assert found.is_transparent == (mode == "RGBA")


def test_every_photo_of_the_gallery_passes():
    for path in sorted(GALLERY.iterdir())[::5]:
        with Image.open(path) as image:
            assert inspect(path.read_bytes()).size == image.size


def test_metadata_full_of_oddities_costs_no_word(tmp_path):
    """In a process of its own, because pytest has filters of warnings, too."""
    few, many = entries(5_000, 60_000), entries(60_000, 700_000)
    files = {
        "few.jpg": at_start(PLAIN, segment(0xE1, b"Exif\0\0" + few)),
        "few.png": encoded("RGB", "PNG", exif=few),
        "few.webp": encoded("RGB", "WEBP", exif=few),
        "many.png": encoded("RGB", "PNG", exif=many),
        "many.webp": encoded("RGB", "WEBP", exif=many),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    code = "import sys; from extractor import read_photo; [read_photo(p) for p in sys.argv[1:]]"
    command = [sys.executable, "-c", code, *(str(tmp_path / name) for name in files)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_clear_grey_of_16_bits_becomes_white():
    grey = np.full((32, 32), 30_000, np.uint16)
    grey[:, :16] = 7
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "PNG", transparency=7)
    data = buffer.getvalue()
    if b"tRNS" not in data:  # Pillow does not write it for this mode
        head = data.index(b"IDAT") - 4
        body = b"tRNS" + struct.pack(">H", 7)
        chunk = struct.pack(">I", 2) + body + struct.pack(">I", zlib.crc32(body))
        data = data[:head] + chunk + data[head:]
    pixels = decode(data)
    assert (pixels[:, :16] == 255).all() and (pixels[:, 16:] == 30_000 // 257).all()
