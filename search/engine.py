"""Engine: one query through all stages.

photo -> prepare -> candidates -> [votes of keypoints] -> [rerank] -> [verify, and rerank again]
      -> fuse -> [chains] -> hits

Prepared once, a query can be asked many times: with and without each stage, for more hits, for the
evidence of one photo.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from extractor import Extractor, Region
from index_store import Store

from .fusion.apply import Evidence, Fusion, has_seeds
from .methods import Methods
from .prepare import KEYPOINTS, Source, propose, read_photo, together
from .query import PreparedQuery, QueryPhoto
from .ranking import Ranking, Trusted, Verified, cosine
from .rerank.reranker import DIFFUSION, RERANKERS, Reranker
from .result import Hit, Match, SearchResult, hits_of
from .stages.agreement import are_compared, compare, warnings
from .stages.chains import CHAINS, MatchingGraph, chained
from .stages.details import DETAILS, PROPOSED, find_votes, in_turns, proposed
from .stages.feedback import Feedback
from .stages.identical import identical_ids, with_identical
from .stopwatch import Stopwatch
from .verify.matcher import MATCHERS, Matcher
from .verify.shortlist import (
    match_photos,
    query_keypoints,
    shortlist,
    verify_photos,
    verify_shortlist,
)

OTHER = -1  # stands for the id of a photo that is compared without being in the gallery


@dataclass(frozen=True)
class Ranked:
    """What all stages before fusion found out.

    Attributes:
        ranking: the order, with the evidence.
        trusted: what the reranker's second round started from, None if there was none.
        stages: gallery ids in the order after each stage, best first.
    """

    ranking: Ranking
    trusted: Trusted | None
    stages: dict[str, np.ndarray]


class Engine:
    """Searches one store. Thread-safe; keeps nothing of a query.

    Attributes:
        store, extractor: the gallery, and what describes photos to compare with it.
        fusion: judges the evidence.
        graph: the store's matching graph; false where its photos were not compared.
        rerankers, matchers: by name, each made when it is first asked for.

    Raises:
        BadCalibration: a calibration file is damaged, or two are for the store's model.
    """

    def __init__(self, store: Store, extractor: Extractor):
        self.store = store
        self.extractor = extractor
        self.fusion = Fusion(store.manifest.fingerprint, len(store))
        self.rerankers: Methods[Reranker] = Methods(store, RERANKERS, "reranker")
        self.matchers: Methods[Matcher] = Methods(store, MATCHERS, "matcher")
        self.graph = MatchingGraph(store, self.fusion)

    def prepare(
        self,
        photo: Source | Sequence[Source],
        region: Region | None = None,
        matchers: Sequence[str] = ("sift",),
    ) -> PreparedQuery:
        """Look at what to search with, once.

        Args:
            photo: a file's bytes, decoded pixels uint8 RGB (H, W, 3), a gallery id, or what another
                query knows of an upload. Or several of them that show the same thing. A gallery
                photo is not its own hit.
            region: the part of a single photo that counts, as fractions (left, top, right, bottom)
                of its upright width and height; None for all of it.
            matchers: whose keypoints are found in an upload now: later there are no pixels left.

        Raises:
            BadPhoto: for bytes that are no usable photo.
            KeyError: for an unknown id.
            TypeError: for what is no photo, such as a path: read its bytes.
            ValueError: for no photo, pixels of another shape, a region that is empty, outside or of
                several photos, and an unknown matcher.
            BadModel: for a matcher whose models are not there.
            OSError, BadPhoto: for a region of a gallery photo whose file is gone or has changed.
        """
        photos = list(photo) if isinstance(photo, list | tuple) else [photo]
        if not photos:
            raise ValueError("A query needs at least one photo.")
        if region is not None and len(photos) > 1:
            raise ValueError("A region belongs to a single photo.")
        watch, whose = Stopwatch(), {name: self.matchers[name] for name in matchers}
        seen = [read_photo(one, region, whose, self.store, self.extractor, watch) for one in photos]
        return propose(seen, region, self.store, self.extractor.fingerprint, watch)

    def renew(self, query: PreparedQuery) -> PreparedQuery:
        """The same query for this engine's generation of the gallery.

        An upload keeps descriptor and keypoints; only its candidates are found anew. Gallery photos
        are looked up by their file.

        Raises:
            KeyError: for a gallery photo whose file is not in this generation.
            ValueError: for a query that was prepared with another model.
            OSError, BadPhoto: as `prepare`.
        """
        if query.model != self.extractor.fingerprint:
            raise ValueError("The query was prepared with another model; prepare the photo again.")
        watch = Stopwatch()

        def again(photos: tuple[QueryPhoto, ...]) -> tuple[QueryPhoto, ...]:
            return tuple(self._again(photo, watch) for photo in photos)

        said = Feedback(again(query.feedback.relevant), again(query.feedback.non_relevant))
        photos = again(query.photos)
        return propose(photos, query.region, self.store, query.model, watch, said)

    def refine(
        self, query: PreparedQuery, relevant: Sequence[int] = (), non_relevant: Sequence[int] = ()
    ) -> PreparedQuery:
        """The same query moved by what is said of gallery photos, see `feedback`.

        Args:
            query: prepared for this generation of the gallery. What was said before counts no more.
            relevant: ids of photos that show the same thing.
            non_relevant: ids of photos that do not.

        Raises:
            KeyError: for an unknown id.
            ValueError: for a query that was prepared for another generation.
        """
        self._check(query)
        watch = Stopwatch()

        def whole(ids: Sequence[int]) -> tuple[QueryPhoto, ...]:
            return tuple(read_photo(id, None, {}, self.store, self.extractor, watch) for id in ids)

        said = Feedback(whole(relevant), whole(non_relevant))
        return propose(query.photos, query.region, self.store, query.model, watch, said)

    def parts(self, query: PreparedQuery, ids: Sequence[int]) -> np.ndarray:
        """Why gallery photos are where they are: `Feedback.parts` of their similarity.

        Raises:
            ValueError: for a query that was prepared for another generation.
        """
        self._check(query)
        asked = together([photo.descriptor for photo in query.photos])
        return query.feedback.parts(asked, self.store.descriptors[list(ids)])

    def search(
        self,
        query: PreparedQuery,
        rerank: str | None = None,
        verify: str | None = None,
        k: int = 20,
    ) -> SearchResult:
        """The k best photos.

        Args:
            query: prepared for this generation of the gallery.
            rerank: one of RERANKERS, None to leave the stage out.
            verify: one of MATCHERS, None to leave the stage out.
            k: how many hits.

        Raises:
            ValueError: for an unknown reranker or matcher, for fewer than no hits, and for a query
                that was prepared for another generation or without the matcher's keypoints.
            BadModel: for a matcher whose models are not there.
        """
        watch = Stopwatch()
        return self._answer(
            query, self._rank(query, rerank, verify, watch), rerank, verify, k, watch
        )

    def recall(
        self,
        query: PreparedQuery,
        rerank: str | None = None,
        verify: str | None = None,
        k: int = 20,
    ) -> SearchResult | None:
        """The answer that `search` would give, if no photo has to be compared for it.

        This is what a toggle costs once its stage has been asked for: milliseconds.

        Args:
            query, rerank, verify, k: as for `search`.

        Returns:
            The answer, or None if photos would have to be compared.

        Raises:
            As `search`.
        """
        watch = Stopwatch()
        ranked = self._rank(query, rerank, verify, watch, known_only=True)
        return None if ranked is None else self._answer(query, ranked, rerank, verify, k, watch)

    def knows(self, query: PreparedQuery, id: int, verify: str = "sift") -> bool:
        """Whether `explain` has nothing to compare."""
        return id in query.verifications[verify]

    def _answer(
        self,
        query: PreparedQuery,
        ranked: Ranked,
        rerank: str | None,
        verify: str | None,
        k: int,
        watch: Stopwatch,
    ) -> SearchResult:
        """What `search` returns, from the stages before fusion."""
        if k < 0:
            raise ValueError(f"There cannot be {k} hits.")
        ranking, odds = self.fusion.fuse(query, ranked.ranking, rerank, verify, ranked.trusted)
        stages = ranked.stages
        if verify is not None:
            stages = stages | {verify: ranking.ids}
        links: dict[int, tuple[int, ...]] = {}
        if self.graph and (rerank == DIFFUSION or verify is not None):
            with watch.stage(CHAINS):
                apart = np.concatenate([query.in_gallery, self.store.damaged])
                chains = self.graph.chains(ranking, odds, apart)
                ranking, led = chained(ranking, odds, chains, query.descriptor, self.store)
            links = {id: chains.links[id] for id in led.tolist()}
            stages = stages | {CHAINS: ranking.ids}
        same = identical_ids(query, self.store)
        ranking = with_identical(ranking, same)
        _, ranking = ranking.parted(self.store.damaged)  # by now some may have been found damaged
        for stage in {DETAILS, verify} & watch.ms.keys():  # the evidence is kept with the query
            query.cost_ms[stage] = query.cost_ms.get(stage, 0.0) + watch.ms[stage]
        timings = query.unreported_ms | watch.ms
        query.unreported_ms = {}
        used = {KEYPOINTS, DETAILS, verify} if verify else set()
        unused = {KEYPOINTS, DETAILS, *MATCHERS} - used
        return SearchResult(
            hits=tuple(hits_of(self.store, ranking[:k], stages, same, links)),
            timings_ms=timings,
            reused_ms={
                stage: ms
                for stage, ms in query.cost_ms.items()
                if stage not in timings and stage not in unused
            },
            notes=[
                *dict.fromkeys(photo.note for photo in query.photos if photo.note),
                *warnings(query, self.fusion, verify),
                *(() if ranking.verified is None else ranking.verified.notes),
            ],
        )

    def explain(self, query: PreparedQuery, id: int, verify: str = "sift") -> Hit:
        """One gallery photo as a hit, verified whether or not it is among the best.

        Args:
            query: prepared for this generation of the gallery.
            id: of the gallery photo.
            verify: one of MATCHERS.

        Raises:
            KeyError: for an unknown id.
            ValueError, BadModel: as `search`.
        """
        self._check(query)
        self.store.catalogue.served(id)
        similarity = cosine(query.descriptor, self.store.descriptors[[id]])
        found = verify_photos(query, [id], verify, self.matchers[verify], Stopwatch())
        photo = Ranking(np.array([id]), similarity, similarity, found)
        judged = self.fusion.alone(query, photo, verify)
        return hits_of(self.store, judged, {"descriptor": query.candidates.ids})[0]

    def tentative(
        self, query: PreparedQuery, id: int, verify: str = "sift", photo: int = 0
    ) -> np.ndarray:
        """Points of a query and of a gallery photo that look alike, before any geometry.

        Args:
            query: prepared for this generation of the gallery.
            id: of the gallery photo.
            verify: one of MATCHERS.
            photo: which of the query's `examples`.

        Returns:
            float32 (m, 4), the surest first: x and y in the query's photo, then in the gallery's,
            as fractions of width and height.

        Raises:
            KeyError: for an unknown id.
            OSError, BadPhoto, StoreCorrupt: for a photo that cannot be read (UNREADABLE).
            ValueError, BadModel: as `search`.
        """
        self._check(query)
        self.store.catalogue.served(id)
        matcher = self.matchers[verify]
        of_query = query_keypoints(query.examples[photo], verify, matcher)
        if of_query is None:
            return np.empty((0, 4), np.float32)
        of_hit = matcher.gallery_features(id)
        pairs = matcher.match(of_query, of_hit)
        ends = [
            features.points[column] / np.float32(features.size[::-1])
            for features, column in zip((of_query, of_hit), pairs.T)
        ]
        return np.hstack(ends).astype(np.float32).round(5)

    def compare(self, query: PreparedQuery, photo: Source, verify: str = "sift") -> Match:
        """Whether a photo shows the same thing as the query, judged by these two alone.

        Args:
            query: prepared for this generation of the gallery, with the matcher's keypoints.
            photo: as for `prepare`; it need not be in the gallery.
            verify: one of MATCHERS.

        Raises:
            As `prepare` and `search`.
        """
        self._check(query)
        matcher, watch = self.matchers[verify], Stopwatch()
        seen = read_photo(photo, None, {verify: matcher}, self.store, self.extractor, watch)
        with watch.stage(verify):
            found = match_photos(query, seen, verify, matcher)
        similarity = cosine(query.descriptor, seen.descriptor[None])
        verified = Verified({OTHER: found}, matcher.floor)
        ranking = Ranking(np.array([OTHER]), similarity, similarity, verified)
        judged = self.fusion.alone(query, ranking, verify)
        return Match(
            similarity=float(similarity[0]),
            probability=None if judged.probability is None else float(judged.probability[0]),
            verified=verified.passes(OTHER),
            verification=found,
            timings_ms=watch.ms,
        )

    def evidence(
        self, query: PreparedQuery, rerank: str | None = None, verify: str | None = None
    ) -> tuple[np.ndarray, Evidence, bool]:
        """What `search` judges by.

        Args:
            query, rerank, verify: as for `search`.

        Returns:
            The ids in global order, int (n,); what speaks for each; and whether the reranker's
            second round had verified photos to start from.

        Raises:
            As `search`.
        """
        ranked = self._rank(query, rerank, verify, Stopwatch())
        evidence = self.fusion.evidence(query, ranked.ranking, verify)
        return ranked.ranking.ids, evidence, has_seeds(query, ranked.trusted)

    def is_calibrated(self, rerank: str | None = None, verify: str | None = None) -> bool:
        """Whether hits have a probability with these stages.

        Args:
            rerank: one of RERANKERS, or None.
            verify: one of MATCHERS, or None. A probability is fitted for model, reranker and
                matcher.
        """
        return self.fusion.is_fitted(rerank, verify)

    def _rank(
        self,
        query: PreparedQuery,
        rerank: str | None,
        verify: str | None,
        watch: Stopwatch,
        known_only: bool = False,
    ) -> Ranked | None:
        """All stages but fusion, one after the other.

        With `known_only` None, if photos would have to be compared.
        """
        self._check(query)
        reranker = None if rerank is None else self.rerankers[rerank]
        matcher = None if verify is None else self.matchers[verify]
        votes, ranking, trusted = None, query.candidates, None
        stages = {"descriptor": ranking.ids}
        if matcher is not None:
            if known_only and matcher.is_indexed and verify not in query.votes:
                return None
            votes = find_votes(query, verify, matcher, self.store, watch)
        if votes is not None:
            ranking = proposed(query, votes, self.store)
            stages[DETAILS] = votes.ids[:PROPOSED]
        _, ranking = ranking.parted(self.store.damaged)
        if reranker is not None:
            with watch.stage(rerank):
                ranking = reranker.rerank(query, ranking)
            stages[rerank] = ranking.ids
        if matcher is not None:
            best = shortlist(ranking if votes is None else in_turns(ranking, votes), matcher)
            known = query.verifications[verify].keys() >= set(best)
            if known_only and not (known and are_compared(query, verify)):
                return None
            compare(query, verify, matcher, watch)
            ranking = verify_shortlist(query, ranking, best, verify, matcher, watch)
        if reranker is not None and matcher is not None:
            with watch.stage(rerank):
                trusted = self.fusion.trusted(query, ranking, verify)
                ranking = reranker.rerank(query, ranking, trusted)
        return Ranked(ranking, trusted, stages)

    def _again(self, photo: QueryPhoto, watch: Stopwatch) -> QueryPhoto:
        """A photo of a query of another generation. Raises as `renew`."""
        if photo.file is None:
            return photo
        found = self.store.catalogue.find(photo.file)
        if found is None:
            raise KeyError(photo.file)
        return read_photo(found.id, photo.region, {}, self.store, self.extractor, watch)

    def _check(self, query: PreparedQuery) -> None:
        if query.generation != self.store.version:
            raise ValueError("The query was prepared for another gallery; renew it.")
