"""Validate untrusted photo names, which must stay in the data set's folder."""

from __future__ import annotations

SHOWN = 60  # characters of a rejected name that are quoted


def inside(name: object) -> str:
    """The name itself, if it is a relative path with forward slashes inside the folder.

    Args:
        name: path of a photo in a ground truth, a table or a groups file.

    Returns:
        The same name, safe to join to the folder of the data set.

    Raises:
        ValueError: the name is not text, is empty or absolute, or contains "..".
    """
    if not isinstance(name, str):
        raise ValueError(f"a photo's name is a {type(name).__name__}, not text")
    if not name or "\0" in name or "\\" in name or name.startswith("/"):
        raise ValueError(f"the name {name[:SHOWN]!r} is not a path below the data set's folder")
    if ".." in name.split("/"):
        raise ValueError(f"the name {name[:SHOWN]!r} leads out of the data set's folder")
    return name
