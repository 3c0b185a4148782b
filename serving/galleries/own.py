"""Visitors' own galleries: private, temporary, bounded.

Photos become a store in a temporary folder, photo by photo in turns like any other heavy work, so
that nobody waits for a whole album of somebody else. The photos are kept as our own encoding,
without metadata. All of it goes when its visitor has left, or when its time is up.
"""

from __future__ import annotations

import csv
import logging
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from extractor import BadPhoto, encode_jpeg
from index_store import Store, StoreError, build
from index_store.about import FILE
from index_store.extraction import Extraction
from index_store.parameters import extraction_spec_of
from index_store.storage import build_journal
from index_store.storage.build_journal import Journal
from index_store.storage.catalogue import title_of
from index_store.storage.extraction_cache import kept_exactly
from plurals import quantity
from search import Engine

from ..decoding.decoder import decoder
from ..decoding.taken_uploads import TakenUploads
from ..decoding.unpack import File, photos_in
from ..queue.admission import Busy, admission
from ..refusal import Refused, refuse
from ..settings import settings
from .galleries import Gallery, galleries

T = TypeVar("T")
QUALITY = 92  # of the photos as they are kept, as of an upload on the search page
MOST_PROBLEMS = 50  # that are told
TITLE = "Your photos"
RETRY_SECONDS = 2.0  # when the queue is full

log = logging.getLogger(__name__)


class Stopped(Exception):
    """The gallery is closed while it is being made."""


@dataclass
class OwnGallery:
    """One visitor's gallery.

    Attributes:
        visitor: the session whose it is.
        address: where that comes from.
        until: when it goes, by `time.time`.
        descriptor: name of the model that describes its photos; the server's first if it has none
            of that name.
        gallery: what can be searched; None as long as nothing can.
        titles: of its photos, by file.
        problems: names of files that are not in it, and why.
        done, total: photos looked at, and to look at at most, of those that came last.
        building: whether photos are being looked at.
        error: a sentence, if making it went wrong.
        files: those that came last, until they are done.
        job: the work on them.
    """

    visitor: str
    address: str
    until: float
    descriptor: str = ""
    gallery: Gallery | None = None
    titles: dict[str, str] = field(default_factory=dict)
    problems: list[tuple[str, str]] = field(default_factory=list)
    done: int = 0
    total: int = 0
    building: bool = False
    error: str = ""
    files: TakenUploads[File] = field(default_factory=lambda: TakenUploads([], 0))
    job: Future[None] | None = None
    stopped: threading.Event = field(default_factory=threading.Event)
    _folder: tempfile.TemporaryDirectory = field(
        default_factory=lambda: tempfile.TemporaryDirectory(prefix="same-thing-")
    )

    @property
    def folder(self) -> Path:
        return Path(self._folder.name)

    def add(self, files: Iterable[File], deadline: float) -> None:
        """Look at more photos, and make the gallery anew.

        Args:
            files: photos and archives.
            deadline: by `time.monotonic`; what is not looked at by then is left out.
        """
        limits = settings()
        offered = galleries().by_name()
        source = offered.get(self.descriptor, galleries().first()).engine
        photos, store = self.folder / "photos", self.folder / "store"
        photos.mkdir(exist_ok=True)
        store.mkdir(exist_ok=True)
        fingerprint = extraction_spec_of(source.extractor, as_stored=False).facts
        with closing(Journal(store / build_journal.FILE_NAME, fingerprint)) as kept:
            for name, content in photos_in(files, limits.upload_bytes, limits.uploads.formats):
                if len(self.titles) == limits.own_photos:
                    most = quantity(limits.own_photos, "photo")
                    self.refuse(name, f"A gallery holds at most {most}.")
                    break
                if time.monotonic() > deadline:
                    self.refuse(name, "Time ran out: this photo and all after it were skipped.")
                    break
                self.done += 1
                if isinstance(content, str):
                    self.refuse(name, content)
                    continue
                try:
                    pixels = self.decode(content, deadline)
                except BadPhoto as error:
                    self.refuse(name, str(error))
                    continue
                file = f"{len(self.titles):04d}.jpg"
                (photos / file).write_bytes(encode_jpeg(pixels, QUALITY))
                work = Extraction(
                    photos, source.extractor, kept.finished(), kept_exactly(limits.own_photos)
                )
                read = self.turn(partial(work, file))
                if read.photo is not None:
                    kept[read.sha256] = read.photo
                self.titles[file] = title_of(name)
        if not self.titles:
            raise StoreError("None of these files is a readable photo.")
        self.write_about(photos)
        self.turn(lambda: build(photos, store, source.extractor))
        opened = Store(store, source.extractor)
        self.gallery = Gallery(Engine(opened, source.extractor))

    def decode(self, data: bytes, deadline: float) -> np.ndarray:
        """Pixels of a photo; while the decoder is busy, try again until the deadline.

        Raises:
            BadPhoto: as `Decoder.decode`.
            Refused: the decoder is still busy at the deadline.
            Stopped: the gallery was closed meanwhile.
        """
        while True:
            try:
                return decoder().decode(data)
            except Refused:
                if time.monotonic() > deadline:
                    raise
                if self.stopped.wait(RETRY_SECONDS):
                    raise Stopped from None

    def turn(self, work: Callable[[], T]) -> T:
        """Do a piece of work when it is this visitor's turn. Raises Stopped."""
        while not self.stopped.is_set():
            try:
                ticket = admission().submit(self.visitor, work, self.address)
            except Busy:
                self.stopped.wait(RETRY_SECONDS)
                continue
            while not ticket.wait(0.2):
                if self.stopped.is_set():
                    ticket.cancel()
                    raise Stopped
            return ticket.result()
        raise Stopped

    def refuse(self, name: str, sentence: str) -> None:
        """Note a file that is left out."""
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append((name, sentence))

    def write_about(self, photos: Path) -> None:
        """Let the gallery say what its photos were called, see `about`."""
        (photos / FILE).write_text(f'title = "{TITLE}"\nphotos = "photos.csv"\n')
        with open(photos / "photos.csv", "w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(("file", "title"))
            for name, title in self.titles.items():  # a build refuses what cannot be shown
                table.writerow((name, "".join(c for c in title if c.isprintable())))

    def close(self) -> None:
        """Delete all of it. A search that is under way ends with what it has open."""
        self.stopped.set()
        if self.job is not None and self.job.cancel():  # it has not begun
            self.files.clear()
            self.building = False
        if not self.building:
            self._folder.cleanup()


class OwnGalleries:
    """Those of all visitors. Thread-safe.

    Args:
        clock: seconds since 1970, for tests.
    """

    def __init__(self, clock: Callable[[], float] = time.time):
        self._clock = clock
        self._lock = threading.Lock()
        self._maker = ThreadPoolExecutor(settings().own_makers, thread_name_prefix="own gallery")
        self._of: dict[str, OwnGallery] = {}

    def of(self, visitor: str) -> OwnGallery | None:
        """A visitor's gallery, if there is one and its time is not up."""
        with self._lock:
            own = self._of.get(visitor)
        if own is not None and self._clock() >= own.until:
            self.forget(visitor)
            return None
        return own

    def of_version(self, version: str) -> Gallery | None:
        """The gallery whose store has this generation; nobody else is told its name."""
        with self._lock:
            owns = list(self._of.values())
        for own in owns:
            gallery = own.gallery
            if gallery is not None and gallery.engine.store.version == version:
                return gallery
        return None

    def add(
        self, visitor: str, address: str, files: list[File], photos: int, descriptor: str = ""
    ) -> OwnGallery:
        """Begin to look at photos, for a new gallery or for the one there is.

        Args:
            visitor: the session.
            address: where it comes from.
            files: photos and archives. They are taken out of the list.
            photos: how many there may be in them, for the progress.
            descriptor: name of the model that is to describe a new gallery; one that is there
                keeps its own.

        Raises:
            Refused: there are too many galleries, or this one is being made.
        """
        limits = settings()
        with self._lock:
            own = self._of.get(visitor)
            if own is not None and own.building:
                sentence = "Your photos are still being processed. Wait until they are done."
                raise refuse("own gallery busy", 429, sentence, 5)
            if own is None:
                if len(self._of) >= limits.own_galleries:
                    sentence = "Too many visitors are searching their own photos. Try again later."
                    raise refuse("own galleries", 503, sentence, 60)
                until = self._clock() + 60 * limits.own_minutes
                own = self._of[visitor] = OwnGallery(visitor, address, until, descriptor)
            own.building, own.done, own.error = True, 0, ""
            own.total = min(photos, limits.own_photos - len(own.titles))
            own.problems.clear()
            own.files = TakenUploads(files, sum(len(data) for _, data in files))
            files.clear()
            own.job = self._maker.submit(self._make, own)
        return own

    def forget(self, visitor: str) -> None:
        """Close and delete a visitor's gallery, if there is one."""
        with self._lock:
            own = self._of.pop(visitor, None)
        if own is not None:
            own.close()

    def sweep(self, known: Collection[str]) -> None:
        """Forget those whose visitor has left or whose time is up. known: sessions there are."""
        now = self._clock()
        with self._lock:
            late = [v for v, own in self._of.items() if v not in known or now >= own.until]
        for visitor in late:
            self.forget(visitor)

    def close(self) -> None:
        """Forget all."""
        self.sweep(())
        self._maker.shutdown(wait=False, cancel_futures=True)

    def _make(self, own: OwnGallery) -> None:
        try:
            own.add(own.files, time.monotonic() + settings().own_seconds)
        except Stopped:
            pass
        except (StoreError, Refused) as error:
            own.error = str(error)
        except Exception:  # a disk may fail in any way; the visitor is told that it did
            log.exception("a visitor's gallery could not be made")
            own.error = "Your photos cannot be searched at the moment. Please try again later."
        finally:
            own.files.clear()
            own.building = False
            if own.stopped.is_set():
                own.close()


@cache
def own_galleries() -> OwnGalleries:
    """Those of this process."""
    return OwnGalleries()
