"""Uploads are decoded in processes of their own: a crash in a codec costs one upload, no more."""

from __future__ import annotations

import logging
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import IO

import numpy as np

from extractor import ImageTooLarge, UnsupportedImage

from . import metrics
from .decode_worker import DECODED, PICTURE, READY, REQUEST, SENTENCE, TOO_LARGE
from .settings import settings

WORKER = Path(__file__).with_name("decode_worker.py")
CRASHED = "The photo cannot be decoded."
TOO_LONG = "The photo takes too long to decode."
START_SECONDS = 30.0  # a process may take to load the decoder, on a busy machine, too
MEANING = {"late": "took too long and was ended", "died": "has died"}
UNATTENDED = 4  # a worker whose server has died ends itself after so many times the limit

log = logging.getLogger(__name__)


class Decoder:
    """A few worker processes. Thread-safe: callers wait for a free one.

    Args:
        workers: how many processes.
        megabytes: that decoding one photo may take.
        seconds: that it may take; then the worker is killed.
        photos: after so many a worker is replaced, whatever its codecs may have leaked.
    """

    def __init__(
        self, workers: int = 2, megabytes: int = 400, seconds: float = 5.0, photos: int = 500
    ):
        self._limits = (megabytes, seconds, photos)
        self._free: queue.LifoQueue[Worker] = queue.LifoQueue()
        for _ in range(workers):
            self._free.put(Worker(megabytes, seconds))
        self._count = workers

    def decode(self, data: bytes, as_stored: bool = False) -> np.ndarray:
        """The pixels of an upload. Arguments, result and errors as `extractor.decode`.

        Raises:
            UnsupportedImage: also for a photo at which its worker died.
            ImageTooLarge: also for a photo that takes too long or too much memory.
        """
        worker = self._free.get()
        try:
            return worker.decode(data, as_stored)
        finally:
            if worker.served >= self._limits[2]:
                worker.end()
            self._free.put(worker)

    def close(self) -> None:
        """End all workers, each when it has finished. The next photo starts them again."""
        workers = [self._free.get() for _ in range(self._count)]
        for worker in workers:
            worker.end()
            self._free.put(worker)


class Worker:
    """One process, started when it is first needed, and again after it died. Not thread-safe.

    Attributes:
        served: photos of the present process.
    """

    def __init__(self, megabytes: int, seconds: float):
        self._megabytes, self._seconds = megabytes, seconds
        self._process: subprocess.Popen[bytes] | None = None
        self.served = 0

    def decode(self, data: bytes, as_stored: bool) -> np.ndarray:
        """See `Decoder.decode`."""
        late = threading.Event()
        try:
            process = self._started(late)
            with killed_after(process, self._seconds, late):
                answer = ask(process, data, as_stored)
        except (OSError, EOFError):
            self.end()
            why = "late" if late.is_set() else "died"
            metrics.DECODERS_ENDED.labels(why).inc()
            log.warning("a decoding process %s; another one will take its place", MEANING[why])
            raise ImageTooLarge(TOO_LONG) if late.is_set() else UnsupportedImage(CRASHED) from None
        except BaseException:
            self.end()  # what it says next would be the answer to this photo
            raise
        self.served += 1
        if isinstance(answer, Exception):
            raise answer
        return answer

    def end(self) -> None:
        """Kill the process, if there is one."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
        self._process, self.served = None, 0

    def _started(self, late: threading.Event) -> subprocess.Popen[bytes]:
        """The process, ready for a photo: what it takes to start is not held against the photo."""
        if self._process is None or self._process.poll() is not None:
            self.end()
            unattended = max(1, round(UNATTENDED * self._seconds))
            self._process = subprocess.Popen(
                [sys.executable, "-I", str(WORKER), str(self._megabytes), str(unattended)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"},
            )
            assert self._process.stdout is not None
            with killed_after(self._process, START_SECONDS, late):
                read_exactly(self._process.stdout, len(READY))
        return self._process


@contextmanager
def killed_after(
    process: subprocess.Popen[bytes], seconds: float, late: threading.Event
) -> Iterator[None]:
    """Kill a process that is not done in time, and set `late` then."""

    def stop() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(seconds, stop)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def ask(
    process: subprocess.Popen[bytes], data: bytes, as_stored: bool
) -> np.ndarray | UnsupportedImage | ImageTooLarge:
    """What a worker says of a photo. Raises OSError or EOFError if it died of it."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(REQUEST.pack(len(data), as_stored))
    process.stdin.write(data)
    process.stdin.flush()
    kind = read_exactly(process.stdout, 1)
    if kind[0] == DECODED:
        rest = read_exactly(process.stdout, PICTURE.size - 1)
        _, height, width = PICTURE.unpack(kind + rest)
        pixels = read_exactly(process.stdout, height * width * 3)
        return np.frombuffer(pixels, np.uint8).reshape(height, width, 3)
    _, count = SENTENCE.unpack(kind + read_exactly(process.stdout, SENTENCE.size - 1))
    sentence = read_exactly(process.stdout, count).decode()
    return (ImageTooLarge if kind[0] == TOO_LARGE else UnsupportedImage)(sentence)


def read_exactly(file: IO[bytes], count: int) -> bytes:
    """Just so many bytes. Raises EOFError if there are fewer."""
    data = file.read(count)
    if len(data) < count:
        raise EOFError
    return data


@lru_cache
def decoder() -> Decoder:
    """The decoder of this process, as the settings have it when it is first asked for."""
    limits = settings()
    return Decoder(limits.decode_workers, limits.decode_mb, limits.decode_seconds)
