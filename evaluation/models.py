"""`evaluation models`: compare descriptor models by mAP at each stage, time per photo, and size."""

from __future__ import annotations

import argparse
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from command import print_lines, print_text
from extractor import Extractor, read_photo
from extractor.descriptor.registry import MODELS, model_path
from validation import KNOWN_KEYS, Count, Number

from .arguments import amount
from .benchmark_store import open_or_build
from .datasets import Benchmark, read_dataset
from .datasets.catalogue import GALLERY_PHOTOS
from .metrics.bootstrap import Estimate
from .report.conditions import hardware
from .report.results import format_estimate, format_rows
from .run import STAGES, evaluate

GALLERY_GROUPS = GALLERY_PHOTOS.with_name("groups.json")
TIMED = 24  # photos timed, after a warm-up


@dataclass(frozen=True)
class ModelRow:
    """One model on one set of photos.

    Attributes:
        model: name of the model, or of its file.
        photos: name of the set.
        dimensions: components of a descriptor.
        longest_side: size in pixels to which photos are shrunk.
        megabytes: size of the file.
        milliseconds: median time to describe a decoded photo.
        maps: mAP by stage, with its interval.
    """

    __pydantic_config__ = KNOWN_KEYS

    model: str
    photos: str
    dimensions: Count
    longest_side: Count
    megabytes: Number
    milliseconds: Number
    maps: dict[str, Estimate]


def milliseconds(extractor: Extractor, photos: Sequence[Path]) -> float:
    """Median time to describe a single decoded photo, on the extractor's cores."""
    decoded = [read_photo(path) for path in photos]
    extractor.describe(decoded[:1])
    times = []
    for photo in decoded:
        begin = time.perf_counter()
        extractor.describe([photo])
        times.append(1000 * (time.perf_counter() - begin))
    return float(np.median(times))


def measure(name: str, sets: dict[str, Benchmark], stores: Path, seed: int) -> list[ModelRow]:
    """Measure one model on all sets of photos.

    Args:
        name: name in the registry, or path of a model file.
        sets: benchmarks by display name.
        stores: folder of the stores; missing ones are built.
        seed: seed of the bootstrap.
    """
    path = model_path(name)
    extractor = Extractor(path)
    rows = []
    for label, benchmark in sets.items():
        digest = hashlib.sha256("\n".join([str(benchmark.root), *benchmark.gallery]).encode())
        folder = stores / f"{path.stem}-{digest.hexdigest()[:12]}"
        store = open_or_build(benchmark, folder, extractor)
        results = evaluate(store, extractor, benchmark, STAGES, seed, path.stem)
        timed = [benchmark.root / file for file in benchmark.gallery]
        timed = timed[:: max(1, len(timed) // TIMED)][:TIMED]
        rows.append(
            ModelRow(
                path.stem if name not in MODELS else name,
                label,
                extractor.card.output_dim,
                extractor.card.longest_side,
                path.stat().st_size / 1e6,
                milliseconds(extractor, timed),
                results.main_setup.estimates[results.metric],
            )
        )
    return rows


def format_models(rows: Sequence[ModelRow]) -> str:
    """Markdown table, one row per model and set of photos."""
    head = ["model", "photos", "dimensions", "side", "MB", "ms a photo", *STAGES]
    cells = [
        [
            row.model,
            row.photos,
            str(row.dimensions),
            str(row.longest_side),
            f"{row.megabytes:.0f}",
            f"{row.milliseconds:.0f}",
            *(format_estimate(row.maps[stage]) for stage in STAGES),
        ]
        for row in sorted(rows, key=lambda row: row.photos)
    ]
    return format_rows([head, *cells])


def add_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "names", nargs="+", metavar="NAME", help=f"{', '.join(MODELS)}, or the path of a model file"
    )
    command.add_argument(
        "--photos", type=Path, help="also on these photos (default: the sample gallery only)"
    )
    command.add_argument(
        "--groups", type=Path, help='their groups, JSON {"name": ["file", ...], ...}'
    )
    command.add_argument("--stores", type=Path, default=Path("stores") / "models")
    command.add_argument("--seed", type=amount, default=0, help="of the bootstrap")


def run(args: argparse.Namespace) -> None:
    sets = {"sample gallery": read_dataset("groups", GALLERY_PHOTOS, GALLERY_GROUPS)}
    if args.photos:
        sets[args.photos.name] = read_dataset("groups", args.photos, args.groups)
    rows = []
    for name in args.names:
        rows += measure(name, sets, args.stores, args.seed)
    print_lines(
        f"Hardware: {hardware()}. mAP with 95 % intervals over landmarks, seed {args.seed}", ""
    )
    print_text(format_models(rows))
