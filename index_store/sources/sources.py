"""A store's sources, and the names of photos in it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from extractor import same_name
from validation import KNOWN_KEYS, Boolean, Text

from ..errors import NothingToIndex


def without_nul(path: str) -> str:
    """Raise ValueError for a path that no file can have."""
    if "\0" in path:
        raise ValueError("a path cannot contain NUL")
    return path


Folder = Annotated[Text, AfterValidator(without_nul)]


@dataclass(frozen=True)
class Sources:
    """Settings that decide which photos a store holds; `update` reuses them.

    Attributes:
        folders: absolute paths.
        exclude: exclusion patterns, in the syntax of gitignore.
        follow_links: whether to index folders that are links.
        lists: absolute paths of lists of photos; their photos are in a folder of the store.
        manifests: URLs of IIIF manifests and collections; likewise.
        private: whether to fetch photos from this machine and from local networks.
    """

    __pydantic_config__ = KNOWN_KEYS

    folders: Annotated[tuple[Folder, ...], Field(min_length=1)]
    exclude: tuple[Text, ...] = ()
    follow_links: Boolean = False
    lists: tuple[Text, ...] = ()
    manifests: tuple[Text, ...] = ()
    private: Boolean = False

    @property
    def roots(self) -> Roots:
        """The folders with their names."""
        return Roots.of([Path(folder) for folder in self.folders])


@dataclass(frozen=True)
class Roots:
    """Folders of photos.

    With one folder, photos are named by their paths in it, "2019/cup.jpg". With several, the
    folder's own name comes first: "Pictures/2019/cup.jpg".

    Attributes:
        folders: folders by the first part of the photos' names; "" if there is only one folder.
    """

    folders: Mapping[str, Path]

    @staticmethod
    def of(folders: Sequence[Path]) -> Roots:
        """Name the folders; a second "Pictures" becomes "Pictures-2"."""
        if len(folders) == 1:
            return Roots({"": folders[0]})
        named: dict[str, Path] = {}
        for folder in folders:
            name = first = printed(folder.name) or "root"
            number = 1
            while name in named:
                number += 1
                name = f"{first}-{number}"
            named[name] = folder
        return Roots(named)

    def __truediv__(self, file: str) -> Path:
        """Path of a photo. Raises KeyError if its name starts with none of the folders."""
        if "" in self.folders:
            return self.folders[""] / file
        name, _, inside = file.partition("/")
        return self.folders[name] / inside

    def file_of(self, path: Path) -> str | None:
        """Name of the photo or folder at an absolute path; None if it is in none of the folders."""
        for name, folder in self.folders.items():
            if path.is_relative_to(folder):
                inside = path.relative_to(folder).as_posix()
                return "/".join(part for part in (name, inside) if part not in ("", "."))
        return None

    def named(self, name: str) -> list[str]:
        """Possible meanings of a name, best first: a photo's name, or a path to it.

        Args:
            name: "2019/cup.jpg", "./2019/cup.jpg", an absolute path, or one from the working
                folder.
        """
        files = [] if os.path.isabs(name) else [same_name(name)]
        path = Path(os.path.abspath(name))
        for spelling in (path, Path(os.path.realpath(path.parent)) / path.name):
            file = self.file_of(spelling)
            if file:
                files.append(same_name(file))
        return files

    def __str__(self) -> str:
        return ", ".join(map(str, self.folders.values()))


def printed(name: str) -> str:
    """A printable name: unchanged if it is valid Unicode, else with escapes."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return ascii(name)
    return name


def check_apart(folders: Sequence[Path]) -> None:
    """Raise NothingToIndex if one folder contains another: its photos would be indexed twice."""
    for number, folder in enumerate(folders):
        for other in folders[:number]:
            inner, outer = (folder, other) if folder.is_relative_to(other) else (other, folder)
            if inner.is_relative_to(outer):
                raise NothingToIndex(f"{inner} is inside {outer}, which is indexed as a whole.")
