"""Speed of indexing photos in parallel, relative to one at a time.

Each way processes a few photos before timing starts, so that models are loaded and processes are
running. That takes the same time for any number of photos.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from command import print_lines
from evaluation.arguments import count
from evaluation.report.conditions import hardware
from extractor import (
    DEFAULT_MODEL,
    Extractor,
    available_cores,
    encode_jpeg,
    int8_beside,
    local_features,
    resize,
)
from extractor import read_photo as read
from index_store.extraction import (
    THUMBNAIL_QUALITY,
    THUMBNAIL_SIDE,
    Extraction,
    Read,
    extract_all,
)
from index_store.sources.scan import scan
from index_store.storage.extraction_cache import ExtractionCache

BATCH = 8


def one_by_one(root: Path, files: list[str], extractor: Extractor) -> None:
    """Baseline: all cores on one photo after another."""
    work = Extraction(root, extractor, frozenset(), exact=True)
    for file in files:
        work(file)


def equal_shapes_together(root: Path, files: list[str], extractor: Extractor) -> None:
    """All cores on BATCH photos at a time, those of equal shape in one run."""
    for start in range(0, len(files), BATCH):
        photos = [read(root / file) for file in files[start : start + BATCH]]
        extractor.describe(photos)
        for photo in photos:
            encode_jpeg(resize(photo, THUMBNAIL_SIDE), THUMBNAIL_QUALITY)
            local_features(photo).to_bytes(exact=True)


def side_by_side(root: Path, files: list[str], extractor: Extractor) -> None:
    """As in `index_store build`: one core per photo."""
    with tempfile.TemporaryDirectory() as folder:
        extracted = ExtractionCache(Path(folder), extractor.fingerprint, extractor.card.output_dim)
        extract_all(root, files, extractor, extracted, iter, exact=True)
        extracted.close()


def in_processes(root: Path, files: list[str], extractor: Extractor) -> None:
    """In parallel too, but with one process per core instead of one thread."""
    work = partial(extract_there, root, extractor.path)
    for _ in processes(extractor.path).map(work, files):
        pass


@cache
def processes(model: Path) -> ProcessPoolExecutor:
    """A pool with one process per core, each with its own model."""
    return ProcessPoolExecutor(
        available_cores(),
        multiprocessing.get_context("spawn"),
        initializer=extractor_there,
        initargs=(model,),
    )


@cache
def extractor_there(model: Path) -> Extractor:
    """The extractor of a process."""
    cv2.setNumThreads(1)
    return Extractor(model, calls=available_cores())


def extract_there(root: Path, model: Path, file: str) -> Read:
    """`Extraction` in one of the `processes`."""
    return Extraction(root, extractor_there(model), frozenset(), exact=True)(file)


WAYS = {
    "one by one": one_by_one,
    "equal shapes together": equal_shapes_together,
    "side by side": side_by_side,
    "side by side, in processes": in_processes,
}


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add `extraction` to the command line's sub-parsers."""
    command = commands.add_parser(
        "extraction", help="speed of indexing: side by side against one by one"
    )
    command.add_argument("photos", type=Path, help="folder of photos")
    command.add_argument("--model", type=Path, default=DEFAULT_MODEL)
    command.add_argument(
        "--rounds", type=count, default=3, help="of each way, in turn; the median counts"
    )
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    files = scan(args.photos).files
    models = [path for path in (args.model, int8_beside(args.model)) if path.is_file()]
    jobs = [(model, name) for model in models for name in WAYS]
    seconds: dict[tuple[Path, str], list[float]] = {job: [] for job in jobs}
    for model, name in tqdm(jobs * args.rounds, desc="rounds", disable=None):
        extractor = Extractor(model, calls=available_cores() if name == "side by side" else 1)
        WAYS[name](args.photos, files[: 2 * available_cores()], extractor)
        start = time.perf_counter()
        WAYS[name](args.photos, files, extractor)
        seconds[model, name].append(time.perf_counter() - start)
    print_lines(f"Hardware: {hardware()}", "")
    print_lines(
        f"| {len(files)} photos: decoding, thumbnail, SIFT, descriptor | model | photos/s | x one "
        f"by one |"
    )
    print_lines("|---|---|---|---|")
    for model, name in jobs:
        median, base = np.median(seconds[model, name]), np.median(seconds[model, "one by one"])
        print_lines(f"| {name} | {model.name} | {len(files) / median:.1f} | {base / median:.2f} |")
