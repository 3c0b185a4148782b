"""Groups protocol: any photos with labelled groups of the same thing.

Each photo of a group is the query once, and should find the others.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, TypeAdapter, ValidationError

from extractor import SUFFIXES, read_text, same_name
from validation import sentence

from ..metrics import average_precision, recall_at_1
from .benchmark import BadDataset, Benchmark, Query, Truth

MAX_BYTES = 2**28  # maximum size of a groups file
FEW = 3  # groups of at most this many photos are "few-view"
EVERY, FEW_VIEW, MANY_VIEW = "all groups", "few-view, 2-3", "many-view"


class BadGroups(BadDataset):
    """The groups do not match the photos."""


def of_groups(name: str, root: Path, gallery: list[str], groups: dict[str, list[str]]) -> Benchmark:
    """Create a benchmark with the groups protocol.

    Args:
        name: name of the data set.
        root: folder of the photos.
        gallery: all photos in it.
        groups: at least two of the photos per name, as `check_groups` returns them.
    """
    queries = []
    for group, files in groups.items():
        for file in files:
            truth = Truth(frozenset(files) - {file})
            truths = {EVERY: truth, (FEW_VIEW if len(files) <= FEW else MANY_VIEW): truth}
            queries.append(Query(file, root / file, truths, group, own=file))
    metrics = {"mAP": average_precision, "recall@1": recall_at_1}
    return Benchmark(name, root, gallery, queries, (EVERY, FEW_VIEW, MANY_VIEW), EVERY, metrics)


def parts_of(
    groups: Mapping[str, Sequence], kinds: Mapping[str, Sequence[str]]
) -> dict[str, list[str]]:
    """Names of groups that are averaged together: all, by number of photos, and by kind."""
    small = [name for name, photos in groups.items() if len(photos) <= FEW]
    parts = {EVERY: list(groups), FEW_VIEW: small, MANY_VIEW: [n for n in groups if n not in small]}
    parts |= {kind: [name for name in names if name in groups] for kind, names in kinds.items()}
    return {part: names for part, names in parts.items() if names}


def unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A JSON object as a dictionary. Raises ValueError for duplicate keys."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice[:60]!r} is in it twice")
    return found


def valid_name(text: str) -> str:
    """A name. Raises ValueError unless it is valid Unicode."""
    if not is_text(text):
        raise ValueError("it is not valid Unicode")
    return text


Name = Annotated[str, AfterValidator(valid_name)]


def load_groups(path: Path) -> dict[str, list[str]]:
    """Load groups of photos from a JSON file, {"name": ["file", ...], ...}.

    Raises:
        BadGroups: the file has other content, or no group.
    """
    try:
        facts = json.loads(read_text(path, MAX_BYTES), object_pairs_hook=unique_keys)
        groups = TypeAdapter(dict[Name, list[Name]]).validate_python(facts)
    except ValidationError as error:
        raise BadGroups(
            f'{path} cannot be read: it must be {{"name": ["file", ...], ...}}; {sentence(error)}'
        ) from None
    except (OSError, ValueError) as error:
        raise BadGroups(f"{path} cannot be read: {error}") from None
    except RecursionError:
        raise BadGroups(f"{path} cannot be read: it is nested too deeply") from None
    if not groups:
        raise BadGroups(f"{path} names no groups.")
    return groups


def check_groups(
    groups: dict[str, list[str]],
    gallery: list[str],
    source: str,
    inside: Callable[[Path], str | None] = lambda path: None,
) -> dict[str, list[str]]:
    """Check groups against a gallery, and return them with the gallery's file names.

    Args:
        groups: files by name, in any Unicode form, as "./x.jpg" or as absolute paths.
        gallery: the existing files.
        source: name of the gallery in messages.
        inside: function from an absolute path to the gallery's name of the file.

    Raises:
        BadGroups: a group has fewer than two photos, a photo twice, one of another group, or one
            that is not in the gallery.
    """
    gallery_names = {same_name(file): file for file in gallery}
    group_of: dict[str, str] = {}
    checked: dict[str, list[str]] = {}
    for name, given in groups.items():
        full = (inside(Path(file)) if file.startswith("/") else None for file in given)
        resolved = [same_name(path or file) for path, file in zip(full, given)]
        files = [gallery_names.get(same, file) for same, file in zip(resolved, given)]
        if len(set(files)) < max(2, len(files)):
            raise BadGroups(f"Group {name!r} needs at least two photos, each named once.")
        for file in files:
            if same_name(file) not in gallery_names:
                raise BadGroups(f"Group {name!r} names {file!r}, which is not in {source}.")
            if file in group_of:
                raise BadGroups(f"{file!r} is in two groups, {group_of[file]!r} and {name!r}.")
            group_of[file] = name
        checked[name] = files
    return checked


def photos_below(root: Path) -> list[str]:
    """All photos in a folder and its sub-folders: relative paths with forward slashes, sorted.

    Hidden files and folders are skipped, and links to folders are not followed, as in a build.

    Raises:
        BadDataset: there are none.
    """
    found = []
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        below = Path(folder).relative_to(root)
        found += [
            (below / name).as_posix()
            for name in files
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES
        ]
    found = [file for file in found if is_text(file)]
    if not found:
        raise BadDataset(f"There is no photo in a supported format in {root}.")
    return sorted(found)


def is_text(name: str) -> bool:
    """Whether a file's name is valid Unicode."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def read_groups(name: str, root: Path, table: Path | None = None) -> Benchmark:
    """Read all photos in a folder, with groups from a JSON file.

    Args:
        name: name of the data set.
        root: folder of the photos.
        table: groups file; by default groups.json in `root` or next to it.

    Raises:
        BadDataset: there are no photos.
        BadGroups: the file is missing or damaged, or its groups do not match the photos.
    """
    tables = [table] if table else [root / "groups.json", root.resolve().parent / "groups.json"]
    found = next((path for path in tables if path.is_file()), None)
    if found is None:
        raise BadGroups(
            f'{tables[0]} is missing: a JSON file {{"name": ["file", ...], ...}} that says what '
            f"belongs together."
        )
    gallery, full = photos_below(root), root.resolve()

    def inside(path: Path) -> str | None:
        return path.relative_to(full).as_posix() if path.is_relative_to(full) else None

    groups = check_groups(load_groups(found), gallery, str(root), inside)
    return of_groups(name, root, gallery, groups)


def read_folders(name: str, root: Path) -> Benchmark:
    """Read a folder whose sub-folders are things.

    Photos that are alone in their sub-folder, or in none, are distractors.

    Args:
        name: name of the data set.
        root: folder of the photos.

    Raises:
        BadDataset: there are no photos.
        BadGroups: no sub-folder has two photos.
    """
    gallery = photos_below(root)
    groups: dict[str, list[str]] = {}
    for file in gallery:
        if "/" in file:
            groups.setdefault(file.split("/")[0], []).append(file)
    groups = {folder: files for folder, files in groups.items() if len(files) > 1}
    if not groups:
        raise BadGroups(f"No sub-folder of {root} holds two photos.")
    return of_groups(name, root, gallery, groups)
