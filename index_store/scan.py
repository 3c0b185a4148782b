"""Which files of a folder are photos."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from extractor import SUFFIXES

from .catalogue import Skipped
from .errors import NothingToIndex

# Photos by their name, but of a format that is not read; people want to know that they were left out.
FOREIGN_SUFFIXES = (
    ".heic",
    ".heif",
    ".avif",
    ".gif",
    ".tif",
    ".tiff",
    ".bmp",
    ".jp2",
    ".cr2",
    ".nef",
    ".arw",
    ".dng",
)


@dataclass(frozen=True)
class Listing:
    """The photos of a folder. files: relative paths, forward slashes, sorted. foreign: what only looks like photos.

    digest: SHA-256 over the photos' paths, sizes and times of change; equal digests mean that nothing has changed.
    """

    files: list[str]
    foreign: list[Skipped]
    digest: str


def scan(root: Path) -> Listing:
    """List a folder with its sub-folders. Hidden files and folders are passed over; links to folders are not followed.

    Raises NothingToIndex.
    """
    if not root.is_dir():
        raise NothingToIndex(f"There is no folder {root}.")
    photos, foreign = [], []
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        for name in files:
            suffix = Path(name).suffix.lower()
            file = (Path(folder) / name).relative_to(root).as_posix()
            if name.startswith(".") or not (suffix in SUFFIXES or suffix in FOREIGN_SUFFIXES):
                continue
            try:
                file.encode()
            except UnicodeEncodeError:
                foreign.append(Skipped(ascii(file), "The file's name is not valid Unicode."))
                continue
            if suffix in SUFFIXES:
                photos.append(file)
            else:
                foreign.append(
                    Skipped(file, f"Files of type {suffix} are not read; JPEG, PNG and WebP are.")
                )
    if not photos:
        raise NothingToIndex(f"There is no JPEG, PNG or WebP photo in {root}.")
    photos.sort()
    digest = hashlib.sha256()
    for file in photos:
        digest.update(f"{file}\0{describe_file(root / file)}\n".encode())
    return Listing(photos, foreign, digest.hexdigest())


def describe_file(path: Path) -> str:
    """Size and time of change; of a broken link, that it is one."""
    try:
        status = path.stat()
    except OSError:
        return "unreadable"
    return f"{status.st_size} {status.st_mtime_ns}"
