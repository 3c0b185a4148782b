"""Engine: one query through all stages.

photo -> descriptor -> shortlist (IVF-PQ) -> exact rescoring -> [diffusion] -> [SIFT verification] -> hits
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from extractor import BadPhoto, Extractor, LocalFeatures, Region, decode, local_features
from index_store import SHORTLIST as CANDIDATES
from index_store import Store, shortlist

from . import ranking
from .diffusion import SEEDS, confidence, diffuse, mix, scale, seed_weights
from .result import Hit, SearchResult
from .verification import Verification, verify

REMEMBERED_QUERIES = 32
COPY = 0.99  # a photo this similar is the query itself, perhaps saved anew


@dataclass
class Query:
    """What is known of one query so far; grows as stages are asked for.

    own_id: the query's own gallery id, or None for an upload. copy_id: the gallery photo that is the query again, or
    None; it is a hit, but in diffusion it counts as the query. ids, similarity: candidates, best first. background,
    spread: the query's own scale of similarity. cost_ms: what the stages cost whose results are kept here. An upload
    itself is not kept: the engine outlives the visit.
    """

    descriptor: np.ndarray
    own_id: int | None
    copy_id: int | None
    ids: np.ndarray
    similarity: np.ndarray
    background: float
    spread: float
    cost_ms: dict[str, float]
    features: LocalFeatures | None = None
    verifications: dict[int, Verification | None] = field(default_factory=dict)

    @property
    def in_gallery(self) -> int | None:
        """The gallery photo that is the query, if any."""
        return self.copy_id if self.own_id is None else self.own_id

    def inliers(self, id: int) -> int | None:
        """Matched points of a photo; None if it was not looked at or could not be read."""
        verification = self.verifications.get(int(id))
        return None if verification is None else verification.inliers


class Stopwatch:
    """Milliseconds by stage; a stage that is entered twice adds up."""

    def __init__(self) -> None:
        self.ms: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.ms[name] = self.ms.get(name, 0.0) + (time.perf_counter() - start) * 1000


@dataclass
class Ranking:
    """An order in the making: gallery ids (n,), their similarity and score (n,), best score first."""

    ids: np.ndarray
    similarity: np.ndarray
    scores: np.ndarray

    def sorted(self) -> Ranking:
        by = ranking.order(self.scores)
        return Ranking(self.ids[by], self.similarity[by], self.scores[by])


class Engine:
    """Searches one store. Thread-safe; remembers the last queries, so that a toggle costs only its own stage."""

    def __init__(self, store: Store, extractor: Extractor):
        self.store = store
        self.extractor = extractor
        self._queries: OrderedDict[tuple, Query] = OrderedDict()
        self._lock = threading.Lock()

    def search(
        self,
        query: bytes | int,
        *,
        diffusion: bool = False,
        sift: bool = False,
        region: Region | None = None,
        k: int = 20,
    ) -> SearchResult:
        """The k best photos for an uploaded photo (its bytes) or for a gallery photo (its id; it is not its own hit).

        region: the part of the query that counts, as fractions (left, top, right, bottom); None: all of it.
        Raises UnsupportedImage or ImageTooLarge for bytes that are no usable photo, KeyError for an unknown id, ValueError
        for a region that is empty or outside; with a region also what `Store.pixels` raises for a gallery photo.
        """
        watch, notes = Stopwatch(), []
        known = self._prepare(query, region, watch)
        reused_ms = {} if watch.ms else dict(known.cost_ms)
        reused_ms.pop("sift", None)
        current = Ranking(known.ids, known.similarity, known.similarity)
        stage_ranks = {"descriptor": current.ids}
        if diffusion:
            with watch.stage("diffusion"):
                current = self._diffuse_from_nearest(known, current)
            stage_ranks["diffusion"] = current.ids
        inliers: dict[int, int] = {}
        if sift:
            looked_at = current.ids[: ranking.SHORTLIST]
            with watch.stage("sift"):
                new = self._verify(query, region, known, looked_at, notes)
            # Only these count: what another toggle or the match viewer has looked at must not change this answer.
            inliers = {int(id): known.inliers(id) or 0 for id in looked_at}
            if new:
                known.cost_ms["sift"] = known.cost_ms.get("sift", 0.0) + watch.ms["sift"]
            else:
                del watch.ms["sift"]
                reused_ms["sift"] = known.cost_ms.get("sift", 0.0)
            if diffusion:
                with watch.stage("diffusion"):
                    current = self._diffuse_from_verified(known, current, inliers)
            points = np.array([inliers.get(int(id), 0) for id in current.ids])
            current = Ranking(current.ids, current.similarity, ranking.lift_verified(current.scores, points)).sorted()
            stage_ranks["sift"] = current.ids
        positions = {stage: {int(id): rank for rank, id in enumerate(ids, 1)} for stage, ids in stage_ranks.items()}
        hits = [
            self._hit(known, int(id), float(similarity), float(score), positions, shown=int(id) in inliers)
            for id, similarity, score in zip(current.ids[:k], current.similarity, current.scores)
        ]
        return SearchResult(hits, watch.ms, reused_ms, notes)

    def explain(self, query: bytes | int, id: int, region: Region | None = None) -> Hit:
        """One gallery photo as a hit of the query, verified whether or not it was on the shortlist.

        Raises as `search`, and KeyError for an unknown id.
        """
        self.store.catalogue.photo(id)
        known = self._prepare(query, region, Stopwatch())
        self._verify(query, region, known, np.array([id]), [])
        similarity = float(self._similarity(known.descriptor, np.array([id]))[0])
        rank = {int(other): rank for rank, other in enumerate(known.ids, 1)}
        return self._hit(known, id, similarity, similarity, {"descriptor": rank}, shown=True)

    # -- stages ------------------------------------------------------------------------------------------------------

    def _prepare(self, query: bytes | int, region: Region | None, watch: Stopwatch) -> Query:
        """Descriptor and candidates of a query, remembered from before if it was asked lately."""
        key = (hashlib.sha256(query).hexdigest() if isinstance(query, bytes) else query, region)
        with self._lock:
            if key in self._queries:
                self._queries.move_to_end(key)
                return self._queries[key]
        own_id = None if isinstance(query, bytes) else self.store.catalogue.photo(query).id
        if own_id is not None and region is None:
            descriptor = self.store.descriptors[own_id].astype(np.float32)
        else:
            with watch.stage("decode"):
                photo = self._query_pixels(query)
            with watch.stage("describe"):
                descriptor = self.extractor.describe([photo], [region])[0]
        with watch.stage("index"):
            ids = shortlist(self.store.index, descriptor, CANDIDATES)
            ids = ids[ids != (-1 if own_id is None else own_id)]
            similarity = self._similarity(descriptor, ids)
            best = ranking.order(similarity)
            ids, similarity = ids[best], similarity[best]
        is_copy = own_id is None and len(ids) > 0 and similarity[0] >= COPY
        background, spread = scale(similarity[int(is_copy) :])
        copy_id = int(ids[0]) if is_copy else None
        known = Query(descriptor, own_id, copy_id, ids, similarity, background, spread, dict(watch.ms))
        with self._lock:
            self._queries[key] = known
            while len(self._queries) > REMEMBERED_QUERIES:
                self._queries.popitem(last=False)
        return known

    def _similarity(self, descriptor: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Exact cosine of a descriptor (D,) with the stored descriptors of ids (n,)."""
        # Rows stored as float16 are unit to three digits only.
        return np.clip(self.store.descriptors[ids].astype(np.float32) @ descriptor, -1, 1)

    def _diffuse_from_nearest(self, known: Query, current: Ranking) -> Ranking:
        fresh = slice(int(known.copy_id is not None), int(known.copy_id is not None) + SEEDS)
        seeds = current.ids[fresh]
        weights = seed_weights(
            current.similarity[fresh],
            self.store.neighbour_ids[seeds],
            self.store.neighbour_sims[seeds],
            known.in_gallery,
        )
        return self._diffuse(known, current, seeds, weights, confidence(weights, known.spread))

    def _diffuse_from_verified(self, known: Query, current: Ranking, points: dict[int, int]) -> Ranking:
        """Walk from the verified photos; without any, the ranking stays what the nearest ones made of it."""
        inliers = np.array([0 if id == known.copy_id else points.get(int(id), 0) for id in current.ids])
        trusted = inliers >= ranking.FLOOR
        weights = ranking.verified_seed_weights(inliers[trusted])
        return self._diffuse(known, current, current.ids[trusted], weights, 1.0)

    def _diffuse(
        self, known: Query, current: Ranking, seeds: np.ndarray, weights: np.ndarray, confidence: float
    ) -> Ranking:
        """Mix the walk from the seeds into the similarity; the ranking as it is if the walk leads nowhere."""
        store, own = self.store, known.in_gallery
        removed = None if own is None else (store.diffusion_ids[own], store.diffusion_values[own])
        ids, diffused = diffuse(store.diffusion_ids[seeds], store.diffusion_values[seeds], weights, removed)
        if len(ids) == 0:
            return current
        reached = np.zeros(len(store), np.float32)
        reached[ids] = diffused
        if known.copy_id is not None:
            reached[known.copy_id] = diffused.max()
        # The walk may reach photos that were not among the candidates.
        new = np.setdiff1d(ids, current.ids)
        new = new[new != own]
        everyone = np.concatenate([current.ids, new])
        similarity = np.concatenate([current.similarity, self._similarity(known.descriptor, new)])
        scores = mix(similarity, reached[everyone], confidence, known.background, known.spread)
        return Ranking(everyone, similarity, scores).sorted()

    def _verify(
        self, query: bytes | int, region: Region | None, known: Query, ids: np.ndarray, notes: list[str]
    ) -> int:
        """Match the query with photos not yet looked at; returns how many those were."""
        todo = [int(id) for id in ids if int(id) not in known.verifications]
        if todo and known.features is None:
            try:
                known.features = self._query_features(query, region)
            except (OSError, BadPhoto):
                notes.append("Nothing could be verified: the file of the query has changed or is gone.")
                return 0
        for id in todo:
            try:
                known.verifications[id] = verify(known.features, self.store.local_features(id))
            except (OSError, BadPhoto):
                known.verifications[id] = None
        if unread := sum(known.verifications[int(id)] is None for id in ids):
            notes.append(f"{unread} photos could not be verified: their files have changed or are gone.")
        return len(todo)

    def _query_pixels(self, query: bytes | int) -> np.ndarray:
        return decode(query) if isinstance(query, bytes) else self.store.pixels(query)

    def _query_features(self, query: bytes | int, region: Region | None) -> LocalFeatures:
        if isinstance(query, bytes):
            features = local_features(self._query_pixels(query))
        else:
            features = self.store.local_features(query)
        return features if region is None else features.inside(region)

    def _hit(
        self, known: Query, id: int, similarity: float, score: float, positions: dict[str, dict[int, int]], shown: bool
    ) -> Hit:
        photo = self.store.catalogue.photo(id)
        inliers = known.inliers(id) if shown else None
        return Hit(
            id=id,
            file=photo.file,
            title=photo.title,
            score=score,
            similarity=similarity,
            stage_ranks={stage: ranks[id] for stage, ranks in positions.items() if id in ranks},
            inliers=inliers,
            verified=inliers is not None and inliers >= ranking.FLOOR,
            verification=known.verifications.get(id) if shown else None,
        )
