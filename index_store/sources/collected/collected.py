"""Photos of lists and manifests, collected in a folder of the store.

    STORE/collected/           links to photos of this machine, and photos fetched from the web,
                               with a gallery.toml and a photos.csv that hold their descriptions
    STORE/collected.sqlite     what was fetched, what failed and why, and the source documents

The folder is indexed like any other. A URL is fetched once; failures are retried by the next
update. A photo that is no longer listed is ignored, and stays there until `compact` deletes it,
which never deletes photos of the live generation: an update may have been declined.
"""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
import sqlite3
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from extractor import SUFFIXES, format_of, owner_limits
from extractor.photo.formats import START

from ...about import Credit
from ...errors import BadList
from ...storage.segment import sync
from ..scan import FOREIGN_SUFFIXES
from ..sources import Sources
from . import iiif
from .description import write_description
from .fetch import Fetched, NotFetched, Web
from .listed import Item, read_list
from .state import FOLDER, SCHEMA, STATE

MAX_DOCUMENT = 64 * 2**20  # maximum bytes of a manifest, or of a fetched photo
MAX_DOCUMENTS = 10_000
MAX_ITEMS = 1_000_000
KINDS = {"image/jpeg": ".jpg", "image/png": ".png", "image/webp": ".webp"}


class Collected:
    """The collected folder of a store. The caller holds `writing(store)`.

    Args:
        store: folder of the store.
        web: client that fetches documents and photos.
    """

    def __init__(self, store: Path, web: Web):
        self.folder = store / FOLDER
        self.folder.mkdir(parents=True, exist_ok=True)
        self._web = web
        self._db = sqlite3.connect(store / STATE)
        self._db.executescript(SCHEMA)
        self._failures: dict[str, str] = {}
        self._title = ""

    def collect(
        self,
        sources: Sources,
        removed: Collection[str],
        progress: Callable[[Iterable, int], Iterable],
        refetch: bool = False,
    ) -> None:
        """Bring the folder up to date.

        Args:
            sources: the lists and manifests.
            removed: names of photos that were removed from the store; they are not fetched again.
            progress: called as progress(items, total); must yield the items.
            refetch: whether to ask servers if fetched photos have changed.

        Raises:
            BadList: a list or a manifest cannot be read. The folder is unchanged.
            OSError, sqlite3.Error: the folder cannot be written.
        """
        items: dict[str, Item] = {}
        for item in self._items(sources):
            listed = items.setdefault(item.name, item)
            if item.path and item.path != listed.path:
                item = renamed(item)
                items.setdefault(item.name, item)
            elif item.problem:
                self._failures[item.name] = item.problem
            if len(items) > MAX_ITEMS:
                raise BadList(f"The lists name more than {MAX_ITEMS:,} photos.")
        credits: dict[str, Credit] = {}
        for item in progress(items.values(), len(items)):
            file = self._bring(item, removed, refetch)
            if file:
                credits[file] = item.credit
        write_description(self.folder, self._title, credits)
        with self._db:
            self._db.execute("DELETE FROM failures")
            self._db.executemany("INSERT INTO failures VALUES (?, ?)", self._failures.items())
            self._db.execute("DELETE FROM listed")
            self._db.executemany("INSERT INTO listed VALUES (?)", ((file,) for file in credits))

    def _items(self, sources: Sources) -> Iterator[Item]:
        for path in sources.lists:
            yield from read_list(Path(path))
        for url in sources.manifests:
            yield from self._published(url)

    def _published(self, url: str) -> Iterator[Item]:
        """The photos of a manifest, or of all manifests of a collection."""
        waiting, found_urls = deque([url]), {url}
        while waiting:
            current = waiting.popleft()
            try:
                node = json.loads(self._document(current))
                if not isinstance(node, dict) or iiif.kind(node) not in ("Manifest", "Collection"):
                    raise ValueError("it is not an IIIF manifest or collection")
                if current == url:
                    self._title = iiif.described(node).title
                inner = iiif.documents(node) if iiif.kind(node) == "Collection" else []
                found = list(iiif.items_of(node)) if iiif.kind(node) == "Manifest" else []
            except (NotFetched, ValueError, RecursionError) as error:
                if current == url:
                    raise BadList(f"{current} cannot be read: {error}") from None
                self._failures[current] = f"The manifest cannot be read: {error}"
                continue
            yield from found
            for address in inner:
                if address not in found_urls and len(found_urls) < MAX_DOCUMENTS:
                    found_urls.add(address)
                    waiting.append(address)

    def _document(self, url: str) -> bytes:
        """The current manifest; the last known one if it cannot be fetched. Raises NotFetched."""
        row = self._db.execute(
            "SELECT text, etag, modified FROM documents WHERE url = ?", (url,)
        ).fetchone()
        text, etag, modified = row or (b"", "", "")
        try:
            fetched = self._web.get(url, MAX_DOCUMENT, etag, modified)
        except NotFetched as error:
            if row is None:
                raise
            self._failures[url] = f"The manifest's previous version is used: {error}"
            return bytes(text)
        if fetched is None:
            return bytes(text)
        with self._db:
            self._db.execute(
                "REPLACE INTO documents VALUES (?, ?, ?, ?)",
                (url, fetched.data, fetched.etag, fetched.modified),
            )
        return fetched.data

    def _bring(self, item: Item, removed: Collection[str], refetch: bool) -> str:
        """Get a photo into the folder. Returns its file there; "" if that fails."""
        try:
            if item.problem:
                raise NotFetched(item.problem)
            return self._link(item) if item.path else self._fetch(item, removed, refetch)
        except NotFetched as error:
            self._failures[item.name] = str(error)
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            self._failures[item.name] = "Its name is too long for this disk."
        return ""

    def _link(self, item: Item) -> str:
        assert item.path is not None
        link = self.folder / item.name
        try:
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.parent.resolve().is_relative_to(self.folder.resolve()):
                raise NotFetched("Its folder has the name of a file.")  # a link elsewhere
            if link.is_symlink() and os.readlink(link) == str(item.path):
                return item.name
            if link.is_symlink():
                link.unlink()
            link.symlink_to(item.path)
        except OSError as error:
            raise NotFetched(f"It cannot be linked to ({error.strerror}).") from None
        return item.name

    def _fetch(self, item: Item, removed: Collection[str], refetch: bool) -> str:
        row = self._db.execute(
            "SELECT file, etag, modified FROM photos WHERE name = ?", (item.name,)
        ).fetchone()
        file, etag, modified = row or ("", "", "")
        path = self.folder / file
        if file and (file in removed or (path.exists() and not refetch)):
            return file
        if not (file and path.exists()):
            etag = modified = ""
        try:
            fetched = self._first(item.urls, etag, modified)
        except NotFetched as error:
            if not (file and path.exists()):
                raise
            self._failures[item.name] = f"The photo's previous version is used: {error}"
            return file
        if fetched is None:
            return file
        file = file or item.name + suffix_of(fetched)
        partial = self.folder / ".partial"
        partial.write_bytes(fetched.data)
        sync(partial)
        partial.replace(self.folder / file)
        with self._db:
            self._db.execute(
                "REPLACE INTO photos VALUES (?, ?, ?, ?)",
                (item.name, file, fetched.etag, fetched.modified),
            )
        return file

    def _first(self, urls: tuple[str, ...], etag: str, modified: str) -> Fetched | None:
        """The result of the first URL that works. Raises NotFetched."""
        max_bytes = min(owner_limits().megabytes * 2**20, MAX_DOCUMENT)
        for url in urls[:-1]:
            with suppress(NotFetched):
                return self._web.get(url, max_bytes, etag, modified)
        return self._web.get(urls[-1], max_bytes, etag, modified)

    def close(self) -> None:
        """Close the database."""
        self._db.close()


def renamed(item: Item) -> Item:
    """A local photo under another name, for when another list uses its name."""
    name = Path(item.name)
    digest = hashlib.sha256(os.fsencode(str(item.path))).hexdigest()[:10]
    return dataclasses.replace(
        item, name=name.with_name(f"{name.stem}-{digest}{name.suffix}").as_posix()
    )


def suffix_of(fetched: Fetched) -> str:
    """Suffix for a fetched photo's name. Raises NotFetched if its media type is not a photo's."""
    if fetched.kind in KINDS:
        return KINDS[fetched.kind]
    suffix = "." + fetched.kind.rpartition("/")[2]
    if fetched.kind.startswith("image/") and suffix in (*SUFFIXES, *FOREIGN_SUFFIXES):
        return suffix
    if (found := format_of(fetched.data[:START])) is not None:
        return found.suffixes[0]
    kind = fetched.kind[:60] or "data of an unknown type"
    raise NotFetched(f"The server sent {kind}, not a photo.")
