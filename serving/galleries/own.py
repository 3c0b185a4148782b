"""Visitors' own galleries: private, temporary, limited.

Photos are added to a store in a temporary folder one by one, each in a turn like any other heavy
work, so that visitors never wait for another's whole album. Photos are re-encoded without metadata.
Everything is deleted when the visitor has left or the gallery expires.
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
from .galleries import galleries
from .gallery import Gallery

T = TypeVar("T")
QUALITY = 92  # JPEG quality of the stored photos, as for uploads on the search page
MAX_PROBLEMS = 50  # that are reported
TITLE = "Your photos"
RETRY_SECONDS = 2.0  # when the queue is full

log = logging.getLogger(__name__)


class Stopped(Exception):
    """The gallery was closed while it was being built."""


@dataclass
class OwnGallery:
    """One visitor's gallery.

    Attributes:
        visitor: session of the owner.
        address: client address of the session.
        until: time of expiry, by `time.time`.
        descriptor: name of the model that describes its photos; the server's first if there is no
            such model.
        gallery: the searchable gallery; None until the first build.
        titles: titles of its photos, by file.
        problems: names of skipped files, with the reason.
        done, total: photos of the last upload that were processed, and how many there are at most.
        building: whether photos are being processed.
        error: sentence for the visitor if the build failed.
        files: files of the last upload, until they are processed.
        job: task that processes them.
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
        """Process more photos and rebuild the gallery.

        Args:
            files: photos and archives.
            deadline: by `time.monotonic`; photos not processed by then are skipped.
        """
        limits = settings()
        by_model = galleries().by_name()
        source = by_model.get(self.descriptor, galleries().first()).engine
        photos, store = self.folder / "photos", self.folder / "store"
        photos.mkdir(exist_ok=True)
        store.mkdir(exist_ok=True)
        fingerprint = extraction_spec_of(source.extractor, as_stored=False).facts
        with closing(Journal(store / build_journal.FILE_NAME, fingerprint)) as journal:
            for name, content in photos_in(files, limits.upload_bytes, limits.uploads.formats):
                if len(self.titles) == limits.own_photos:
                    limit = quantity(limits.own_photos, "photo")
                    self.refuse(name, f"A gallery holds at most {limit}.")
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
                    photos, source.extractor, journal.finished(), kept_exactly(limits.own_photos)
                )
                extracted = self.turn(partial(work, file))
                if extracted.photo is not None:
                    journal[extracted.sha256] = extracted.photo
                self.titles[file] = title_of(name)
        if not self.titles:
            raise StoreError("None of these files is a readable photo.")
        self.write_about(photos)
        self.turn(lambda: build(photos, store, source.extractor))
        opened = Store(store, source.extractor)
        self.gallery = Gallery(Engine(opened, source.extractor))

    def decode(self, data: bytes, deadline: float) -> np.ndarray:
        """Decode a photo, retrying until the deadline while the decoder is busy.

        Raises:
            BadPhoto: as `Decoder.decode`.
            Refused: the decoder is still busy at the deadline.
            Stopped: the gallery was closed.
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
        """Run a task in this visitor's turn. Raises Stopped."""
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
        """Record a skipped file."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append((name, sentence))

    def write_about(self, photos: Path) -> None:
        """Write the titles of the photos for `about`."""
        (photos / FILE).write_text(f'title = "{TITLE}"\nphotos = "photos.csv"\n')
        with open(photos / "photos.csv", "w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(("file", "title"))
            for name, title in self.titles.items():  # a build refuses unprintable characters
                table.writerow((name, "".join(c for c in title if c.isprintable())))

    def close(self) -> None:
        """Delete the gallery. A running search completes with the files it has open."""
        self.stopped.set()
        if self.job is not None and self.job.cancel():  # it has not started
            self.files.clear()
            self.building = False
        if not self.building:
            self._folder.cleanup()


class OwnGalleries:
    """The galleries of all visitors. Thread-safe. clock: seconds since 1970; tests replace it."""

    def __init__(self, clock: Callable[[], float] = time.time):
        self._clock = clock
        self._lock = threading.Lock()
        self._executor = ThreadPoolExecutor(
            settings().own_workers, thread_name_prefix="own gallery"
        )
        self._of: dict[str, OwnGallery] = {}

    def of(self, visitor: str) -> OwnGallery | None:
        """A visitor's gallery; None if there is none or it has expired."""
        with self._lock:
            own = self._of.get(visitor)
        if own is not None and self._clock() >= own.until:
            self.forget(visitor)
            return None
        return own

    def of_version(self, version: str) -> Gallery | None:
        """The gallery whose store has this generation, which only its owner knows."""
        with self._lock:
            all_own = list(self._of.values())
        for own in all_own:
            gallery = own.gallery
            if gallery is not None and gallery.engine.store.version == version:
                return gallery
        return None

    def add(
        self, visitor: str, address: str, files: list[File], photos: int, descriptor: str = ""
    ) -> OwnGallery:
        """Start to process photos for a new or the existing gallery.

        Args:
            visitor: session of the owner.
            address: client address of the session.
            files: photos and archives. The list is emptied.
            photos: estimated number of photos in them, for the progress.
            descriptor: name of the model for a new gallery; an existing one keeps its model.

        Raises:
            Refused: there are too many galleries, or this one is being built.
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
            own.job = self._executor.submit(self._process, own)
        return own

    def forget(self, visitor: str) -> None:
        """Close and delete a visitor's gallery, if there is one."""
        with self._lock:
            own = self._of.pop(visitor, None)
        if own is not None:
            own.close()

    def sweep(self, sessions: Collection[str]) -> None:
        """Delete galleries that have expired or whose visitor has left. sessions: live sessions."""
        now = self._clock()
        with self._lock:
            expired = [v for v, own in self._of.items() if v not in sessions or now >= own.until]
        for visitor in expired:
            self.forget(visitor)

    def close(self) -> None:
        """Delete all galleries."""
        self.sweep(())
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _process(self, own: OwnGallery) -> None:
        try:
            own.add(own.files, time.monotonic() + settings().own_seconds)
        except Stopped:
            pass
        except (StoreError, Refused) as error:
            own.error = str(error)
        except Exception:  # any disk error; the visitor sees that it failed
            log.exception("a visitor's gallery could not be built")
            own.error = "Your photos cannot be searched at the moment. Please try again later."
        finally:
            own.files.clear()
            own.building = False
            if own.stopped.is_set():
                own.close()


@cache
def own_galleries() -> OwnGalleries:
    """The own galleries of this process."""
    return OwnGalleries()
