"""Listing of duplicates for `python -m index_store duplicates`: each group's files and sizes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from extractor import BadPhoto, read_bytes, read_size

from ..sources.scan import describe_file
from ..storage.catalogue import Photo
from ..store import Store


@dataclass(frozen=True)
class Copy:
    """One file of a group.

    Attributes:
        file: path relative to the indexed folder, with forward slashes.
        path: absolute path.
        width, height: size of the upright picture in pixels; None if the file is unreadable.
        bytes: size of the file; None if it is unreadable.
        sha256: SHA-256 of the indexed content.
    """

    file: str
    path: str
    width: int | None
    height: int | None
    bytes: int | None
    sha256: str

    @property
    def extent(self) -> tuple[int, int]:
        """Sort key of copies: pixels, then bytes; unreadable files are the smallest."""
        return (self.width or 0) * (self.height or 0), self.bytes or 0


def list_copies(
    store: Store, groups: Iterable[Sequence[int]]
) -> tuple[list[list[Copy]], list[str]]:
    """List the files of groups of photos.

    Reads the files' headers, since the catalogue has only the size of the decoded photo, at most
    1024 pixels a side.

    Args:
        store: the store.
        groups: ids of each group.

    Returns:
        The groups, each with its largest file first, without files whose content has changed since
        they were indexed, and without groups with fewer than two remaining files; and the relative
        paths of the changed files.
    """
    groups_left, changed = [], []
    for group in groups:
        found = []
        for photo in store.catalogue.photos_of(group):
            if (copy := read_copy(store, photo)) is None:
                changed.append(photo.file)
            else:
                found.append(copy)
        if len(found) > 1:
            groups_left.append(sorted(found, key=lambda copy: copy.extent, reverse=True))
    return groups_left, changed


def read_copy(store: Store, photo: Photo) -> Copy | None:
    """A photo's file as it is now; None if its content differs from what was indexed."""
    path = store.roots / photo.file
    width = height = size = None
    try:
        if describe_file(path) != photo.stamp:
            if hashlib.sha256(read_bytes(path)).hexdigest() != photo.sha256:
                return None
        width, height = read_size(path) or (None, None)
        size = os.stat(path).st_size
    except BadPhoto:  # the file has since grown too large
        return None
    except OSError:
        pass  # deleted or unreadable
    if width and height and (width > height) != (photo.width > photo.height):
        width, height = height, width  # the catalogue's size is upright
    return Copy(photo.file, os.path.abspath(path), width, height, size, photo.sha256)


def to_json(groups: Sequence[Sequence[Copy]], changed: Sequence[str]) -> dict[str, Any]:
    """Groups from `list_copies` as a JSON object."""
    return {
        "groups": [
            {"largest": group[0].file, "photos": [asdict(copy) for copy in group]}
            for group in groups
        ],
        "changed": list(changed),
    }


def copy_lines(groups: Sequence[Sequence[Copy]], changed: Sequence[str]) -> list[str]:
    """Groups from `list_copies` as lines of text, each with its largest file first."""
    more = sum(len(group) - 1 for group in groups)
    lines = [
        f"groups: {len(groups)}, files besides the largest of each: {more}",
        "A group is one picture, saved again or resized; not cropped, and not another shot.",
    ]
    for group in groups:
        lines.append("")
        lines.extend(copy_line(copy) for copy in group)
    if changed:
        lines.append("")
        lines.extend(f"  changed since it was indexed: {file}" for file in changed)
        lines.append("Run `update` to compare changed files.")
    return lines


def copy_line(copy: Copy) -> str:
    """One line with the size and path of a file."""
    if copy.bytes is None:
        return f"{'file not readable':>28s}  {copy.path}"
    size = f"{copy.width} x {copy.height}"
    return f"{size:>13s} {copy.bytes:8,d} bytes  {copy.path}"
