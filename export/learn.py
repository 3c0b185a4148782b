"""Whitening for a net that has none, learned from a folder of photos and saved with the exported model."""

from __future__ import annotations

import dataclasses
import itertools
import json
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from extractor import SUFFIXES, BadPhoto, Extractor, read_photo, seal
from model import GeMResNet, Provenance, Whitening, learn_whitening, pca_whitening

from .recipe import BadRecipe, Recipe
from .to_onnx import to_onnx


def whiten_on(
    network: GeMResNet,
    provenance: Provenance,
    recipe: Recipe,
    folder: Path,
    groups: Path | None = None,
    dim: int | None = None,
    progress: Callable[[Iterable], Iterable] = iter,
) -> Recipe:
    """The recipe with a whitening learned on the photos of `folder`, described just as the recipe says.

    groups: JSON {"name": ["file", ...]}: photos of one group are matching pairs, and Lw is learned; without it PCA.
    dim: dimensions to keep. Unreadable photos are passed over. Raises BadRecipe.
    """
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "plain.onnx"
        plain = dataclasses.replace(recipe, whitening=None)
        path.write_bytes(seal(to_onnx(network, provenance, plain).SerializeToString()))
        extractor = Extractor(path)
    rows, row_of = [], {}
    for file in progress(files):
        try:
            descriptor = extractor.describe([read_photo(file)])[0]
        except (OSError, BadPhoto):
            continue
        row_of[file.relative_to(folder).as_posix()] = len(rows)
        rows.append(descriptor)
    if len(rows) < 2:
        raise BadRecipe(f"there are no two photos to learn a whitening from in {folder}")
    descriptors = np.stack(rows)
    learned = (
        pca_whitening(descriptors)
        if groups is None
        else learn_whitening(descriptors, read_pairs(groups, row_of))
    )
    return dataclasses.replace(recipe, whitening=cut(learned, dim))


def read_pairs(groups: Path, row_of: dict[str, int]) -> np.ndarray:
    """All pairs int (n, 2) of rows that are in one group. Raises BadRecipe."""
    try:
        named = json.loads(groups.read_text())
        pairs = [
            (row_of[a], row_of[b])
            for files in named.values()
            for a, b in itertools.combinations(map(str, files), 2)
        ]
    except (OSError, ValueError, AttributeError) as error:
        raise BadRecipe(f"{groups} cannot be read: {error}") from None
    except KeyError as error:
        raise BadRecipe(f"{groups} names {error}, which is not among the photos") from None
    if not pairs:
        raise BadRecipe(f"{groups} names no pair of photos")
    return np.array(pairs)


def cut(whitening: Whitening, dim: int | None) -> Whitening:
    """The first `dim` dimensions, all for None. Raises BadRecipe."""
    try:
        return whitening if dim is None else whitening.truncated(dim)
    except ValueError as error:
        raise BadRecipe(str(error)) from None
