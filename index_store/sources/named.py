"""Resolve names and paths from the user to photos of a store."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from extractor import same_name

from ..errors import NothingToIndex, UnknownPhoto
from ..store import Store
from .exclusion import Exclusion, outer_folders
from .gathering import folder_of
from .scan import Found, one_form, reason_skipped, walk


def photo_named(live: Store, name: str) -> str:
    """Resolve a name or path to a photo of a store.

    Args:
        live: the store.
        name: name of the photo in the store, in any Unicode form, or a path to it.

    Returns:
        Its name in the catalogue.

    Raises:
        UnknownPhoto: the store has no such photo.
    """
    for names in live.roots.named(name):
        if (photo := live.catalogue.find(names)) is not None:
            return photo.file
    raise UnknownPhoto(f"There is no photo {name} in {live.path}.")


def files_of(live: Store, paths: Sequence[str | Path]) -> tuple[list[str], set[str]]:
    """The files to add to a store.

    Args:
        live: the store.
        paths: photos, and folders; removed photos in folders are skipped.

    Returns:
        The names of all files, sorted, and of those that were given explicitly.

    Raises:
        NothingToIndex: a path is not a photo in the store's folders.
        BadPatterns: see `Exclusion`.
    """
    removed = {same_name(row.file) for row in live.catalogue.removed()}
    files: set[str] = set()
    found_names: set[str] = set()
    for path in paths:
        given = Path(path).expanduser()
        name, root, relative = place_in(live, given, path)
        exclusion = entered(live, root, relative, path)
        prefix = f"{name}/" if name else ""
        if given.is_dir():
            found = Found()
            inside = f"{relative}/" if relative else ""
            walk(root, exclusion, live.manifest.sources.follow_links, found, inside)
            if not found.photos:
                raise NothingToIndex(f"There is no photo in {path} that can be indexed.")
            present = [prefix + file for file in one_form(found)]
            files.update(file for file in present if same_name(file) not in removed)
            continue
        relative = on_disk(root, relative)
        if not os.path.lexists(root / relative):
            raise NothingToIndex(f"There is no photo {path}.")
        reason = reason_skipped(root, relative)
        if reason is not None:
            raise NothingToIndex(f"{path} is not indexed. {reason}".strip())
        found_names.add(prefix + relative)
    return sorted(files | found_names), found_names


def place_in(live: Store, given: Path, path: str | Path) -> tuple[str, Path, str]:
    """Name and path of the store's folder that contains a place, and the place's path inside it.

    Raises:
        NothingToIndex: no folder contains it, or it is hidden. path: as the user wrote it.
    """
    folder = folder_of(given if given.is_dir() else given.parent)
    places = [folder if given.is_dir() else folder / given.name]
    if live.manifest.sources.follow_links:  # a place behind a link has the link's name
        places.append(Path(os.path.abspath(given)))
    for candidate in places:
        for name, root in live.roots.folders.items():
            if candidate.is_relative_to(root):
                relative = candidate.relative_to(root)
                if any(part.startswith(".") for part in relative.parts):
                    raise NothingToIndex(f"{path} is hidden; hidden photos are not indexed.")
                return name, root, "/".join(relative.parts)
    raise NothingToIndex(f"{path} is not in {live.roots}, whose photos this store holds.")


def entered(live: Store, root: Path, relative: str, path: str | Path) -> Exclusion:
    """The exclusion rules at a place, after entering all folders around it.

    Raises:
        NothingToIndex: the place, or a folder around it, is excluded.
    """
    exclusion = Exclusion(root, live.manifest.sources.exclude)
    for folder in outer_folders(relative)[::-1]:
        check_in(exclusion, root, folder, path)
        exclusion.enter(folder)
    if relative:
        inner = f"{relative}/" if (root / relative).is_dir() else relative
        check_in(exclusion, root, inner, path)
    return exclusion


def check_in(exclusion: Exclusion, root: Path, inner: str, path: str | Path) -> None:
    """Raise NothingToIndex if a path in a root is excluded. path: as the user wrote it."""
    reason = exclusion.reason(inner) if inner else ""
    if not reason and inner.endswith("/"):
        reason = exclusion.hides(inner, os.listdir(root / inner))
    if reason:
        raise NothingToIndex(f"{path} is not indexed. {inner}: {reason}")


def on_disk(root: Path, relative: str) -> str:
    """A path in a root as it is on disk, where its name may have another Unicode form."""
    if os.path.lexists(root / relative):
        return relative
    folder, _, name = relative.rpartition("/")
    with suppress(OSError):
        for other in os.listdir(root / folder):
            if same_name(other) == same_name(name):
                return f"{folder}/{other}" if folder else other
    return relative
