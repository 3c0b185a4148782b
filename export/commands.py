"""Commands of `python -m export`; each takes its parsed arguments."""

from __future__ import annotations

import argparse
import dataclasses
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from command import print_lines, print_text
from extractor import SUFFIXES, int8_beside, resize
from model import (
    GeMResNet,
    Provenance,
    Whitening,
    learn_whitening,
    load_checkpoint,
    pca_whitening,
    power_whitening,
)
from model.training.common.learn_whitening import (
    EXPONENTS,
    Progress,
    best_exponent,
    describe_folder,
    pairs_of,
    rows_of_groups,
)
from plurals import quantity

from .backbone import VECTOR, Backbone, read_backbone, to_descriptor
from .parity import check_parity, format_table, original_in_torch
from .pooled import Pooler, check_exponent
from .quantise import CALIBRATION_PHOTOS, TEST_PHOTOS, quantise_int8
from .recipe import BadRecipe, Recipe, check_side, choose_recipe, truncated
from .to_onnx import to_onnx, write_model


def sample_photos(folder: Path, count: int) -> list[Path]:
    """`count` photos spread evenly over a folder (fewer if it has fewer)."""
    found = (
        sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)
        if folder.is_dir()
        else []
    )
    return found[:: max(1, len(found) // max(1, count))][:count]


def parity_photos(args: argparse.Namespace) -> list[Path]:
    """The photos for comparing a file with its original. Raises BadRecipe."""
    photos = sample_photos(args.photos, args.count)
    if not photos:
        raise BadRecipe(f"there are no photos for the parity check in {args.photos}")
    return photos


def progress_bar(label: str) -> Progress:
    """A progress bar on standard error."""
    return partial(tqdm, desc=label, disable=None)


def print_written(out: Path, is_half: bool) -> None:
    """Print name and size of the written file. is_half: whether parameters are float16."""
    stored = "" if is_half else ", parameters as float32: float16 would change the descriptors"
    print_lines(f"wrote {out} ({out.stat().st_size / 1e6:.1f} MB{stored})")


def run_checkpoint(args: argparse.Namespace) -> None:
    """Export a checkpoint. Raises BadRecipe, BadCheckpoint and ParityError."""
    photos = parity_photos(args)
    network, provenance = load_checkpoint(args.checkpoint)
    if args.licence:
        provenance = dataclasses.replace(provenance, licence=args.licence)
    learning = args.whiten_on is not None
    recipe = choose_recipe(
        provenance,
        args.longest_side,
        args.scales,
        None if learning else args.dim,
        whitened=not (args.no_whitening or learning),
    )
    if learning:
        whitening = whitening_for(network, provenance, recipe, args.whiten_on, args.groups)
        recipe = dataclasses.replace(recipe, whitening=truncated(whitening, args.dim))
    scales = ", ".join(f"{scale:.4g}" for scale in recipe.scales)
    p = float(network.pool.p.detach())
    print_lines(
        f"{network.architecture}, GeM p = {p:.3f}, {quantity(network.output_dim, 'dimension')}"
    )
    print_lines(f"longest side {recipe.longest_side}, scales {scales}")
    if recipe.whitening:
        kept_dimensions = quantity(len(recipe.whitening.projection), "dimension")
        print_lines(f"whitening learned afterwards, to {kept_dimensions}")
    original = original_in_torch(network, provenance, recipe)
    is_half = write_model(
        lambda half: to_onnx(network, provenance, recipe, half),
        args.out,
        accept=lambda path: print_text(format_table(check_parity(original, path, photos))),
    )
    print_written(args.out, is_half)


def whitening_for(
    network: GeMResNet, provenance: Provenance, recipe: Recipe, folder: Path, groups: Path | None
) -> Whitening:
    """Learn a whitening on the photos in a folder, described as the recipe says.

    Args:
        network: network that describes them.
        provenance: provenance of the network.
        recipe: recipe without a whitening.
        folder: folder of the photos.
        groups: JSON of photos of the same thing, for Lw; None for PCA.
    """
    describe = original_in_torch(network, provenance, recipe)
    rows, row_of = describe_folder(
        lambda photo: describe(resize(photo, recipe.longest_side)),
        folder,
        progress_bar("learning a whitening"),
    )
    if groups is None:
        return pca_whitening(rows)
    return learn_whitening(rows, pairs_of(rows_of_groups(groups, row_of)))


def run_backbone(args: argparse.Namespace) -> None:
    """Export any ONNX image network. Raises BadRecipe, BadBackbone and ParityError."""
    photos = parity_photos(args)
    side = check_side(args.longest_side)
    backbone = read_backbone(args.backbone, args.map, args.mean, args.std, side)
    check_exponent(backbone, args.p)
    print_lines(
        f"{backbone.name}: {backbone.tensor} is a {backbone.kind} of "
        f"{quantity(backbone.channels, 'channel')}"
    )
    if backbone.size:
        print_lines(f"photos are stretched to {backbone.size[1]} x {backbone.size[0]} pixels")
    elif backbone.multiple > 1:
        print_lines(f"photos are shrunk to sides that are multiples of {backbone.multiple}")
    p = args.p
    if p is None and backbone.kind != VECTOR:
        p = choose_exponent(backbone, side, args)
    pooler = Pooler(backbone, side, [1.0 if p is None else p])
    facts = {
        "training": f"{backbone.tensor} of {args.backbone.name}",
        "licence": args.licence or "unknown",
    }
    whitening = None
    if args.whiten_on:
        rows, _ = describe_folder(pooler, args.whiten_on, progress_bar("learning a whitening"))
        whitening = truncated(power_whitening(rows[:, 0]), args.dim)
        facts["training"] += f"; whitening learned on {quantity(len(rows), 'photo')}"
        print_lines(
            f"whitening learned on {quantity(len(rows), 'photo')}, "
            f"{quantity(len(whitening.projection), 'dimension')} kept"
        )
    elif args.dim is not None:
        raise BadRecipe("--dim truncates a whitening; learn one with --whiten")

    def original(photo: np.ndarray) -> np.ndarray:
        unit = pooler.preprocess(photo)[0]
        return unit if whitening is None else whitening(unit[None])[0]

    sizes = [side, max(32, side * 3 // 4)]
    is_half = write_model(
        lambda half: to_descriptor(backbone, side, p, whitening, facts, half),
        args.out,
        accept=lambda path: print_text(format_table(check_parity(original, path, photos, sizes))),
    )
    print_written(args.out, is_half)


def choose_exponent(backbone: Backbone, side: int, args: argparse.Namespace) -> float:
    """The GeM exponent with the highest mAP on labelled photos."""
    groups = args.groups or args.photos.parent / "groups.json"
    rows, row_of = describe_folder(
        Pooler(backbone, side, EXPONENTS), args.photos, progress_bar("choosing p")
    )
    best, map_by_exponent = best_exponent(rows, EXPONENTS, rows_of_groups(groups, row_of))
    tried = ", ".join(f"{p:g}: {value:.3f}" for p, value in map_by_exponent.items())
    print_lines(f"GeM p = {best:g} (mAP on {groups} by p: {tried})")
    return best


def run_int8(args: argparse.Namespace) -> None:
    """Quantise a descriptor model to int8 and print each block's sensitivity."""
    photos = sample_photos(args.photos, CALIBRATION_PHOTOS + TEST_PHOTOS)
    result = quantise_int8(
        args.int8, photos, lambda blocks: tqdm(blocks, desc="sensitivity", disable=None)
    )
    print_lines("block          sensitivity (1 - median cosine, this block alone in int8)")
    for block, sensitivity in list(result.sensitivity.items())[:8]:
        kept = "  kept in float" if block in result.kept_float else ""
        print_lines(f"{block:13s} {sensitivity:8.5f}{kept}")
    out = args.out or int8_beside(args.int8)
    out.write_bytes(result.model)
    print_lines(f"median cosine with float32 on {TEST_PHOTOS} other photos: {result.cosine:.4f}")
    print_lines(f"wrote {out} ({len(result.model) / 1e6:.1f} MB)")
