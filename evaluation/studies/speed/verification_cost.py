"""Cost of verifying a shortlist, compared with a plain loop of OpenCV calls on equal features."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from command import print_text
from evaluation.arguments import amount, count
from evaluation.report.conditions import hardware
from evaluation.report.results import format_rows
from extractor import LocalFeatures, available_cores
from index_store import Store
from matching.pool import on_all_cores
from matching.ratio_test import RATIO
from matching.verification import (
    MAX_ERROR,
    MAX_ITERATIONS,
    MIN_MATCHES,
    RANSAC_CONFIDENCE,
    Verification,
    verify_many,
)
from search.ranking import cosine, order
from search.verify.gallery_keypoints import GalleryKeypoints
from search.verify.matcher import Sift

Progress = Callable[[Iterable], Iterable]


@dataclass(frozen=True)
class Costs:
    """Cost of verification for one query, in milliseconds for all its photos.

    Attributes:
        ours: features read from the store, then `verify_many`.
        baseline: `naive` on the same features, already in memory as float32.
        first: features beyond the store's budget, and not in its cache yet.
        passed, baseline_passed: which photos have at least Sift.floor points, bool (photos,).
    """

    ours: float
    baseline: float
    first: float
    passed: np.ndarray
    baseline_passed: np.ndarray


def naive(
    query: LocalFeatures, hits: Sequence[LocalFeatures], rows: Sequence[np.ndarray]
) -> list[int]:
    """Inliers of each hit by BFMatcher, ratio test and homography, with the constants of
    `matching`.

    Args:
        query: features of the query.
        hits: features of the hits.
        rows: their descriptors float32 (k, 128), the query's first.
    """
    matcher = cv2.BFMatcher(cv2.NORM_L2)
    inliers = []
    for hit, descriptors in zip(hits, rows[1:]):
        twos = (
            matcher.knnMatch(rows[0], descriptors, k=2)
            if len(rows[0]) and len(descriptors) > 1
            else []
        )
        distinct = [first for first, second in twos if first.distance < RATIO * second.distance]
        if len(distinct) < MIN_MATCHES:
            inliers.append(0)
            continue
        source = query.points[[m.queryIdx for m in distinct]]
        target = hit.points[[m.trainIdx for m in distinct]]
        try:
            _, mask = cv2.findHomography(
                source,
                target,
                cv2.USAC_MAGSAC,
                MAX_ERROR,
                maxIters=MAX_ITERATIONS,
                confidence=RANSAC_CONFIDENCE,
            )
        except cv2.error:  # some degenerate point sets raise
            mask = None
        inliers.append(0 if mask is None else int(mask.sum()))
    return inliers


class BeyondBudget:
    """A store for `GalleryKeypoints` that has no stored keypoints."""

    def __init__(self, store: Store, folder: Path):
        """folder: folder of the keypoint cache."""
        self.path, self.manifest, self.catalogue = folder, store.manifest, store.catalogue
        self.thumbnail_features, self.marks = store.thumbnail_features, store.marks

    def stored_features(self, id: int) -> bytes:
        """Always empty."""
        return b""


def first_verified(store: Store, query: int, ids: Sequence[int]) -> list[Verification]:
    """A first verification of photos beyond the budget, including the query."""
    with tempfile.TemporaryDirectory() as folder:
        keypoints = GalleryKeypoints(BeyondBudget(store, Path(folder)))
        features, *hits = on_all_cores(keypoints.find, [query, *ids])
        return verify_many(features, hits)


def verified(store: Store, query: int, ids: Sequence[int]) -> list[Verification]:
    """Verification of photos whose keypoints are in the store."""
    features, *hits = on_all_cores(store.local_features, [query, *ids])
    return verify_many(features, hits)


def milliseconds(function: Callable, *arguments: Any) -> tuple[Any, float]:
    """Result of a call, and its duration."""
    start = time.perf_counter()
    result = function(*arguments)
    return result, (time.perf_counter() - start) * 1000


def measure(store: Store, queries: Sequence[int], progress: Progress = iter) -> list[Costs]:
    """Costs for the Sift.shortlist nearest photos of each query (gallery ids)."""
    shortlists, descriptors = [], np.asarray(store.descriptors)
    for query in queries:
        best = order(cosine(store.descriptors[query].astype(np.float32), descriptors))
        shortlists.append([int(id) for id in best if id != query][: Sift.shortlist])
    first_verified(store, queries[0], queries[:1])  # initialises everything that is lazily created
    costs = []
    for query, ids in progress(list(zip(queries, shortlists))):
        verifications, ours = milliseconds(verified, store, query, ids)
        _, first = milliseconds(first_verified, store, query, ids)
        features, *hits = (store.local_features(id) for id in (query, *ids))
        rows = [f.descriptors.astype(np.float32) for f in (features, *hits)]
        inliers, baseline = milliseconds(naive, features, hits, rows)
        costs.append(
            Costs(
                ours=ours,
                baseline=baseline,
                first=first,
                passed=np.array([v.inliers >= Sift.floor for v in verifications], bool),
                baseline_passed=np.array([n >= Sift.floor for n in inliers], bool),
            )
        )
    return costs


def format_costs(costs: list[Costs]) -> str:
    """Markdown table, and the numbers of photos that pass in each way."""
    rows = [
        [
            f"{len(costs)} queries, the best {Sift.shortlist} of each",
            *("median ms", "90th percentile ms", "x plain loop"),
        ]
    ]
    for title, name in (
        ("verification, features from the store", "ours"),
        ("a first verification beyond the budget", "first"),
        ("plain loop: BFMatcher, ratio, homography", "baseline"),
    ):
        ms = np.array([getattr(cost, name) for cost in costs])
        ratio = np.median([cost.baseline / getattr(cost, name) for cost in costs])
        compared = "" if name == "first" else f"{ratio:.1f}"
        rows.append([title, f"{np.median(ms):.0f}", f"{np.percentile(ms, 90):.0f}", compared])
    ours, baseline = (
        np.concatenate([getattr(c, name) for c in costs]) for name in ("passed", "baseline_passed")
    )
    return (
        f"Hardware: {hardware()}; OpenCV runs {cv2.getNumThreads()} threads, verification "
        f"{available_cores()}\n\n{format_rows(rows)}\n\n"
        f"With {Sift.floor} points or more, of {len(ours)} pairs: {(ours & baseline).sum()} in "
        f"both, {(ours & ~baseline).sum()} in verification only, {(~ours & baseline).sum()} in the "
        "plain loop only."
    )


def add_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--store", type=Path, required=True)
    command.add_argument(
        "--queries", type=count, default=30, help="photos of the store taken as queries"
    )
    command.add_argument("--seed", type=amount, default=0, help="which photos")


def run(args: argparse.Namespace) -> None:
    store = Store(args.store)
    rng = np.random.default_rng(args.seed)
    queries = rng.choice(len(store), min(args.queries, len(store)), replace=False).tolist()
    print_text(
        format_costs(
            measure(store, queries, lambda items: tqdm(items, desc="verification", disable=None))
        )
    )
