"""Fetch, check and read any named data set."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from download import DOWNLOADS

from . import BadDataset, Benchmark, read_dataset
from .archives import get_pieces
from .catalogue import GALLERY, GALLERY_PHOTOS, open_names, open_set, published_sets, set_names
from .groups import of_groups
from .photos import IMAGES, check_photos, get_photos


def get_dataset(name: str, root: Path, mirrors: Sequence[str]) -> Benchmark:
    """Fetch missing parts of a data set, and check and read it.

    Args:
        name: name in `set_names`.
        root: folder of the set, created if necessary.
        mirrors: URLs that are tried before the published ones.

    Returns:
        See `named_dataset`.

    Raises:
        DownloadFailed: a file cannot be fetched or has the wrong checksum.
        BadDataset: the name is unknown, or the downloads are not such a data set.
        OSError: a file cannot be written.
    """
    if name in open_names():
        get_photos(open_set(name), root, mirrors)
    elif name in published_sets():
        get_pieces(published_sets()[name], root, mirrors)
    return named_dataset(name, root)


def named_dataset(name: str, root: Path | None = None) -> Benchmark:
    """A data set on this machine, as a benchmark.

    Args:
        name: name in `set_names`.
        root: its folder; by default DOWNLOADS/NAME. The sample gallery is in the repository.

    Raises:
        BadDataset: the name is unknown, or something is missing; the message says how to get it.
    """
    if name not in set_names():
        raise BadDataset(f"There is no data set {name!r}; there are {', '.join(set_names())}.")
    if name == GALLERY:
        return dataclasses.replace(read_dataset("groups", GALLERY_PHOTOS), name=GALLERY)
    root = DOWNLOADS / name if root is None else root
    if not root.is_dir():
        raise BadDataset(
            f"The data set {name} is not in {root}. Run: python -m evaluation data get {name}"
        )
    if name in published_sets():
        return read_dataset(name, root)
    labelled = open_set(name)
    notes = check_photos(labelled, root)
    gallery = sorted(photo.file for photo in labelled.photos)
    benchmark = of_groups(name, root / IMAGES, gallery, labelled.groups)
    benchmark.notes.extend(notes)
    return benchmark
