"""The process that decodes uploads: run by `decoder`, by its path, with pipes for stdin and stdout.

It writes READY when it can decode. Then it reads a request and writes an answer, again and again,
until its input ends.

    request: bytes of the photo (uint64), as_stored (uint8), the photo
    answer:  0, height, width (uint32 each), pixels uint8 RGB; or 1 or 2, bytes (uint32), a sentence

All numbers are little-endian. 1 stands for UnsupportedImage, 2 for ImageTooLarge.
"""

from __future__ import annotations

import os
import resource
import signal
import struct
import sys
import types
from pathlib import Path

READY = b"+"
REQUEST = struct.Struct("<QB")
PICTURE = struct.Struct("<BII")
SENTENCE = struct.Struct("<BI")
DECODED, UNSUPPORTED, TOO_LARGE = range(3)


def main(megabytes: int, seconds: int) -> None:
    """Answer until the input ends.

    Args:
        megabytes: of memory that decoding may take on top of what the process has already.
        seconds: after which the process ends itself, in case nobody is there to end it.
    """
    # Only the decoder, without the package around it: onnxruntime is large and slow to load.
    package = types.ModuleType("extractor")
    package.__path__ = [str(Path(__file__).resolve().parent.parent / "extractor")]
    sys.modules["extractor"] = package
    from extractor.decode import BadPhoto, ImageTooLarge, decode

    taken = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    most = taken + megabytes * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    sink.write(READY)
    sink.flush()
    while head := source.read(REQUEST.size):
        count, as_stored = REQUEST.unpack(head)
        signal.alarm(seconds)
        try:
            pixels = decode(source.read(count), bool(as_stored))
            sink.write(PICTURE.pack(DECODED, *pixels.shape[:2]) + pixels.tobytes())
        except BadPhoto as error:
            kind = TOO_LARGE if isinstance(error, ImageTooLarge) else UNSUPPORTED
            sentence = str(error).encode()
            sink.write(SENTENCE.pack(kind, len(sentence)) + sentence)
        signal.alarm(0)
        sink.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
