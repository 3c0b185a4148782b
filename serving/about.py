"""What a gallery says of itself: `gallery.toml` in the folder of its photos, and a table beside it.

    title = "Our town"                 instead of the page's own name
    sentence = "1,200 photos of ..."   under it
    licence = "CC BY 4.0"              of the photos
    licence_link = "https://..."
    credit = "City archive"            for all photos that the table names nobody for
    samples = ["gate.jpg", ...]        what the first page proposes to search with
    note = "The last one is hard ..."  a sentence under the samples
    photos = "photos.csv"              columns: file, title, credit, licence, link
    [[links]]
    label = "Archive"
    url = "https://..."

Every line may be left out. Whoever filled the folder may not be whoever serves it: all of this is
bounded, checked, and shown as plain text.
"""

from __future__ import annotations

import csv
import io
import logging
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from extractor import read_at_most
from index_store import Store

FILE = "gallery.toml"
MAX_BYTES = 64 * 2**10
MAX_TABLE_BYTES = 64 * 2**20
MAX_ROWS = 1_000_000
MAX_CELL = 200  # characters of a title, a credit or a licence
MAX_LINK = 500

log = logging.getLogger(__name__)


def plain_text(text: str) -> str:
    """A line of text. Raises ValueError for control characters and for marks that turn its
    direction.
    """
    if not text.isprintable():
        raise ValueError("holds a character that cannot be printed")
    return text.strip()


def web_address(text: str) -> str:
    """An address to link to. Raises ValueError unless it is one of the web."""
    parts = urlsplit(text)
    if parts.scheme not in ("https", "http") or not parts.hostname or not text.isprintable():
        raise ValueError("is no address that begins with https:// or http://")
    return text


def inner_path(text: str) -> str:
    """A path inside the gallery. Raises ValueError for one that may lead out of it."""
    path = PurePosixPath(plain_text(text))
    if path.is_absolute() or ".." in path.parts or "\\" in text or not path.parts:
        raise ValueError("is no path inside the folder of photos")
    return str(path)


Words = Annotated[str, AfterValidator(plain_text)]
Address = Annotated[str, Field(max_length=MAX_LINK), AfterValidator(web_address)]
Inside = Annotated[str, Field(max_length=1000), AfterValidator(inner_path)]


class Link(BaseModel):
    """A link at the page's foot."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: Words = Field(min_length=1, max_length=60)
    url: Address


class GalleryFile(BaseModel):
    """The file as it may be written."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: Words = Field("", max_length=60)
    sentence: Words = Field("", max_length=300)
    licence: Words = Field("", max_length=MAX_CELL)
    licence_link: Address | None = None
    credit: Words = Field("", max_length=MAX_CELL)
    samples: tuple[Inside, ...] = Field((), max_length=12)
    note: Words = Field("", max_length=300)
    photos: Inside | None = None
    links: tuple[Link, ...] = Field((), max_length=8)


@dataclass(frozen=True)
class Credit:
    """What the table says of one photo; "" for what it does not say."""

    title: str = ""
    credit: str = ""
    licence: str = ""
    link: str = ""


NOTHING = Credit()


@dataclass(frozen=True)
class About:
    """What a gallery says of itself.

    Attributes:
        file: the checked file.
        photos: what the table says, by the photo's path.
    """

    file: GalleryFile = field(default_factory=GalleryFile)
    photos: Mapping[str, Credit] = field(default_factory=dict)

    def of(self, file: str) -> Credit:
        """What is said of a photo; what holds for all photos where nothing is said of it alone."""
        said = self.photos.get(file, NOTHING)
        return Credit(
            title=said.title,
            credit=said.credit or self.file.credit,
            licence=said.licence or self.file.licence,
            link=said.link or (self.file.licence_link or "" if not said.licence else ""),
        )

    def title(self, file: str, otherwise: str) -> str:
        """A photo's title. otherwise: what the catalogue calls it."""
        return self.photos.get(file, NOTHING).title or otherwise


def about(store: Store) -> About:
    """What the gallery of a store says of itself; read once for each generation."""
    return _about(store.root, store.version)


@lru_cache(16)
def _about(root: Path, _version: str) -> About:
    return read_about(root)


def read_about(root: Path) -> About:
    """Read the file and its table.

    What cannot be read is left out, and the log says why. Never raises.

    Args:
        root: the folder of photos.
    """
    try:
        facts = tomllib.loads(read_at_most(root / FILE, MAX_BYTES).decode())
        file = GalleryFile.model_validate(facts)
    except FileNotFoundError:
        return About()
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        log.error("%s is passed over: %s: %s", FILE, where, problem["msg"])
        return About()
    except (OSError, ValueError, RecursionError) as error:  # also bad TOML, and bytes not UTF-8
        log.error("%s is passed over: %s", FILE, error)
        return About()
    if file.photos is None:
        return About(file)
    try:
        path = (root / file.photos).resolve()
        if not path.is_relative_to(root.resolve()):  # a link that leads out
            raise OSError("it lies outside the folder of photos")
        return About(file, read_table(read_at_most(path, MAX_TABLE_BYTES).decode("utf-8-sig")))
    except (OSError, ValueError, RuntimeError, csv.Error) as error:
        log.error("%s is passed over: %s", file.photos, error)
        return About(file)


def read_table(text: str) -> dict[str, Credit]:
    """The table of photos: comma-separated, the first line names the columns.

    A cell that cannot be shown counts as empty. Of two lines for one photo the last one holds.

    Raises:
        ValueError, csv.Error: it is no such table.
    """
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    if "file" not in (reader.fieldnames or ()):
        raise ValueError("it has no column `file`")
    photos: dict[str, Credit] = {}
    for row in reader:
        if len(photos) == MAX_ROWS:
            raise ValueError(f"it has more than {MAX_ROWS:,} lines")
        photos[row["file"] or ""] = Credit(
            title=cell(row, "title"),
            credit=cell(row, "credit"),
            licence=cell(row, "licence"),
            link=link_cell(row),
        )
    return photos


def cell(row: Mapping[str, str | None], name: str) -> str:
    """A cell that may be shown, else ""."""
    text = (row.get(name) or "").strip()
    return text[:MAX_CELL] if text.isprintable() else ""


def link_cell(row: Mapping[str, str | None]) -> str:
    """A cell that may be linked to, else ""."""
    text = (row.get("link") or "").strip()
    try:
        return web_address(text) if 0 < len(text) <= MAX_LINK else ""
    except ValueError:
        return ""
