"""Scan folders for photos, and for files that only look like photos."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from extractor import SUFFIXES, format_of, open_regular, owner_limits, same_name
from extractor.photo.formats import START

from ..about import About
from ..errors import NothingToIndex
from ..storage.catalogue import Skipped
from .exclusion import Exclusion
from .sources import Roots, printed

# Suffixes of pictures in unsupported formats; they are listed as skipped so that users notice.
FOREIGN_SUFFIXES = frozenset(".jxr .psd .svg .tga .exr .ppm .pgm .pbm .pnm .ico".split())
UNREADABLE = "unreadable"
NOT_UNICODE = "The file's name is not valid Unicode."
NO_CHOICE: Mapping[Path, Collection[str]] = MappingProxyType({})
LINKED = "A link to a folder; --follow-links goes into it."


@dataclass(frozen=True)
class Listing:
    """The photos of a store's folders.

    Attributes:
        files: names as in `Roots`, with forward slashes, sorted.
        foreign: files that only look like photos, and folders that are not entered.
        digest: SHA-256 over all names here, the photos' sizes and times, and the limits on photos.
            Equal digests mean that nothing has changed.
        unreadable: sub-folders that could not be listed; their names end with a slash.
        stamps: `describe_file` of each file, taken before the file was read.
        excluded: files and folders excluded by patterns; the names of folders end with a slash.
        about: the gallery's description, if it was read.
    """

    files: list[str]
    foreign: list[Skipped]
    digest: str
    unreadable: list[Skipped] = field(default_factory=list)
    stamps: list[str] = field(default_factory=list)
    excluded: list[Skipped] = field(default_factory=list)
    about: About = field(default_factory=About)


def scan(
    roots: Path | Roots,
    exclude: Sequence[str] = (),
    follow_links: bool = False,
    only: Mapping[Path, Collection[str]] = NO_CHOICE,
) -> Listing:
    """List folders with their sub-folders. Hidden files and folders are skipped.

    Args:
        roots: the folders.
        exclude: patterns, see `exclusion`.
        follow_links: whether to enter folders that are links; each folder is entered once.
        only: for some folders, their only files that count, by their paths in the folder.

    Raises:
        NothingToIndex: a folder does not exist or is nested too deeply, or none contains a photo.
        BadPatterns: the exclusion patterns cannot be read.
    """
    if isinstance(roots, Path):
        roots = Roots.of([roots])
    stamps: dict[str, str] = {}
    found = Found()
    for name, root in roots.folders.items():
        if not root.is_dir():
            raise NothingToIndex(f"There is no folder {root}.")
        inside = Found()
        try:
            walk(root, Exclusion(root, exclude), follow_links, inside)
        except RecursionError:  # raised by os.walk before Python 3.12
            raise NothingToIndex(
                f"Folders in {root} are nested too deeply, hundreds in one another. Move them up, "
                "or leave them out with --exclude."
            ) from None
        if (chosen := only.get(root)) is not None:
            inside.photos = [file for file in inside.photos if file in chosen]
            inside.foreign = [entry for entry in inside.foreign if entry.file in chosen]
        prefix = f"{name}/" if name else ""
        for file in one_form(inside):
            if prefix and printed(root.name) != root.name:
                found.foreign.append(Skipped(f"{prefix}{file}", NOT_UNICODE))
                continue
            stamps[prefix + file] = describe_file(f"{root}/{file}")
        for all_skipped, skipped in (
            (found.foreign, inside.foreign),
            (found.unreadable, inside.unreadable),
            (found.excluded, inside.excluded),
        ):
            all_skipped += [Skipped(prefix + entry.file, entry.reason) for entry in skipped]
    if not stamps:
        closed = found.unreadable[:1] + found.excluded[:1]
        reason = f" {closed[0].file or './'}: {closed[0].reason}" if closed else ""
        raise NothingToIndex(f"There is no photo in a supported format in {roots}.{reason}")
    files = sorted(stamps)
    digest = hashlib.sha256(repr(owner_limits()).encode())
    for file in files:
        digest.update(f"{file}\0{stamps[file]}\n".encode())
    skipped_files = found.foreign + found.unreadable + found.excluded
    for entry in sorted(skipped_files, key=lambda entry: entry.file):
        digest.update(f"{entry.file}\0{entry.reason}\n".encode())
    return Listing(
        files,
        found.foreign,
        digest.hexdigest(),
        found.unreadable,
        [stamps[file] for file in files],
        found.excluded,
    )


@dataclass
class Found:
    """Contents of one folder; all names are relative to it."""

    photos: list[str] = field(default_factory=list)
    foreign: list[Skipped] = field(default_factory=list)
    unreadable: list[Skipped] = field(default_factory=list)
    excluded: list[Skipped] = field(default_factory=list)


def walk(
    root: Path, exclusion: Exclusion, follow_links: bool, found: Found, inside: str = ""
) -> None:
    """List a folder. Linked folders come last, so that each folder keeps its own name.

    Args:
        root: the folder.
        exclusion: rules for excluding its contents.
        follow_links: see `scan`.
        found: receives the contents.
        inside: the only sub-folder of the root to list; ends with a slash. "" for all.
    """
    links: list[str] = [inside]  # and links found on the way
    entered: dict[tuple[int, int], str] = {}  # entered folders, by device and inode
    for top in links:
        failures: list[OSError] = []
        start = root / top if top else root
        for folder, subfolders, files in os.walk(start, onerror=failures.append):
            prefix = prefix_of(folder, root)
            if follow_links and (same := enter_link(folder, prefix, entered)) is not None:
                found.foreign.append(Skipped(printed(prefix), same))
                subfolders.clear()
                continue
            if reason := exclusion.hides(prefix, files):
                found.excluded.append(Skipped(printed(prefix), reason))
                subfolders.clear()
                continue
            exclusion.enter(prefix)
            for name in list(subfolders):
                file = f"{prefix}{name}/"
                if name.startswith("."):
                    subfolders.remove(name)
                elif reason := exclusion.reason(file):
                    found.excluded.append(Skipped(printed(file), reason))
                    subfolders.remove(name)
                elif os.path.islink(f"{folder}/{name}"):
                    subfolders.remove(name)  # os.walk does not enter it either way
                    if follow_links:
                        links.append(file)
                    else:
                        found.foreign.append(Skipped(printed(file), LINKED))
            for name in files:
                if name.startswith("."):
                    continue
                list_file(root, prefix + name, exclusion, found)
        for error in failures:
            if isinstance(error, FileNotFoundError):
                continue  # deleted meanwhile
            reason = f"The folder cannot be read ({error.strerror})."
            closed = printed(prefix_of(error.filename, root))
            found.unreadable.append(Skipped(closed, reason))


def list_file(root: Path, file: str, exclusion: Exclusion, found: Found) -> None:
    """Add a file to its list."""
    reason = reason_skipped(root, file)
    if reason == "":
        return
    if excluded := exclusion.reason(file):
        found.excluded.append(Skipped(printed(file), excluded))
    elif reason is None:
        found.photos.append(file)
    else:
        found.foreign.append(Skipped(printed(file), reason))


def prefix_of(folder: str, root: Path) -> str:
    """Prefix of the names of a folder's files: "" for the root, else its path and "/"."""
    inside = os.path.relpath(folder, root)
    return "" if inside == os.curdir else Path(inside).as_posix() + "/"


def enter_link(folder: str, prefix: str, entered: dict[tuple[int, int], str]) -> str | None:
    """Why a folder is not entered again. None for the first visit, which is recorded."""
    try:
        status = os.stat(folder)
    except OSError:
        return None  # missing, or unreadable: os.walk reports it
    first = entered.setdefault((status.st_dev, status.st_ino), prefix)
    if first == prefix:
        return None
    if prefix.startswith(first):
        return "A link back to a folder that contains it."
    return f"A link to the folder {printed(first)}, which is indexed."


def one_form(found: Found) -> list[str]:
    """The photos of a folder, one of those whose names differ by their Unicode form only."""
    chosen: dict[str, str] = {}
    for file in sorted(found.photos, key=lambda file: (file != same_name(file), file)):
        first = chosen.setdefault(same_name(file), file)
        if first != file:
            reason = f"Its name is that of {ascii(first)}, in another Unicode form: rename one."
            found.foreign.append(Skipped(file, reason))
    return list(chosen.values())


def reason_skipped(root: Path, file: str) -> str | None:
    """Why a file is not indexed.

    Args:
        root: the indexed folder.
        file: path relative to it.

    Returns:
        A sentence; "" if the file does not look like a photo; None if it is indexed.
    """
    suffix = os.path.splitext(file)[1].lower()
    if suffix in SUFFIXES or suffix in FOREIGN_SUFFIXES:
        if printed(file) != file:
            return NOT_UNICODE
        if suffix in SUFFIXES:
            return None
        return f"Files of type {suffix} are not read."
    if not suffix and file_starts_like_a_photo(root / file):
        return "A photo, but its name has no suffix such as .jpg."
    return ""


def file_starts_like_a_photo(path: Path) -> bool:
    """Whether a file starts like a photo of a supported format."""
    try:
        with open_regular(path) as file:
            return format_of(file.read(START)) is not None
    except OSError:
        return False


def describe_file(path: str | Path) -> str:
    """Size and times of a file, or UNREADABLE if it cannot be inspected.

    An editor may restore the modification time, but not the inode's change time.
    """
    try:
        status = os.stat(path)
    except OSError:
        return UNREADABLE
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"
