"""How well things are still found when their photos are hidden among ever more of other things."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evaluation.datasets import BadDataset, Benchmark
from evaluation.measure import Methods
from evaluation.metrics.bootstrap import Estimate
from evaluation.report.results import Results, format_estimate, format_rows
from extractor import SUFFIXES, Extractor
from index_store import Store, build, compact
from index_store.global_artifacts import Progress

SIZES = (0, 3_000, 10_000, 30_000)
FOLDER = "distractors"  # of the gallery's copy, where the others lie
SEED = 0  # which of the others are hidden among first


@dataclass(frozen=True)
class Hidden:
    """One size of gallery.

    Attributes:
        distractors: photos that show nothing of the benchmark.
        maps: the leading metric by method, with its interval.
        milliseconds: a query by method, with nothing remembered from before.
        megabytes: of the store.
    """

    distractors: int
    maps: dict[str, Estimate]
    milliseconds: dict[str, float]
    megabytes: float


def hide(
    benchmark: Benchmark,
    folder: Path,
    work: Path,
    extractor: Extractor,
    methods: Methods,
    evaluate: Callable[[Store, Benchmark, Methods], Results],
    progress: Progress,
    sizes: Sequence[int] = SIZES,
) -> list[Hidden]:
    """Measure all methods at every size of gallery.

    The largest comes first: its photos are described once, and the others' stores take them over.

    Args:
        benchmark: whose queries are asked.
        folder: the other photos, searched with sub-folders.
        work: a folder for links to the photos and for the store.
        extractor: describes the photos.
        methods: what is compared.
        evaluate: asks a store the benchmark's queries.
        progress: shows the builds.
        sizes: numbers of other photos. Sizes that the folder does not have become the number it
            has.

    Returns:
        One row a size, the smallest first.

    Raises:
        BadDataset: the folder holds no photos.
    """
    others = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not others:
        raise BadDataset(f"There are no photos in {folder}.")
    order = np.random.default_rng(SEED).permutation(len(others))
    gallery = work / "gallery"
    for file in benchmark.gallery:
        link(benchmark.root / file, gallery / file)
    rows = []
    for size in sorted({min(size, len(others)) for size in sizes}, reverse=True):
        chosen = {
            f"{place:07d}{others[place].suffix.lower()}": others[place] for place in order[:size]
        }
        for name, photo in chosen.items():
            link(photo, gallery / FOLDER / name)
        for path in gallery.glob(f"{FOLDER}/*"):
            if path.is_symlink() and path.name not in chosen:
                path.unlink()  # a link of ours, to a photo that a larger gallery had
        build(gallery, work / "store", extractor, progress)
        compact(work / "store", progress)  # what a larger gallery had is not in this one's bytes
        with Store(work / "store", extractor) as store:
            held = [photo.file for photo in store.catalogue.photos()]
            hidden = dataclasses.replace(benchmark, root=gallery, gallery=held)
            results = evaluate(store, hidden, methods)
            stored = store.manifest.size
        rows.append(
            Hidden(
                size,
                results.main_setup.estimates[results.metric],
                {method: sum(ms.values()) for method, ms in results.stage_ms.items()},
                stored / 1e6,
            )
        )
    return rows[::-1]


def link(photo: Path, place: Path) -> None:
    """A link to a photo at a place where there is none yet."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.is_symlink():
        os.symlink(photo.resolve(), place)


def format_hidden(rows: Sequence[Hidden]) -> str:
    """Markdown table, a row for each size of gallery."""
    methods = list(rows[0].maps)
    head = ["others", *methods, *(f"{method}, ms" for method in methods), "store, MB"]
    cells = [
        [
            f"{row.distractors:,}",
            *(format_estimate(row.maps[method]) for method in methods),
            *(f"{row.milliseconds[method]:.0f}" for method in methods),
            f"{row.megabytes:,.0f}",
        ]
        for row in rows
    ]
    return format_rows([head, *cells])


def draw_hidden(rows: Sequence[Hidden], out: Path) -> None:
    """mAP of every method against the number of other photos, as a picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axis = figure.subplots()
    for method in rows[0].maps:
        axis.plot(
            [row.distractors for row in rows],
            [row.maps[method].mean for row in rows],
            marker="o",
            label=method,
        )
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.set_xlabel("other photos in the gallery")
    axis.set_ylabel("mAP")
    axis.grid(alpha=0.3)
    figure.legend(loc="outside upper center", ncols=len(rows[0].maps), frameon=False)
    FigureCanvasAgg(figure).print_png(str(out))
