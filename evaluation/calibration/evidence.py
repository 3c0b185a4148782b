"""Training data of `evaluation fit`: every photo as a query, in whole stores and in parts of them.

A probability that holds in a gallery of 400 photos need not hold in one of 40. So random parts of
the store, of several sizes, are searched as separate galleries. This decodes no photo, and
verifies no pair of photos twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from extractor import Extractor, LocalFeatures
from index_store import Store
from matching.verification import Verification
from search import Engine, PreparedQuery
from search.fusion import log_odds
from search.fusion.fit import Samples
from search.fusion.log_odds import Evidence
from search.verify.matcher import Matcher

from ..subgallery import SubGallery

PART_SIZES = (30, 60, 120)  # sizes of parts; only those of at most half the store are used
DRAWS = 6  # parts per size
MAX_VIEWS = 3  # photos of one thing drawn into a part, as long as there are other things
CROWDED = 3  # parts per size that also contain a thing with more photos
# Weight of a part in the regression, relative to a whole store. The regression determines the
# order, which matters where there are many photos. The calibration weighs both alike.
PART_WEIGHT = 0.1
VIEWS = 2.0  # maximum total weight of a query's relevant photos in the calibration
SEED = 0
CACHED = 1000  # photos whose keypoints are cached

Setting = tuple[str | None, str | None]
Progress = Callable[[Sequence], Iterable]


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


def evidence_of(
    gallery: LabelledGallery, id: int, setting: Setting
) -> tuple[np.ndarray, Evidence, bool]:
    """Search with one photo of a gallery. The fit uses engines only through this function.

    Args:
        gallery: gallery to search.
        id: id of the photo, which is excluded from its own result.
        setting: names of the reranker and the matcher, None for none.

    Returns:
        Ids (n,) in global order, the evidence for each, and whether a reranker started from
        verified photos.
    """
    rerank, verify = setting
    engine, query = gallery.engine, gallery.query(id)
    if rerank != log_odds.PAIR:
        return engine.evidence(query, *setting)
    ids, evidence, any_verified = engine.evidence(query, None, verify)
    return ids, replace(evidence, details=None), any_verified


def collect(
    galleries: Sequence[LabelledGallery], setting: Setting, progress: Progress = iter
) -> Samples:
    """Collect the candidates of every photo of every gallery.

    All groups have the same weight, however many photos they have. Photos without a group have
    nothing to find. They count only for the calibration, with the same total weight as all groups.

    Args:
        galleries: output of `galleries_of`.
        setting: names of the reranker and the matcher, None for none.
        progress: wraps the list of queries.
    """
    queries = [(gallery, query) for gallery in galleries for query in queries_of(gallery)]
    return Samples.together(
        samples_of(gallery, query, setting) for gallery, query in progress(queries)
    )


class LabelledQuery(NamedTuple):
    """A photo of a labelled gallery as a query.

    Attributes:
        id: id of the photo.
        group: its group, with which it is held out.
        share: weight of the query.
        has_answer: whether there is anything to find.
    """

    id: int
    group: int
    share: float
    has_answer: bool


def queries_of(gallery: LabelledGallery) -> list[LabelledQuery]:
    """All photos of a gallery as queries."""
    pairs = [members for members in gallery.groups if len(members) > 1]
    group_of = {id: group for group, members in enumerate(gallery.groups) for id in members}
    singletons = len(gallery) - sum(map(len, pairs))
    queries = []
    for id in range(len(gallery)):
        # Photos without a group are held out with the groups, spread evenly over them.
        group = group_of.get(id, id % len(gallery.groups))
        size = len(gallery.groups[group]) if id in group_of else 0
        share = gallery.share / (size * len(pairs) if size > 1 else singletons)
        queries.append(LabelledQuery(id, group, share, size > 1))
    return queries


def samples_of(gallery: LabelledGallery, query: LabelledQuery, setting: Setting) -> Samples:
    """The candidates of one query, see `collect`."""
    ids, evidence, any_verified = evidence_of(gallery, query.id, setting)
    names = log_odds.feature_names(setting[1] is not None, evidence.details is not None)
    mode = log_odds.mode(*setting, any_verified)
    return labelled(gallery, query, ids, log_odds.features(evidence, names), mode)


def labelled(
    gallery: LabelledGallery, query: LabelledQuery, ids: np.ndarray, features: np.ndarray, mode: str
) -> Samples:
    """The photos that a query found, as samples.

    Args:
        gallery: gallery that was searched.
        query: the query.
        ids: photos that it found, best first, int (n,).
        features, mode: see `Samples`; features (n, F).
    """
    n = len(ids)
    relevant = np.isin(ids, gallery.groups[query.group]) & query.has_answer
    in_order = 1.0 if gallery.is_whole else PART_WEIGHT
    views = np.where(relevant, min(1, VIEWS / max(1, relevant.sum())), 1)
    return Samples(
        features=features,
        mode=np.full(n, mode),
        relevant=relevant,
        weight=np.full(n, query.share * in_order / n if query.has_answer else 0.0),
        prior=query.share / n * views,
        query=np.full(n, gallery.offset + query.id),
        group=np.full(n, gallery.first_group + query.group),
        photos=np.full(n, len(gallery)),
    )


# -- galleries -------------------------------------------------------------------------------------


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
        matcher.gallery_features = matcher.at_hand = lambda id: int(ids[id])
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
