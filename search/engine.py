"""Engine: one query through all stages.

photo -> descriptor -> shortlist (IVF-PQ) -> exact rescoring -> [global reranking] -> [SIFT verification] -> hits
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from extractor import BadPhoto, Extractor, LocalFeatures, Region, decode, local_features
from index_store import SHORTLIST as CANDIDATES
from index_store import Store, shortlist

from . import ranking
from .diffusion import scale
from .query import Query
from .ranking import Ranking, Verified, cosine
from .reranker import RERANKERS, Reranker
from .result import Hit, SearchResult
from .verification import verify

REMEMBERED_QUERIES = 32
COPY = 0.99  # a photo this similar is the query itself, perhaps saved anew


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


class Engine:
    """Searches one store. Thread-safe; remembers the last queries, so that a toggle costs only its own stage."""

    def __init__(self, store: Store, extractor: Extractor):
        self.store = store
        self.extractor = extractor
        self._queries: OrderedDict[tuple, Query] = OrderedDict()
        self._lock = threading.Lock()
        self._rerankers: dict[str, Reranker] = {}
        self._rerankers_lock = threading.Lock()  # its own, because making a reranker may take long

    def search(
        self,
        query: bytes | int,
        *,
        diffusion: bool = False,
        sift: bool = False,
        reranker: str = "diffusion",
        region: Region | None = None,
        k: int = 20,
    ) -> SearchResult:
        """The k best photos for an uploaded photo (its bytes) or for a gallery photo (its id; it is not its own hit).

        diffusion: whether to rerank globally; reranker: by which of RERANKERS, also the name of the stage.
        region: the part of the query that counts, as fractions (left, top, right, bottom); None: all of it.
        Raises UnsupportedImage or ImageTooLarge for bytes that are no usable photo, KeyError for an unknown id, ValueError
        for an unknown reranker and for a region that is empty or outside; with a region also what `Store.pixels` raises
        for a gallery photo.
        """
        if reranker not in RERANKERS:
            raise ValueError(f"There is no reranker {reranker!r}, only {', '.join(RERANKERS)}.")
        watch, notes = Stopwatch(), []
        known = self._prepare(query, region, watch)
        reused_ms = {} if watch.ms else dict(known.cost_ms)
        reused_ms.pop("sift", None)
        current = Ranking(known.ids, known.similarity, known.similarity)
        stage_ranks = {"descriptor": current.ids}
        if diffusion:
            with watch.stage(reranker):
                current = self._reranker(reranker).rerank(known, current)
            stage_ranks[reranker] = current.ids
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
                verified = Verified.among(looked_at, np.array([inliers[int(id)] for id in looked_at], int))
                with watch.stage(reranker):
                    current = self._reranker(reranker).rerank(known, current, verified)
            points = np.array([inliers.get(int(id), 0) for id in current.ids], int)
            current = current.rescored(ranking.lift_verified(current.scores, points))
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
        similarity = float(cosine(known.descriptor, self.store.descriptors[[id]])[0])
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
            similarity = cosine(descriptor, self.store.descriptors[ids])
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

    def _reranker(self, name: str) -> Reranker:
        """The reranker of that name, made when first asked for."""
        if name not in self._rerankers:
            with self._rerankers_lock:
                if name not in self._rerankers:
                    self._rerankers[name] = RERANKERS[name](self.store)
        return self._rerankers[name]

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
