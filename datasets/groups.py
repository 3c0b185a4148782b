"""Any photos that are sorted into groups: each photo of a group is the query once, and the others are what it should find.

Average precision is averaged over a group's queries first, then over groups, so that a landmark with 80 photos counts no
more than one with two. Photos outside all groups are distractors.
"""

from __future__ import annotations

import json
from pathlib import Path

from index_store.scan import scan
from metrics import average_precision, recall_at_1

from .benchmark import BadDataset, Benchmark, Query, Truth

FEW = 3  # groups of at most so many photos are "few-view"
EVERY, FEW_VIEW, MANY_VIEW = "all groups", "few-view, 2-3", "many-view"


class BadGroups(BadDataset):
    """The groups do not fit the photos."""


def of_groups(name: str, root: Path, gallery: list[str], groups: dict[str, list[str]]) -> Benchmark:
    """The groups protocol on gallery files below root. groups: name -> at least two files, as `check_groups` wants them."""
    queries = []
    for group, files in groups.items():
        for file in files:
            truth = Truth(frozenset(files) - {file})
            truths = {EVERY: truth, (FEW_VIEW if len(files) <= FEW else MANY_VIEW): truth}
            queries.append(Query(file, root / file, truths, group, own=file))
    metrics = {"mAP": average_precision, "recall@1": recall_at_1}
    return Benchmark(name, root, gallery, queries, (EVERY, FEW_VIEW, MANY_VIEW), EVERY, metrics)


def load_groups(path: Path) -> dict[str, list[str]]:
    """{"name": ["file", ...], ...} from a JSON file. Raises BadGroups."""
    try:
        named = json.loads(path.read_text())
        if not isinstance(named, dict) or not all(
            isinstance(files, list) for files in named.values()
        ):
            raise ValueError('it must be {"name": ["file", ...], ...}')
    except (OSError, ValueError) as error:
        raise BadGroups(f"{path} cannot be read: {error}") from None
    if not named:
        raise BadGroups(f"{path} names no groups.")
    return {name: [str(file) for file in files] for name, files in named.items()}


def check_groups(
    groups: dict[str, list[str]], gallery: list[str], where: str
) -> dict[str, list[str]]:
    """The groups, if each has at least two photos, all different and all in the gallery. Raises BadGroups."""
    known = set(gallery)
    for name, files in groups.items():
        if len(set(files)) < max(2, len(files)):
            raise BadGroups(f"Group {name!r} needs at least two photos, each named once.")
        for file in files:
            if file not in known:
                raise BadGroups(f"Group {name!r} names {file!r}, which is not in {where}.")
    return groups


def read_groups(name: str, root: Path, table: Path | None = None) -> Benchmark:
    """All photos below ROOT, with groups from a JSON file: the one given, or groups.json in ROOT or beside it.

    Raises BadGroups, NothingToIndex.
    """
    tables = [table] if table else [root / "groups.json", root.resolve().parent / "groups.json"]
    found = next((path for path in tables if path.is_file()), None)
    if found is None:
        raise BadGroups(
            f'{tables[0]} is missing: a JSON file {{"name": ["file", ...], ...}} that says what belongs together.'
        )
    gallery = scan(root).files
    return of_groups(name, root, gallery, check_groups(load_groups(found), gallery, str(root)))


def read_folders(name: str, root: Path) -> Benchmark:
    """All photos below ROOT, whose sub-folders are things; photos that are alone in theirs, or in none, are distractors.

    Raises BadGroups, NothingToIndex.
    """
    gallery = scan(root).files
    groups: dict[str, list[str]] = {}
    for file in gallery:
        if "/" in file:
            groups.setdefault(file.split("/")[0], []).append(file)
    groups = {folder: files for folder, files in groups.items() if len(files) > 1}
    if not groups:
        raise BadGroups(f"No sub-folder of {root} holds two photos.")
    return of_groups(name, root, gallery, groups)
