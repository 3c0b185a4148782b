"""What a network is given after its training, learned on photos: a whitening, GeM's exponent."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from extractor import SUFFIXES, BadPhoto, read_photo
from metrics import mean_average_precision
from model import Whitening

from .recipe import BadRecipe

Progress = Callable[[Iterable], Iterable]
WHITENING_POWER = -0.2
EXPONENTS = (1.0, 2.0, 2.5, 3.0, 4.0, 5.0)  # of GeM, tried on labelled photos


def describe_folder(
    describe: Callable[[np.ndarray], np.ndarray], folder: Path, progress: Progress = iter
) -> tuple[np.ndarray, dict[str, int]]:
    """Describe every readable photo below a folder; the others are passed over.

    Args:
        describe: uint8 RGB (H, W, 3) -> array (..., D).
        folder: searched with its sub-folders.
        progress: wraps the list of files.

    Returns:
        Array (N, ..., D), and the row of each file by its name below the folder.

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


def read_groups(path: Path, row_of: dict[str, int]) -> list[list[int]]:
    """Rows of the photos of each thing, from JSON {"name": ["file", ...]}. Raises BadRecipe."""
    try:
        named = json.loads(path.read_text())
        groups = [[row_of[str(file)] for file in files] for files in named.values()]
    except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
        raise BadRecipe(f"{path} cannot be read: {error}") from None
    except KeyError as error:
        raise BadRecipe(f"{path} names {error}, which is not among the photos") from None
    if not any(len(set(rows)) > 1 for rows in groups):
        raise BadRecipe(f"{path} names no pair of photos")
    return groups


def pairs_of(groups: list[list[int]]) -> np.ndarray:
    """All pairs int (n, 2) of rows that are in one group."""
    return np.array([pair for rows in groups for pair in itertools.combinations(rows, 2)])


def best_exponent(
    pooled: np.ndarray, exponents: tuple[float, ...], groups: list[list[int]]
) -> tuple[float, dict[float, float]]:
    """The exponent of GeM that finds most, and the mAP of each.

    Args:
        pooled: GeM vectors (N, E, D), one for each exponent.
        exponents: E of them.
        groups: rows of the photos of each thing.
    """
    found = {}
    for i, p in enumerate(exponents):
        rows = pooled[:, i] / np.linalg.norm(pooled[:, i], axis=1, keepdims=True)
        found[p] = mean_average_precision(rows, [rows_of for rows_of in groups if len(rows_of) > 1])
    return max(found, key=found.__getitem__), found


def power_whitening(descriptors: np.ndarray, power: float = WHITENING_POWER) -> Whitening:
    """Partial whitening of unit descriptors (N, D): their principal directions, weighted by
    eigenvalue ** power.

    The second moments are taken about zero, not about the mean. All D directions are kept,
    strongest first, so that it can be cut. A power of -1/2 is PCA whitening; -0.2 only evens the
    directions out, and needs no more photos than dimensions.
    """
    x = descriptors.astype(np.float64)
    values, vectors = np.linalg.eigh(x.T @ x / len(x))
    values, vectors = values[::-1], vectors[:, ::-1]
    weights = np.maximum(values, 1e-6 * values[0]) ** power
    projection = (weights / weights[0])[:, None] * vectors.T
    return Whitening(np.zeros(len(projection), np.float32), projection.astype(np.float32))
