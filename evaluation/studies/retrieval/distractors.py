"""Retrieval quality when photos are hidden among increasingly many photos of other things."""

from __future__ import annotations

import dataclasses
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from command import bar
from evaluation.datasets import BadDataset, Benchmark
from evaluation.report.results import Results, format_estimate, format_rows
from extractor import SUFFIXES, Extractor
from index_store import Store, build, compact
from index_store.report import matching_line

SIZES = (0, 3_000, 10_000, 30_000)
FOLDER = "distractors"  # folder of the others in the copy of the gallery
SEED = 0  # seed for the order of the others


def hide(
    benchmark: Benchmark,
    folder: Path,
    work: Path,
    extractor: Extractor,
    evaluate: Callable[[Store, Benchmark], Results],
    sizes: Sequence[int],
) -> str:
    """Measure all methods at every size of gallery.

    The largest comes first: its photos are described once, and smaller stores reuse the results.

    Args:
        benchmark: benchmark whose queries are run.
        folder: folder of the other photos, searched with sub-folders.
        work: folder for links to the photos and for the store.
        extractor: extractor that describes the photos.
        evaluate: function that runs the benchmark's queries on a store.
        sizes: numbers of other photos, limited to those in the folder.

    Returns:
        Markdown table, one row per size, smallest first: the leading metric of each method with
        its interval, its time per query without caches, and the size of the store. Below it, the
        matching graph of each size and the time of each stage of the largest store's build.

    Raises:
        BadDataset: the folder has no photos.
    """
    others = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not others:
        raise BadDataset(f"There are no photos in {folder}.")
    order = np.random.default_rng(SEED).permutation(len(others))
    gallery = work / "gallery"
    for file in benchmark.gallery:
        link(benchmark.root / file, gallery / file)
    rows: list[list[str]] = []
    graphs: list[str] = []
    clocks: list[StageClock] = []
    for size in sorted({min(size, len(others)) for size in sizes}, reverse=True):
        chosen = {
            f"{place:07d}{others[place].suffix.lower()}": others[place] for place in order[:size]
        }
        for name, photo in chosen.items():
            link(photo, gallery / FOLDER / name)
        for path in gallery.glob(f"{FOLDER}/*"):
            if path.is_symlink() and path.name not in chosen:
                path.unlink()  # our own link, to a photo of a larger gallery
        clocks.append(StageClock())
        build(gallery, work / "store", extractor, clocks[-1].progress)
        compact(work / "store", bar)  # removes the bytes of larger galleries
        with Store(work / "store", extractor) as store:
            held = [photo.file for photo in store.catalogue.photos()]
            hidden = dataclasses.replace(benchmark, root=gallery, gallery=held)
            results = evaluate(store, hidden)
            stored = store.manifest.size
            graphs.append(f"Among {size:,} others: {matching_line(store.edges)}.")
        methods = results.methods
        estimates = results.main_setup.estimates[results.metric]
        qualities = (format_estimate(estimates[method]) for method in methods)
        times = (f"{sum(results.stage_ms[method].values()):.0f}" for method in methods)
        rows.append([f"{size:,}", *qualities, *times, f"{stored / 1e6:,.0f}"])
    head = ["others", *methods, *(f"{method}, ms" for method in methods), "store, MB"]
    table = format_rows([head, *rows[::-1]])
    return "\n".join([table, "", *graphs[::-1], f"Build of the largest: {clocks[0]}."])


@dataclasses.dataclass
class StageClock:
    """Time of each stage of a build; stages that run again add up."""

    seconds: Counter[str] = dataclasses.field(default_factory=Counter)

    def progress(self, items: Iterable, total: int, stage: str) -> Iterator:
        """Show a progress bar, and add the time until the items end."""
        start = time.monotonic()
        yield from bar(items, total, stage)
        self.seconds[stage] += time.monotonic() - start

    def __str__(self) -> str:
        return ", ".join(f"{stage} {seconds:,.0f} s" for stage, seconds in self.seconds.items())


def link(photo: Path, place: Path) -> None:
    """Link to a photo unless the link exists."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.is_symlink():
        os.symlink(photo.resolve(), place)
