"""Packed photos: a pool of training photos as small WebP files, in zip archives of limited size.

    pack.json           manifest: the archives and their SHA-256
    photos-000.zip      000000.webp, 000001.webp, ...; stored without further compression
    photos-001.zip

`pack` writes the archives, and training decodes all photos into memory.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from extractor import Limits

from .parts import MAX_PARTS, MB, BadParts, Part, read_manifest, read_part

FILE = "pack.json"
MAX_PART = 60 * MB  # bytes of an archive
MIN_SIDE, MAX_SIDE = 32, 1024  # pixels, longest side of the packed photos
MAX_PHOTOS = 500_000  # per part: a zip entry takes more than a hundred bytes
LIMITS = Limits(("webp",), megabytes=4, megapixels=2, memory=200, seconds=5.0)
"""Limits on a packed photo and the cost of decoding it."""

Count = Annotated[int, Field(ge=0, le=10**9)]


class PhotoPart(Part):
    """An archive of a pack.

    Attributes:
        size: bytes of the archive.
        photos: number of photos in it.
        read: number of pool files read until it was complete, including skipped ones.
    """

    size: Annotated[int, Field(ge=1, le=MAX_PART)]
    photos: Annotated[int, Field(ge=1, le=MAX_PHOTOS)]
    read: Count


class Pack(BaseModel):
    """The manifest.

    Attributes:
        layout: version of this file and the archives.
        side: longest side of a photo in pixels.
        quality: quality of the WebP files.
        pool: SHA-256 over the names and sizes of the packed files.
        files: number of files in the pool.
        left_out: number of skipped files: unreadable, or narrower than 32 pixels.
        parts: the archives, in order of their numbers.
        is_complete: whether all files have been read.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    layout: Literal[1] = 1
    side: Annotated[int, Field(ge=MIN_SIDE, le=MAX_SIDE)]
    quality: Annotated[int, Field(ge=1, le=100)]
    pool: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    files: Count
    left_out: Count = 0
    parts: Annotated[list[PhotoPart], Field(max_length=MAX_PARTS)] = []
    is_complete: bool = False

    @model_validator(mode="after")
    def check_names(self) -> Pack:
        for number, part in enumerate(self.parts):
            if part.name != part_name(number):
                raise ValueError(f"part {number} must be {part_name(number)}")
        return self

    @property
    def photos(self) -> int:
        return sum(part.photos for part in self.parts)


def part_name(number: int) -> str:
    """File name of a part."""
    return f"photos-{number:03}.zip"


def entry_name(number: int) -> str:
    """Name of a photo's entry in its part."""
    return f"{number:06}.webp"


def is_pack(folder: Path) -> bool:
    """Whether a folder holds packed photos."""
    return (folder / FILE).is_file()


def read_pack(folder: Path) -> Pack:
    """The manifest of a finished pack. Raises BadParts."""
    pack = read_manifest(folder / FILE, Pack)
    if not pack.is_complete or not pack.parts:
        raise BadParts(f"{folder} is not finished; run the same `python -m model pack` again")
    return pack


def packed_photos(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """All photos of a pack: the path of each, for messages, and its WebP file.

    Raises:
        BadParts: a part is missing, damaged, or not an archive written by `pack`.
    """
    for part in read_pack(folder).parts:
        data = read_part(folder, part)
        for name, photo in read_archive(data, part):
            yield folder / part.name / name, photo


def read_archive(data: bytes, part: PhotoPart) -> list[tuple[str, bytes]]:
    """Names and contents of an archive's entries.

    Raises:
        BadParts: it is not a zip archive, or its entries are not the expected ones, uncompressed.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            if [entry.filename for entry in entries] != [
                entry_name(number) for number in range(part.photos)
            ]:
                raise BadParts(f"{part.name} does not contain the photos that its manifest lists")
            stored = all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)
            # Overlapping entries would add up to more than the archive.
            if not stored or sum(entry.file_size for entry in entries) > len(data):
                raise BadParts(f"{part.name} is compressed, or its entries overlap")
            return [(entry.filename, archive.read(entry)) for entry in entries]
    except BadParts:
        raise
    except Exception as error:  # a hostile archive can raise any exception
        raise BadParts(f"{part.name} was not written by `pack` ({error})") from error
