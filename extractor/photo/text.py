"""Read text files in the encodings that common programs write."""

from __future__ import annotations

import codecs
from pathlib import Path

from .files import read_at_most

UTF16 = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def read_text(path: str | Path, max_bytes: int) -> str:
    """The text of a regular file.

    Args:
        path: path of the file.
        max_bytes: maximum size in bytes.

    Raises:
        OSError: see `read_at_most`.
        ValueError: see `decode_text`.
    """
    return decode_text(read_at_most(path, max_bytes))


def decode_text(data: bytes) -> str:
    """Decode UTF-8 or UTF-16, with or without a byte order mark, else Windows-1252.

    Raises:
        ValueError: the data is in none of these encodings.
    """
    encoding = UTF16.get(data[:2], "utf-8-sig")
    if encoding == "utf-8-sig" and b"\0" in data[:2]:  # ASCII letters in UTF-16
        encoding = "utf-16-be" if data[:1] == b"\0" else "utf-16-le"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding != "utf-8-sig":
            raise ValueError(f"it is not text in UTF-16 (byte {error.start + 1})") from None
        try:
            text = data.decode("cp1252")
        except UnicodeDecodeError as error:
            raise ValueError(
                f"it is not text in UTF-8, UTF-16 or Windows-1252 (byte {error.start + 1})"
            ) from None
    if "\0" in text:
        raise ValueError("it is not text: it contains NUL characters")
    return text
