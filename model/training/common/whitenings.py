"""Compare whitenings on labelled photos: by PCA, and learned from pairs of views.

Both are learned only from other photos, without labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from evaluation.metrics import mean_average_precision
from model.network import GeMResNet
from model.provenance import Provenance
from model.whitening import Whitening, learn_whitening, power_whitening

from .describe import describe_all, read_validation
from .photos import PLAIN, POSITIVE, QUERY, Feed, Photos
from .settings import Validation

POWERS = (-0.15, -0.25, -0.35, -0.45, -0.5)


def whitenings(whole: np.ndarray, views: np.ndarray) -> Iterator[tuple[str, Whitening]]:
    """The whitenings to compare, by name.

    Args:
        whole: descriptors of N photos, (N, D).
        views: descriptors of two random views of each photo, (N, 2, D).
    """
    for power in POWERS:
        yield f"PCA, power {power:g}", power_whitening(whole, power)
    rows = np.arange(2 * len(views)).reshape(-1, 2)
    yield "pairs of views", learn_whitening(views.reshape(len(rows) * 2, -1), rows)


def compare_whitenings(
    network: GeMResNet,
    provenance: Provenance,
    validation: Validation,
    others: Sequence[Path],
    dims: Sequence[int],
) -> Iterator[list[str]]:
    """Rows of a table of mAP, head first.

    Args:
        network: network in evaluation mode; its own whitening is removed permanently.
        provenance: provenance of its checkpoint.
        validation: data for mAP.
        others: photos from which whitenings are learned.
        dims: dimensions to keep, from 1 to those of the trunk.

    Raises:
        BadConfig: the photos or groups cannot be read.
        BadPhoto, FileNotFoundError: one of the others cannot be read.
    """
    files, groups = read_validation(validation)
    network.whiten = None
    side = provenance.longest_side

    def described(photos: Photos, views: list[tuple[int, int, int]], label: str) -> np.ndarray:
        return describe_all(network, Feed(photos), views, label)

    yield ["whitening", *(f"mAP, {dim} dimensions" for dim in dims)]
    query_rows = described(
        Photos(files, provenance, side), [(i, PLAIN, 0) for i in range(len(files))], "validation"
    )
    raw = f"{mean_average_precision(query_rows, groups):.4f}"
    yield ["none", *(raw if dim == query_rows.shape[1] else "" for dim in dims)]
    whole = described(
        Photos(others, provenance, side), [(i, PLAIN, 0) for i in range(len(others))], "others"
    )
    pair_views = [(i, view, 0) for i in range(len(others)) for view in (QUERY, POSITIVE)]
    views = described(
        Photos(others, provenance, side, with_views=True), pair_views, "views of others"
    )
    for name, whitening in whitenings(whole, views.reshape(len(others), 2, -1)):
        maps = (mean_average_precision(whitening.truncated(d)(query_rows), groups) for d in dims)
        yield [name, *(f"{value:.4f}" for value in maps)]
