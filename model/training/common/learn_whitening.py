"""Fit a whitening and GeM's exponent to photos, after training."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from evaluation.datasets.groups import BadGroups, load_groups
from evaluation.metrics import mean_average_precision
from export.recipe import BadRecipe
from extractor import SUFFIXES, BadPhoto, read_photo

Progress = Callable[[Iterable], Iterable]
EXPONENTS = (1.0, 2.0, 2.5, 3.0, 4.0, 5.0)  # GeM exponents, tried on labelled photos


def describe_folder(
    describe: Callable[[np.ndarray], np.ndarray], folder: Path, progress: Progress = iter
) -> tuple[np.ndarray, dict[str, int]]:
    """Describe every readable photo in a folder; others are skipped.

    Args:
        describe: function from uint8 RGB (H, W, 3) to an array (..., D).
        folder: folder, searched with its sub-folders.
        progress: wraps the list of files.

    Returns:
        Array (N, ..., D), and the row of each file by its path in the folder.

    Raises:
        BadRecipe: fewer than two photos can be read.
    """
    rows: list[np.ndarray] = []
    row_of: dict[str, int] = {}
    for file in progress(sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)):
        try:
            row = describe(read_photo(file))
        except (OSError, BadPhoto):
            continue
        row_of[file.relative_to(folder).as_posix()] = len(rows)
        rows.append(row)
    if len(rows) < 2:
        raise BadRecipe(f"there are no two photos to learn from in {folder}")
    return np.stack(rows), row_of


def rows_of_groups(path: Path, row_of: dict[str, int]) -> list[list[int]]:
    """Rows of each group's photos, from JSON {"name": ["file", ...]}. Raises BadRecipe."""
    try:
        groups = [[row_of[file] for file in files] for files in load_groups(path).values()]
    except BadGroups as error:
        raise BadRecipe(str(error)) from None
    except KeyError as error:
        raise BadRecipe(f"{path} names {error}, which is not among the photos") from None
    if not any(len(set(rows)) > 1 for rows in groups):
        raise BadRecipe(f"{path} names no pair of photos")
    return groups


def pairs_of(groups: list[list[int]]) -> np.ndarray:
    """All pairs of rows in the same group, int (n, 2)."""
    return np.array([pair for rows in groups for pair in itertools.combinations(rows, 2)])


def best_exponent(
    pooled: np.ndarray, exponents: tuple[float, ...], groups: list[list[int]]
) -> tuple[float, dict[float, float]]:
    """The GeM exponent with the highest mAP, and the mAP of each.

    Args:
        pooled: GeM vectors (N, E, D), one for each exponent.
        exponents: the E exponents.
        groups: rows of each group's photos.
    """
    found = {}
    for i, p in enumerate(exponents):
        rows = pooled[:, i] / np.linalg.norm(pooled[:, i], axis=1, keepdims=True)
        found[p] = mean_average_precision(rows, [rows_of for rows_of in groups if len(rows_of) > 1])
    return max(found, key=found.__getitem__), found
