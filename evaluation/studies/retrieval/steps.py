"""`evaluation steps`: what comparing photos in steps costs in mAP, and how many it saves.

Every labelled photo is the query once, by the weights in use. A search in steps compares a few
photos with the query, and more only while this may prove something (`search.verify.shortlist`).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from command import print_lines, print_text
from evaluation.calibration.evidence import LabelledQuery, queries_of
from evaluation.calibration.labelled_galleries import LabelledGallery, whole_galleries
from evaluation.datasets.groups import parts_of
from evaluation.groups import add_labelled_stores, read_kinds
from evaluation.metrics import mean_over_groups
from evaluation.report.conditions import conditions
from evaluation.report.results import format_rows
from extractor import Extractor
from index_store import model_of
from search.verify.matcher import SIFT, Matcher, Sift
from search.verify.shortlist import STEP

from .answers import answers

IN_USE = f"{Sift.first}, then {STEP} at a time up to {Sift.shortlist}"
WAYS = {  # photos compared first, and at most
    IN_USE: (Sift.first, Sift.shortlist),
    f"{Sift.shortlist} at once": (Sift.shortlist, Sift.shortlist),
    "100 at once": (100, 100),
}
RERANKERS = {"SIFT": None, "diffusion + SIFT": "diffusion"}


@dataclass(frozen=True)
class Searched:
    """One way of comparing photos, over all queries of a gallery.

    Attributes:
        aps: group -> average precision of each of its queries.
        compared: number of photos compared with each query.
    """

    aps: Mapping[str, Sequence[float]]
    compared: Sequence[int]


@contextmanager
def comparing(matcher: Matcher, first: int, most: int) -> Iterator[None]:
    """Let a matcher compare other numbers of photos. first, most: see `Matcher`."""
    before = matcher.first, matcher.shortlist
    matcher.first, matcher.shortlist = first, most
    try:
        yield
    finally:
        matcher.first, matcher.shortlist = before


def search(
    gallery: LabelledGallery, queries: Iterable[LabelledQuery], rerank: str | None
) -> Searched:
    """Search with all queries that have something to find.

    Args:
        gallery: the gallery.
        queries: output of `queries_of`.
        rerank: name of a reranker, or None.
    """
    aps: dict[str, list[float]] = {}
    compared = []
    for group, hits, ap in answers(gallery, gallery.engine, queries, rerank, SIFT):
        aps.setdefault(str(group), []).append(ap)
        compared.append(sum(hit.inliers is not None for hit in hits))
    return Searched(aps, compared)


def table(
    stores: Sequence[str],
    groups: Sequence[Mapping[str, Sequence[str]]],
    found: Mapping[tuple[str, str], Sequence[Searched]],
    kinds: Mapping[str, Sequence[str]],
) -> list[list[str]]:
    """mAP of each part of each store.

    Args:
        stores: names of the stores.
        groups: groups of each store, in the order of their numbers.
        found: (way, method) -> output of `search` for each store.
        kinds: kind -> names of groups.
    """
    rows = [["photos", "groups", *(f"{method}, {way}" for way, method in found)]]
    for place, (store, named) in enumerate(zip(stores, groups)):
        number = {name: str(number) for number, name in enumerate(named)}
        for part, names in parts_of(named, kinds).items():
            maps = [
                mean_over_groups({name: by_store[place].aps[number[name]] for name in names})
                for by_store in found.values()
            ]
            rows.append([f"{store}, {part}", str(len(names)), *(f"{value:.3f}" for value in maps)])
    return rows


def counted(found: Mapping[tuple[str, str], Sequence[Searched]]) -> list[str]:
    """Comparisons of a search, one line for each way and method. found: as in `table`."""
    lines = []
    for (way, method), by_store in found.items():
        counts = np.concatenate([one.compared for one in by_store])
        lines.append(
            f"{method}, {way}: {counts.mean():.1f} photos compared on average, "
            f"median {np.median(counts):.0f}."
        )
    return lines


def measure(
    galleries: Sequence[LabelledGallery], progress: Callable[[Iterable], Iterable] = iter
) -> dict[tuple[str, str], list[Searched]]:
    """All WAYS and RERANKERS on galleries. progress: wraps the queries of each."""
    found: dict[tuple[str, str], list[Searched]] = {}
    for gallery in galleries:
        matcher, queries = gallery.engine.matchers[SIFT], queries_of(gallery)
        for way, (first, most) in WAYS.items():
            with comparing(matcher, first, most):
                for method, rerank in RERANKERS.items():
                    searched = search(gallery, progress(queries), rerank)
                    found.setdefault((way, method), []).append(searched)
    return found


def add_options(command: argparse.ArgumentParser) -> None:
    add_labelled_stores(command, "one or several of the same model")


def run(args: argparse.Namespace) -> None:
    kinds = read_kinds(args)
    extractor = Extractor(model_of(args.store[0], None))
    galleries, groups = whole_galleries(args.store, args.groups, extractor)
    found = measure(galleries, lambda queries: tqdm(queries, desc="queries", disable=None))
    print_text(format_rows(table([path.name for path in args.store], groups, found, kinds)))
    print_lines("", *counted(found), "", f"Measured: {conditions(extractor.engine)}.")
