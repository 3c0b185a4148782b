"""Speed and mAP of every engine and precision of the descriptor network."""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from command import print_text
from evaluation.arguments import count
from evaluation.datasets.groups import check_groups, load_groups
from evaluation.metrics import mean_average_precision
from evaluation.report.conditions import hardware
from extractor import (
    DEFAULT_MODEL,
    Extractor,
    Region,
    available_cores,
    int8_beside,
    read_photo,
    resize,
    seal,
)
from extractor.descriptor.runtime import is_available

if TYPE_CHECKING:
    from model import GeMResNet, Provenance

SCALES = (1.0, 2**-0.5, 0.5)
SPEED_PHOTOS = 12
BASELINE = "onnxruntime float32"
NAMES = ("torch float32", BASELINE, "onnxruntime int8", "OpenVINO bf16", "OpenVINO int8")

Progress = Callable[[Iterable], Iterable]


@dataclass(frozen=True)
class Row:
    """Measurements of one engine.

    Attributes:
        name: name of the engine and its precision.
        size: longest side in pixels.
        scales: number of scales.
        seconds: time per photo, without decoding.
        map: mAP of the groups, None without groups.
        cosine: median cosine with BASELINE.
    """

    name: str
    size: int
    scales: int
    seconds: float
    map: float | None
    cosine: float


Start = Callable[[tuple[float, ...]], Extractor]
"""Function from scales to an extractor with these scales."""


def engines_of(model: Path, folder: Path) -> dict[str, Start]:
    """Factories of all engines that are installed here, by name, BASELINE first.

    Args:
        model: exported model with one scale.
        folder: folder for models with several scales.
    """
    found = {BASELINE: started(model, folder)}
    int8 = int8_beside(model)
    if int8.is_file():
        found["onnxruntime int8"] = started(int8, folder)
    if is_available("openvino"):
        found["OpenVINO bf16"] = started(model, folder, "openvino-bf16")
        if int8.is_file():
            found["OpenVINO int8"] = started(int8, folder, "openvino")
    try:
        from model import BadCheckpoint, load_checkpoint
    except ImportError:
        return found
    try:
        network, provenance = load_checkpoint(model)
    except BadCheckpoint:  # not a GeM-ResNet: there is no torch network to compare with
        return found
    return {"torch float32": lambda scales: in_torch(model, network, provenance, scales), **found}


def started(model: Path, folder: Path, engine: str = "onnxruntime") -> Start:
    """Factory of one engine for one model."""

    def start(scales: tuple[float, ...]) -> Extractor:
        if scales == (1.0,):
            return Extractor(model, engine=engine)
        import onnx

        from export.onnx_graph import with_scales

        path = folder / f"{len(scales)}-{model.name}"
        path.write_bytes(seal(with_scales(onnx.load(str(model)), scales, 1.0).SerializeToString()))
        return Extractor(path, engine=engine)

    return start


def in_torch(
    model: Path, network: GeMResNet, provenance: Provenance, scales: tuple[float, ...]
) -> Extractor:
    """The same network in torch, behind the same interface."""
    import torch

    from export import Recipe
    from export import in_torch as describes

    torch.set_num_threads(available_cores())
    describe = describes(network, provenance, Recipe(provenance.longest_side, scales))

    class TorchExtractor(Extractor):
        def describe(
            self,
            photos: Sequence[np.ndarray],
            regions: Sequence[Region | None] | None = None,
        ) -> np.ndarray:
            return np.stack([describe(resize(photo, self.card.longest_side)) for photo in photos])

    return TorchExtractor(model)


def measure(
    model: Path,
    folder: Path,
    groups_file: Path | None,
    sizes: list[int],
    multi: bool,
    engines: Collection[str] = NAMES,
    progress: Progress = iter,
) -> list[Row]:
    """Measure speed and mAP of engines, always including BASELINE.

    Speed is measured on SPEED_PHOTOS photos after a warm-up. mAP requires describing all photos in
    the folder with each engine.

    Args:
        model: the ONNX file.
        folder: folder of photos.
        groups_file: JSON of photos of the same thing; None for speed only.
        sizes: longest sides in pixels.
        multi: whether to also measure each size with SCALES.
        engines: names of the engines.
        progress: wraps long stages.

    Raises:
        BadGroups: the groups do not match the folder.
    """
    paths = sorted(p for p in folder.iterdir() if p.is_file())
    number = {path.name: i for i, path in enumerate(paths)}
    named = load_groups(groups_file) if groups_file else {}
    check_groups(named, list(number), str(folder))
    groups = [[number[file] for file in files] for files in named.values()]
    photos = [
        read_photo(path)
        for path in (paths if groups else paths[:: max(1, len(paths) // SPEED_PHOTOS)])
    ]
    expected: dict[tuple, np.ndarray] = {}
    rows = []
    temporary = tempfile.TemporaryDirectory()
    installed = engines_of(model, Path(temporary.name))
    order = [BASELINE, *(name for name in installed if name in engines and name != BASELINE)]
    jobs = [
        (name, size, scales)
        for name in order
        for size in sizes
        for scales in ((1.0,), SCALES)[: 1 + multi]
    ]
    for name, size, scales in progress(jobs):
        extractor = installed[name](scales)
        extractor.card = dataclasses.replace(extractor.card, longest_side=size)
        extractor.describe(photos[:1])
        begin = time.perf_counter()
        descriptors = [extractor.describe([photo])[0] for photo in photos[:SPEED_PHOTOS]]
        seconds = (time.perf_counter() - begin) / len(descriptors)
        if groups:
            descriptors += [extractor.describe([photo])[0] for photo in photos[SPEED_PHOTOS:]]
        found = np.stack(descriptors)
        expected.setdefault((size, scales), found)
        other = expected[size, scales]
        norms = np.linalg.norm(found, axis=1) * np.linalg.norm(other, axis=1)
        cosine = float(np.median((found * other).sum(1) / norms))
        rows.append(
            Row(
                name,
                size,
                len(scales),
                seconds,
                mean_average_precision(found, groups) if groups else None,
                cosine,
            )
        )
    temporary.cleanup()
    return rows


def format_rows(rows: list[Row]) -> str:
    """Markdown table; speeds also relative to BASELINE at the same size and scales."""
    base = {(row.size, row.scales): row.seconds for row in rows if row.name == BASELINE}
    lines = [
        f"Hardware: {hardware()}",
        "",
        "| engine | longest side | scales | photos/s | x float32 | cosine | mAP |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        ratio = base[row.size, row.scales] / row.seconds
        value = "-" if row.map is None else f"{row.map:.3f}"
        lines.append(
            f"| {row.name} | {row.size} | {row.scales} | {1 / row.seconds:.1f} | {ratio:.2f} | "
            f"{row.cosine:.4f} | {value} |"
        )
    return "\n".join(lines)


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add `extractor` to the command line's sub-parsers."""
    command = commands.add_parser("extractor", help="speed and mAP of every way to run the network")
    command.add_argument("--photos", type=Path, required=True)
    command.add_argument(
        "--groups",
        type=Path,
        help="groups of these photos, for mAP; without them only speed and cosine",
    )
    command.add_argument("--model", type=Path, default=DEFAULT_MODEL)
    command.add_argument(
        "--sizes",
        type=count,
        nargs="+",
        default=[224, 362, 480, 1024],
        help="longest sides, pixels",
    )
    command.add_argument(
        "--engines",
        nargs="+",
        choices=NAMES,
        default=NAMES,
        metavar="NAME",
        help=f"of {', '.join(NAMES)} (default: all)",
    )
    command.add_argument("--multi", action="store_true", help="also with three scales")
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    rows = measure(
        args.model,
        args.photos,
        args.groups,
        args.sizes,
        args.multi,
        args.engines,
        lambda jobs: tqdm(jobs, desc="ways", disable=None),
    )
    print_text(format_rows(rows))
