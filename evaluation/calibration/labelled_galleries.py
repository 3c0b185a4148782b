"""Galleries of labelled photos for `evaluation fit`: whole stores, and random parts of them.

A probability that holds in a gallery of 400 photos need not hold in one of 40. So random parts of
the store, of several sizes, are searched as separate galleries. This decodes no photo, and
verifies no pair of photos twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from extractor import Extractor, LocalFeatures
from index_store import Store
from matching.verification import Verification
from search import Engine, PreparedQuery
from search.verify.matcher import SIFT, Matcher

from ..groups import store_group_ids, store_groups
from ..subgallery import SubGallery

PART_SIZES = (30, 60, 120)  # sizes of parts; only those of at most half the store are used
DRAWS = 6  # parts per size
MAX_VIEWS = 3  # photos of one thing drawn into a part, as long as there are other things
CROWDED = 3  # parts per size that also contain a thing with more photos
SEED = 0
CACHED = 1000  # photos whose keypoints are cached


@dataclass(frozen=True)
class LabelledGallery:
    """A store or a part of it, ready to be searched.

    Attributes:
        engine: engine that searches it.
        groups: ids of photos of the same thing. In a part, some groups have one photo or none.
        share: weight of the gallery in a fit; all parts of one size together weigh 1, like a whole
            store.
        offset: index of its first query; queries of different galleries have different indices.
        first_group: index of its first group; groups of different stores have different indices.
        is_whole: whether it is a store, not a part of one.
        queries: prepared queries by id, so that votes are not counted again.
    """

    engine: Engine
    groups: list[list[int]]
    share: float
    offset: int
    first_group: int
    is_whole: bool
    queries: dict[int, PreparedQuery] = field(default_factory=dict)

    def query(self, id: int) -> PreparedQuery:
        """The query for a photo, prepared once."""
        if id not in self.queries:
            self.queries[id] = self.engine.prepare(id)
        return self.queries[id]

    def __len__(self) -> int:
        return len(self.engine.store)


def galleries_of(
    store: Store,
    extractor: Extractor,
    groups: list[list[int]],
    matcher: str,
    before: Sequence[LabelledGallery] = (),
) -> list[LabelledGallery]:
    """The store as a gallery, followed by its parts.

    Args:
        store: store of labelled photos.
        extractor: extractor of the store.
        groups: ids of photos of the same thing, at least two each.
        matcher: name of the matcher whose verifications are shared by all galleries.
        before: galleries of other stores; query and group indices continue after theirs.
    """
    rng = np.random.default_rng(SEED)
    all_ids = np.arange(len(store))
    parts = [
        draw(groups, len(store), size, rng, crowded=number < CROWDED)
        for size in PART_SIZES
        if size <= len(store) / 2
        for number in range(DRAWS)
    ]
    whole = Engine(store, extractor)
    shared = SharedVerifications(whole.matchers[matcher])
    offset, first_group = after(before)
    galleries = []
    for ids in [all_ids, *parts]:
        engine = whole
        if ids is not all_ids:
            engine = Engine(SubGallery(store, ids), extractor)
        shared.redirect(engine.matchers[matcher], ids)
        number = {int(id): n for n, id in enumerate(ids)}
        # A group keeps its index in every part, even with fewer than two photos there.
        inside = [[number[id] for id in members if id in number] for members in groups]
        is_whole = ids is all_ids
        share = 1.0 if is_whole else 1 / DRAWS
        galleries.append(LabelledGallery(engine, inside, share, offset, first_group, is_whole))
        offset += len(ids)
    return galleries


def whole_gallery(
    store: Store,
    extractor: Extractor,
    groups: list[list[int]],
    matcher: str,
    before: Sequence[LabelledGallery] = (),
) -> LabelledGallery:
    """The store as a gallery, without its parts. Arguments as in `galleries_of`."""
    engine = Engine(store, extractor)
    shared = SharedVerifications(engine.matchers[matcher])
    shared.redirect(engine.matchers[matcher], np.arange(len(store)))
    return LabelledGallery(engine, groups, 1.0, *after(before), True)


def whole_galleries(
    stores: Sequence[Path], files: Sequence[Path], extractor: Extractor
) -> tuple[list[LabelledGallery], list[dict[str, list[str]]]]:
    """Several stores of one model as galleries, and the groups of each.

    Args:
        stores: the stores.
        files: the groups file of each.
        extractor: extractor of all stores.

    Raises:
        As `Store` and `store_groups`.
    """
    galleries: list[LabelledGallery] = []
    groups: list[dict[str, list[str]]] = []
    for path, file in zip(stores, files):
        store = Store(path, extractor)
        groups.append(store_groups(file, store))
        ids = list(store_group_ids(file, store).values())
        galleries.append(whole_gallery(store, extractor, ids, SIFT, galleries))
    return galleries, groups


def after(before: Sequence[LabelledGallery]) -> tuple[int, int]:
    """First indices of a query and of a group after those of other galleries."""
    if not before:
        return 0, 0
    last = before[-1]
    return last.offset + len(last), last.first_group + len(last.groups)


def draw(
    groups: list[list[int]], count: int, size: int, rng: np.random.Generator, crowded: bool = False
) -> np.ndarray:
    """Ids int (size,), ascending, of a random gallery: one to MAX_VIEWS photos of random things.

    Args:
        groups: ids of photos of the same thing.
        count: photos to draw from; those without a group are a thing each.
        size: number of photos, at most `count`.
        rng: random generator.
        crowded: whether photos of a thing that has more of them are drawn first, up to half of the
            gallery.
    """
    singletons = np.setdiff1d(np.arange(count), [id for members in groups for id in members])
    things = [rng.permutation(members) for members in [*groups, *singletons[:, None]]]
    first, later = [], []
    many = [number for number, photos in enumerate(things) if len(photos) > MAX_VIEWS]
    if crowded and many:
        crowded_thing = int(rng.choice(many))
        first.append(things[crowded_thing][: size // 2])
        things[crowded_thing] = things[crowded_thing][size // 2 :]
    for thing in rng.permutation(len(things)):
        cut = rng.integers(1, MAX_VIEWS + 1)
        first.append(things[thing][:cut])
        later.append(things[thing][cut:])
    return np.sort(np.concatenate([*first, rng.permutation(np.concatenate(later))])[:size])


class SharedVerifications:
    """Verifies each pair of photos once, for either query and in every gallery.

    Which photo of a pair is the query makes hardly any difference to a matcher.
    """

    def __init__(self, matcher: Matcher):
        """Create a cache for the results of the whole store's matcher."""
        self._verify_many = matcher.verify_many
        self._features = lru_cache(CACHED)(matcher.gallery_features)
        self._query_features = lru_cache(CACHED)(matcher.query_features)
        self._found: dict[tuple[int, int], Verification] = {}

    def redirect(self, matcher: Matcher, ids: np.ndarray) -> None:
        """Redirect a gallery's matcher to this cache. ids: int (n,), its photos in the store."""
        matcher.query_features = lambda id: LazyFeatures(int(ids[id]), self._query_features)
        matcher.gallery_features = lambda id: int(ids[id])
        matcher.verify_many = self.verify_many

    def verify_many(self, query: int, hits: Sequence[int]) -> list[Verification]:
        """As `Matcher.verify_many`, for ids in the store in place of keypoints."""
        new = [hit for hit in hits if pair(query, hit) not in self._found]
        if new:
            features: list[LocalFeatures] = [self._features(id) for id in new]
            found = self._verify_many(self._query_features(query), features)
            self._found.update(
                (pair(query, hit), verification) for hit, verification in zip(new, found)
            )
        return [self._found[pair(query, hit)] for hit in hits]


class LazyFeatures(int):
    """A photo's id in the store, in place of its keypoints, which votes can still read."""

    def __new__(cls, id: int, load: Callable[[int], LocalFeatures]) -> LazyFeatures:
        lazy = super().__new__(cls, id)
        lazy._load = load
        return lazy

    _load: Callable[[int], LocalFeatures]

    def strongest(self, points: int) -> LocalFeatures:
        """See `LocalFeatures.strongest`."""
        return self._load(int(self)).strongest(points)


def pair(first: int, second: int) -> tuple[int, int]:
    return min(first, second), max(first, second)
