"""What a gallery says of itself: `gallery.toml` in the folder of its photos, and a table beside it.

    title = "Our town"                 instead of the page's own name
    sentence = "1,200 photos of ..."   under it
    licence = "CC BY 4.0"              of the photos
    licence_link = "https://..."
    credit = "City archive"            for all photos that the table names nobody for
    samples = ["gate.jpg", ...]        what the first page proposes to search with
    note = "The last one is hard ..."  a sentence under the samples
    photos = "photos.csv"              columns: file, title, credit, licence, link, any others
    [[links]]
    label = "Archive"
    url = "https://..."

Every line may be left out. `tables` tells how the table may be written; columns that are not named
here are shown with the photo as they are. Whoever filled the folder may not be whoever serves it:
all of this is bounded, checked, and shown as plain text. Credits and licences hang on it, so a
build refuses what it cannot read, and keeps what it has read in the store.
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

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from extractor import read_text, same_name

from .errors import BadAbout
from .sources.sources import Roots
from .sources.tables import Row, columns_of, read_rows

FILE = "gallery.toml"
MAX_BYTES = 64 * 2**10
MAX_TABLE_BYTES = 64 * 2**20
MAX_TITLE = 60  # characters of a gallery's title
MAX_CELL = 200  # characters of a title; a longer one is cut
MAX_CREDIT = 1000  # characters of a credit, a licence, or another column
MAX_LINK = 2000
COLUMNS = frozenset({"file", "title", "credit", "licence", "link"})


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
    """What the table says of one photo; "" for what it does not say.

    Attributes:
        more: Further columns, by their names.
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
    """What a gallery says of itself.

    Attributes:
        files: The checked files, by the folder's name in `Roots`.
        photos: What the tables say, by `key` of the photo's name.
    """

    files: Mapping[str, GalleryFile] = field(default_factory=dict)
    photos: Mapping[str, Credit] = field(default_factory=dict)

    @property
    def file(self) -> GalleryFile:
        """The first of the files, which speaks for the gallery as a whole."""
        return next(iter(self.files.values()), NO_FILE)

    def of(self, file: str) -> Credit:
        """What is said of a photo; what holds for all photos where nothing is said of it alone."""
        said = self.photos.get(key(file), NOTHING)
        whole = self.files.get("") or self.files.get(file.partition("/")[0], NO_FILE)
        return Credit(
            title=said.title,
            credit=said.credit or whole.credit,
            licence=said.licence or whole.licence,
            link=said.link or (whole.licence_link or "" if not said.licence else ""),
            more=said.more,
        )

    def title(self, file: str, otherwise: str) -> str:
        """A photo's title. otherwise: what the catalogue calls it."""
        return self.photos.get(key(file), NOTHING).title or otherwise

    def to_json(self) -> str:
        """As text, to be kept in a store."""
        files = {name: file.model_dump() for name, file in self.files.items()}
        photos = {name: dataclasses.asdict(said) for name, said in self.photos.items()}
        return json.dumps({"files": files, "photos": photos})

    @staticmethod
    def from_json(text: str) -> About:
        """What `to_json` gave. Raises ValueError, TypeError, LookupError."""
        facts = json.loads(text)
        files = {name: GalleryFile(**file) for name, file in facts["files"].items()}
        return About(files, {name: Credit(**said) for name, said in facts["photos"].items()})


def key(file: str) -> str:
    """Equal for names of one photo, with backslashes or slashes, in any Unicode form."""
    return same_name(file.replace("\\", "/"))


def read_about(roots: Path | Roots) -> About:
    """Read what lies in the folders of photos.

    Raises:
        BadAbout: A file is there and cannot be read as a whole.
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
            photos |= {key(prefix + photo): said for photo, said in found.items()}
        samples = tuple(prefix + sample for sample in file.samples)
        files[name] = file.model_copy(update={"samples": samples})
    return About(files, photos)


def read_file(path: Path) -> GalleryFile | None:
    """A checked `gallery.toml`, None if there is none. Raises BadAbout."""
    try:
        return GalleryFile.model_validate(tomllib.loads(read_text(path, MAX_BYTES)))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        raise BadAbout(f"{path} cannot be used: {where}: {problem['msg']}") from None
    except (OSError, ValueError, RecursionError) as error:  # also bad TOML
        raise BadAbout(f"{path} cannot be read: {error}") from None


def read_photos(root: Path, table: str) -> dict[str, Credit]:
    """The table of a folder's photos, by their paths in it. Raises BadAbout."""
    path = root / table
    try:
        if not path.resolve(strict=True).is_relative_to(root.resolve()):  # a link that leads out
            raise OSError("it lies outside the folder of photos")
        return read_table(read_text(path.resolve(), MAX_TABLE_BYTES), root)
    except (OSError, ValueError, RuntimeError) as error:
        raise BadAbout(f"{path} cannot be read: {error}") from None


def read_table(text: str, root: Path = Path("/")) -> dict[str, Credit]:
    """The table of photos. Of two lines for one photo the last one holds.

    Args:
        text: The file's.
        root: The folder of photos; full paths in it count as paths from there.

    Raises:
        ValueError: It is no such table, or holds what cannot be shown.
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
    """What a line says of its photo. Raises ValueError for what cannot be shown."""
    cells = {name: shown(row.line, name, row.cells.get(name, "")) for name in COLUMNS}
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
            shown(row.line, "head", name): shown(row.line, name, cell)
            for name, cell in row.more.items()
            if cell
        },
    )


def shown(line: int, name: str, cell: str) -> str:
    """A cell as one line. Raises ValueError for one that cannot be shown."""
    text = " ".join(cell.split())
    if not text.isprintable():
        raise ValueError(f"line {line}: {name[:30]} holds a character that cannot be printed")
    if len(text) > MAX_CREDIT and name not in ("title", "link", "file"):
        raise ValueError(f"line {line}: {name[:30]} has more than {MAX_CREDIT} characters")
    return text
