"""The galleries of this process, shared by the page's sessions, the API and the photo routes.

A build replaces a store while it is served. The new generation is opened on a separate thread; the
old one continues to serve until that has succeeded. Requests wait for the very first opening only.
After opening, the whole store is compared with its checksums: damaged photos are no longer served,
and any other damage takes the generation out of service.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import cache, lru_cache
from pathlib import Path

import numpy as np

from extractor import BadModel, Extractor, int8_beside, open_extractor
from index_store import (
    PhotosDamaged,
    Store,
    StoreError,
    current_version,
    engine_of,
    model_of,
    verify,
)
from search import UNCALIBRATED, BadCalibration, Engine

from ..operations import prometheus
from ..queue.admission import behind_clicks
from ..settings import settings
from .gallery import Gallery, NoGallery
from .remote_index import shielded

MAX_MODELS = 4  # opened last; open galleries hold theirs anyway
RETRY_SECONDS = 10.0  # between two attempts to open a generation

log = logging.getLogger(__name__)


class ReloadingStore:
    """One store, reloaded whenever a build has replaced it.

    Args:
        path: the store's folder.
        clock: monotonic seconds; tests replace it.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic):
        self.path = path
        self._clock = clock
        self._lock = threading.Lock()  # of the fields below; not held while a store is opened
        self._gallery: Gallery | None = None
        self._version = ""
        self._opening: threading.Thread | None = None
        self._error: Exception | None = None
        self._failed = "", 0.0  # version that failed to open, and when to retry
        self._damaged = ""  # version that failed verification: never opened again

    @property
    def opened(self) -> Gallery | None:
        """The open gallery, without disk access or waiting; None if none is open."""
        return self._gallery

    def gallery(self) -> Gallery:
        """The current generation, or the previous one while the current one cannot be served.

        Raises:
            NoGallery: no generation is open.
        """
        opening = self.start_opening()
        if self._gallery is None and opening is not None:
            opening.join()
        if self._gallery is None:
            raise NoGallery
        return self._gallery

    def wait_until_open(self) -> Gallery:
        """As `gallery`, but waits for a generation that is being opened."""
        opening = self.start_opening()
        if opening is not None:
            opening.join()
        return self.gallery()

    def start_opening(self) -> threading.Thread | None:
        """Start to open the current generation unless it is open.

        Returns:
            The thread that opens a generation, None without one.
        """
        try:
            version = current_version(self.path)[1]
        except StoreError as error:
            version = ""
            self._log_error(error)
        with self._lock:
            if self._opening is not None:
                return self._opening
            if not version or version in (self._version, self._damaged):
                return None
            failed, retry_at = self._failed
            if version == failed and self._clock() < retry_at:
                return None
            self._opening = threading.Thread(
                target=self._open, args=(version,), name="open gallery", daemon=True
            )
            self._opening.start()
            return self._opening

    def _open(self, version: str) -> None:
        behind_clicks()  # this thread and those of its extractor
        try:
            model = model_of(self.path, settings().model or None)
            extractor = extractor_of(model, engine_of(self.path))
            engine = Engine(shielded(Store(self.path, extractor)), extractor)
            if not engine.is_calibrated("diffusion", "sift"):
                log.warning(UNCALIBRATED)
            gallery = Gallery(engine)
        except Exception as error:  # any damage is possible; the old one continues to serve
            self._log_error(error)
            prometheus.NOT_OPENED.inc()
            with self._lock:
                self._failed = version, self._clock() + RETRY_SECONDS
                self._opening = None
            return
        with self._lock:
            self._gallery, self._version = gallery, version
            self._error = self._opening = None
        threading.Thread(
            target=self._verify, args=(gallery, version), name="verify gallery", daemon=True
        ).start()

    def _verify(self, gallery: Gallery, version: str) -> None:
        """Verify a generation while it is served. Damaged photos are no longer served; any other
        damage takes the generation out of service.
        """
        store = gallery.engine.store
        try:
            verify(store)
        except PhotosDamaged as error:
            log.error("%s", error)
            # This may not persist until the next opening: a server's store is often read-only.
            store.exclude_photos(np.array(error.ids, int))
            fresh = Gallery(gallery.engine)  # its caches do not have these photos
            with self._lock:
                if self._gallery is gallery:
                    self._gallery = fresh
        except StoreError as error:
            prometheus.NOT_OPENED.inc()
            with self._lock:
                if self._gallery is gallery:
                    self._gallery, self._version = None, ""
                self._damaged = version
            self._log_error(error)

    def _log_error(self, error: Exception) -> None:
        """Log an error, unless it repeats the last one."""
        with self._lock:
            if repr(error) == repr(self._error):
                return
            self._error = error
            serving = self._gallery is not None
        is_expected = isinstance(error, BadCalibration | StoreError | BadModel | OSError)
        state = "still serving the previous generation" if serving else "not served"
        log.error("%s: %s", state, error, exc_info=None if is_expected else error)


def extractor_of(model: Path, written: dict[str, str] | None = None) -> Extractor:
    """The extractor for queries, shared by all stores of a model with the same engine.

    A model file that has been replaced is reloaded.

    Args:
        model: File of the float32 model.
        written: Engine choice, as of `open_extractor`.
    """
    versions = tuple(map(version_of, (model, int8_beside(model))))
    with opening_models:  # two stores opened at once must not load a model twice
        return cached_extractor(model, tuple(sorted((written or {}).items())), versions)


opening_models = threading.Lock()


@lru_cache(MAX_MODELS)
def cached_extractor(model: Path, written: tuple, versions: tuple) -> Extractor:
    """`open_extractor`, cached. versions: `version_of` each file that it reads."""
    extractor, choice = open_extractor(model, dict(written))
    log.warning("%s: %s", model.stem, choice)
    return extractor


def version_of(file: Path) -> tuple[int, ...]:
    """Identity of a file's content: device, inode, size, time; empty if there is no file."""
    try:
        found = file.stat()
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


class Galleries:
    """The stores named in the settings: the same photos, described by different models.

    The page opens with the first store.
    """

    def __init__(self) -> None:
        self._stores: dict[Path, ReloadingStore] = {}

    def first(self) -> Gallery:
        """The first store. Raises NoGallery if it cannot be opened."""
        return self._served()[0].gallery()

    def by_name(self) -> dict[str, Gallery]:
        """All stores by the name of their model, in order.

        Stores that cannot be opened are skipped. Raises NoGallery if the first cannot be opened.
        """
        found: dict[str, Gallery] = {}
        for store in self._served():
            try:
                gallery = store.gallery()
            except NoGallery:
                if not found:
                    raise
                continue
            found.setdefault(gallery.name, gallery)
        return found

    def opened(self) -> dict[str, Gallery]:
        """As `by_name`, for open stores and without waiting. Empty if the first is not open."""
        found: dict[str, Gallery] = {}
        for store in self._served():
            gallery = store.opened
            if gallery is not None:
                found.setdefault(gallery.name, gallery)
            elif not found:
                return {}
        return found

    def of_version(self, version: str) -> Gallery | None:
        """The open gallery of this generation, without waiting; None if there is none."""
        for reloading in self._served():
            gallery = reloading.opened
            if gallery is not None and gallery.engine.store.version == version:
                return gallery
        return None

    def start_opening(self) -> None:
        """Start to open stores that are not open or were replaced, without waiting."""
        for store in self._served():
            store.start_opening()

    def wait_until_open(self) -> None:
        """Wait until all stores that can be opened are open. Raises NoGallery as `first`."""
        for position, store in enumerate(self._served()):
            try:
                store.wait_until_open()
            except NoGallery:
                if position == 0:
                    raise

    def _served(self) -> list[ReloadingStore]:
        return [self._stores.setdefault(path, ReloadingStore(path)) for path in settings().stores]


@cache
def galleries() -> Galleries:
    """The galleries of this process."""
    return Galleries()
