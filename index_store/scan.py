"""Which files of a folder are photos, and which only look like photos."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path

from extractor import SUFFIXES, format_of, open_regular, owner_limits
from extractor.formats import START

from .catalogue import Skipped
from .errors import NothingToIndex

# Pictures by their name, but of a format that is not read; people want to know that they were left
# out.
FOREIGN_SUFFIXES = frozenset(".jxr .psd .svg .tga .exr .ppm .pgm .pbm .pnm .ico".split())
UNREADABLE = "unreadable"


@dataclass(frozen=True)
class Listing:
    """The photos of a folder.

    Attributes:
        files: Relative paths, forward slashes, sorted.
        foreign: What only looks like photos.
        digest: SHA-256 over all paths named here, the photos' sizes and times of change, and what
            a photo may be. Equal digests mean that nothing has changed.
        unreadable: Sub-folders that could not be listed, their paths ending with a slash.
        stamps: For each file its `describe_file`, as it was before anybody read the file.
    """

    files: list[str]
    foreign: list[Skipped]
    digest: str
    unreadable: list[Skipped] = field(default_factory=list)
    stamps: list[str] = field(default_factory=list)


def scan(root: Path) -> Listing:
    """List a folder with its sub-folders.

    Hidden files and folders are passed over; links to folders are not followed.

    Raises:
        NothingToIndex: There is no such folder, it cannot be listed, or it holds no photo.
    """
    if not root.is_dir():
        raise NothingToIndex(f"There is no folder {root}.")
    photos: list[str] = []
    foreign: list[Skipped] = []
    failures: list[OSError] = []
    for folder, subfolders, files in os.walk(root, onerror=failures.append):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        inside = os.path.relpath(folder, root)
        prefix = "" if inside == os.curdir else Path(inside).as_posix() + "/"
        for name in files:
            if name.startswith("."):
                continue
            file = prefix + name
            reason = why_not(root, file)
            if reason is None:
                photos.append(file)
            elif reason:
                foreign.append(Skipped(encodable(file), reason))
    unreadable = []
    for error in failures:
        if isinstance(error, FileNotFoundError):
            continue  # deleted meanwhile
        folder = encodable(Path(error.filename).relative_to(root).as_posix())
        reason = f"The folder cannot be read ({error.strerror})."
        unreadable.append(Skipped(f"{folder}/", reason))
    if not photos:
        closed = f" {unreadable[0].file}: {unreadable[0].reason}" if unreadable else ""
        raise NothingToIndex(f"There is no photo of a format that is read in {root}.{closed}")
    photos.sort()
    stamps = [describe_file(f"{root}/{file}") for file in photos]
    digest = hashlib.sha256(repr(owner_limits()).encode())
    for file, stamp in zip(photos, stamps):
        digest.update(f"{file}\0{stamp}\n".encode())
    for entry in sorted(foreign + unreadable, key=lambda entry: entry.file):
        digest.update(f"{entry.file}\0{entry.reason}\n".encode())
    return Listing(photos, foreign, digest.hexdigest(), unreadable, stamps)


def why_not(root: Path, file: str) -> str | None:
    """Why a file is not indexed.

    Args:
        root: The folder that is indexed.
        file: Path relative to it.

    Returns:
        A sentence; "" if the file does not look like a photo; None if it is to be indexed.
    """
    suffix = os.path.splitext(file)[1].lower()
    if suffix in SUFFIXES or suffix in FOREIGN_SUFFIXES:
        if encodable(file) != file:
            return "The file's name is not valid Unicode."
        if suffix in SUFFIXES:
            return None
        return f"Files of type {suffix} are not read."
    if not suffix and starts_like_a_photo(root / file):
        return "A photo, but its name has no suffix such as .jpg."
    return ""


def starts_like_a_photo(path: Path) -> bool:
    """Whether a file begins as photos of a format that is read do."""
    try:
        with open_regular(path) as file:
            return format_of(file.read(START)) is not None
    except OSError:
        return False


def encodable(file: str) -> str:
    """A path as it is, or, if it is not valid Unicode, with escapes."""
    try:
        file.encode()
    except UnicodeEncodeError:
        return ascii(file)
    return file


def describe_file(path: str | Path) -> str:
    """Size and time of change; of a broken link, that it is one."""
    try:
        status = os.stat(path)
    except OSError:
        return UNREADABLE
    return f"{status.st_size} {status.st_mtime_ns}"
