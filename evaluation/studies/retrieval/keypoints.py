"""What keeping fewer bytes of a photo's keypoints costs: bytes against mAP, a row for each way.

Every way is judged as the product is: verification, alone and with diffusion, its weights fitted
again for it, each landmark left out of its own fit (`evaluation.calibration.fit`, here on the whole
store only). A pair of photos is compared once for all models.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from command import print_lines, print_text
from evaluation.calibration.evidence import LabelledGallery, OncePerPair, Progress
from evaluation.calibration.fit import Fit, check_enough
from evaluation.datasets import BadDataset
from evaluation.groups import store_groups
from evaluation.report.conditions import hardware
from evaluation.report.results import format_rows
from extractor import SUFFIXES, Extractor, LocalFeatures, local_features
from extractor.descriptor.registry import name_of
from extractor.keypoints import keypoint_codes, sift
from extractor.keypoints.keypoint_codes import HEADER, Codebook
from extractor.keypoints.learn_codebook import GALLERY, descriptors_of, learn_codebook
from index_store import Store, model_of
from matching.pool import on_all_cores
from matching.verification import verify_many
from search import Engine
from search.fusion.calibration import Calibration, Fitted
from search.fusion.fit import held_out

FRAME = 6  # bytes of place, size and angle, see `keypoint_codes`
EXACT_FRAME = 16  # the same as four float32
STEP = 4.0  # of a principal component, in bytes of RootSIFT
PRODUCTS = {32: sift.STORED_POINTS, 16: 1800, 64: 570}  # words, points
AXES = {64: 570}  # principal axes, points
TIMED = 10  # photos, each compared with HUNDRED others
HUNDRED = 100
SETTINGS = ((None, "sift"), ("diffusion", "sift"))


@dataclass(frozen=True)
class Way:
    """A way to keep keypoints.

    Attributes:
        name: for people.
        points: how many are kept of a photo at most.
        each: bytes of a point.
        keep: what verification sees of what was found.
    """

    name: str
    points: int
    each: int
    keep: Callable[[LocalFeatures], LocalFeatures]

    def size(self, found: LocalFeatures) -> int:
        """Bytes that a photo takes."""
        return HEADER.itemsize + self.each * min(self.points, len(found.points))


@dataclass(frozen=True)
class Row:
    """One way, measured.

    Attributes:
        way: which.
        most, mean: bytes a photo.
        milliseconds: to compare a photo with HUNDRED others, median.
        maps: mAP, SIFT and diffusion with SIFT, for each model.
    """

    way: Way
    most: int
    mean: float
    milliseconds: float
    maps: list[float]


# -- ways ------------------------------------------------------------------------------------------


def strongest(features: LocalFeatures, points: int) -> LocalFeatures:
    """The first of the points: they stand in the order of their strength."""
    return LocalFeatures(
        features.points[:points],
        features.frames[:points],
        features.descriptors[:points],
        features.size,
    )


def best(features: LocalFeatures, points: int) -> LocalFeatures:
    """As the store chooses them."""
    return features.best(points)


def quantised(features: LocalFeatures, points: int, codebook: Codebook) -> LocalFeatures:
    """By product quantisation, as the store does it."""
    few = features.best(points)
    data = keypoint_codes.encode(few.points, few.frames, few.descriptors, few.size, codebook)
    return LocalFeatures(*keypoint_codes.decode(data, codebook))


def projected(
    features: LocalFeatures, points: int, mean: np.ndarray, axes: np.ndarray
) -> LocalFeatures:
    """On principal axes float32 (128, k), a byte each; mean: float32 (128,)."""
    few = features.best(points)
    shares = np.round((few.descriptors - mean) @ axes / STEP).clip(-128, 127) * STEP
    rows = np.round(shares @ axes.T + mean).clip(0, 255).astype(np.uint8)
    return replace(few, descriptors=rows)


def principal_axes(descriptors: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean float32 (128,) and axes float32 (128, count) of descriptors (n, 128)."""
    rows = descriptors.astype(np.float32)
    _, axes = np.linalg.eigh(np.cov(rows.T))  # the smallest first
    return rows.mean(0), axes[:, : -count - 1 : -1].astype(np.float32)


def ways_of(descriptors: np.ndarray) -> list[Way]:
    """What is compared. descriptors: uint8 (n, 128), to learn words and axes from."""
    ways = [
        Way(f"exact, the {name}", points, EXACT_FRAME + 128, partial(choose, points=points))
        for name, choose, points in (
            ("strongest", strongest, sift.MAX_POINTS),
            ("strongest", strongest, sift.STORED_POINTS),
            ("best", best, sift.STORED_POINTS),
        )
    ]
    for parts, points in PRODUCTS.items():
        keep = partial(quantised, points=points, codebook=learn_codebook(descriptors, parts))
        ways.append(Way(f"{parts} words", points, FRAME + parts, keep))
    for count, points in AXES.items():
        mean, axes = principal_axes(descriptors, count)
        keep = partial(projected, points=points, mean=mean, axes=axes)
        ways.append(Way(f"{count} principal axes", points, FRAME + count, keep))
    return ways


# -- measuring -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Judge:
    """Stores of the same photos, described by different models, and what is to be found in them.

    Attributes:
        stores, extractors: of each model.
        groups: ids of photos of the same thing.
    """

    stores: list[Store]
    extractors: list[Extractor]
    groups: list[list[int]]

    @staticmethod
    def of(paths: Sequence[Path], groups: Path) -> Judge:
        """Open the stores.

        Raises:
            StoreError: A store cannot be opened.
            BadDataset: They hold different photos, or too few things.
        """
        extractors = [Extractor(model_of(path)) for path in paths]
        stores = [Store(*pair) for pair in zip(paths, extractors)]
        files = [[photo.file for photo in store.catalogue.photos()] for store in stores]
        if any(others != files[0] for others in files):
            raise BadDataset("The stores hold different photos.")
        ids = {file: id for id, file in enumerate(files[0])}
        named = store_groups(groups, stores[0])
        found = [[ids[file] for file in members] for members in named.values()]
        check_enough(found)
        return Judge(stores, extractors, found)

    def names(self) -> list[str]:
        """Of the models."""
        prints = [extractor.fingerprint for extractor in self.extractors]
        return [name_of(fingerprint) or fingerprint[:12] for fingerprint in prints]

    def maps(
        self, found: Sequence[LocalFeatures], kept: Sequence[LocalFeatures], progress: Progress
    ) -> list[float]:
        """mAP of each model with each of SETTINGS, 0 to 1.

        Args:
            found: keypoints of all photos as queries, by their ids.
            kept: the same as photos of the gallery.
            progress: wraps the list of queries.
        """
        engines = [Engine(*pair) for pair in zip(self.stores, self.extractors)]
        matcher = engines[0].matchers["sift"]
        matcher.gallery_features = kept.__getitem__
        matcher.query_features = found.__getitem__
        once = OncePerPair(matcher)
        maps = []
        for engine, name in zip(engines, self.names()):
            once.take_over(engine.matchers["sift"], np.arange(len(found)))
            fingerprint = engine.extractor.fingerprint
            share = Calibration.of(fingerprint).diffusion_share
            fit = Fit(
                [LabelledGallery(engine, self.groups, 1.0, 0, 0, True)],
                Fitted(name, fingerprint, share, {}, {}),
            )
            for setting in SETTINGS:
                fit.add(setting, progress)
                samples = fit.samples[setting]
                maps.append(fit.mean_ap(samples, held_out(samples)))
        return maps


def milliseconds(found: Sequence[LocalFeatures], kept: Sequence[LocalFeatures]) -> float:
    """To compare a photo as found with HUNDRED others as kept, median of TIMED photos."""
    rng = np.random.default_rng(0)
    times = []
    for query in rng.permutation(len(found))[:TIMED]:
        hits = [kept[id] for id in rng.permutation(len(kept))[:HUNDRED]]
        begin = time.perf_counter()
        verify_many(found[query], hits)
        times.append((time.perf_counter() - begin) * 1000)
    return float(np.median(times))


def measure(way: Way, found: Sequence[LocalFeatures], judge: Judge, progress: Progress) -> Row:
    """One row of the table.

    Args:
        way: to keep keypoints.
        found: all that are found, of all photos.
        judge: says how good what is kept is.
        progress: wraps the list of queries.
    """
    kept = on_all_cores(way.keep, found)
    sizes = [way.size(features) for features in found]
    full = HEADER.itemsize + way.each * way.points
    return Row(
        way,
        full,
        float(np.mean(sizes)),
        milliseconds(found, kept),
        judge.maps(found, kept, progress),
    )


# -- the command -----------------------------------------------------------------------------------


def format_table(rows: Sequence[Row], models: Sequence[str]) -> str:
    """Markdown table, a row for each way."""
    stages = ("SIFT", "diffusion + SIFT")
    head = ["descriptor", "points", "bytes each", "kB a full photo", "kB on average", "ms"]
    head += [f"{model}, {stage}" for model in models for stage in stages]
    cells = [
        [
            row.way.name,
            str(row.way.points),
            str(row.way.each),
            f"{row.most / 1000:.1f}",
            f"{row.mean / 1000:.1f}",
            f"{row.milliseconds:.0f}",
            *(f"{value:.4f}" for value in row.maps),
        ]
        for row in rows
    ]
    return format_rows([head, *cells])


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add `keypoints` to the command line's sub-parsers."""
    command = commands.add_parser(
        "keypoints", help="bytes of stored keypoints against mAP, for each way to keep them"
    )
    command.add_argument(
        "--store",
        type=Path,
        nargs="+",
        required=True,
        help="of the same photos, one for each model; the photos must be there",
    )
    command.add_argument(
        "--groups", type=Path, required=True, help='JSON: {"name": ["file", ...], ...}'
    )
    command.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    judge = Judge.of(args.store, args.groups)
    store = judge.stores[0]

    def find(id: int) -> LocalFeatures:
        return local_features(store.pixels(id))

    def progress(what: str) -> Progress:
        return lambda queries: tqdm(queries, desc=what, disable=None)

    found = on_all_cores(find, range(len(store)))
    learned_from = sorted(path for path in GALLERY.iterdir() if path.suffix.lower() in SUFFIXES)
    ways = ways_of(descriptors_of(learned_from))
    rows = [measure(way, found, judge, progress(way.name)) for way in ways]
    print_lines(f"Hardware: {hardware()}. ms: one photo compared with {HUNDRED}", "")
    print_text(format_table(rows, judge.names()))
