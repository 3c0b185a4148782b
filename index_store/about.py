"""A gallery's description: `gallery.toml` in the folder of its photos, with an optional table.

    title = "Our town"                 replaces the page's own name
    sentence = "1,200 photos of ..."   shown under it
    licence = "CC BY 4.0"              licence of the photos
    licence_link = "https://..."
    credit = "City archive"            for all photos without a credit in the table
    samples = ["gate.jpg", ...]        queries that the first page suggests
    note = "The last one is hard ..."  a sentence under the samples
    photos = "photos.csv"              columns: file, title, credit, licence, link, any others
    [[links]]
    label = "Archive"
    url = "https://..."

Every line is optional. `tables` describes the format of the table; columns not listed here are
shown with the photo as they are. The person who filled the folder may not be the one who serves it:
all of this is bounded, validated, and shown as plain text. Credits and licences depend on it, so a
build fails on anything it cannot read, and keeps what it has read in the store.
"""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from extractor import read_text, same_name
from validation import sentence

from .errors import BadAbout
from .sources.sources import Roots
from .sources.tables import Row, columns_of, read_rows

FILE = "gallery.toml"
MAX_BYTES = 64 * 2**10
MAX_TABLE_BYTES = 64 * 2**20
MAX_TITLE = 60  # characters of a gallery's title
MAX_CELL = 200  # characters of a photo's title; a longer one is truncated
MAX_CREDIT = 1000  # characters of a credit, a licence, or another column
MAX_LINK = 2000
COLUMNS = frozenset({"file", "title", "credit", "licence", "link"})


def plain_text(text: str) -> str:
    """A line of text. Raises ValueError for control characters and for marks that change the text
    direction.
    """
    if not text.isprintable():
        raise ValueError("holds a character that cannot be printed")
    return text.strip()


def web_address(text: str) -> str:
    """A URL to link to. Raises ValueError unless it is an HTTP or HTTPS URL."""
    parts = urlsplit(text)
    if parts.scheme not in ("https", "http") or not parts.hostname or not text.isprintable():
        raise ValueError("is not an address that begins with https:// or http://")
    return text


def inner_path(text: str) -> str:
    """A path inside the gallery. Raises ValueError if it could lead outside."""
    path = PurePosixPath(plain_text(text))
    if path.is_absolute() or ".." in path.parts or "\\" in text or not path.parts:
        raise ValueError("is not a path inside the folder of photos")
    return str(path)


Words = Annotated[str, AfterValidator(plain_text)]
Address = Annotated[str, Field(max_length=MAX_LINK), AfterValidator(web_address)]
Inside = Annotated[str, Field(max_length=1000), AfterValidator(inner_path)]


class Link(BaseModel):
    """A link in the page's footer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: Words = Field(min_length=1, max_length=60)
    url: Address


class GalleryFile(BaseModel):
    """Contents of `gallery.toml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: Words = Field("", max_length=MAX_TITLE)
    sentence: Words = Field("", max_length=300)
    licence: Words = Field("", max_length=MAX_CREDIT)
    licence_link: Address | None = None
    credit: Words = Field("", max_length=MAX_CREDIT)
    samples: tuple[Inside, ...] = Field((), max_length=12)
    note: Words = Field("", max_length=300)
    photos: Inside | None = None
    links: tuple[Link, ...] = Field((), max_length=8)


@dataclass(frozen=True)
class Credit:
    """The table's entries for one photo; "" for missing ones.

    Attributes:
        more: additional columns, by name.
    """

    title: str = ""
    credit: str = ""
    licence: str = ""
    link: str = ""
    more: Mapping[str, str] = field(default_factory=dict)


NOTHING = Credit()
NO_FILE = GalleryFile()


@dataclass(frozen=True)
class About:
    """Description of a gallery.

    Attributes:
        files: the validated files, by the folder's name in `Roots`.
        photos: the tables' entries, by `key` of the photo's name.
    """

    files: Mapping[str, GalleryFile] = field(default_factory=dict)
    photos: Mapping[str, Credit] = field(default_factory=dict)

    @property
    def file(self) -> GalleryFile:
        """The first of the files, which describes the gallery as a whole."""
        return next(iter(self.files.values()), NO_FILE)

    def of(self, file: str) -> Credit:
        """The entries for a photo, completed by those that apply to all photos."""
        entry = self.photos.get(key(file), NOTHING)
        whole = self.files.get("") or self.files.get(file.partition("/")[0], NO_FILE)
        return Credit(
            title=entry.title,
            credit=entry.credit or whole.credit,
            licence=entry.licence or whole.licence,
            link=entry.link or (whole.licence_link or "" if not entry.licence else ""),
            more=entry.more,
        )

    def title(self, file: str, otherwise: str) -> str:
        """A photo's title. otherwise: title in the catalogue, used if the table has none."""
        return self.photos.get(key(file), NOTHING).title or otherwise

    def to_json(self) -> str:
        """Serialise for the store."""
        files = {name: file.model_dump() for name, file in self.files.items()}
        photos = {name: dataclasses.asdict(credit) for name, credit in self.photos.items()}
        return json.dumps({"files": files, "photos": photos})

    @staticmethod
    def from_json(text: str) -> About:
        """Parse the output of `to_json`. Raises ValidationError, a ValueError."""
        return TypeAdapter(About).validate_json(text)


def key(file: str) -> str:
    """Canonical form of a photo's name: forward slashes, Unicode NFC."""
    return same_name(file.replace("\\", "/"))


def read_about(roots: Path | Roots) -> About:
    """Read the descriptions in the folders of photos.

    Raises:
        BadAbout: a file exists but cannot be read completely.
    """
    if isinstance(roots, Path):
        roots = Roots.of([roots])
    files: dict[str, GalleryFile] = {}
    photos: dict[str, Credit] = {}
    for name, root in roots.folders.items():
        file = read_file(root / FILE)
        if file is None:
            continue
        prefix = f"{name}/" if name else ""
        if file.photos is not None:
            found = read_photos(root, file.photos)
            photos |= {key(prefix + photo): credit for photo, credit in found.items()}
        samples = tuple(prefix + sample for sample in file.samples)
        files[name] = file.model_copy(update={"samples": samples})
    return About(files, photos)


def read_file(path: Path) -> GalleryFile | None:
    """A validated `gallery.toml`, None if there is none. Raises BadAbout."""
    try:
        return GalleryFile.model_validate(tomllib.loads(read_text(path, MAX_BYTES)))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise BadAbout(f"{path} cannot be used: {sentence(error)}") from None
    except (OSError, ValueError, RecursionError) as error:  # ValueError includes malformed TOML
        raise BadAbout(f"{path} cannot be read: {error}") from None


def read_photos(root: Path, table: str) -> dict[str, Credit]:
    """The table of a folder's photos, by their paths in the folder. Raises BadAbout."""
    path = root / table
    try:
        if not path.resolve(strict=True).is_relative_to(root.resolve()):  # a link that leads out
            raise OSError("it is outside the folder of photos")
        return read_table(read_text(path.resolve(), MAX_TABLE_BYTES), root)
    except (OSError, ValueError, RuntimeError) as error:
        raise BadAbout(f"{path} cannot be read: {error}") from None


def read_table(text: str, root: Path = Path("/")) -> dict[str, Credit]:
    """Parse the table of photos. The last of several lines for one photo wins.

    Args:
        text: content of the file.
        root: folder of photos; absolute paths in it are made relative to it.

    Raises:
        ValueError: the text is not such a table, or contains unprintable text.
    """
    if "file" not in columns_of(text, COLUMNS):
        raise ValueError("its first line names no column `file`")
    photos: dict[str, Credit] = {}
    roots = Roots({"": root})
    for row in read_rows(text, COLUMNS):
        file = row.cells["file"]
        if file.startswith("/"):
            file = roots.file_of(Path(file)) or file
        photos[key(file)] = credit_of(row)
    return photos


def credit_of(row: Row) -> Credit:
    """A line's entries for its photo. Raises ValueError for unprintable or too long cells."""
    cells = {name: quoted(row.line, name, row.cells.get(name, "")) for name in COLUMNS}
    link = row.cells.get("link", "")
    try:
        if link and len(link) > MAX_LINK:
            raise ValueError(f"has more than {MAX_LINK} characters")
        link = web_address(link) if link else ""
    except ValueError as error:
        raise ValueError(f"line {row.line}: the link {error}") from None
    return Credit(
        title=cells["title"][:MAX_CELL],
        credit=cells["credit"],
        licence=cells["licence"],
        link=link,
        more={
            quoted(row.line, "head", name): quoted(row.line, name, cell)
            for name, cell in row.more.items()
            if cell
        },
    )


def quoted(line: int, name: str, cell: str) -> str:
    """A cell as one line. Raises ValueError if it is unprintable or too long."""
    text = " ".join(cell.split())
    if not text.isprintable():
        raise ValueError(f"line {line}: {name[:30]} holds a character that cannot be printed")
    if len(text) > MAX_CREDIT and name not in ("title", "link", "file"):
        raise ValueError(f"line {line}: {name[:30]} has more than {MAX_CREDIT} characters")
    return text
