"""The galleries of this process, shared by the page's sessions, the API and the photo routes.

A build replaces a store while it is served. The new generation is opened on a thread of its own;
until it is open, and if it cannot be, everybody goes on with the old one. Nothing but the very
first opening is ever waited for. All of it is compared with its checksums once it is open: photos
that are damaged are served no longer, and any other damage ends the serving of that generation.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from functools import cache, cached_property, lru_cache, partial
from pathlib import Path

import numpy as np

from extractor import (
    BadModel,
    Extractor,
    encode_jpeg,
    int8_beside,
    open_extractor,
)
from extractor.descriptor.registry import MODELS, name_of
from index_store import (
    PRESETS,
    Photo,
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
from .queries import GalleryQueries
from .remote_index import shielded
from .samples import sample_queries

VIEWS = 64  # large pictures that are held ready
# Photos of a gallery up to which other forms of its index can be asked for: building one takes a
# visitor's turn, a few seconds at the most.
OTHER_INDEXES = 10_000
INDEXES_KEPT = 3  # of them, those asked for last
MODELS_KEPT = 4  # opened last; galleries hold theirs for as long as they are open
RETRY_SECONDS = 10.0  # between two attempts to open a generation that cannot be opened

log = logging.getLogger(__name__)


class NoGallery(Exception):
    """Nothing can be searched; str(error) is a sentence for the visitor. Why is in the log."""

    def __init__(self) -> None:
        super().__init__("The gallery cannot be opened at the moment. Please try again later.")


class Gallery:
    """One opened generation, with what has been made of it. All of that goes when a build replaces
    it.

    Attributes:
        engine: searches it.
        name: of the model, for people.
        index: form of the index that proposes candidates, a name of PRESETS.
        queries: its own photos, prepared to be searched with.
        view_jpeg: id -> the photo as large as it is decoded, without its metadata. Raises OSError
            or BadPhoto.
    """

    def __init__(self, engine: Engine, index: str | None = None):
        """index: the form that the engine's store is searched by, None for its own."""
        self.engine = engine
        known = name_of(engine.extractor.fingerprint)
        self.name = MODELS[known].title if known else engine.extractor.path.stem
        self.index = index or engine.store.manifest.parameters["ann"]["preset"]
        self.queries = GalleryQueries(engine, settings().gallery_queries)
        self._checked: dict[Callable[[Gallery], bool], bool] = {}
        self.view_jpeg = lru_cache(VIEWS)(partial(encode_view, engine.store))
        self._by_index: OrderedDict[str, Gallery] = OrderedDict()
        self._lock = threading.Lock()  # of what the others are, not held while one is built

    def once(self, check: Callable[[Gallery], bool]) -> bool:
        """What a check said of this generation when it was first asked."""
        if check not in self._checked:
            self._checked[check] = check(self)
        return self._checked[check]

    @property
    def indexes(self) -> list[str]:
        """Forms of index that can be asked for, its own first."""
        others = PRESETS if len(self.engine.store) <= OTHER_INDEXES else ()
        return [self.index, *(preset for preset in others if preset != self.index)]

    def built_for(self, preset: str) -> Gallery | None:
        """The gallery whose candidates this form of index proposes; None if it must be built."""
        if preset == self.index:
            return self
        with self._lock:
            if preset in self._by_index:
                self._by_index.move_to_end(preset)
            return self._by_index.get(preset)

    def build_for(self, preset: str) -> Gallery:
        """As `built_for`, built now. Heavy."""
        store = self.engine.store.proposed_by(preset)
        other = Gallery(Engine(store, self.engine.extractor), preset)
        with self._lock:
            self._by_index[preset] = other
            while len(self._by_index) > INDEXES_KEPT:
                self._by_index.popitem(last=False)
        return other

    @cached_property
    def samples(self) -> list[Photo]:
        """Queries for a visitor who has no photo at hand."""
        return sample_queries(self.engine.store)


def encode_view(store: Store, id: int) -> bytes:
    """See `Gallery.view_jpeg`."""
    return encode_jpeg(store.pixels(id))


class ReloadingStore:
    """One store, opened again whenever a build has replaced it.

    Args:
        path: the store's folder.
        clock: seconds, for tests.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic):
        self.path = path
        self._clock = clock
        self._lock = threading.Lock()  # of the fields below; never held while anything is opened
        self._gallery: Gallery | None = None
        self._version = ""
        self._opening: threading.Thread | None = None
        self._error: Exception | None = None
        self._failed = "", 0.0  # version that could not be opened, and when to try again
        self._damaged = ""  # version that a verification has found damaged: never opened again

    @property
    def opened(self) -> Gallery | None:
        """What is open, without looking at the disk or waiting; None if nothing is."""
        return self._gallery

    def gallery(self) -> Gallery:
        """The live generation; while it is being opened or cannot be, the last one that could.

        Raises:
            NoGallery: there is none at all.
        """
        opening = self.look()
        if self._gallery is None and opening is not None:
            opening.join()
        if self._gallery is None:
            raise NoGallery
        return self._gallery

    def settle(self) -> Gallery:
        """As `gallery`, but a generation that is being opened is waited for."""
        opening = self.look()
        if opening is not None:
            opening.join()
        return self.gallery()

    def look(self) -> threading.Thread | None:
        """Begin to open the live generation unless it is open.

        Returns:
            The thread that opens one; None if none does.
        """
        try:
            version = current_version(self.path)[1]
        except StoreError as error:
            version = ""
            self._say(error)
        with self._lock:
            if self._opening is not None:
                return self._opening
            if not version or version in (self._version, self._damaged):
                return None
            failed, again = self._failed
            if version == failed and self._clock() < again:
                return None
            self._opening = threading.Thread(
                target=self._open, args=(version,), name="open gallery", daemon=True
            )
            self._opening.start()
            return self._opening

    def _open(self, version: str) -> None:
        behind_clicks()  # this thread, and those of the extractor that it makes
        try:
            model = model_of(self.path, settings().model or None)
            extractor = extractor_of(model, engine_of(self.path))
            engine = Engine(shielded(Store(self.path, extractor)), extractor)
            if not engine.is_calibrated("diffusion", "sift"):
                log.warning(UNCALIBRATED)
            gallery = Gallery(engine)
        except Exception as error:  # a file may be damaged in any way; the old one serves on
            self._say(error)
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
        """Read all of a generation beside the visitors. Photos that are damaged are left out;
        damaged otherwise, it is served no longer.
        """
        store = gallery.engine.store
        try:
            verify(store)
        except PhotosDamaged as error:
            log.error("%s", error)
            # Whether that could be written down for the next opening is another matter: a server's
            # store is often read-only.
            store.leave_out(np.array(error.ids, int))
            anew = Gallery(gallery.engine)  # nothing is at hand in it that knows these photos
            with self._lock:
                if self._gallery is gallery:
                    self._gallery = anew
        except StoreError as error:
            prometheus.NOT_OPENED.inc()
            with self._lock:
                if self._gallery is gallery:
                    self._gallery, self._version = None, ""
                self._damaged = version
            self._say(error)

    def _say(self, error: Exception) -> None:
        """Log it, once until something else is wrong."""
        with self._lock:
            if repr(error) == repr(self._error):
                return
            self._error = error
            serving = self._gallery is not None
        known = isinstance(error, BadCalibration | StoreError | BadModel | OSError)
        what = "serving the generation opened before" if serving else "not served"
        log.error("%s: %s", what, error, exc_info=None if known else error)


def extractor_of(model: Path, written: dict[str, str] | None = None) -> Extractor:
    """What describes queries, shared by all stores of a model with the same engine.

    A model file that has been replaced is loaded again.

    Args:
        model: The float32 model's file.
        written: The engine, as of `open_extractor`.
    """
    versions = tuple(map(version_of, (model, int8_beside(model))))
    with opening_models:  # else two stores that are opened at once would load a model twice
        return opened_extractor(model, tuple(sorted((written or {}).items())), versions)


opening_models = threading.Lock()


@lru_cache(MODELS_KEPT)
def opened_extractor(model: Path, written: tuple, versions: tuple) -> Extractor:
    """`open_extractor`, cached. versions: `version_of` the files that it reads."""
    extractor, choice = open_extractor(model, dict(written))
    log.warning("%s: %s", model.stem, choice)
    return extractor


def version_of(file: Path) -> tuple[int, ...]:
    """What tells a file from the one that was there before; empty if there is none."""
    try:
        found = file.stat()
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


class Galleries:
    """The stores that the settings name. They hold the same photos, described by different models.
    The first one is what the page opens with.
    """

    def __init__(self) -> None:
        self._lives: dict[Path, ReloadingStore] = {}

    def first(self) -> Gallery:
        """The first store. Raises NoGallery if it cannot be opened."""
        return self._served()[0].gallery()

    def by_name(self) -> dict[str, Gallery]:
        """All stores by the name of their model, in order.

        One that cannot be opened is left out, but for the first. Raises NoGallery for that.
        """
        found: dict[str, Gallery] = {}
        for live in self._served():
            try:
                gallery = live.gallery()
            except NoGallery:
                if not found:
                    raise
                continue
            found.setdefault(gallery.name, gallery)
        return found

    def opened(self) -> dict[str, Gallery]:
        """As `by_name`, of what is open; nothing is waited for. Empty if the first is not."""
        found: dict[str, Gallery] = {}
        for live in self._served():
            gallery = live.opened
            if gallery is not None:
                found.setdefault(gallery.name, gallery)
            elif not found:
                return {}
        return found

    def of_version(self, version: str) -> Gallery | None:
        """The open store that has this generation; nothing is waited for."""
        for live in self._served():
            gallery = live.opened
            if gallery is not None and gallery.engine.store.version == version:
                return gallery
        return None

    def look(self) -> None:
        """Begin to open what is not open or was replaced; nothing is waited for."""
        for live in self._served():
            live.look()

    def settle(self) -> None:
        """Wait until everything that can be opened is open. Raises NoGallery as `first`."""
        for position, live in enumerate(self._served()):
            try:
                live.settle()
            except NoGallery:
                if position == 0:
                    raise

    def _served(self) -> list[ReloadingStore]:
        return [self._lives.setdefault(path, ReloadingStore(path)) for path in settings().stores]


@cache
def galleries() -> Galleries:
    """Those of this process."""
    return Galleries()
