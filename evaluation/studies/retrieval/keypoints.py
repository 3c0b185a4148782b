"""Encodings of keypoints compared: bytes per photo against mAP.

Every encoding is judged as in the product: verification, alone and with diffusion, with weights
fitted for it, each landmark held out of its own fit (`evaluation.calibration.fit`, here on the
whole store only). A pair of photos is compared once for all models.
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
from evaluation.calibration.evidence import LabelledGallery, Progress, SharedVerifications
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

FRAME = 6  # bytes of position, size and angle, see `keypoint_codes`
EXACT_FRAME = 16  # the same as four float32
STEP = 4.0  # quantisation step of a principal component, in RootSIFT units
PRODUCTS = {32: sift.STORED_POINTS, 16: 1800, 64: 570}  # words, points
AXES = {64: 570}  # principal axes, points
TIMED = 10  # photos for timing, each compared with HUNDRED others
HUNDRED = 100
SETTINGS = ((None, "sift"), ("diffusion", "sift"))


@dataclass(frozen=True)
class Encoding:
    """An encoding of keypoints.

    Attributes:
        name: display name.
        points: maximum keypoints per photo.
        each: bytes per keypoint.
        keep: function from the detected keypoints to the decoded ones.
    """

    name: str
    points: int
    each: int
    keep: Callable[[LocalFeatures], LocalFeatures]

    def size(self, found: LocalFeatures) -> int:
        """Bytes per photo."""
        return HEADER.itemsize + self.each * min(self.points, len(found.points))


@dataclass(frozen=True)
class Row:
    """Measurements of one encoding.

    Attributes:
        encoding: the encoding.
        most, mean: maximum and mean bytes per photo.
        milliseconds: median time to compare a photo with HUNDRED others.
        maps: mAP of SIFT and of diffusion with SIFT, for each model.
    """

    encoding: Encoding
    most: int
    mean: float
    milliseconds: float
    maps: list[float]


# -- encodings -------------------------------------------------------------------------------------


def strongest(features: LocalFeatures, points: int) -> LocalFeatures:
    """The first keypoints, which are ordered by strength."""
    return LocalFeatures(
        features.points[:points],
        features.frames[:points],
        features.descriptors[:points],
        features.size,
    )


def best(features: LocalFeatures, points: int) -> LocalFeatures:
    """The store's selection of keypoints."""
    return features.best(points)


def quantised(features: LocalFeatures, points: int, codebook: Codebook) -> LocalFeatures:
    """Product quantisation, as in the store."""
    strongest = features.best(points)
    data = keypoint_codes.encode(
        strongest.points, strongest.frames, strongest.descriptors, strongest.size, codebook
    )
    return LocalFeatures(*keypoint_codes.decode(data, codebook))


def projected(
    features: LocalFeatures, points: int, mean: np.ndarray, axes: np.ndarray
) -> LocalFeatures:
    """Projection to principal axes float32 (128, k), a byte each; mean: float32 (128,)."""
    strongest = features.best(points)
    shares = np.round((strongest.descriptors - mean) @ axes / STEP).clip(-128, 127) * STEP
    rows = np.round(shares @ axes.T + mean).clip(0, 255).astype(np.uint8)
    return replace(strongest, descriptors=rows)


def principal_axes(descriptors: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean float32 (128,) and axes float32 (128, count) of descriptors (n, 128)."""
    rows = descriptors.astype(np.float32)
    _, axes = np.linalg.eigh(np.cov(rows.T))  # the smallest first
    return rows.mean(0), axes[:, : -count - 1 : -1].astype(np.float32)


def encodings_of(descriptors: np.ndarray) -> list[Encoding]:
    """Encodings to compare. descriptors: uint8 (n, 128), for learning words and axes."""
    encodings = [
        Encoding(f"exact, the {name}", points, EXACT_FRAME + 128, partial(choose, points=points))
        for name, choose, points in (
            ("strongest", strongest, sift.MAX_POINTS),
            ("strongest", strongest, sift.STORED_POINTS),
            ("best", best, sift.STORED_POINTS),
        )
    ]
    for parts, points in PRODUCTS.items():
        keep = partial(quantised, points=points, codebook=learn_codebook(descriptors, parts))
        encodings.append(Encoding(f"{parts} words", points, FRAME + parts, keep))
    for count, points in AXES.items():
        mean, axes = principal_axes(descriptors, count)
        keep = partial(projected, points=points, mean=mean, axes=axes)
        encodings.append(Encoding(f"{count} principal axes", points, FRAME + count, keep))
    return encodings


# -- measuring -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Judge:
    """Stores of the same photos, described by different models, with labelled groups.

    Attributes:
        stores, extractors: store and extractor of each model.
        groups: ids of photos of the same thing.
    """

    stores: list[Store]
    extractors: list[Extractor]
    groups: list[list[int]]

    @staticmethod
    def of(paths: Sequence[Path], groups: Path) -> Judge:
        """Open the stores.

        Raises:
            StoreError: a store cannot be opened.
            BadDataset: the stores hold different photos, or too few things.
        """
        extractors = [Extractor(model_of(path)) for path in paths]
        stores = [Store(*pair) for pair in zip(paths, extractors)]
        files = [[photo.file for photo in store.catalogue.photos()] for store in stores]
        if any(others != files[0] for others in files):
            raise BadDataset("The stores hold different photos.")
        ids = {file: id for id, file in enumerate(files[0])}
        groups_by_name = store_groups(groups, stores[0])
        found = [[ids[file] for file in members] for members in groups_by_name.values()]
        check_enough(found)
        return Judge(stores, extractors, found)

    def names(self) -> list[str]:
        """Names of the models."""
        prints = [extractor.fingerprint for extractor in self.extractors]
        return [name_of(fingerprint) or fingerprint[:12] for fingerprint in prints]

    def maps(
        self, found: Sequence[LocalFeatures], decoded: Sequence[LocalFeatures], progress: Progress
    ) -> list[float]:
        """mAP of each model with each of SETTINGS, 0 to 1.

        Args:
            found: keypoints of all photos as queries, by id.
            decoded: keypoints of all photos as gallery photos, by id.
            progress: wraps the list of queries.
        """
        engines = [Engine(*pair) for pair in zip(self.stores, self.extractors)]
        matcher = engines[0].matchers["sift"]
        matcher.gallery_features = decoded.__getitem__
        matcher.query_features = found.__getitem__
        once = SharedVerifications(matcher)
        maps = []
        for engine, name in zip(engines, self.names()):
            once.redirect(engine.matchers["sift"], np.arange(len(found)))
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


def milliseconds(found: Sequence[LocalFeatures], decoded: Sequence[LocalFeatures]) -> float:
    """Median time over TIMED photos to compare one as detected with HUNDRED others as decoded."""
    rng = np.random.default_rng(0)
    times = []
    for query in rng.permutation(len(found))[:TIMED]:
        hits = [decoded[id] for id in rng.permutation(len(decoded))[:HUNDRED]]
        begin = time.perf_counter()
        verify_many(found[query], hits)
        times.append((time.perf_counter() - begin) * 1000)
    return float(np.median(times))


def measure(
    encoding: Encoding, found: Sequence[LocalFeatures], judge: Judge, progress: Progress
) -> Row:
    """Measure one row of the table.

    Args:
        encoding: the encoding.
        found: all detected keypoints of all photos.
        judge: stores for measuring mAP.
        progress: wraps the list of queries.
    """
    decoded = on_all_cores(encoding.keep, found)
    sizes = [encoding.size(features) for features in found]
    full = HEADER.itemsize + encoding.each * encoding.points
    return Row(
        encoding,
        full,
        float(np.mean(sizes)),
        milliseconds(found, decoded),
        judge.maps(found, decoded, progress),
    )


# -- the command -----------------------------------------------------------------------------------


def format_table(rows: Sequence[Row], models: Sequence[str]) -> str:
    """Markdown table, one row per encoding."""
    stages = ("SIFT", "diffusion + SIFT")
    head = ["descriptor", "points", "bytes each", "kB a full photo", "kB on average", "ms"]
    head += [f"{model}, {stage}" for model in models for stage in stages]
    cells = [
        [
            row.encoding.name,
            str(row.encoding.points),
            str(row.encoding.each),
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
        "keypoints", help="bytes of stored keypoints against mAP, for each encoding"
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

    def progress(label: str) -> Progress:
        return lambda queries: tqdm(queries, desc=label, disable=None)

    found = on_all_cores(find, range(len(store)))
    learned_from = sorted(path for path in GALLERY.iterdir() if path.suffix.lower() in SUFFIXES)
    encodings = encodings_of(descriptors_of(learned_from))
    rows = [measure(encoding, found, judge, progress(encoding.name)) for encoding in encodings]
    print_lines(f"Hardware: {hardware()}. ms: one photo compared with {HUNDRED}", "")
    print_text(format_table(rows, judge.names()))
