"""Data sets, published and private, behind one interface.

Read one by name, search with its queries, let it judge the rankings.
"""

from __future__ import annotations

from pathlib import Path

from .benchmark import BadDataset, Benchmark, Query, Truth, Values
from .buildings import read_classic, read_revisited
from .groups import BadGroups, read_folders, read_groups
from .holidays_ukbench import read_holidays, read_ukbench

READERS = {
    "roxford5k": read_revisited,
    "rparis6k": read_revisited,
    "oxford5k": read_classic,
    "paris6k": read_classic,
    "holidays": read_holidays,
    "ukbench": read_ukbench,
    "groups": read_groups,
    "folders": read_folders,
}


def read_dataset(name: str, root: Path, groups: Path | None = None) -> Benchmark:
    """Read a data set in its published layout.

    Args:
        name: name in READERS.
        root: folder of the data set.
        groups: file with groups of photos; only for the data set "groups".

    Raises:
        BadDataset: something is missing or invalid; the message says where to get what is missing.
    """
    if not root.is_dir():
        raise BadDataset(f"There is no folder {root}.")
    if groups is not None and name != "groups":
        raise BadDataset(f"A groups file belongs to the data set groups, not to {name}.")
    return read_groups(name, root, groups) if name == "groups" else READERS[name](name, root)
