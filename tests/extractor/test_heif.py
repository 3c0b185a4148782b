"""HEIC and AVIF: what their boxes say is counted before a codec reads them."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image

from extractor import ImageTooLarge, decode
from extractor.photo.containers import Overloaded, inspect
from extractor.photo.containers.heif import Heif
from tests.extractor.test_hostile_photos import box, heif
from tests.support.every_format import ORIENTATION, encoded, picture, tiles_of_heic

PRIMARY = box(b"pitm", bytes(4), b"\0\1")
TIED = box(b"ipma", bytes(4), struct.pack(">IHBB", 1, 1, 1, 1))


def extent(width: int, height: int) -> bytes:
    """The properties of item 1: its size."""
    size = box(b"ispe", bytes(4), struct.pack(">II", width, height))
    return box(b"iprp", box(b"ipco", size), TIED)


def made_of(kind: bytes, *parts: int) -> bytes:
    """Item 1 as a picture made of other items."""
    entry = box(b"infe", b"\2\0\0\0", b"\0\1\0\0" + kind + b"\0")
    parts_of = struct.pack(f">HH{len(parts)}H", 1, len(parts), *parts)
    references = box(b"iref", bytes(4), box(b"dimg", parts_of))
    return box(b"iinf", bytes(4), b"\0\1", entry) + references


def test_size_depth_and_transparency_are_those_of_the_codec():
    for data in (encoded(picture(), "HEIF"), tiles_of_heic(), encoded(picture(), "AVIF")):
        found = inspect(data)
        with Image.open(io.BytesIO(data)) as image:
            assert found.size == image.size == picture().size
        assert not found.is_transparent and found.depth == 8
    clear = picture().convert("RGBA")
    clear.putalpha(9)
    assert inspect(encoded(clear, "HEIF")).is_transparent
    assert inspect(encoded(clear, "AVIF")).is_transparent


def test_a_size_beyond_the_limit_is_refused_before_the_codec():
    with pytest.raises(ImageTooLarge, match="60000 x 60000 pixels; at most 500 megapixels"):
        decode(heif(PRIMARY, extent(60_000, 60_000)))


def test_the_size_in_a_grids_own_data_counts():
    grid = b"\0\0\0\0" + struct.pack(">HH", 50_000, 50_000)
    places = box(
        b"iloc", b"\1\0\0\0", b"\x44\0", b"\0\1", b"\0\1\0\1\0\0\0\1", struct.pack(">II", 0, 8)
    )
    data = heif(PRIMARY, extent(512, 512), made_of(b"grid", 2), places, box(b"idat", grid))
    assert inspect(data).size == (50_000, 50_000)


@pytest.mark.parametrize(
    "parts, sentence",
    [
        (made_of(b"grid", *[2] * 2_001), "too many tiles"),
        (made_of(b"grid", 1), "pictures in pictures without end"),
        (box(b"free") * 10_001, "too many parts"),
        (box(b"iloc", b"\1\0\0\0\x44\0", b"\xff\xff" * 200_000), "too many parts"),
    ],
)
def test_what_keeps_a_codec_busy_is_refused(parts, sentence):
    with pytest.raises(Overloaded, match=sentence):
        inspect(heif(PRIMARY, extent(512, 512), parts))


def test_one_tile_named_a_thousand_times_costs_what_it_is():
    size = box(b"ispe", bytes(4), struct.pack(">II", 512, 512))
    tied = box(b"ipma", bytes(4), struct.pack(">IHBBHBB", 2, 1, 1, 1, 2, 1, 1))
    properties = box(b"iprp", box(b"ipco", size), tied)
    with pytest.raises(Overloaded, match="far more tiles"):
        inspect(heif(PRIMARY, made_of(b"grid", *[2] * 1_000), properties))


@pytest.mark.parametrize("format", ["HEIF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turn_is_applied_once(format, orientation):
    """The container turns; EXIF says the same once more, and is not followed."""
    turns = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    image = picture()
    stored = image.transpose(Image.Transpose(turns[orientation])) if orientation > 1 else image
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    data = encoded(stored, format, exif=exif.tobytes(), quality=90)
    if orientation > 1:
        assert b"irot" in data or b"imir" in data
    pixels = decode(data)
    assert pixels.shape[:2] == (image.height, image.width)
    assert np.abs(pixels.astype(int) - np.asarray(image)).mean() < 4


def test_items_that_share_their_parts_are_counted_once(monkeypatch):
    """Four layers of 40 pictures, each made of all of the next layer."""
    layers = [[1], *([*range(100 * n, 100 * n + 40)] for n in range(1, 5))]
    entries = b"".join(
        box(b"infe", b"\2\0\0\0", struct.pack(">HH", number, 0) + b"iden\0")
        for layer in layers[:-1]
        for number in layer
    )
    count = sum(map(len, layers[:-1]))
    references = b"".join(
        box(b"dimg", struct.pack(f">HH{len(below)}H", number, len(below), *below))
        for layer, below in zip(layers, layers[1:])
        for number in layer
    )
    infos = box(b"iinf", bytes(4), struct.pack(">H", count), entries)
    data = heif(PRIMARY, extent(512, 512), infos, box(b"iref", bytes(4), references))
    sizes = []
    size = Heif.size
    monkeypatch.setattr(Heif, "size", lambda *args: sizes.append(args) or size(*args))
    assert inspect(data).size == (512, 512)
    # Once an item, and the primary one once more.
    assert len(sizes) == 1 + sum(map(len, layers))
