"""The one gallery of this process, shared by the page's sessions and the photo routes."""

from __future__ import annotations

import logging
import os
import sys
import threading
from functools import cached_property, lru_cache, partial
from pathlib import Path

from extractor import Extractor, choose_extractor, encode_jpeg
from index_store import Photo, Store, StoreError, current_version
from search import UNCALIBRATED, Engine

from .samples import sample_queries

STORE_VARIABLE = "GEM_STORE"
DEFAULT_STORE = Path(__file__).resolve().parent.parent / "stores" / "gallery"
VIEWS = 64  # large pictures that are held ready

log = logging.getLogger(__name__)


class Gallery:
    """One opened generation, with what has been made of it. All of that goes when a build replaces it.

    Attributes:
        engine: searches it.
        view_jpeg: id -> the photo as large as it is decoded, without its metadata. Raises OSError
            or BadPhoto.
    """

    def __init__(self, engine: Engine):
        self.engine = engine
        self.view_jpeg = lru_cache(VIEWS)(partial(encode_view, engine.store))

    @cached_property
    def samples(self) -> list[Photo]:
        """Queries for a visitor who has no photo at hand."""
        return sample_queries(self.engine.store)


def encode_view(store: Store, id: int) -> bytes:
    """See `Gallery.view_jpeg`."""
    return encode_jpeg(store.pixels(id))


class Service:
    """Opens the store named by the environment variable GEM_STORE.

    It is opened again whenever a build has replaced it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._extractor: Extractor | None = None
        self._gallery: Gallery | None = None
        self._opened: tuple[Path, str] | None = None

    def gallery(self) -> Gallery:
        """The live generation; if that cannot be opened, the last one that could.

        Raises StoreError or BadModel if there is none at all.
        """
        path = Path(os.environ.get(STORE_VARIABLE, DEFAULT_STORE))
        with self._lock:
            try:
                version = (path, current_version(path)[1])
                if version != self._opened:
                    self._gallery = self._open(path)
                    self._opened = version
            except StoreError as error:
                if self._gallery is None or self._opened[0] != path:
                    raise
                log.error("serving the generation opened before: %s", error)
            return self._gallery

    def _open(self, path: Path) -> Gallery:
        if self._extractor is None:
            self._extractor, choice = choose_extractor()
            print(f"descriptors: {choice}", file=sys.stderr)
        engine = Engine(Store(path, self._extractor), self._extractor)
        if not engine.is_calibrated("diffusion", "sift"):
            log.warning(UNCALIBRATED)
        return Gallery(engine)


service = Service()
