"""`evaluation pooling`: a backbone's input size, GeM exponent and whitening, chosen without bias.

All combinations rank the photos of labelled sets by their descriptors alone. Each group is then
judged by the combination that is best on the other groups, and compared with one given setting.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from tqdm import tqdm

from command import print_lines, print_text, require_package
from evaluation.datasets import BadDataset
from evaluation.datasets.groups import load_groups
from evaluation.metrics import mean_average_precision
from evaluation.metrics.bootstrap import interval
from evaluation.report.results import format_rows
from search.fusion.fit import OUTER_FOLDS, folds

from .held_out import group_weights, held_out_choice

SIDES = (256, 320, 384, 448)  # longest sides, pixels
EXPONENTS = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0)
DIMENSIONS = (256, 384, 512, 768, 1280)  # of the whitening; larger ones than the backbone's unused
BEST = 5  # settings that are listed
SEED = 0  # seed of the bootstrap


@dataclass(frozen=True)
class Setting:
    """How a backbone's feature map becomes a descriptor.

    Attributes:
        side: longest side of the photo, pixels.
        p: exponent of GeM.
        dim: dimensions of the whitening; None for no whitening.
    """

    side: int
    p: float
    dim: int | None

    def __str__(self) -> str:
        whitening = "no whitening" if self.dim is None else f"{self.dim} dimensions"
        return f"{self.side} pixels, p = {self.p:g}, {whitening}"


def measure(
    rows: Sequence[np.ndarray],
    groups: Sequence[Mapping[str, Sequence[int]]],
    unlabelled: np.ndarray,
    dims: Sequence[int | None],
) -> np.ndarray:
    """mAP of each group by whitened descriptors of one size and exponent.

    Args:
        rows: pooled unit vectors of each set's photos, (N, C) each.
        groups: rows of each group's photos, of each set; together G groups.
        unlabelled: pooled unit vectors that the whitening is learned on, (n, C).
        dims: dimensions of the whitening, None for none.

    Returns:
        float64 (len(dims), G).
    """
    from model import power_whitening

    whitening = power_whitening(unlabelled)
    return np.array(
        [
            [
                mean_average_precision(descriptors, [list(members)])
                for pooled, named in zip(rows, groups)
                for descriptors in [pooled if dim is None else whitening.truncated(dim)(pooled)]
                for members in named.values()
            ]
            for dim in dims
        ]
    )


def table(
    settings: Sequence[Setting],
    maps: np.ndarray,
    weights: np.ndarray,
    set_of: np.ndarray,
    names: Sequence[str],
    in_use: Setting,
) -> str:
    """The setting in use, the held-out choice, and the best settings.

    Args:
        settings: the S settings.
        maps: their mAP on each group, (S, G).
        weights: output of `group_weights`, (G,).
        set_of: number of each group's set, int (G,).
        names: names of the sets.
        in_use: one of the settings.
    """
    every = np.arange(maps.shape[1])
    chosen = held_out_choice(maps, weights)
    used = settings.index(in_use)
    means = maps @ weights
    best = np.argsort(-means, kind="stable")[:BEST].tolist()
    shown = {f"in use: {in_use}": maps[used], "chosen on other groups": maps[chosen, every]}
    shown |= {f"best of all: {settings[place]}": maps[place] for place in best}
    rows = [["setting", *names, "mean"]]
    for name, found in shown.items():
        masks = [set_of == one for one in range(len(names))]
        by_set = [np.average(found[inside], weights=weights[inside]) for inside in masks]
        rows.append([name, *(f"{mean:.3f}" for mean in [*by_set, found @ weights])])
    gain = maps[chosen, every] - maps[used]
    low, high = interval(gain * weights * len(weights), SEED)
    times = np.unique(chosen[[np.flatnonzero(one)[0] for one in folds(every, OUTER_FOLDS)]])
    return "\n".join(
        [
            format_rows(rows),
            "",
            f"Chosen on other groups, against the one in use: {gain @ weights:+.3f} "
            f"[{low:+.3f}, {high:+.3f}].",
            f"Chosen at least once: {'; '.join(str(settings[place]) for place in times)}.",
        ]
    )


def add_options(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--backbone", type=Path, required=True, help="ONNX file, as of `python -m export`")
    add("--map", metavar="TENSOR", help="feature map to pool")
    add("--mean", type=float, nargs="+", help="of the backbone's photos, as of `python -m export`")
    add("--std", type=float, nargs="+", help="the deviation, likewise")
    add("--root", type=Path, nargs="+", required=True, help="folders of labelled photos")
    add(
        "--groups",
        type=Path,
        nargs="+",
        required=True,
        help='JSON of each folder, in the same order: {"name": ["file", ...], ...}',
    )
    add("--kinds", type=Path, nargs="*", default=[], help='JSON: {"kind": ["name", ...], ...}')
    add(
        "--whiten",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="photos that the whitening is learned on",
    )
    add("--size", type=int, choices=SIDES, required=True, help="longest side in use")
    add("--p", type=float, choices=EXPONENTS, required=True, help="exponent in use")
    add("--dim", type=int, choices=DIMENSIONS, help="dimensions in use (default: no whitening)")


def run(args: argparse.Namespace) -> None:
    require_package("torch", "requirements-train.txt")
    from export.backbone import VECTOR, BadBackbone, read_backbone
    from export.pooled import Pooler
    from export.recipe import BadRecipe
    from model.training.common.learn_whitening import describe_folder, rows_of_groups

    if len(args.root) != len(args.groups):
        raise BadDataset("Each folder of photos needs one groups file.")
    kinds = {kind: names for path in args.kinds for kind, names in load_groups(path).items()}
    groups = [load_groups(path) for path in args.groups]
    set_of = np.repeat(np.arange(len(groups)), [len(named) for named in groups])
    settings: list[Setting] = []
    maps: list[np.ndarray] = []
    try:
        for side in SIDES:
            backbone = read_backbone(args.backbone, args.map, args.mean, args.std, side)
            if backbone.kind == VECTOR:
                raise BadDataset(f"{backbone.tensor!r} is pooled already: nothing can be chosen.")
            pooler = Pooler(backbone, side, EXPONENTS)

            def progress(files: Iterable, side: int = side) -> Iterable:
                return tqdm(files, desc=f"{side} pixels", disable=None)

            described = [describe_folder(pooler, root, progress) for root in args.root]
            rows_by_name = [
                dict(zip(named, rows_of_groups(path, row_of)))
                for named, path, (_, row_of) in zip(groups, args.groups, described)
            ]
            unlabelled, _ = describe_folder(pooler, args.whiten, progress)
            dims = [None, *(dim for dim in DIMENSIONS if dim <= backbone.channels)]
            settings += [Setting(side, p, dim) for p, dim in product(EXPONENTS, dims)]
            for place in range(len(EXPONENTS)):
                pooled = [rows[:, place] for rows, _ in described]
                maps.append(measure(pooled, rows_by_name, unlabelled[:, place], dims))
    except (BadBackbone, BadRecipe) as error:
        raise BadDataset(str(error)) from None
    in_use = Setting(args.size, args.p, args.dim)
    if in_use not in settings:
        raise BadDataset(f"{backbone.tensor!r} has {backbone.channels} channels, fewer than --dim.")
    weights = group_weights(groups, kinds)
    names = [str(root) for root in args.root]
    print_text(table(settings, np.concatenate(maps), weights, set_of, names, in_use))
    print_lines("", f"Whitening learned on {len(unlabelled):,} photos.")
