"""The photos in what a visitor sends: single files, and zip archives, opened with care."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from pathlib import PurePosixPath

from extractor.photo.formats import names, suffixes
from plurals import quantity

ENTRY = b"PK\x01\x02"  # begins each entry of a zip archive's directory
ENTRIES = 5_000  # of one archive: its directory is read into memory as a whole
PLAIN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # the other methods may take much memory
NAME = 120  # characters of a name that are kept
TYPES = 10  # of files that are no photos: each that an archive has most of gets a line
SYSTEM = ("__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "Thumbs.db", "desktop.ini")

File = tuple[str, bytes]


class BadArchive(Exception):
    """An archive that is not opened; str(error) is a sentence for the visitor."""


def photos_in(
    files: Iterable[File], most_bytes: int, formats: Collection[str]
) -> Iterator[tuple[str, bytes | str]]:
    """The photos of several files and archives, one after the other.

    Nothing is written anywhere, and a name is only a name. What in an archive does not end like a
    photo, and what systems keep for themselves, is left out, with a line for each type of file.

    Args:
        files: name and content of each.
        most_bytes: of one unpacked photo, whatever its entry says.
        formats: keys of the formats that are taken.

    Yields:
        The name, and the content; or, where that is not to be had, the sentence why.
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
    """As `photos_in`, of one archive. Raises BadArchive."""
    taken, left_out, hidden = suffixes(formats), Counter[str](), 0
    if data.count(ENTRY) > ENTRIES:
        raise BadArchive(f"A zip archive may have at most {ENTRIES:,} entries.")
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
        raise BadArchive("This is not a zip archive, or it is damaged.") from None
    for entry in archive.infolist():
        path = PurePosixPath(entry.filename.replace("\\", "/"))
        named = [part for part in path.parts if part != ".."]  # only the last part is used
        if entry.is_dir():
            continue
        if any(part.startswith(".") or part in SYSTEM for part in named):
            hidden += 1
            continue
        if (suffix := path.suffix.lower()) not in taken:
            left_out[short(suffix) if suffix else "(none)"] += 1
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
    for suffix, count in left_out.most_common(TYPES):
        yield (
            archive_name,
            f"Skipped {quantity(count, 'file')} of the type {suffix}; "
            f"supported formats: {names(formats)}.",
        )
    if hidden:
        yield archive_name, f"Skipped hidden files and system thumbnails: {hidden}."


def short(name: str) -> str:
    """A file's name as it may be shown: its last part, printable, of bounded length."""
    last = PurePosixPath(name.replace("\\", "/")).name
    return "".join(c if c.isprintable() else "�" for c in last)[-NAME:] or "photo"
