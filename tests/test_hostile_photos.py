"""Thousands of damaged and disguised files, made here: each is a photo or one typed error.

They go through the worker, whose limits (5 seconds of processor time, 400 MB) are the page's. None
of them needs it: a worker that had to be killed, or died, would be told apart by its sentence.
"""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from extractor import WORKING_SIDE, BadPhoto
from serving.decoder import CRASHED, TOO_LONG, Decoder

WORKERS = 2
TRUNCATIONS, FLIPS, SPLICES = 40, 110, 25


def encoded(image: Image.Image, format: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def sound() -> dict[str, bytes]:
    """Photos of every kind that is read."""
    noise = np.random.default_rng(5).integers(0, 256, (48, 64, 4), np.uint8)
    image = Image.fromarray(noise, "RGBA")
    rgb = image.convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6
    deep = Image.fromarray(noise[:, :, 0].astype(np.uint16) * 257)
    return {
        "baseline": encoded(rgb, "JPEG"),
        "progressive": encoded(rgb, "JPEG", progressive=True),
        "fine colours": encoded(rgb, "JPEG", subsampling=0, exif=exif),
        "restarts": encoded(rgb, "JPEG", restart_marker_rows=1),
        "grey JPEG": encoded(rgb.convert("L"), "JPEG"),
        "print": encoded(rgb.convert("CMYK"), "JPEG"),
        "phone": encoded(rgb, "MPO", save_all=True, append_images=[rgb]),
        "bitmap": encoded(rgb.convert("1"), "PNG"),
        "grey PNG": encoded(rgb.convert("L"), "PNG"),
        "grey, clear": encoded(image.convert("LA"), "PNG"),
        "palette": encoded(rgb.quantize(16), "PNG", transparency=3),
        "PNG": encoded(rgb, "PNG", exif=exif),
        "PNG, clear": encoded(image, "PNG"),
        "16 bits": encoded(deep, "PNG"),
        "animated PNG": encoded(rgb, "PNG", save_all=True, append_images=[rgb] * 3),
        "WebP": encoded(rgb, "WEBP", exif=exif),
        "WebP, exact": encoded(rgb, "WEBP", lossless=True),
        "WebP, clear": encoded(image, "WEBP"),
        "animated WebP": encoded(rgb, "WEBP", save_all=True, append_images=[rgb] * 3),
    }


def disguised() -> list[bytes]:
    """Other formats, alone and behind the first bytes of one that is read."""
    image = Image.new("RGB", (32, 32), "red")
    kinds = ("GIF", "TIFF", "BMP", "PPM", "TGA", "EPS", "ICO", "PCX", "SGI", "PDF")
    others = [encoded(image, kind) for kind in kinds]
    others += [b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"PK\3\4", b"SIMPLE  =", b"8BPS\0\1"]
    heads = (b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"RIFF\xff\xff\xff\x7fWEBP")
    return [head + other for head in heads for other in others]


def damaged(data: bytes, splice: bytes, rng: np.random.Generator) -> list[bytes]:
    """Cut off, with bytes flipped, and with pieces of another photo in it."""
    found = [data[: len(data) * part // TRUNCATIONS] for part in range(TRUNCATIONS)]
    whole = np.frombuffer(data, np.uint8)
    for _ in range(FLIPS):
        flipped = whole.copy()
        # Half of them in the head, where the formats' own numbers stand.
        reach = len(data) if rng.random() < 0.5 else min(len(data), 200)
        places = rng.integers(reach, size=rng.integers(1, 6))
        flipped[places] = rng.integers(0, 256, len(places))
        found.append(flipped.tobytes())
    for _ in range(SPLICES):
        at, start = rng.integers(len(data)), rng.integers(len(splice))
        found.append(data[:at] + splice[start : start + rng.integers(1, 400)] + data[at:])
    return found


@pytest.fixture(scope="module")
def decoder():
    made = Decoder(workers=WORKERS)
    yield made
    made.close()


def test_thousands_of_hostile_files(decoder):
    rng = np.random.default_rng(11)
    whole = sound()
    files = disguised()
    for data, splice in zip(whole.values(), [*whole.values()][1:] + [*whole.values()][:1]):
        files += damaged(data, splice, rng)
    assert len(files) >= 3000

    def outcome(data: bytes) -> np.ndarray | str:
        try:
            return decoder.decode(data)
        except BadPhoto as error:
            return str(error)

    sentences: set[str] = set()
    photos = 0
    with ThreadPoolExecutor(WORKERS) as both:
        for found in both.map(outcome, files):
            if isinstance(found, str):
                sentences.add(found)
                continue
            photos += 1
            assert found.dtype == np.uint8 and found.ndim == 3 and found.shape[2] == 3
            assert 0 < max(found.shape) <= WORKING_SIDE
    assert not {CRASHED, TOO_LONG} & sentences
    assert photos > 300, "not all of them are refused"
    assert all(text.endswith((".", ").")) and "/" not in text.split("(")[0] for text in sentences)


def test_the_sound_ones_are_photos(decoder):
    for data in sound().values():
        assert decoder.decode(data).shape in ((48, 64, 3), (64, 48, 3))
