"""Which files of a folder are photos."""

from __future__ import annotations

import os
from pathlib import Path

from extractor import SUFFIXES

from .catalogue import Skipped
from .errors import NothingToIndex

# Photos by their name, but of a format that is not read; people want to know that they were left out.
FOREIGN_SUFFIXES = (".heic", ".heif", ".avif", ".gif", ".tif", ".tiff", ".bmp", ".jp2", ".cr2", ".nef", ".arw", ".dng")


def scan(root: Path) -> tuple[list[str], list[Skipped]]:
    """Relative paths (forward slashes, sorted) of the photos under `root`, and what looks like a photo but cannot be one.

    Hidden files and folders are passed over; links to folders are not followed. Raises NothingToIndex.
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
                foreign.append(Skipped(file, f"Files of type {suffix} are not read; JPEG, PNG and WebP are."))
    if not photos:
        raise NothingToIndex(f"There is no JPEG, PNG or WebP photo in {root}.")
    return sorted(photos), foreign
