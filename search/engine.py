"""Engine: runs a query through all stages.

photo -> prepare -> candidates -> [votes of keypoints] -> [rerank] -> [verify, and rerank again]
      -> fuse -> [matching graph] -> hits

A query is prepared once and searched many times: with and without each stage, for more hits, for
the evidence of one photo.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from extractor import Extractor, Region
from index_store import Store

from .fusion.apply import Evidence, Fusion, has_seeds
from .methods import Methods
from .pipeline import Pipeline, Ranked
from .prepare import KEYPOINTS, Source, mean_descriptor, propose, read_photo
from .query import PreparedQuery, QueryPhoto
from .ranking import Ranking, Verified, cosine
from .rerank.reranker import DIFFUSION, RERANKERS, Reranker
from .result import Hit, Match, SearchResult, hits_of
from .stages.agreement import warnings
from .stages.details import DETAILS
from .stages.feedback import Feedback
from .stages.graph import GRAPH, GraphEvidence, MatchingGraph
from .stages.identical import identical_ids, with_identical
from .stopwatch import Stopwatch
from .verify.matcher import MATCHERS, Matcher
from .verify.shortlist import match_photos, query_keypoints, verify_photos

OTHER = -1  # id of a compared photo that is not in the gallery


class Engine:
    """Searches one store. Thread-safe; has no state that depends on queries.

    Attributes:
        store, extractor: the gallery, and the extractor that describes query photos.
        fusion: turns evidence into an order and probabilities.
        graph: the store's matching graph; false if the photos were not compared by the build.
        rerankers, matchers: methods by name, each created on first use.

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
        self._pipeline = Pipeline(store, self.fusion, self.rerankers, self.matchers)

    def prepare(
        self,
        photo: Source | Sequence[Source],
        region: Region | None = None,
        matchers: Sequence[str] = ("sift",),
    ) -> PreparedQuery:
        """Decode and describe the photos of a query, once.

        Args:
            photo: bytes of a file, decoded pixels uint8 RGB (H, W, 3), a gallery id, or a photo of
                another query; or a sequence of these that show the same thing. A gallery photo is
                never its own hit.
            region: part of a single photo to search with, as fractions (left, top, right, bottom)
                of its upright width and height; None for the whole photo.
            matchers: names of the matchers whose keypoints are detected in an upload now; its
                pixels are not kept for later.

        Raises:
            BadPhoto: bytes that are not a usable photo.
            KeyError: an unknown id.
            TypeError: another type, such as a path; pass the bytes of the file instead.
            ValueError: no photo, pixels of another shape, a region that is empty or outside the
                photo, a region for several photos, or an unknown matcher.
            BadModel: the models of a matcher are missing.
            OSError, BadPhoto: a region of a gallery photo whose file is missing or has changed.
        """
        photos = list(photo) if isinstance(photo, list | tuple) else [photo]
        if not photos:
            raise ValueError("A query needs at least one photo.")
        if region is not None and len(photos) > 1:
            raise ValueError("A region belongs to a single photo.")
        watch, by_name = Stopwatch(), {name: self.matchers[name] for name in matchers}
        read = [
            read_photo(one, region, by_name, self.store, self.extractor, watch) for one in photos
        ]
        return propose(read, region, self.store, self.extractor.fingerprint, watch)

    def renew(self, query: PreparedQuery) -> PreparedQuery:
        """Prepare the same query for this engine's generation of the gallery.

        An upload keeps its descriptor and keypoints; only its candidates are searched again.
        Gallery photos are looked up by their file.

        Raises:
            KeyError: the file of a gallery photo is not in this generation.
            ValueError: the query was prepared with another model.
            OSError, BadPhoto: see `prepare`.
        """
        if query.model != self.extractor.fingerprint:
            raise ValueError("The query was prepared with another model; prepare the photo again.")
        watch = Stopwatch()

        def renewed(photos: tuple[QueryPhoto, ...]) -> tuple[QueryPhoto, ...]:
            return tuple(self._renewed(photo, watch) for photo in photos)

        feedback = Feedback(renewed(query.feedback.relevant), renewed(query.feedback.non_relevant))
        photos = renewed(query.photos)
        return propose(photos, query.region, self.store, query.model, watch, feedback)

    def refine(
        self, query: PreparedQuery, relevant: Sequence[int] = (), non_relevant: Sequence[int] = ()
    ) -> PreparedQuery:
        """Adjust a query by relevance feedback on gallery photos, see `stages.feedback`.

        Args:
            query: query prepared for this generation of the gallery. Replaces earlier feedback.
            relevant: ids of photos that show the same thing.
            non_relevant: ids of photos that do not.

        Raises:
            KeyError: an unknown id.
            ValueError: the query was prepared for another generation.
        """
        self._check(query)
        watch = Stopwatch()

        def described(ids: Sequence[int]) -> tuple[QueryPhoto, ...]:
            return tuple(read_photo(id, None, {}, self.store, self.extractor, watch) for id in ids)

        feedback = Feedback(described(relevant), described(non_relevant))
        return propose(query.photos, query.region, self.store, query.model, watch, feedback)

    def contributions(self, query: PreparedQuery, ids: Sequence[int]) -> np.ndarray:
        """Contributions to the similarity of gallery photos, see `Feedback.contributions`.

        Raises:
            ValueError: the query was prepared for another generation.
        """
        self._check(query)
        descriptor = mean_descriptor([photo.descriptor for photo in query.photos])
        return query.feedback.contributions(descriptor, self.store.descriptors[list(ids)])

    def search(
        self,
        query: PreparedQuery,
        rerank: str | None = None,
        verify: str | None = None,
        k: int = 20,
    ) -> SearchResult:
        """Find the k best photos.

        Args:
            query: query prepared for this generation of the gallery.
            rerank: name in RERANKERS, or None to skip the stage.
            verify: name in MATCHERS, or None to skip the stage.
            k: number of hits.

        Raises:
            ValueError: an unknown reranker or matcher, a negative k, or a query that was prepared
                for another generation or without the matcher's keypoints.
            BadModel: the models of the matcher are missing.
        """
        self._check(query)
        watch = Stopwatch()
        ranked = self._pipeline.run(query, rerank, verify, watch)
        return self._answer(query, ranked, rerank, verify, k, watch)

    def search_cached(
        self,
        query: PreparedQuery,
        rerank: str | None = None,
        verify: str | None = None,
        k: int = 20,
    ) -> SearchResult | None:
        """The result of `search`, if all comparisons of photos it needs are cached in the query.

        It takes milliseconds: toggling a stage that has run before needs no new comparison.

        Args:
            query, rerank, verify, k: see `search`.

        Returns:
            The result, or None if photos would have to be compared.

        Raises:
            As `search`.
        """
        self._check(query)
        watch = Stopwatch()
        ranked = self._pipeline.run(query, rerank, verify, watch, cached_only=True)
        return None if ranked is None else self._answer(query, ranked, rerank, verify, k, watch)

    def has_evidence(self, query: PreparedQuery, id: int, verify: str = "sift") -> bool:
        """Whether the query caches the evidence that `explain` needs. Arguments as `explain`."""
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
        """The result of `search`, from the stages before fusion."""
        if k < 0:
            raise ValueError(f"There cannot be {k} hits.")
        ranking, odds = self.fusion.fuse(query, ranked.ranking, rerank, verify, ranked.trusted)
        stages = ranked.stages
        if verify is not None:
            stages = stages | {verify: ranking.ids}
        by_graph = GraphEvidence()
        if self.graph and (rerank == DIFFUSION or verify is not None):
            with watch.stage(GRAPH):
                excluded = np.concatenate([query.in_gallery, self.store.damaged])
                ranking, by_graph = self.graph.rerank(ranking, odds, query.descriptor, excluded)
            stages = stages | {GRAPH: ranking.ids}
        same = identical_ids(query, self.store)
        ranking = with_identical(ranking, same)
        _, ranking = ranking.parted(
            self.store.damaged
        )  # some may have been found damaged meanwhile
        for stage in {DETAILS, verify} & watch.ms.keys():  # the query caches the evidence
            query.cost_ms[stage] = query.cost_ms.get(stage, 0.0) + watch.ms[stage]
        timings = query.unreported_ms | watch.ms
        query.unreported_ms = {}
        used = {KEYPOINTS, DETAILS, verify} if verify else set()
        unused = {KEYPOINTS, DETAILS, *MATCHERS} - used
        return SearchResult(
            hits=tuple(hits_of(self.store, ranking[:k], stages, same, by_graph)),
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
        """Judge one gallery photo as a hit, verified even if it is not among the best.

        Args:
            query: query prepared for this generation of the gallery.
            id: id of the gallery photo.
            verify: name in MATCHERS.

        Raises:
            KeyError: an unknown id.
            ValueError, BadModel: see `search`.
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
        """Matched points of a query and a gallery photo, before any geometric verification.

        Args:
            query: query prepared for this generation of the gallery.
            id: id of the gallery photo.
            verify: name in MATCHERS.
            photo: index into the query's `examples`.

        Returns:
            float32 (m, 4), most distinctive first: x and y in the query's photo, then in the
            gallery's, as fractions of width and height.

        Raises:
            KeyError: an unknown id.
            OSError, BadPhoto, StoreCorrupt: a photo that cannot be read (UNREADABLE).
            ValueError, BadModel: see `search`.
        """
        self._check(query)
        self.store.catalogue.served(id)
        matcher = self.matchers[verify]
        query_features = query_keypoints(query.examples[photo], verify, matcher)
        if query_features is None:
            return np.empty((0, 4), np.float32)
        hit_features = matcher.gallery_features(id)
        pairs = matcher.match(query_features, hit_features)
        ends = [
            features.points[column] / np.float32(features.size[::-1])
            for features, column in zip((query_features, hit_features), pairs.T)
        ]
        return np.hstack(ends).astype(np.float32).round(5)

    def compare(self, query: PreparedQuery, photo: Source, verify: str = "sift") -> Match:
        """Judge whether a photo shows the same thing as the query, from these two photos alone.

        Args:
            query: query prepared for this generation of the gallery, with the matcher's keypoints.
            photo: as for `prepare`; need not be in the gallery.
            verify: name in MATCHERS.

        Raises:
            As `prepare` and `search`.
        """
        self._check(query)
        matcher, watch = self.matchers[verify], Stopwatch()
        other = read_photo(photo, None, {verify: matcher}, self.store, self.extractor, watch)
        with watch.stage(verify):
            found = match_photos(query, other, verify, matcher)
        similarity = cosine(query.descriptor, other.descriptor[None])
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
        """The evidence from which `search` computes probabilities.

        Args:
            query, rerank, verify: see `search`.

        Returns:
            The ids in ranking order, int (n,); the evidence for each; and whether the reranker's
            second round had verified photos to start from.

        Raises:
            As `search`.
        """
        self._check(query)
        ranked = self._pipeline.run(query, rerank, verify, Stopwatch())
        evidence = self.fusion.evidence(query, ranked.ranking, verify)
        return ranked.ranking.ids, evidence, has_seeds(query, ranked.trusted)

    def is_calibrated(self, rerank: str | None = None, verify: str | None = None) -> bool:
        """Whether hits have a probability with these stages.

        Args:
            rerank: name in RERANKERS, or None.
            verify: name in MATCHERS, or None. Probabilities are fitted per model, reranker and
                matcher.
        """
        return self.fusion.is_fitted(rerank, verify)

    def _renewed(self, photo: QueryPhoto, watch: Stopwatch) -> QueryPhoto:
        """A query photo of another generation, prepared for this one. Raises as `renew`."""
        if photo.file is None:
            return photo
        found = self.store.catalogue.find(photo.file)
        if found is None:
            raise KeyError(photo.file)
        return read_photo(found.id, photo.region, {}, self.store, self.extractor, watch)

    def _check(self, query: PreparedQuery) -> None:
        if query.generation != self.store.version:
            raise ValueError("The query was prepared for another gallery or generation; renew it.")
