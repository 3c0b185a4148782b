"""Thousands of damaged and disguised files, made here: each is a photo or one typed error.

They go through the worker, whose limits (5 seconds of processor time, 400 MB) are the page's. None
of them needs it: a worker that had to be killed, or died, would be told apart by its sentence.
"""

from __future__ import annotations

import io
import struct
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from extractor import OWNER, VISITOR, WORKING_SIDE, BadPhoto
from extractor.photo.codecs.openers import prepare
from extractor.photo.containers import Overloaded, inspect
from extractor.photo.decoder import CRASHED, TOO_LONG, Decoder
from extractor.photo.strips import LONG_SIDE
from tests.support.raw_photo import raw_photo

WORKERS = 2
TRUNCATIONS, FLIPS, SPLICES = 40, 110, 25


def encoded(image: Image.Image, format: str, **options) -> bytes:
    buffer = io.BytesIO()
    prepare()
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
    fractions = Image.fromarray(noise[:, :, 0].astype(np.float32) / 255)
    preview = Image.fromarray(np.tile(noise[:, :, :3], (16, 16, 1)))
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
        "HEIC": encoded(rgb, "HEIF", exif=exif.tobytes()),
        "HEIC, clear": encoded(image, "HEIF"),
        "burst": encoded(rgb, "HEIF", save_all=True, append_images=[rgb] * 3),
        "tiles": in_tiles(rgb),
        "AVIF": encoded(rgb, "AVIF", exif=exif),
        "AVIF, clear": encoded(image, "AVIF"),
        "animated AVIF": encoded(rgb, "AVIF", save_all=True, append_images=[rgb] * 3),
        "TIFF": encoded(rgb, "TIFF", exif=exif),
        "TIFF, LZW": encoded(rgb, "TIFF", compression="tiff_lzw"),
        "TIFF, JPEG": encoded(rgb, "TIFF", compression="jpeg"),
        "TIFF, fax": encoded(rgb.convert("1"), "TIFF", compression="group4"),
        "TIFF, print": encoded(rgb.convert("CMYK"), "TIFF", compression="tiff_adobe_deflate"),
        "TIFF, fractions": encoded(fractions, "TIFF"),
        "BigTIFF": encoded(deep, "TIFF", big_tiff=True),
        "pages": encoded(rgb, "TIFF", save_all=True, append_images=[image, deep]),
        "BMP": encoded(rgb, "BMP"),
        "GIF": encoded(rgb, "GIF", save_all=True, append_images=[rgb] * 3),
        "JPEG 2000": encoded(rgb, "JPEG2000"),
        "JPEG 2000, bare": encoded(image, "JPEG2000", no_jp2=True, irreversible=True),
        "JPEG XL": encoded(rgb, "JXL", exif=exif.tobytes()),
        "JPEG XL, exact": encoded(image, "JXL", lossless=True),
        "raw": raw_photo(encoded(preview, "JPEG", quality=10), preview.size),
    }


def in_tiles(image: Image.Image) -> bytes:
    """A HEIC of several tiles."""
    prepare()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("pillow_heif.options.GRID_TILE_SIZE", 32)
        return encoded(image, "HEIF")


def box(kind: bytes, *content: bytes) -> bytes:
    """A box of an ISO media file."""
    body = b"".join(content)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def heif(*parts: bytes) -> bytes:
    """A HEIC with these boxes about its items."""
    return box(b"ftyp", b"heic\0\0\0\0mif1heic") + box(b"meta", bytes(4), *parts)


def tiff(*tags: tuple[int, int, int, int], after: int = 0) -> bytes:
    """A TIFF of one page. tags: number, type, count, value. after: where the next page is."""
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + struct.pack("<I", after)


def built() -> list[bytes]:
    """Files that are well formed, and made to keep a decoder busy or to fill its memory."""
    primary = box(b"pitm", bytes(4), b"\0\1")
    size = box(b"ispe", bytes(4), struct.pack(">II", 60_000, 60_000))
    small = box(b"ispe", bytes(4), struct.pack(">II", 512, 512))
    tied = box(b"ipma", bytes(4), struct.pack(">IHBB", 1, 1, 1, 1))
    grid = box(b"infe", b"\2\0\0\0", b"\0\1\0\0grid\0")
    infos = box(b"iinf", bytes(4), b"\0\1", grid)
    many = box(b"iref", bytes(4), box(b"dimg", struct.pack(">HH", 1, 9999), b"\0\2" * 9999))
    circle = box(b"iref", bytes(4), box(b"dimg", struct.pack(">HHH", 1, 1, 1)))
    found = [
        heif(primary, box(b"iprp", box(b"ipco", size), tied)),
        heif(primary, infos, many, box(b"iprp", box(b"ipco", small), tied)),
        heif(primary, infos, circle, box(b"iprp", box(b"ipco", small), tied)),
        heif(*[box(b"free")] * 20_000),
        heif(primary, box(b"iinf", bytes(4), b"\xff\xff", grid * 30_000)),
        heif(box(b"iloc", b"\1\0\0\0\x44\0", b"\xff\xff" * 200_000)),
        tiff((256, 4, 1, 60_000), (257, 4, 1, 60_000), (277, 3, 1, 3)),
        tiff((256, 4, 1, 64), (257, 4, 1, 64), after=8),
        tiff(*[(tag, 7, 2**31, 8) for tag in range(3_000)]),
        tiff(*[(330, 4, 2**31, 8)] * 50),
        b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 2**63),
        b"GIF89a\xff\xff\xff\xff\xf7\0\0" + bytes(768) + b",\0\0\0\0\xff\xff\xff\xff\0\x02\0;",
        b"BM" + bytes(12) + struct.pack("<IiiHHI", 40, 60_000, -60_000, 1, 24, 0) + bytes(20),
        b"BM" + bytes(12) + struct.pack("<IiiHHI", 40, -1, -(2**31), 1, 8, 1) + bytes(20),
        b"\xff\x0a" + b"\xff" * 20,
    ]
    bare = b"\xff\x4f\xff\x51" + struct.pack(">HH", 47, 0)
    for sides in ((2**31, 2**31), (40_000, 40_000), (5_000, 5_000)):
        for tile in (1, 2**31):
            grid = struct.pack(">8I", *sides, 0, 0, tile, tile, 0, 0)
            found += [bare + grid + struct.pack(">H", n) + b"\7\1\1" * 3 for n in (3, 16_384)]
    return found


def disguised() -> list[bytes]:
    """Other formats, alone and behind the first bytes of one that is read."""
    image = Image.new("RGB", (32, 32), "red")
    kinds = ("GIF", "TIFF", "BMP", "PPM", "TGA", "EPS", "ICO", "PCX", "SGI", "PDF", "HEIF", "JXL")
    others = [encoded(image, kind) for kind in kinds]
    others += [b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"PK\3\4", b"SIMPLE  =", b"8BPS\0\1"]
    heads = [b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"RIFF\xff\xff\xff\x7fWEBP"]
    heads += [b"II*\0\x08\0\0\0", b"MM\0+\0\x08\0\0", b"GIF89a", b"\xff\x4f\xff\x51", b"\xff\x0a"]
    heads += [box(b"ftyp", brand + b"\0\0\0\0") for brand in (b"heic", b"avif", b"crx ")]
    heads += [b"\0\0\0\x0cjP  \r\n\x87\n", b"\0\0\0\x0cJXL \r\n\x87\n", b"FUJIFILMCCD-RAW "]
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
    # The owner's formats with the visitors' memory and time.
    made = Decoder(replace(VISITOR, formats=OWNER.formats), WORKERS)
    yield made
    made.close()


def test_thousands_of_hostile_files(decoder):
    rng = np.random.default_rng(11)
    whole = sound()
    files = [*disguised(), *built()]
    for data, splice in zip(whole.values(), [*whole.values()][1:] + [*whole.values()][:1]):
        files += damaged(data, splice, rng)
    assert len(files) >= 6000

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
            assert 0 < max(found.shape[:2]) <= LONG_SIDE
            assert found.shape[0] * found.shape[1] <= 2 * WORKING_SIDE**2
    assert not {CRASHED, TOO_LONG} & sentences
    assert photos > 600, "not all of them are refused"
    assert all(text.endswith((".", ").")) and "/" not in text.split("(")[0] for text in sentences)


def test_the_sound_ones_are_photos(decoder):
    shapes = {(48, 64, 3), (64, 48, 3), (768, 1024, 3)}
    for name, data in sound().items():
        assert decoder.decode(data).shape in shapes, name


def test_inner_pages_of_a_tiff_count_as_pages():
    def inner(count: int) -> bytes:
        empty = 8 + 2 + 12 * count  # the page ends with a zero: no tags
        return tiff(*[(330, 4, 1, empty)] * count)

    assert inspect(inner(1_999)).kind == "tiff"
    with pytest.raises(Overloaded, match="too many pages"):
        inspect(inner(2_000))


def test_the_tags_of_a_tiff_are_counted_over_all_pages():
    tags = [(270, 2, 1, 0)] * 4_000 + [(330, 4, 1, 8)] * 30
    with pytest.raises(Overloaded, match="too many tags"):
        inspect(tiff(*tags))
