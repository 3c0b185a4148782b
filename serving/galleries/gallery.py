"""One opened generation of a store, with its caches."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import cached_property, lru_cache, partial

from extractor import encode_jpeg
from extractor.descriptor.registry import MODELS, name_of
from index_store import PRESETS, Photo, Store
from search import Engine

from ..settings import settings
from .queries import GalleryQueries
from .samples import sample_queries

VIEWS = 64  # large pictures that are cached
# Largest gallery for which other forms of the index are offered: building one takes a visitor's
# turn, a few seconds at most.
MAX_PHOTOS_TO_INDEX = 10_000
MAX_INDEXES = 3  # other indexes, least recently used first to go


class NoGallery(Exception):
    """No gallery is open; str(error) is a sentence for the visitor. The log has the reason."""

    def __init__(self) -> None:
        super().__init__("The gallery cannot be opened at the moment. Please try again later.")


class Gallery:
    """One opened generation with its caches, which are dropped when a build replaces it.

    Attributes:
        engine: engine that searches it.
        name: title of the model.
        index: form of the index that proposes candidates, a name of PRESETS.
        queries: its own photos as prepared queries.
        view_jpeg: id -> JPEG of the photo at working size, without metadata. Raises OSError or
            BadPhoto.
    """

    def __init__(self, engine: Engine, index: str | None = None):
        """index: form of the index that the engine's store uses, None for the store's own."""
        self.engine = engine
        registered = name_of(engine.extractor.fingerprint)
        self.name = MODELS[registered].title if registered else engine.extractor.path.stem
        self.index = index or engine.store.manifest.parameters["ann"]["preset"]
        self.queries = GalleryQueries(engine, settings().gallery_queries)
        self._checked: dict[Callable[[Gallery], bool], bool] = {}
        self.view_jpeg = lru_cache(VIEWS)(partial(encode_view, engine.store))
        self._by_index: OrderedDict[str, Gallery] = OrderedDict()
        self._lock = threading.Lock()  # of `_by_index`; not held while an index is built

    def once(self, check: Callable[[Gallery], bool]) -> bool:
        """Result of a check, which runs once for each generation."""
        if check not in self._checked:
            self._checked[check] = check(self)
        return self._checked[check]

    @property
    def indexes(self) -> list[str]:
        """Available forms of the index, its own first."""
        others = PRESETS if len(self.engine.store) <= MAX_PHOTOS_TO_INDEX else ()
        return [self.index, *(preset for preset in others if preset != self.index)]

    def built_for(self, preset: str) -> Gallery | None:
        """The gallery searched by this form of index; None if it must be built first."""
        if preset == self.index:
            return self
        with self._lock:
            if preset in self._by_index:
                self._by_index.move_to_end(preset)
            return self._by_index.get(preset)

    def build_for(self, preset: str) -> Gallery:
        """As `built_for`, but builds the index. Heavy."""
        store = self.engine.store.proposed_by(preset)
        other = Gallery(Engine(store, self.engine.extractor), preset)
        with self._lock:
            self._by_index[preset] = other
            while len(self._by_index) > MAX_INDEXES:
                self._by_index.popitem(last=False)
        return other

    @cached_property
    def samples(self) -> list[Photo]:
        """Sample queries for a visitor without a photo."""
        return sample_queries(self.engine.store)


def encode_view(store: Store, id: int) -> bytes:
    """See `Gallery.view_jpeg`."""
    return encode_jpeg(store.pixels(id))
