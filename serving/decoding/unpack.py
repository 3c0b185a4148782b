"""Photos in a visitor's uploads: single files and zip archives, unpacked within limits."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from pathlib import PurePosixPath

from extractor.photo.formats import names, suffixes
from plurals import quantity

ENTRY = b"PK\x01\x02"  # starts each entry of a zip archive's directory
ENTRIES = 5_000  # of one archive: its whole directory is read into memory
PLAIN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # other methods may need much memory
NAME = 120  # maximum characters of a name
TYPES = 10  # of skipped files: one line each, most frequent first
SYSTEM = ("__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "Thumbs.db", "desktop.ini")

File = tuple[str, bytes]


class BadArchive(Exception):
    """An archive that cannot be opened; str(error) is a sentence for the visitor."""


def photos_in(
    files: Iterable[File], most_bytes: int, formats: Collection[str]
) -> Iterator[tuple[str, bytes | str]]:
    """Yield the photos of several files and archives.

    Nothing is written to disk, and names are never used as paths. Entries of an archive without a
    photo's suffix, and system files, are skipped, with one line for each type of file.

    Args:
        files: name and content of each file.
        most_bytes: maximum size of one unpacked photo, regardless of what its entry claims.
        formats: keys of the accepted formats.

    Yields:
        The name and the content, or the name and a sentence that says why there is no content.
    """
    for name, data in files:
        if not name.lower().endswith(".zip"):
            yield short(name), data
            continue
        try:
            yield from unpack(short(name), data, most_bytes, formats)
        except BadArchive as error:
            yield short(name), str(error)


def unpack(
    archive_name: str, data: bytes, most_bytes: int, formats: Collection[str]
) -> Iterator[tuple[str, bytes | str]]:
    """As `photos_in`, for one archive. Raises BadArchive."""
    allowed, skipped, hidden = suffixes(formats), Counter[str](), 0
    if data.count(ENTRY) > ENTRIES:
        raise BadArchive(f"A zip archive may have at most {ENTRIES:,} entries.")
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
        raise BadArchive("This is not a zip archive, or it is damaged.") from None
    for entry in archive.infolist():
        path = PurePosixPath(entry.filename.replace("\\", "/"))
        path_parts = [part for part in path.parts if part != ".."]  # only the last is used
        if entry.is_dir():
            continue
        if any(part.startswith(".") or part in SYSTEM for part in path_parts):
            hidden += 1
            continue
        if (suffix := path.suffix.lower()) not in allowed:
            skipped[short(suffix) if suffix else "(none)"] += 1
            continue
        if entry.compress_type not in PLAIN or entry.flag_bits & 1:
            yield short(path.name), "It is encrypted or packed by an unsupported method."
            continue
        try:
            with archive.open(entry) as file:
                content = file.read(most_bytes + 1)
        except (zipfile.BadZipFile, zlib.error, ValueError, OSError, EOFError, RuntimeError):
            yield short(path.name), "It cannot be unpacked."
            continue
        if len(content) > most_bytes:
            yield short(path.name), f"A photo may have at most {most_bytes / 2**20:.0f} MB."
        else:
            yield short(path.name), content
    for suffix, count in skipped.most_common(TYPES):
        yield (
            archive_name,
            f"Skipped {quantity(count, 'file')} of the type {suffix}; "
            f"supported formats: {names(formats)}.",
        )
    if hidden:
        yield archive_name, f"Skipped hidden files and system thumbnails: {hidden}."


def short(name: str) -> str:
    """A file's name for display: its last part, printable, of limited length."""
    last = PurePosixPath(name.replace("\\", "/")).name
    return "".join(c if c.isprintable() else "�" for c in last)[-NAME:] or "photo"
