"""Photo decoding in worker processes: a crash in a codec costs one photo only.

A photo is rejected for exceeding its processor time or memory, and for crashing its codec. A
shortage on the machine (processes, cores, memory) is never blamed on the photo.
"""

from __future__ import annotations

import atexit
import errno
import json
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO

import numpy as np
from joblib import cpu_count as available_cores

from .decode import Decoded
from .decode_worker import DECODED, NO_MEMORY, PICTURE, READY, REQUEST, SENTENCE, TOO_LARGE
from .errors import ImageTooLarge, UnsupportedImage
from .limits import NEEDS_MEMORY, Limits

WORKER = Path(__file__).with_name("decode_worker.py")
CRASHED = "The photo cannot be decoded."
TOO_LONG = "The photo takes too long to decode."
START_SECONDS = 60.0  # limit for loading the decoder, which needs about half a second of a core
# Limit on wall-clock time, as a multiple of a photo's processor time. Decoders inherit the niceness
# of request processing (`admission.behind_clicks`): next to one busy thread of normal priority they
# get a tenth of a core.
CLOCK_FACTOR = 12
CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE)
ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}

log = logging.getLogger(__name__)


class NoDecoder(OSError):
    """No photo can be decoded at the moment. The message gives the reason, for a log."""


class Decoder:
    """A pool of worker processes. Thread-safe: callers wait for a free one.

    Args:
        limits: limits on a photo and its cost. When a photo has used up its processor time, the
            kernel ends the worker. After CLOCK_FACTOR times as much wall-clock time it is killed.
        workers: number of processes.
        photos: number of photos after which a worker is replaced, in case its codecs leak memory.
    """

    def __init__(self, limits: Limits, workers: int = 2, photos: int = 500):
        self.limits = limits
        self._photos = photos
        self._free: queue.LifoQueue[Worker] = queue.LifoQueue()
        for _ in range(workers):
            self._free.put(Worker(limits, self.ended))
        self._count = workers

    def decode(self, data: bytes, as_stored: bool = False) -> np.ndarray:
        """The pixels of a photo. See `read` for arguments, result and errors."""
        return self.read(data, as_stored).pixels

    def read(self, data: bytes, as_stored: bool = False) -> Decoded:
        """Decode a photo. Takes the arguments of `extractor.photo.decode.read`.

        Raises:
            UnsupportedImage: as in `read`, and if the codec crashed. A crash for lack of memory
                cannot be distinguished from one on damaged data. libwebp, and libjpeg for
                progressive photos, report failed allocations as damaged data.
            ImageTooLarge: as in `read`, and if the photo takes too much processor time or memory.
            NoDecoder: no worker can be started, or the worker was killed from outside (as by the
                kernel when the machine is out of memory) or got too little processor time.
        """
        worker = self._free.get()
        try:
            return worker.read(data, as_stored)
        finally:
            if worker.served >= self._photos:
                worker.end()
            self._free.put(worker)

    def ended(self, reason: str) -> None:
        """Hook for counting: called with the reason whenever a worker has ended."""

    def close(self) -> None:
        """Stop all workers, each when it is idle. The next photo starts them again."""
        workers = [self._free.get() for _ in range(self._count)]
        for worker in workers:
            worker.end()
            self._free.put(worker)


class Worker:
    """One process, started on first use and restarted after it died. Not thread-safe.

    Attributes:
        served: number of photos that the current process has decoded.
    """

    def __init__(self, limits: Limits, ended: Callable[[str], None]):
        self._limits, self._ended = limits, ended
        self._process: subprocess.Popen[bytes] | None = None
        self.served = 0

    def read(self, data: bytes, as_stored: bool) -> Decoded:
        """See `Decoder.read`."""
        timed_out = threading.Event()
        try:
            process = self._started()
            with killed_after(process, CLOCK_FACTOR * self._limits.seconds, timed_out):
                answer = request_picture(process, data, as_stored)
        except NoDecoder:
            raise
        except (OSError, EOFError):
            code = self.end()
            reason, error = reason_of(code, timed_out.is_set())
            self._ended(reason)
            log.warning(
                "a decoding process has ended (%s); another one will take its place", reason
            )
            raise (error or NoDecoder(reason)) from None
        except BaseException:
            self.end()  # its next output would answer this photo, not the next one
            raise
        self.served += 1
        if isinstance(answer, Exception):
            raise answer
        return answer

    def end(self) -> int | None:
        """Kill the process, if there is one.

        Returns:
            Its exit status, negative for a signal. A process that was already ending keeps its own.
        """
        process, self._process, self.served = self._process, None, 0
        if process is None:
            return None
        process.kill()
        process.communicate()
        return process.returncode

    def _started(self) -> subprocess.Popen[bytes]:
        """The process, ready for a photo; its start-up time is not charged to the photo.

        Raises NoDecoder.
        """
        if self._process is None or self._process.poll() is not None:
            self.end()
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", str(WORKER), json.dumps(asdict(self._limits))],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    env=ENVIRONMENT,
                )
                assert self._process.stdout is not None
                with killed_after(self._process, START_SECONDS, threading.Event()):
                    read_exactly(self._process.stdout, len(READY))
            except (OSError, EOFError) as error:
                code = self.end()
                self._ended("not started")
                log.error("no decoding process can be started: %s", error or f"it ended ({code})")
                raise NoDecoder("not started") from None
        return self._process


@contextmanager
def killed_after(
    process: subprocess.Popen[bytes], seconds: float, timed_out: threading.Event
) -> Iterator[None]:
    """Kill a process that has not finished in time, and then set `timed_out`.

    Raises OSError if the timer's thread cannot be started.
    """

    def stop() -> None:
        timed_out.set()
        process.kill()

    timer = threading.Timer(seconds, stop)
    try:
        timer.start()
    except RuntimeError as error:
        raise OSError(errno.EAGAIN, str(error)) from None
    try:
        yield
    finally:
        timer.cancel()


def reason_of(code: int | None, is_late: bool) -> tuple[str, Exception | None]:
    """Why a worker ended in the middle of a photo.

    Args:
        code: exit status, negative for a signal.
        is_late: whether the worker was killed for exceeding its wall-clock time.

    Returns:
        The reason's name for metrics and the log, and the error to raise; None if the photo is not
        to blame.
    """
    if code == -signal.SIGPROF:
        return "processor time", ImageTooLarge(TOO_LONG)
    if code == NO_MEMORY:
        return "memory", ImageTooLarge(NEEDS_MEMORY)
    if code is not None and (code >= 0 or -code in CRASHES):
        return "crashed", UnsupportedImage(CRASHED)
    return "clock" if is_late else "killed", None


def request_picture(
    process: subprocess.Popen[bytes], data: bytes, as_stored: bool
) -> Decoded | UnsupportedImage | ImageTooLarge:
    """A worker's answer for a photo. Raises OSError or EOFError if the worker died."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(REQUEST.pack(len(data), as_stored))
    process.stdin.write(data)
    process.stdin.flush()
    kind = read_exactly(process.stdout, 1)
    if kind[0] == DECODED:
        header_rest = read_exactly(process.stdout, PICTURE.size - 1)
        _, height, width, count = PICTURE.unpack(kind + header_rest)
        note = read_exactly(process.stdout, count).decode()
        pixels = read_exactly(process.stdout, height * width * 3)
        return Decoded(np.frombuffer(pixels, np.uint8).reshape(height, width, 3), note)
    _, count = SENTENCE.unpack(kind + read_exactly(process.stdout, SENTENCE.size - 1))
    sentence = read_exactly(process.stdout, count).decode()
    return (ImageTooLarge if kind[0] == TOO_LARGE else UnsupportedImage)(sentence)


def read_exactly(file: IO[bytes], count: int) -> bytes:
    """Exactly `count` bytes. Raises EOFError if there are fewer."""
    data = file.read(count)
    if len(data) < count:
        raise EOFError
    return data


_decoders: dict[Limits, Decoder] = {}


def decoder_for(limits: Limits) -> Decoder:
    """This process's decoder for photos with these limits, one worker per core."""
    if limits not in _decoders:
        _decoders.setdefault(limits, Decoder(limits, available_cores()))
    return _decoders[limits]


def close_decoders() -> None:
    """Stop the workers of all decoders of `decoder_for`."""
    for decoder in _decoders.values():
        decoder.close()


atexit.register(close_decoders)
# Inherited workers answer the parent only, so a forked child starts its own.
os.register_at_fork(after_in_child=_decoders.clear)
