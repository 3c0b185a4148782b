"""Decoding worker process, started by `decoder` by its path, with pipes for stdin and stdout.

It writes READY when it can decode. Then it reads requests and writes one answer each, until its
input ends.

    request: bytes of the photo (uint64), as_stored (uint8), the photo
    answer:  0, height, width, bytes of the note (uint32 each), the note, pixels uint8 RGB;
             or 1 or 2, bytes (uint32), a sentence

All numbers are little-endian. 1 means UnsupportedImage, 2 ImageTooLarge.

It dies of SIGPROF when a photo has used up its processor time, and exits with NO_MEMORY when memory
runs out while it reads a photo or writes an answer.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import struct
import sys
import types
from pathlib import Path

READY = b"+"
REQUEST = struct.Struct("<QB")
PICTURE = struct.Struct("<BIII")
SENTENCE = struct.Struct("<BI")
DECODED, UNSUPPORTED, TOO_LARGE = range(3)
NO_MEMORY = 3  # exit status


def main(facts: str) -> None:
    """Answer requests until the input ends.

    Args:
        facts: the `Limits` as JSON. The memory limit excludes what the process already uses;
            processor time is per photo, over all threads.
    """
    # Load the decoder without its package: onnxruntime is large and slow to load.
    package = types.ModuleType("extractor")
    package.__path__ = [str(Path(__file__).resolve().parents[1])]
    sys.modules["extractor"] = package
    from extractor.photo.codecs.openers import prepare
    from extractor.photo.decode import BadPhoto, ImageTooLarge, read
    from extractor.photo.limits import Limits

    limits = Limits(**json.loads(facts))
    prepare()
    baseline = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    max_memory = baseline + limits.memory * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (max_memory, max_memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    source, target = sys.stdin.buffer, sys.stdout.buffer
    target.write(READY)
    target.flush()
    while head := source.read(REQUEST.size):
        count, as_stored = REQUEST.unpack(head)
        data = source.read(count)
        # RLIMIT_CPU counts whole seconds over the life of the process, hence this timer. Its signal
        # kills the process in the kernel: Python handlers do not run while a codec does.
        signal.setitimer(signal.ITIMER_PROF, limits.seconds)
        try:
            pixels, note = read(data, bool(as_stored), limits=limits)
            message = note.encode()
            answer = (
                PICTURE.pack(DECODED, *pixels.shape[:2], len(message)) + message + pixels.tobytes()
            )
        except BadPhoto as error:
            kind = TOO_LARGE if isinstance(error, ImageTooLarge) else UNSUPPORTED
            sentence = str(error).encode()
            answer = SENTENCE.pack(kind, len(sentence)) + sentence
        del data
        signal.setitimer(signal.ITIMER_PROF, 0)
        target.write(answer)
        target.flush()


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except MemoryError:
        sys.exit(NO_MEMORY)
