"""The galleries of this process, shared by the page's sessions and the photo routes."""

from __future__ import annotations

import logging
import os
import sys
import threading
from functools import cached_property, lru_cache, partial
from pathlib import Path

from extractor import BadModel, Extractor, choose_extractor, encode_jpeg
from extractor.registry import MODELS, name_of
from index_store import Photo, Store, StoreError, current_version, model_of
from search import UNCALIBRATED, Engine

from .samples import sample_queries

STORE_VARIABLE = "GEM_STORE"
MODEL_VARIABLE = "GEM_MODEL"  # of a store whose model is not one of the project's own
DEFAULT_STORE = Path(__file__).resolve().parent.parent / "stores" / "gallery"
VIEWS = 64  # large pictures that are held ready

log = logging.getLogger(__name__)


class Gallery:
    """One opened generation, with what has been made of it. All of that goes when a build replaces
    it.

    Attributes:
        engine: searches it.
        name: of the model, for people.
        view_jpeg: id -> the photo as large as it is decoded, without its metadata. Raises OSError
            or BadPhoto.
    """

    def __init__(self, engine: Engine):
        self.engine = engine
        known = name_of(engine.extractor.fingerprint)
        self.name = MODELS[known].title if known else engine.extractor.path.stem
        self.view_jpeg = lru_cache(VIEWS)(partial(encode_view, engine.store))

    @cached_property
    def samples(self) -> list[Photo]:
        """Queries for a visitor who has no photo at hand."""
        return sample_queries(self.engine.store)


def encode_view(store: Store, id: int) -> bytes:
    """See `Gallery.view_jpeg`."""
    return encode_jpeg(store.pixels(id))


class Live:
    """One store, opened again whenever a build has replaced it."""

    def __init__(self, path: Path):
        self.path = path
        self._lock = threading.Lock()
        self._gallery: Gallery | None = None
        self._version = ""

    def gallery(self) -> Gallery:
        """The live generation; if that cannot be opened, the last one that could.

        Raises StoreError or BadModel if there is none at all.
        """
        with self._lock:
            try:
                version = current_version(self.path)[1]
                if self._gallery is None or version != self._version:
                    self._gallery = self._open()
                    self._version = version
            except StoreError as error:
                if self._gallery is None:
                    raise
                log.error("serving the generation opened before: %s", error)
            return self._gallery

    def _open(self) -> Gallery:
        model = model_of(self.path, os.environ.get(MODEL_VARIABLE))
        extractor = extractor_of(model)
        engine = Engine(Store(self.path, extractor), extractor)
        if not engine.is_calibrated("diffusion", "sift"):
            log.warning(UNCALIBRATED)
        return Gallery(engine)


@lru_cache
def extractor_of(model: Path) -> Extractor:
    """What runs a descriptor model fastest here; the same for all stores of that model."""
    extractor, choice = choose_extractor(model)
    print(f"{model.stem}: {choice}", file=sys.stderr)
    return extractor


class Service:
    """The stores that the environment variable GEM_STORE names, with ':' between (';' on Windows).

    They hold the same photos, described by different models. The first one is what the page opens
    with.
    """

    def __init__(self) -> None:
        self._lives: dict[Path, Live] = {}

    def gallery(self) -> Gallery:
        """The first store. Raises StoreError or BadModel if it cannot be opened."""
        return self._live(self._paths()[0]).gallery()

    def galleries(self) -> dict[str, Gallery]:
        """All stores by the name of their model, in order.

        One that cannot be opened is left out, but for the first. Raises StoreError or BadModel for
        that.
        """
        found: dict[str, Gallery] = {}
        for path in self._paths():
            try:
                gallery = self._live(path).gallery()
            except (StoreError, BadModel, OSError) as error:
                if not found:
                    raise
                log.error("not served: %s", error)
                continue
            found.setdefault(gallery.name, gallery)
        return found

    def of_version(self, version: str) -> Gallery | None:
        """The opened store that has this generation live."""
        for path in self._paths():
            gallery = self._live(path).gallery()
            if gallery.engine.store.version == version:
                return gallery
        return None

    def _paths(self) -> list[Path]:
        named = os.environ.get(STORE_VARIABLE, str(DEFAULT_STORE)).split(os.pathsep)
        return [Path(path) for path in named if path] or [DEFAULT_STORE]

    def _live(self, path: Path) -> Live:
        return self._lives.setdefault(path, Live(path))


service = Service()
