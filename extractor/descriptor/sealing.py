"""Checksum inside the model file: a final metadata entry with the SHA-256 of all bytes before it.

Appending to a serialised protobuf message extends it, so the sealed file is still an ordinary ONNX
model. onnxruntime itself loads a file with damaged weights without complaint, and computes wrong
descriptors.
"""

from __future__ import annotations

import hashlib

KEY = b"seal.sha256"


def suffix(digest: str) -> bytes:
    """Bytes of ModelProto.metadata_props (field 14) = {key: KEY, value: digest}.

    Args:
        digest: 64 hexadecimal digits.
    """
    entry = b"\x0a" + bytes([len(KEY)]) + KEY + b"\x12" + bytes([len(digest)]) + digest.encode()
    return b"\x72" + bytes([len(entry)]) + entry


LENGTH = len(suffix("0" * 64))


def seal(model: bytes) -> bytes:
    """A serialised ONNX model with its checksum appended."""
    return model + suffix(hashlib.sha256(model).hexdigest())


def is_sealed(data: bytes) -> bool:
    """Whether a file is exactly what `seal` returned."""
    return data[-LENGTH:] == suffix(hashlib.sha256(data[:-LENGTH]).hexdigest())
