"""Cost of the keypoint index as a gallery grows: bytes, building, opening, queries.

The galleries are synthetic: each photo has as many keypoints as the form keeps, drawn from those of
real stores with a little noise. The cost of a query depends on the length of the lists that it
visits, and real keypoints cluster in a few of them, so the lists must be filled as by real photos.
Which photo has which keypoint does not matter: counting votes is most expensive if every neighbour
is in another photo, as here. Queries are unchanged photos of the stores.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import faiss
import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from command import print_lines, print_text
from evaluation.arguments import count
from evaluation.datasets import BadDataset
from evaluation.report.conditions import hardware
from evaluation.report.results import format_rows
from extractor import LocalFeatures, local_features
from index_store import Store
from index_store.keypoints.keypoint_form import KeypointForm, form_for
from index_store.keypoints.keypoint_index import KeypointChange, KeypointIndex, coded
from matching.votes import NEAREST, count_votes

from ..speed.memory import peak_mb

SIZES = (10_000, 100_000, 1_000_000)
QUERIES = 100
DETECTION_PHOTOS = 40  # photos for timing keypoint detection
NOISE = 4.0  # standard deviation of each component, in units of a RootSIFT byte: a distance of 45
BATCH = 256  # photos generated at a time
SIZE = (480, 640)  # height and width of a synthetic photo


@dataclass(frozen=True)
class Cost:
    """Measurements of one gallery, on one thread.

    Attributes:
        photos, keypoints: number of photos, and of their keypoints in the index.
        list_imbalance: mean length of a keypoint's list, relative to the average list.
        megabytes: size of the file, all of which is mapped.
        build_seconds: CPU seconds to read, encode and write the keypoints of 1,000 photos.
        detecting_seconds: CPU seconds to detect the keypoints of 1,000 photos.
        change_seconds: seconds to rewrite the file, as any change of the gallery does.
        peak_mb: peak memory of this process until the file was written.
        open_ms: time to open the file.
        nearest_ms, votes_ms: (queries,), times to find neighbours and to count votes.
    """

    photos: int
    keypoints: int
    list_imbalance: float
    megabytes: float
    build_seconds: float
    detecting_seconds: float
    change_seconds: float
    peak_mb: float
    open_ms: float
    nearest_ms: np.ndarray
    votes_ms: np.ndarray


# -- synthetic galleries ---------------------------------------------------------------------------


def synthetic_photos(
    descriptors: np.ndarray, photos: int, points: int
) -> Iterator[tuple[int, LocalFeatures]]:
    """Ids and keypoints of synthetic photos, the same for the same arguments.

    Args:
        descriptors: uint8 (n, 128), RootSIFT of real photos, to draw from.
        photos: number of photos.
        points: keypoints per photo.
    """
    frames = np.ones(points, np.complex64)
    for start in range(0, photos, BATCH):
        rng = np.random.default_rng([0, start])
        shape = (min(BATCH, photos - start), points)
        rows = descriptors[rng.integers(len(descriptors), size=shape)]
        moved = rng.standard_normal(rows.shape, np.float32) * NOISE + rows
        rows = np.round(moved).clip(0, 255).astype(np.uint8)
        places = rng.random((*shape, 2), np.float32) * np.float32(SIZE[::-1])
        for number in range(len(rows)):
            yield start + number, LocalFeatures(places[number], frames, rows[number], SIZE)


def list_imbalance(sizes: np.ndarray) -> float:
    """Mean length of a keypoint's list without the keypoint, relative to the average list."""
    lengths = sizes.astype(np.float64)
    return float(
        (lengths * (lengths - 1)).sum() / (lengths.sum() * (lengths.sum() - 1)) * len(lengths)
    )


# -- measuring -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sample:
    """Keypoints of real photos, and what they cost.

    Attributes:
        photos: keypoints of each photo.
        reading, detecting: CPU seconds to read one photo's keypoints from a store, and to detect
            them.
    """

    photos: list[LocalFeatures]
    reading: float
    detecting: float


def real_keypoints(paths: Sequence[Path]) -> Sample:
    """Read and detect the keypoints of all photos of some stores.

    Raises:
        StoreError: a store cannot be opened, or a photo is missing.
        BadDataset: the stores have no keypoints.
    """
    photos: list[LocalFeatures] = []
    seconds, reading = [], 0.0
    for path in paths:
        with Store(path) as store:
            ids = range(len(store))
            start = time.process_time()
            photos += [
                features for _, features in store.rows.keypoints(ids) if features is not None
            ]
            reading += time.process_time() - start
            step = max(1, len(store) * len(paths) // DETECTION_PHOTOS)
            for id in ids[::step]:
                pixels = store.pixels(id)
                start = time.process_time()
                local_features(pixels)
                seconds.append(time.process_time() - start)
    if not any(len(features.points) for features in photos):
        raise BadDataset("The stores have no keypoints.")
    return Sample(photos, reading / len(photos), float(np.mean(seconds)))


def encoding_seconds(real: Sequence[LocalFeatures], form: KeypointForm) -> float:
    """CPU seconds per photo for encoding keypoints."""
    start = time.process_time()
    coded(enumerate(real), form)
    return (time.process_time() - start) / len(real)


def time_queries(
    index: KeypointIndex, queries: Sequence[LocalFeatures]
) -> tuple[np.ndarray, np.ndarray]:
    """Milliseconds to find neighbours and to count votes, each (queries,), as in a search."""
    times = []
    for query in queries:
        strongest = query.strongest(index.form.points)
        start = time.perf_counter()
        near = index.nearest(strongest.descriptors, NEAREST)
        middle = time.perf_counter()
        count_votes(near.distances, near.photos, index.photos, np.empty(0, np.int64))
        times.append((middle - start, time.perf_counter() - middle))
    nearest, votes = 1000 * np.array(times).T
    return nearest, votes


def measure(
    photos: int,
    real: Sample,
    queries: Sequence[LocalFeatures],
    folder: Path,
) -> Cost:
    """Measure one row of the table.

    Args:
        photos: number of photos in the gallery.
        real: real photos, from which synthetic ones are drawn.
        queries: keypoints of the queries.
        folder: folder for the file.
    """
    form = form_for(photos)
    descriptors = np.concatenate(
        [features.strongest(form.points).descriptors for features in real.photos]
    )
    synthetic = synthetic_photos(descriptors, photos, form.points)
    keypoints = coded(tqdm(synthetic, f"{photos:,} photos", photos, disable=None), form)
    path = folder / "keypoints.lists"
    start = time.process_time()
    KeypointChange(form, keypoints).save(path)
    saving = (time.process_time() - start) / photos
    del keypoints
    peak = peak_mb()
    start = time.perf_counter()
    index = KeypointIndex(path, form, photos)
    opening = time.perf_counter() - start
    time_queries(index, queries[:10])  # warms the page cache and faiss's buffers
    nearest, votes = time_queries(index, queries)
    start = time.perf_counter()
    KeypointChange.none(index).save(folder / "changed.lists")
    changing = time.perf_counter() - start
    return Cost(
        photos=photos,
        keypoints=len(index),
        list_imbalance=list_imbalance(index.sizes),
        megabytes=path.stat().st_size / 1e6,
        build_seconds=1000 * (real.reading + encoding_seconds(real.photos, form) + saving),
        detecting_seconds=1000 * real.detecting,
        change_seconds=changing,
        peak_mb=peak,
        open_ms=1000 * opening,
        nearest_ms=nearest,
        votes_ms=votes,
    )


# -- the command -----------------------------------------------------------------------------------


def format_table(costs: Sequence[Cost]) -> str:
    """Markdown table, one row per gallery."""
    head = [
        "photos",
        "keypoints",
        "list imbalance",
        "file, MB",
        "build, s per 1,000",
        "share of detection",
    ]
    head += [
        "change, s",
        "peak, MB",
        "open, ms",
        "query, ms",
        "90 %",
        "neighbours, ms",
        "votes, ms",
    ]
    rows = [head]
    for cost in costs:
        query = cost.nearest_ms + cost.votes_ms
        rows.append(
            [
                f"{cost.photos:,}",
                f"{cost.keypoints:,}",
                f"{cost.list_imbalance:.1f}",
                f"{cost.megabytes:,.0f}",
                f"{cost.build_seconds:.2f}",
                f"{cost.build_seconds / cost.detecting_seconds:.1%}",
                f"{cost.change_seconds:.1f}",
                f"{cost.peak_mb:,.0f}",
                f"{cost.open_ms:.1f}",
                f"{np.median(query):.1f}",
                f"{np.quantile(query, 0.9):.1f}",
                f"{np.median(cost.nearest_ms):.1f}",
                f"{np.median(cost.votes_ms):.1f}",
            ]
        )
    return format_rows(rows)


def add_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--store",
        type=Path,
        nargs="+",
        required=True,
        help="stores from which keypoints and queries are drawn; their photos must exist",
    )
    command.add_argument("--sizes", type=count, nargs="+", default=SIZES, help="numbers of photos")
    command.add_argument("--queries", type=count, default=QUERIES)
    command.add_argument(
        "--work", type=Path, help="folder for temporary files: 7.2 GB for a million photos"
    )


def run(args: argparse.Namespace) -> None:
    cv2.setNumThreads(1)
    faiss.omp_set_num_threads(1)
    with threadpool_limits(1):
        real = real_keypoints(args.store)
        drawn = np.random.default_rng(0).permutation(len(real.photos))[: args.queries]
        queries = [real.photos[number] for number in drawn]
        costs = []
        for photos in args.sizes:
            with tempfile.TemporaryDirectory(dir=args.work) as folder:
                costs.append(measure(photos, real, queries, Path(folder)))
    print_lines(
        f"Hardware: {hardware()}; one thread. Drawn from {len(real.photos):,} photos; "
        f"keypoints are detected in {1000 * real.detecting:.0f} ms a photo",
        "",
    )
    print_text(format_table(costs))
