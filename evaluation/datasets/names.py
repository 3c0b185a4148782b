"""Names of photos that a file from outside gives. They must stay under the data set's folder."""

from __future__ import annotations

SHOWN = 60  # characters of a refused name that are repeated to the reader


def inside(name: object) -> str:
    """The name itself, if it is a relative path with forward slashes that leads nowhere but down.

    Args:
        name: what a ground truth, a table or a groups file gives as a photo's path.

    Returns:
        The same name. It can be joined to the folder of the data set.

    Raises:
        ValueError: the name is no text, is empty or absolute, or holds "..".
    """
    if not isinstance(name, str):
        raise ValueError(f"a photo's name is a {type(name).__name__}, not text")
    if not name or "\0" in name or "\\" in name or name.startswith("/"):
        raise ValueError(f"the name {name[:SHOWN]!r} is no path below the data set's folder")
    if ".." in name.split("/"):
        raise ValueError(f"the name {name[:SHOWN]!r} leads out of the data set's folder")
    return name
