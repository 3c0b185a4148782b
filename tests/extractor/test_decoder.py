"""Decoding in a process of its own: whatever happens to it, the next photo is decoded, and only
what a photo itself has cost is blamed on it.
"""

from __future__ import annotations

import errno
import fcntl
import io
import os
import signal
import struct
import subprocess
import termios
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from extractor import OWNER, VISITOR, BadPhoto, ImageTooLarge, UnsupportedImage, decode
from extractor.photo.codecs.openers import prepare
from extractor.photo.containers import inspect
from extractor.photo.decoder import CRASHED, TOO_LONG, close_decoders, decoder_for
from extractor.photo.limits import NEEDS_MEMORY, memory_of
from serving.decoding.decoder import UploadDecoder
from serving.decoding.decoder import decoder as server_decoder
from serving.refusal import Refused
from tests.conftest import GALLERY, PATIENCE
from tests.support.server import until

PHOTO = (GALLERY / "colosseum.jpg").read_bytes()


@pytest.fixture(autouse=True)
def only_this_one():
    """The server's decoder, if another test used it, has no processes meanwhile."""
    server_decoder().close()


@pytest.fixture
def decoder():
    made = UploadDecoder(VISITOR, workers=1)
    yield made
    made.close()


def children() -> list[int]:
    """The decode workers of this process for uploads that run."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text(errors="replace").rpartition(")")[2].split()
            command = entry.with_name("cmdline").read_text(errors="replace")
        except OSError:
            continue
        is_upload = "decode_worker" in command and OWNER.prefix not in command
        if int(fields[1]) == os.getpid() and fields[0] != "Z" and is_upload:
            found.append(int(entry.parent.name))
    return found


@pytest.fixture(autouse=True, scope="module")
def clock_plays_no_part():
    """Workers have as long by the clock as a busy machine needs, but where a test is about it."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("extractor.photo.decoder.START_SECONDS", PATIENCE)
        patched.setattr("extractor.photo.decoder.CLOCK_FACTOR", 1e4)
        yield


def stopped(decoder: UploadDecoder) -> int:
    """Bring the worker up, and stop it like one that hangs. Returns its process id."""
    decoder.decode(PHOTO)
    (pid,) = children()
    os.kill(pid, signal.SIGSTOP)
    return pid


def test_pixels_are_those_of_the_plain_way(decoder):
    for as_stored in (False, True):
        expected = decode(PHOTO, as_stored)
        np.testing.assert_array_equal(decoder.decode(PHOTO, as_stored), expected)


@pytest.mark.parametrize("data", [b"", b"GIF89a", PHOTO[:5000], bytes(12 * 2**20 + 1)])
def test_errors_are_those_of_the_plain_way(decoder, data):
    with pytest.raises(BadPhoto) as plain:
        decode(data, limits=VISITOR)
    with pytest.raises(BadPhoto) as apart:
        decoder.decode(data)
    assert (type(apart.value), str(apart.value)) == (type(plain.value), str(plain.value))


def unread(pid: int) -> int:
    """Bytes that have been sent to a worker, and that it has not read."""
    line = os.open(f"/proc/{pid}/fd/0", os.O_RDONLY | os.O_NONBLOCK)
    try:
        (count,) = struct.unpack("i", fcntl.ioctl(line, termios.FIONREAD, bytes(4)))
    finally:
        os.close(line)
    return count


def refused(decoder: UploadDecoder) -> Refused:
    """Decode a photo that must be answered with "try again", and the next one, which is decoded."""
    with pytest.raises(Refused, match=r"^Busy, try again in 10 seconds\.$") as error:
        decoder.decode(PHOTO)
    return error.value


@pytest.mark.parametrize(
    "ended_by, kind, sentence",
    [
        (signal.SIGSEGV, UnsupportedImage, CRASHED),
        (signal.SIGABRT, UnsupportedImage, CRASHED),
        (signal.SIGKILL, Refused, "Busy"),
        (signal.SIGTERM, Refused, "Busy"),
    ],
)
def test_a_worker_that_dies_costs_one_upload(decoder, ended_by, kind, sentence):
    """A crash is the photo's; what comes from outside is not, as from a kernel without memory."""
    pid = stopped(decoder)
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(decoder.decode, PHOTO)
        while not unread(pid):
            assert not found.done()
        os.kill(pid, ended_by)
        os.kill(pid, signal.SIGCONT)
        with pytest.raises(kind, match=sentence):
            found.result()
    assert len(decoder.decode(PHOTO)) and children() != [pid]


def test_a_worker_that_died_between_two_uploads_costs_none(decoder):
    decoder.decode(PHOTO)
    (pid,) = children()
    os.kill(pid, signal.SIGKILL)
    until(lambda: not children())
    assert len(decoder.decode(PHOTO))


def test_a_worker_that_gets_no_processor_is_killed_and_the_photo_is_not_blamed(
    decoder, monkeypatch
):
    pid = stopped(decoder)
    monkeypatch.setattr("extractor.photo.decoder.CLOCK_FACTOR", 0.01)
    found = refused(decoder)
    assert (found.status, found.retry_after_seconds) == (503, 10)
    monkeypatch.undo()
    assert pid not in children() and len(decoder.decode(PHOTO))


@pytest.fixture(scope="module")
def slow() -> tuple[bytes, float]:
    """A photo that takes some time, and how much processor time."""
    buffer = io.BytesIO()
    Image.new("RGB", (3990, 3990)).save(buffer, "WEBP", lossless=True, method=0)
    begin = time.process_time()
    decode(buffer.getvalue())
    return buffer.getvalue(), time.process_time() - begin


def test_a_photo_that_takes_too_much_processor_time_is_refused(slow):
    photo, cost = slow
    decoder = UploadDecoder(replace(VISITOR, seconds=cost / 10), workers=1)
    try:
        with pytest.raises(ImageTooLarge, match=TOO_LONG):
            decoder.decode(photo)
        assert children() == []
    finally:
        decoder.close()


def test_processor_time_is_counted_anew_for_each_photo(slow):
    photo, cost = slow
    decoder = UploadDecoder(replace(VISITOR, seconds=5 * cost), workers=1)
    try:
        decoder.decode(photo)
        (pid,) = children()
        for _ in range(8):
            decoder.decode(photo)
        assert children() == [pid]
    finally:
        decoder.close()


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.ENOMEM, errno.EMFILE])
def test_no_process_can_be_started(decoder, monkeypatch, code):
    def fails(*_, **__):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(subprocess, "Popen", fails)
    assert refused(decoder).status == 503
    monkeypatch.undo()
    assert len(decoder.decode(PHOTO))


def test_a_process_ends_before_it_is_ready(decoder, monkeypatch, tmp_path):
    monkeypatch.setattr("extractor.photo.decoder.WORKER", tmp_path / "nothing.py")
    assert refused(decoder).status == 503
    monkeypatch.undo()
    assert len(decoder.decode(PHOTO))


@pytest.mark.parametrize("is_running", [False, True])
def test_no_thread_can_be_started_to_watch_the_process(decoder, monkeypatch, is_running):
    def fails(_):
        raise RuntimeError("can't start new thread")

    if is_running:
        decoder.decode(PHOTO)
    monkeypatch.setattr(threading.Timer, "start", fails)
    assert refused(decoder).status == 503
    monkeypatch.undo()
    assert len(decoder.decode(PHOTO))


def with_memory(megabytes: int) -> UploadDecoder:
    return UploadDecoder(replace(VISITOR, memory=megabytes, megabytes=64, seconds=60), 1)


def test_memory_is_limited():
    buffer = io.BytesIO()
    Image.new("RGB", (4000, 4000)).save(buffer, "PNG")  # 64 MB as pixels, 47 kB as a file
    padded = PHOTO + bytes(30 * 2**20)  # the file alone is too much
    small, large, tiny = with_memory(50), with_memory(400), with_memory(20)
    try:
        with pytest.raises(ImageTooLarge, match="about 153 MB of memory; at most 50 MB"):
            small.decode(buffer.getvalue())
        assert len(small.decode(PHOTO)), "the same worker goes on"
        with pytest.raises(ImageTooLarge, match=NEEDS_MEMORY):
            tiny.decode(padded)
        assert len(tiny.decode(PHOTO)), "another worker goes on"
        assert large.decode(buffer.getvalue()).shape == (1024, 1024, 3)
    finally:
        small.close()
        large.close()
        tiny.close()


@pytest.mark.parametrize(
    "mode, format, options",
    [
        ("RGB", "PNG", {"compress_level": 1}),
        ("RGBA", "PNG", {"compress_level": 1}),
        ("I;16", "PNG", {"compress_level": 1}),
        ("RGB", "WEBP", {"lossless": True, "method": 0}),
        ("RGBA", "WEBP", {"lossless": True, "method": 0}),
        ("RGB", "JPEG", {"progressive": True, "subsampling": 0}),
        ("CMYK", "JPEG", {"progressive": True}),
        ("RGB", "HEIF", {"quality": 10, "enc_params": {"preset": "ultrafast"}}),
        ("RGBA", "HEIF", {"quality": 10, "enc_params": {"preset": "ultrafast"}}),
        ("RGB", "AVIF", {"quality": 10, "speed": 10}),
        ("RGBA", "AVIF", {"quality": 10, "speed": 10}),
        ("RGB", "JPEG2000", {"num_resolutions": 1}),
        ("RGBA", "JPEG2000", {"num_resolutions": 1}),
        ("RGB", "JXL", {"effort": 1}),
        ("RGBA", "JXL", {"effort": 1, "lossless": True}),
        ("RGB", "TIFF", {}),
        ("CMYK", "TIFF", {"compression": "tiff_lzw"}),
        ("I;16", "TIFF", {}),
        ("F", "TIFF", {}),
        ("P", "GIF", {}),
        ("RGB", "BMP", {}),
    ],
)
def test_no_kind_needs_more_memory_than_is_reckoned_with(mode, format, options):
    """Each is decoded with no more than the limit at which it would be refused."""
    prepare()
    buffer = io.BytesIO()
    Image.new(mode, (3000, 3000)).save(buffer, format, **options)
    data = buffer.getvalue()
    needed = int((memory_of(inspect(data)) + len(data)) / 2**20) + 1
    limits = replace(OWNER, memory=needed, seconds=60)
    decoder = UploadDecoder(limits, 1)
    try:
        assert decoder.decode(data).shape == (1024, 1024, 3)
    finally:
        decoder.close()


def test_many_callers_share_few_workers():
    decoder = UploadDecoder(VISITOR, workers=2)
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
    decoder = UploadDecoder(VISITOR, workers=1, photos=2)
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
    assert "PIL" in maps and not any(
        name in maps for name in ("onnxruntime", "torch", "faiss", "cv2")
    )


def test_a_forked_process_starts_workers_of_its_own():
    before = decoder_for(VISITOR).decode(PHOTO)
    child = os.fork()
    if not child:
        try:
            alike = (decoder_for(VISITOR).decode(PHOTO) == before).all()
            close_decoders()
            os._exit(0 if alike else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (decoder_for(VISITOR).decode(PHOTO) == before).all(), "the parent's worker is unharmed"
