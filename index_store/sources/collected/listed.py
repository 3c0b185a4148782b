"""Lists of photos as CSV files: paths or URLs, with a description of each photo.

Columns are path (or file) and url, id, title, credit, licence, link, in any case and order;
`tables` describes the format. Other columns are shown with the photo as they are. Paths are
relative to the list's folder, and must not leave it.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from extractor import read_text, same_name

from ...about import MAX_TABLE_BYTES, Credit, credit_of
from ...errors import BadList
from ..sources import printed
from ..tables import columns_of, read_rows

COLUMNS = frozenset({"file", "url", "title", "credit", "licence", "link"})
MAX_STEM = 80  # maximum characters of a fetched photo's name
MAX_STEM_BYTES = 200  # in UTF-8; most file systems allow 255, including what is appended
UNSAFE = re.compile(r"[^\w.-]+")


@dataclass(frozen=True)
class Item:
    """A photo in a list or a manifest.

    Attributes:
        name: name in the store; that of a photo to be fetched has no suffix yet.
        credit: its description.
        path: its path, if it is on this machine.
        urls: its URLs, the best one first.
        problem: why it is unavailable, or "".
    """

    name: str
    credit: Credit = field(default_factory=Credit)
    path: Path | None = None
    urls: tuple[str, ...] = ()
    problem: str = ""


def read_list(path: Path) -> Iterator[Item]:
    """Read the photos of a list.

    Raises:
        BadList: the list cannot be read.
    """
    try:
        text = read_text(path, MAX_TABLE_BYTES)
        if not columns_of(text, frozenset({"file", "url"})):
            raise ValueError("its first line names neither a column `path` nor `url`")
        root = path.parent.resolve()
        for row in read_rows(text, COLUMNS):
            file, url, credit = row.cells.get("file", ""), row.cells.get("url", ""), credit_of(row)
            if url:
                id = next((cell for name, cell in row.more.items() if name.lower() == "id"), "")
                yield Item(name_for(url, id), credit, urls=(url,))
            elif file:
                yield local_item(root, file, credit)
            else:
                raise ValueError(f"line {row.line} names neither a path nor an address")
    except (OSError, ValueError) as error:
        raise BadList(f"{path} cannot be read: {error}") from None


def local_item(root: Path, file: str, credit: Credit) -> Item:
    """A local photo of a list. root: the list's folder, with links resolved."""
    full_path = Path(os.path.normpath(root / file.replace("\\", "/")))
    if not os.path.lexists(full_path):  # the name on disk may have another Unicode form
        forms = (Path(unicodedata.normalize(form, str(full_path))) for form in ("NFC", "NFD"))
        full_path = next(filter(os.path.lexists, forms), full_path)
    name = same_name(file)
    if not full_path.is_relative_to(root) or full_path == root:
        return Item(name, problem="The path leads out of the list's folder.")
    name = full_path.relative_to(root).as_posix()
    if any(part.startswith(".") for part in name.split("/")):
        return Item(name, problem="Hidden photos are not indexed.")
    try:
        inside = full_path.resolve(strict=True).is_relative_to(root)
    except (OSError, RuntimeError):
        return Item(name, problem="There is no such file.")
    if not full_path.is_file():
        return Item(name, problem="It is not a file.")
    if not inside:
        return Item(name, problem="The path is a link that leads out of the list's folder.")
    return Item(name, credit, path=full_path)


def name_for(url: str, id: str = "") -> str:
    """Name for a photo from the web: readable, safe as a file name, and unique."""
    path = url.partition("?")[0].partition("#")[0]
    name = id or unquote(os.path.splitext(path.rpartition("/")[2])[0]) or "photo"
    stem = UNSAFE.sub("-", printed(name)).strip("-.")[:MAX_STEM]
    stem = stem.encode()[:MAX_STEM_BYTES].decode(errors="ignore") or "photo"
    return f"{stem}-{hashlib.sha256(url.encode(errors='replace')).hexdigest()[:10]}"
