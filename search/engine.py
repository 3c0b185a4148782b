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
from dataclasses import dataclass

import numpy as np

from extractor import BadPhoto, Extractor, LocalFeatures, Region, decode
from index_store import SHORTLIST as CANDIDATES
from index_store import Store, shortlist

from . import ranking
from .fusion import fusion
from .fusion.calibration import Calibration
from .fusion.fusion import Evidence
from .query import Query
from .ranking import Ranking, Verified, cosine
from .rerank.diffusion import scale
from .rerank.reranker import RERANKERS, Reranker
from .result import Hit, SearchResult
from .verify.matcher import MATCHERS, Matcher
from .verify.verification import Verification

REMEMBERED_QUERIES = 32
UNCALIBRATED = (
    "How probable a match is was not fitted for this model, reranker and matcher, so none is shown; "
    "python -m evaluation fit fits it."
)
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


@dataclass(frozen=True)
class Answer:
    """All that the stages found out.

    ranking: the global order. evidence: what speaks for each of its photos. any_verified: whether
    a reranker started from verified photos. looked_at: ids that were to be verified. stage_ranks:
    ids in the order after each stage.
    """

    query: Query
    ranking: Ranking
    evidence: Evidence
    any_verified: bool
    looked_at: np.ndarray
    stage_ranks: dict[str, np.ndarray]
    reused_ms: dict[str, float]


class Engine:
    """Searches one store. Thread-safe; remembers the last queries, so that a toggle costs only its own stage.

    calibration: of the store's model.
    """

    def __init__(self, store: Store, extractor: Extractor, remember: int = REMEMBERED_QUERIES):
        self.store = store
        self.extractor = extractor
        self.calibration = Calibration.of(store.manifest.fingerprint)
        self._remember = remember
        self._queries: OrderedDict[tuple, Query] = OrderedDict()
        self._lock = threading.Lock()
        self._made: dict[str, Reranker | Matcher] = {}
        self._made_lock = threading.Lock()  # its own, because making a reranker may take long

    def search(
        self,
        query: bytes | int,
        *,
        diffusion: bool = False,
        sift: bool = False,
        reranker: str = "diffusion",
        matcher: str = "sift",
        region: Region | None = None,
        k: int = 20,
    ) -> SearchResult:
        """The k best photos for an uploaded photo (its bytes) or for a gallery photo (its id; it is not its own hit).

        diffusion: whether to rerank globally; reranker: by which of RERANKERS, also the name of the stage.
        sift: whether to verify the best; matcher: by which of MATCHERS, also the name of the stage.
        region: the part of the query that counts, as fractions (left, top, right, bottom); None: all of it.
        Raises UnsupportedImage or ImageTooLarge for bytes that are no usable photo, KeyError for an unknown id, ValueError
        for an unknown reranker or matcher and for a region that is empty or outside, BadModel for a matcher whose models
        are not there; with a region also what `Store.pixels` raises for a gallery photo.
        """
        watch, notes = Stopwatch(), []
        answer = self._rank(query, diffusion, sift, reranker, matcher, region, watch, notes)
        known, current = answer.query, answer.ranking
        pair = (reranker if diffusion else None, matcher if sift else None)
        log_odds = self.calibration.order_by(answer.evidence, *pair, answer.any_verified)
        is_fitted = self.calibration.is_fitted(*pair)
        stage_ranks = answer.stage_ranks
        if sift:
            current = current.rescored(log_odds)
            log_odds = current.scores
            stage_ranks[matcher] = current.ids
        positions = {
            stage: {int(id): rank for rank, id in enumerate(ids, 1)}
            for stage, ids in stage_ranks.items()
        }
        shown = {int(id) for id in answer.looked_at}
        hits = [
            self._hit(
                known,
                int(id),
                float(similarity),
                float(score),
                odds if is_fitted else None,
                positions,
                matcher,
                shown=int(id) in shown,
            )
            for id, similarity, score, odds in zip(
                current.ids[:k], current.similarity, current.scores, log_odds
            )
        ]
        return SearchResult(hits, watch.ms, answer.reused_ms, notes)

    def evidence(
        self,
        query: bytes | int,
        *,
        diffusion: bool = False,
        sift: bool = False,
        reranker: str = "diffusion",
        matcher: str = "sift",
    ) -> tuple[np.ndarray, Evidence, bool]:
        """What `search` judges by: ids (n,) in global order, what speaks for each, and whether a
        reranker started from verified photos. Raises as `search`."""
        answer = self._rank(query, diffusion, sift, reranker, matcher, None, Stopwatch(), [])
        return answer.ranking.ids, answer.evidence, answer.any_verified

    def explain(
        self, query: bytes | int, id: int, region: Region | None = None, matcher: str = "sift"
    ) -> Hit:
        """One gallery photo as a hit of the query, verified whether or not it was on the shortlist.

        Raises as `search`, and KeyError for an unknown id.
        """
        self.store.catalogue.photo(id)
        known = self._prepare(query, region, Stopwatch())
        self._verify(query, region, known, matcher, np.array([id]), [])
        similarity, log_odds, _ = self._pairwise(known, matcher, np.array([id]))
        rank = {int(other): rank for rank, other in enumerate(known.ids, 1)}
        return self._hit(
            known,
            id,
            float(similarity[0]),
            float(log_odds[0]),
            log_odds[0] if self.calibration.is_fitted(None, matcher) else None,
            {"descriptor": rank},
            matcher,
            True,
        )

    def reranker(self, name: str) -> Reranker:
        """The reranker of that name, made when first asked for. Raises ValueError for an unknown name."""
        return self._make(name, RERANKERS, "reranker")

    def matcher(self, name: str) -> Matcher:
        """The matcher of that name, made when first asked for. Raises ValueError for an unknown name, BadModel for a matcher
        whose models are not there."""
        return self._make(name, MATCHERS, "matcher")

    def _make(self, name: str, known: dict[str, type], kind: str) -> Reranker | Matcher:
        if name not in known:
            raise ValueError(f"There is no {kind} {name!r}, only {', '.join(known)}.")
        if name not in self._made:
            with self._made_lock:
                if name not in self._made:
                    self._made[name] = known[name](self.store)
        return self._made[name]

    def is_calibrated(self, rerank: str | None, verify: str | None) -> bool:
        """Whether probabilities were fitted for the store's model with this reranker and matcher
        (None: none). Without, photos are put in order just as well, but no probability is shown."""
        return self.calibration.is_fitted(rerank, verify)

    # -- stages ------------------------------------------------------------------------------------------------------

    def _rank(
        self,
        query: bytes | int,
        diffusion: bool,
        sift: bool,
        reranker: str,
        matcher: str,
        region: Region | None,
        watch: Stopwatch,
        notes: list[str],
    ) -> Answer:
        """All stages but the last, fusion."""
        reranking, matching = self.reranker(reranker), self.matcher(matcher)
        known = self._prepare(query, region, watch)
        reused_ms = {} if watch.ms else dict(known.cost_ms)
        for name in MATCHERS:
            reused_ms.pop(name, None)
        current = Ranking(known.ids, known.similarity, known.similarity)
        stage_ranks = {"descriptor": current.ids}
        if diffusion:
            with watch.stage(reranker):
                current = reranking.rerank(known, current)
            stage_ranks[reranker] = current.ids
        # Only these count: what another toggle or the match viewer has looked at must not change this answer.
        looked_at = current.ids[: matching.shortlist] if sift else current.ids[:0]
        verified = None
        if sift:
            with watch.stage(matcher):
                new = self._verify(query, region, known, matcher, looked_at, notes)
            if new:
                known.cost_ms[matcher] = known.cost_ms.get(matcher, 0.0) + watch.ms[matcher]
            else:
                del watch.ms[matcher]
                reused_ms[matcher] = known.cost_ms.get(matcher, 0.0)
            if diffusion:
                with watch.stage(reranker):
                    verified = self._trusted(known, matcher, looked_at)
                    current = reranking.rerank(known, current, verified)
        own_scale = scale(current.scores[current.ids != known.copy_id])
        evidence = self._evidence(
            known, matcher, current.ids, current.similarity, current.scores, own_scale, looked_at
        )
        any_verified = verified is not None and len(verified.without(known.in_gallery).ids) > 0
        return Answer(known, current, evidence, any_verified, looked_at, stage_ranks, reused_ms)

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
        known = Query(
            descriptor, own_id, copy_id, ids, similarity, background, spread, dict(watch.ms)
        )
        with self._lock:
            self._queries[key] = known
            while len(self._queries) > self._remember:
                self._queries.popitem(last=False)
        return known

    def _verify(
        self,
        query: bytes | int,
        region: Region | None,
        known: Query,
        matcher: str,
        ids: np.ndarray,
        notes: list[str],
    ) -> int:
        """Match the query with photos not yet looked at; returns how many those were."""
        matching, verifications = self.matcher(matcher), known.verifications[matcher]
        todo = [int(id) for id in ids if int(id) not in verifications]
        if todo and matcher not in known.features:
            try:
                known.features[matcher] = self._query_features(query, region, matching)
            except (OSError, BadPhoto):
                notes.append(
                    "Nothing could be verified: the file of the query has changed or is gone."
                )
                return 0
        found: dict[int, Verification | None] = dict.fromkeys(todo)
        features = {}
        for id in todo:
            try:
                features[id] = matching.gallery_features(id)
            except (OSError, BadPhoto):
                continue
        if features:
            found.update(
                zip(
                    features, matching.verify_many(known.features[matcher], list(features.values()))
                )
            )
        verifications.update(found)
        if unread := sum(verifications[int(id)] is None for id in ids):
            notes.append(
                f"{unread} photos could not be verified: their files have changed or are gone."
            )
        return len(todo)

    def _evidence(
        self,
        known: Query,
        matcher: str,
        ids: np.ndarray,
        similarity: np.ndarray,
        scores: np.ndarray,
        scale: tuple[float, float],
        looked_at: np.ndarray,
    ) -> Evidence:
        """What speaks for each photo; scores (n,) are measured on their own scale (background, spread), and verification
        counts for the photos `looked_at` only."""
        seen = {int(id): known.verifications[matcher].get(int(id)) for id in looked_at}
        found = [seen.get(int(id)) for id in ids]
        return Evidence(
            known.background,
            known.spread,
            len(self.store),
            similarity=similarity,
            standing=(scores - scale[0]) / scale[1],
            verified=np.array(
                [v is not None and v.inliers >= MATCHERS[matcher].floor for v in found], bool
            ),
            inliers=np.array([0 if v is None else v.inliers for v in found], int),
            matches=np.array([0 if v is None else v.matches for v in found], int),
            coverage=np.array([0 if v is None else v.spread for v in found], float),
        )

    def _pairwise(
        self, known: Query, matcher: str, ids: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Verified photos judged by their own evidence alone: similarity, log-odds, and whether they verify, each (n,)."""
        similarity = cosine(known.descriptor, self.store.descriptors[ids])
        evidence = self._evidence(
            known, matcher, ids, similarity, similarity, (known.background, known.spread), ids
        )
        return (
            similarity,
            self.calibration.order_by(evidence, None, matcher),
            evidence.verified,
        )

    def _trusted(self, known: Query, matcher: str, looked_at: np.ndarray) -> Verified:
        """The photos that probably show the same thing, for a reranker to start from."""
        _, log_odds, verified = self._pairwise(known, matcher, looked_at)
        probability = fusion.probability(log_odds)
        trusted = verified & (probability >= fusion.LIKELY)
        return Verified(looked_at[trusted], probability[trusted])

    def _query_pixels(self, query: bytes | int) -> np.ndarray:
        return decode(query) if isinstance(query, bytes) else self.store.pixels(query)

    def _query_features(
        self, query: bytes | int, region: Region | None, matching: Matcher
    ) -> LocalFeatures:
        if isinstance(query, bytes):
            features = matching.features(decode(query))
        else:
            features = matching.gallery_features(query)
        return features if region is None else features.inside(region)

    def _hit(
        self,
        known: Query,
        id: int,
        similarity: float,
        score: float,
        log_odds: float | None,
        positions: dict[str, dict[int, int]],
        matcher: str,
        shown: bool,
    ) -> Hit:
        photo = self.store.catalogue.photo(id)
        verification = known.verifications[matcher].get(id) if shown else None
        inliers = None if verification is None else verification.inliers
        return Hit(
            id=id,
            file=photo.file,
            title=photo.title,
            score=score,
            similarity=similarity,
            probability=None if log_odds is None else float(fusion.probability(log_odds)),
            stage_ranks={stage: ranks[id] for stage, ranks in positions.items() if id in ranks},
            inliers=inliers,
            verified=inliers is not None and inliers >= MATCHERS[matcher].floor,
            verification=verification,
        )
