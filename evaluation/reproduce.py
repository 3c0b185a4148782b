"""`evaluation reproduce`: published figures of a network next to those measured here.

Scales, size and whitening are those of the published table (`model/checkpoints/published.json`),
photos are decoded as the published code does, and every query ranks the whole gallery.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from command import print_lines, print_text
from download import DOWNLOADS, named_mirrors
from extractor import Extractor

from .benchmark_store import open_or_build
from .data import add_mirrors
from .datasets import BadDataset
from .datasets.catalogue import published_sets
from .datasets.fetched import get_dataset
from .report.conditions import conditions
from .report.results import Results, format_rows
from .run import BASE, evaluate

METRICS = ("mAP", "mP@10")
PARITY_PHOTOS, PARITY_SIDES = 2, (320, 768)


def comparison_rows(results: Results, expected: dict[str, dict[str, float]]) -> list[list[str]]:
    """The figures of a run next to the published ones, in percent; "-" for unpublished ones.

    Args:
        results: results of one method.
        expected: setup -> metric -> percent.
    """
    rows = []
    for setup in results.setups:
        for metric in METRICS:
            if metric not in setup.estimates:
                continue
            published = expected.get(setup.name, {}).get(metric)
            measured = 100 * setup.estimates[metric][BASE].mean
            known = ["-", f"{measured:.1f}", "-"]
            if published is not None:
                known = [f"{published:.1f}", f"{measured:.1f}", f"{measured - published:+.1f}"]
            rows.append([results.dataset, setup.name, metric, *known])
    return rows


def export_as_published(name: str, mirrors: Sequence[str], folder: Path) -> Path:
    """Export a network's model file as used for its published table, once.

    Args:
        name: a GeM-ResNet of `model.checkpoints.published.PUBLISHED`.
        mirrors: URLs that are tried before the published one.
        folder: folder of checkpoint and model.

    Raises:
        BadDataset: there are no published results for it.
        DownloadFailed, BadCheckpoint, BadRecipe, ParityError, OSError: raised by the export.
    """
    from export import check_parity, choose_recipe, original_in_torch, to_onnx, write_model
    from export.__main__ import SAMPLE_PHOTOS
    from export.commands import sample_photos
    from model import load_checkpoint
    from model.checkpoints.published import CHECKPOINT, fetch_network, published

    net = published(name)
    if net.kind != CHECKPOINT or not net.results:
        raise BadDataset(f"{name} has no published results on {', '.join(published_sets())}.")
    exported = folder / f"{name}-published.onnx"
    checkpoint = fetch_network(name, mirrors, folder)
    if not exported.exists():
        network, provenance = load_checkpoint(checkpoint)
        recipe = choose_recipe(provenance, net.side, net.scales)
        original = original_in_torch(network, provenance, recipe)
        photos = sample_photos(SAMPLE_PHOTOS, PARITY_PHOTOS)
        write_model(
            lambda half: to_onnx(network, provenance, recipe, half),
            exported,
            accept=lambda path: check_parity(original, path, photos, PARITY_SIDES),
        )
    return exported


def add_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("network", metavar="NETWORK", help="see python -m export --list")
    command.add_argument(
        "datasets", nargs="+", metavar="DATASET", choices=[*published_sets()],
        help=", ".join(published_sets()),
    )  # fmt: skip
    command.add_argument(
        "--data", type=Path, default=DOWNLOADS, metavar="DIR", help="holds the sets by their names"
    )
    add_mirrors(command)


def run(args: argparse.Namespace) -> None:
    """Fetch missing files, measure, and print both figures."""
    from command import require_package

    require_package("torch", "requirements-train.txt")
    from model.checkpoints.published import NETWORKS, published

    mirrors = named_mirrors(args.mirror)
    model = export_as_published(args.network, mirrors, NETWORKS)
    net, extractor = published(args.network), Extractor(model)
    rows = [["data set", "setup", "metric", "published", "measured", "difference"]]
    notes: list[str] = []
    for name in args.datasets:
        benchmark = get_dataset(name, args.data / name, mirrors)
        path = Path("stores") / "published" / f"{args.network}-{name}"
        store = open_or_build(benchmark, path, extractor)
        results = evaluate(store, extractor, benchmark, {BASE: {}}, 0, args.network)
        rows += comparison_rows(results, net.results.get(name, {}))
        notes += [f"{name}: {note}" for note in results.notes]
    print_text(format_rows(rows))
    scales = ", ".join(f"{scale:.4g}" for scale in net.scales)
    print_lines(
        "",
        f"{args.network}: longest side {net.side}, scales {scales}, whitening {net.whitening}. "
        f"Published: {net.source}.",
        f"Measured: {conditions(extractor.engine)}.",
        *notes,
    )
