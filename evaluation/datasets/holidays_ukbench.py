"""INRIA Holidays and UKBench, whose file numbers define the groups."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path

from ..metrics import found_among, trapezoid_average_precision
from .benchmark import ALL, BadDataset, Benchmark, Query, Truth, need, published_benchmark

HOLIDAYS = "https://thoth.inrialpes.fr/~jegou/data.php"
UKBENCH = "https://archive.org/details/ukbench"


def read_holidays(name: str, root: Path) -> Benchmark:
    """INRIA Holidays (Jegou et al. 2008), as published: ROOT/jpg/100000.jpg and so on.

    Number // 100 identifies the thing. The photo whose number is a multiple of 100 is the query.
    Its own photo is junk, which is equivalent to excluding it from its own results, as the engine
    does. The metric is mAP (trapezoid). State the version of the photos in a table: "jpg1" and
    "jpg2" have the stored orientation, "holidaysmanrot" was rotated upright by hand.

    Args:
        name: "holidays".
        root: folder of the data set.

    Raises:
        BadDataset: photos are missing.
    """
    numbers = numbered(
        need(root / "jpg", "the 1491 photos (jpg1.tar.gz and jpg2.tar.gz)", HOLIDAYS),
        r"(\d{6})",
        HOLIDAYS,
    )
    things = defaultdict(set)
    for number, file in numbers.items():
        things[number // 100].add(file)
    queries = []
    for number, file in numbers.items():
        if number % 100 == 0:
            truth = Truth(frozenset(things[number // 100] - {file}))
            queries.append(Query(file, root / "jpg" / file, {ALL: truth}, group=file, own=file))
    if not queries:
        raise BadDataset(
            f"No photo in {root / 'jpg'} has a number that ends in 00. Get all from {HOLIDAYS}"
        )
    metrics = {"mAP": trapezoid_average_precision}
    return published_benchmark(name, root / "jpg", numbers.values(), queries, metrics, (1491, 500))


def n_s(ranking: Sequence[str], positives: Collection[str]) -> int:
    """N-S, 1 to 4: 1 + the number of the other three photos among the first three.

    The protocol evaluates the first four including the query itself. The engine excludes it from
    its own results, where it would come first or tie with an identical photo, so it is added here.
    """
    return 1 + found_among(ranking, positives, 3)


def read_ukbench(name: str, root: Path) -> Benchmark:
    """UKBench (Nister and Stewenius 2006), as published: ROOT/full/ukbench00000.jpg and so on.

    Number // 4 identifies the thing. Each photo is the query once. The metric is N-S, see `n_s`.

    Args:
        name: "ukbench".
        root: folder of the data set.

    Raises:
        BadDataset: photos are missing.
    """
    numbers = numbered(
        need(root / "full", "the 10200 photos (ukbench.zip)", UKBENCH), r"ukbench(\d{5})", UKBENCH
    )
    queries = []
    for number, file in numbers.items():
        thing = range(number // 4 * 4, number // 4 * 4 + 4)
        if missing := [other for other in thing if other not in numbers]:
            raise BadDataset(
                f"{root / 'full'}/ukbench{missing[0]:05d}.jpg is missing. Get all from {UKBENCH}"
            )
        truth = Truth(frozenset(numbers[other] for other in thing if other != number))
        queries.append(
            Query(file, root / "full" / file, {ALL: truth}, group=str(number // 4), own=file)
        )
    return published_benchmark(
        name, root / "full", numbers.values(), queries, {"N-S": n_s}, (10200, 10200)
    )


def numbered(folder: Path, pattern: str, url: str) -> dict[int, str]:
    """The JPEGs in a folder whose names match a pattern.

    Args:
        folder: folder to list, without sub-folders.
        pattern: pattern of a name without its suffix; its first group is the number.
        url: where to get the photos.

    Returns:
        File name by number, sorted by number.

    Raises:
        BadDataset: there are none.
    """
    regex = re.compile(pattern + r"\.jpe?g", re.IGNORECASE)
    found = {
        int(match[1]): path.name
        for path in folder.iterdir()
        if (match := regex.fullmatch(path.name))
    }
    if not found:
        raise BadDataset(f"There are no photos of this data set in {folder}. Get them from {url}")
    return dict(sorted(found.items()))
