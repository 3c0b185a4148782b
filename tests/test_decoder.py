"""Decoding in a process of its own: whatever happens to it, the next photo is decoded."""

from __future__ import annotations

import io
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from extractor import BadPhoto, ImageTooLarge, UnsupportedImage, decode
from serving.decoder import CRASHED, TOO_LONG, Decoder
from serving.decoder import decoder as server_decoder
from tests.conftest import GALLERY

PHOTO = (GALLERY / "colosseum.jpg").read_bytes()


@pytest.fixture(autouse=True)
def only_this_one():
    """The server's decoder, if another test used it, has no processes meanwhile."""
    server_decoder().close()


@pytest.fixture
def decoder():
    made = Decoder(workers=1)
    yield made
    made.close()


def children() -> list[int]:
    """The decode workers of this process that run."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
            command = entry.with_name("cmdline").read_text()
        except OSError:
            continue
        if int(fields[1]) == os.getpid() and fields[0] != "Z" and "decode_worker" in command:
            found.append(int(entry.parent.name))
    return found


def stopped(decoder: Decoder) -> int:
    """Bring the worker up, and stop it like one that hangs. Returns its process id."""
    decoder.decode(PHOTO)
    (pid,) = children()
    os.kill(pid, signal.SIGSTOP)
    return pid


def test_pixels_are_those_of_the_plain_way(decoder):
    for as_stored in (False, True):
        expected = decode(PHOTO, as_stored)
        np.testing.assert_array_equal(decoder.decode(PHOTO, as_stored), expected)


@pytest.mark.parametrize("data", [b"", b"GIF89a", PHOTO[:5000], bytes(64 * 2**20 + 1)])
def test_errors_are_those_of_the_plain_way(decoder, data):
    with pytest.raises(BadPhoto) as plain:
        decode(data)
    with pytest.raises(BadPhoto) as apart:
        decoder.decode(data)
    assert (type(apart.value), str(apart.value)) == (type(plain.value), str(plain.value))


def test_a_worker_that_dies_costs_one_upload(decoder):
    pid = stopped(decoder)
    threading.Timer(0.1, os.kill, (pid, signal.SIGKILL)).start()
    with pytest.raises(UnsupportedImage, match=CRASHED):
        decoder.decode(PHOTO)
    assert len(decoder.decode(PHOTO)) and children() != [pid]


def test_a_worker_that_died_between_two_uploads_costs_none(decoder):
    decoder.decode(PHOTO)
    (pid,) = children()
    os.kill(pid, signal.SIGKILL)
    while children():
        time.sleep(0.01)
    assert len(decoder.decode(PHOTO))


def test_a_worker_that_hangs_is_killed():
    decoder = Decoder(workers=1, seconds=0.5)
    try:
        pid = stopped(decoder)
        with pytest.raises(ImageTooLarge, match=TOO_LONG):
            decoder.decode(PHOTO)
        assert pid not in children() and len(decoder.decode(PHOTO))
    finally:
        decoder.close()


def test_memory_is_limited():
    buffer = io.BytesIO()
    Image.new("RGB", (4000, 4000)).save(buffer, "PNG")  # 64 MB as pixels, 47 kB as a file
    small, large = Decoder(1, megabytes=40), Decoder(1, megabytes=400)
    try:
        with pytest.raises(ImageTooLarge, match="more memory"):
            small.decode(buffer.getvalue())
        assert len(small.decode(PHOTO)), "the same worker goes on"
        assert large.decode(buffer.getvalue()).shape == (1024, 1024, 3)
    finally:
        small.close()
        large.close()


@pytest.mark.parametrize(
    "mode, side, format", [("RGB", 6300, "PNG"), ("RGBA", 4460, "PNG"), ("RGB", 3990, "WEBP")]
)
def test_the_largest_photo_of_each_kind_fits_into_the_memory(mode, side, format):
    buffer = io.BytesIO()
    Image.new(mode, (side, side)).save(buffer, format, lossless=True, method=0, compress_level=1)
    decoder = Decoder(1, megabytes=400, seconds=60)
    try:
        assert decoder.decode(buffer.getvalue()).shape == (1024, 1024, 3)
    finally:
        decoder.close()


def test_many_callers_share_few_workers():
    decoder = Decoder(workers=2)
    names = sorted(GALLERY.iterdir())[:12]
    try:
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda p: decoder.decode(p.read_bytes()), names))
        assert len(children()) <= 2
        for path, pixels in zip(names, found):
            np.testing.assert_array_equal(pixels, decode(path.read_bytes()))
    finally:
        decoder.close()
    assert children() == []


def test_a_worker_is_replaced_after_so_many_photos():
    decoder = Decoder(workers=1, photos=2)
    try:
        seen = set()
        for _ in range(4):
            decoder.decode(PHOTO)
            seen.update(children())
        assert len(seen) == 2 and children() == []
    finally:
        decoder.close()


def test_a_worker_loads_no_more_than_decoding_needs(decoder):
    decoder.decode(PHOTO)
    (pid,) = children()
    maps = Path(f"/proc/{pid}/maps").read_text()
    assert "PIL" in maps and not any(name in maps for name in ("onnxruntime", "torch", "faiss"))
