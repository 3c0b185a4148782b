"""Oxford and Paris by two protocols: classic (Philbin et al. 2007, 2008) and revisited.

The revisited protocol is by Radenovic et al. 2018.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np

from extractor import SUFFIXES, Region, read_size

from ..metrics import precision_at, trapezoid_average_precision
from .benchmark import (
    ALL,
    BadDataset,
    Benchmark,
    Query,
    Truth,
    expect,
    need,
    published_benchmark,
)
from .names import inside
from .plain_pickle import BadPickle, read_plain_pickle

REVISITED = "http://cmp.felk.cvut.cz/revisitop/data/datasets"
CLASSIC = "https://www.robots.ox.ac.uk/~vgg/data"

# (gallery photos, queries) as published; 20 of the 6412 files of Paris are damaged, but are counted
# everywhere
COUNTS = {
    "roxford5k": (4993, 70),
    "rparis6k": (6322, 70),
    "oxford5k": (5063, 55),
    "paris6k": (6412, 55),
}

# Positive and ignored labels of each setup.
SETUPS = {
    "Easy": (("easy",), ("junk", "hard")),
    "Medium": (("easy", "hard"), ("junk",)),
    "Hard": (("hard",), ("junk", "easy")),
}


def stored_region(photo: Path, box: tuple[float, float, float, float]) -> Region:
    """The part of a photo inside a published box.

    Args:
        photo: path of the photo.
        box: left, top, right, bottom in pixels of the photo as stored.

    Returns:
        The box as fractions of the stored photo.

    Raises:
        BadDataset: the photo cannot be read, or the box is empty or outside the photo.
    """
    try:
        size = read_size(photo)
        if size is None:
            raise OSError("It is not a photo in a supported format.")
    except OSError as error:
        raise BadDataset(f"The query photo {photo} cannot be read ({error}).") from error
    shares = np.clip(np.reshape(box, (2, 2)) / size, 0, 1)
    (left, top), (right, bottom) = shares.tolist()
    if not (left < right and top < bottom):
        raise BadDataset(f"The query box {tuple(box)} is not inside {photo}.")
    return left, top, right, bottom


def read_revisited(name: str, root: Path) -> Benchmark:
    """Revisited Oxford or Paris, as published.

    ROOT/gnd_NAME.pkl is the ground truth. ROOT/jpg/ holds all photos, including those of the
    queries, which are not part of the gallery. The setups are Easy, Medium and Hard. The metrics of
    each are mAP (trapezoid) and mP@1, 5 and 10. A query without positives in a setup does not count
    there.

    Args:
        name: "roxford5k" or "rparis6k".
        root: folder of the data set.

    Raises:
        BadDataset: a file is missing or damaged.
    """
    table = need(root / f"gnd_{name}.pkl", "the ground truth", f"{REVISITED}/{name}/gnd_{name}.pkl")
    jpg = need(root / "jpg", f"the photos of {name.removeprefix('r')} in one folder", CLASSIC)
    try:
        content = read_plain_pickle(table)
        gallery = [inside(f"{inside(stem)}.jpg") for stem in content["imlist"]]
        query_files = [inside(f"{inside(stem)}.jpg") for stem in content["qimlist"]]
        entries = [
            (
                {
                    part: frozenset(gallery[i] for i in indices(entry[part]))
                    for part in ("easy", "hard", "junk")
                },
                tuple(float(x) for x in entry["bbx"]),
            )
            for entry in content["gnd"]
        ]
        if len(entries) != len(query_files) or any(len(box) != 4 for _, box in entries):
            raise ValueError("queries and boxes do not fit")
    except (BadPickle, LookupError, TypeError, ValueError, OverflowError) as error:
        raise BadDataset(
            f"{table} is not a ground truth of the revisited protocol ({error})."
        ) from error
    for file in gallery + query_files:
        need(jpg / file, f"a photo of {name}", CLASSIC)
    queries = [
        Query(
            name=file,
            photo=jpg / file,
            truths={
                setup: Truth(union(parts, positives), union(parts, ignored))
                for setup, (positives, ignored) in SETUPS.items()
            },
            group=file,
            region=stored_region(jpg / file, box),
        )
        for file, (parts, box) in zip(query_files, entries)
    ]
    metrics = {
        "mAP": trapezoid_average_precision,
        **{f"mP@{k}": partial(precision_at, k=k) for k in (1, 5, 10)},
    }
    notes = expect((len(gallery), len(queries)), COUNTS[name])
    return Benchmark(
        name, jpg, sorted(gallery), queries, tuple(SETUPS), "Medium", metrics, notes, published=True
    )


def indices(values: Iterable) -> list[int]:
    """A list or array of indices as a list. Raises ValueError for negative or other values."""
    found = [int(i) for i in values]
    if any(i < 0 for i in found):
        raise ValueError("a negative index")
    return found


def union(parts: dict[str, frozenset[str]], names: tuple[str, ...]) -> frozenset[str]:
    return frozenset().union(*(parts[name] for name in names))


# name -> (folder of the photos, archive of the photos, archive of the ground truth)
ARCHIVES = {
    "oxford5k": ("oxbuild_images", "oxbuild_images-v1.tgz", "gt_files_170407.tgz"),
    "paris6k": ("paris", "paris_1-v1.tgz and paris_2-v1.tgz", "paris_120310.tgz"),
}


def read_classic(name: str, root: Path) -> Benchmark:
    """Classic Oxford or Paris, as published.

    ROOT/oxbuild_images/ or ROOT/paris/ holds the photos. ROOT/gt_files/ holds the lists
    *_query.txt, *_good.txt, *_ok.txt and *_junk.txt. Good and ok are positives, junk is ignored.
    The query's own photo is one of the positives and stays in the gallery. The metric is mAP
    (trapezoid).

    Args:
        name: "oxford5k" or "paris6k".
        root: folder of the data set.

    Raises:
        BadDataset: a file is missing or damaged.
    """
    folder, photos, lists = ARCHIVES[name]
    images = need(root / folder, f"the photos ({photos})", CLASSIC)
    truth = need(root / "gt_files", f"the lists of {lists}, unpacked there", CLASSIC)
    # Paris has its photos in sub-folders, which its lists omit.
    paths = sorted(path for path in images.rglob("*") if path.suffix.lower() in SUFFIXES)
    files = {path.stem: path.relative_to(images).as_posix() for path in paths}
    if not files:
        raise BadDataset(f"There are no photos in {images}. Get {photos} from {CLASSIC}")
    queries = []
    for table in sorted(truth.glob("*_query.txt")):
        label = table.name.removesuffix("_query.txt")
        try:
            stem, *numbers = table.read_text().split()
            box = tuple(float(number) for number in numbers)
            if len(box) != 4:
                raise ValueError("four numbers")
        except ValueError as error:
            raise BadDataset(f"{table} should hold a photo's name and a box ({error}).") from error
        good_files, ok, junk = (
            read_list(truth / f"{label}_{part}.txt", files, images)
            for part in ("good", "ok", "junk")
        )
        photo = images / find(stem.removeprefix("oxc1_"), files, images, table)
        truths = {ALL: Truth(good_files | ok, junk)}
        queries.append(Query(label, photo, truths, label, region=stored_region(photo, box)))
    if not queries:
        raise BadDataset(f"There is no *_query.txt in {truth}. Get {lists} from {CLASSIC}")
    metrics = {"mAP": trapezoid_average_precision}
    return published_benchmark(name, images, files.values(), queries, metrics, COUNTS[name])


def read_list(table: Path, files: dict[str, str], images: Path) -> frozenset[str]:
    """Gallery files for the stems in a list. Raises BadDataset."""
    stems = need(table, "a list of the ground truth", CLASSIC).read_text().split()
    return frozenset(find(stem, files, images, table) for stem in stems)


def find(stem: str, files: dict[str, str], images: Path, table: Path) -> str:
    """The gallery file with a stem. Raises BadDataset."""
    if stem not in files:
        raise BadDataset(
            f"{table.name} names {stem}, and there is no such photo in {images}. Get it from "
            f"{CLASSIC}"
        )
    return files[stem]
