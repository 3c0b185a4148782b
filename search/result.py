"""Result of a search, as used by the page, the command line and the evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from index_store import Store
from matching.verification import Verification

from .fusion.apply import CUT, word
from .ranking import Ranking
from .stages.details import DETAILS, PROPOSED
from .stages.graph import GraphEvidence


@dataclass(frozen=True)
class Link:
    """A photo on a chain of evidence.

    Attributes:
        id, file, title: identification of the gallery photo.
        inliers: points matched with the photo before it, or with the query for the first one. None
            if the two were not compared.
    """

    id: int
    file: str
    title: str
    inliers: int | None


@dataclass(frozen=True)
class Contradiction:
    """A gallery photo that matches a hit and, by its own evidence, shows another thing.

    Attributes:
        id, file, title: identification of the gallery photo.
        inliers: points it matches with the hit.
        strength: probability that both photos show the same thing, times the probability that this
            one does not show the query's thing: 0.5 to 1.
    """

    id: int
    file: str
    title: str
    inliers: int
    strength: float

    def to_dict(self) -> dict[str, Any]:
        """Its part of `SearchResult.to_dict`."""
        return {"file": self.file, "inliers": self.inliers, "strength": round(self.strength, 6)}


@dataclass(frozen=True)
class Hit:
    """One photo of the result.

    Attributes:
        id, file, title: identification of the gallery photo.
        score: score that determines the order: the similarity; after global reranking, that
            method's score; with verification, the log-odds of fusion. Descending, and only
            comparable within one result.
        similarity: cosine of the descriptors, -1 to 1.
        probability: that the photo shows the same thing, 0 to 1, given the stages in use. None if
            it was not fitted.
        stage_ranks: rank from 1 after each stage in use ("descriptor", "details", the names of
            reranker and matcher) that included the photo.
        inliers: matched points. None if the photo was not compared, 0 if no plausible match was
            found.
        verified: whether there are enough matched points.
        verification: the evidence itself.
        identical: whether it is a photo of the query, pixel for pixel.
        chain: photos that lead from the query to this one, itself last, if they are stronger
            evidence than its own; else empty.
        contradicted_by: the photo that speaks most against it; None if no contradiction is notable.
    """

    id: int
    file: str
    title: str
    score: float
    similarity: float
    probability: float | None
    stage_ranks: dict[str, int]
    inliers: int | None = None
    verified: bool = False
    verification: Verification | None = None
    identical: bool = False
    chain: tuple[Link, ...] = ()
    contradicted_by: Contradiction | None = None

    @property
    def confidence(self) -> str:
        """The probability as a word: "sure", "likely" or "unsure"; "" if there is none."""
        return "" if self.probability is None else word(self.probability)

    @property
    def by_details(self) -> bool:
        """Whether the photo was found by its details and not by the descriptor: it is among the
        first PROPOSED only of the details."""
        ranks = self.stage_ranks
        return DETAILS in ranks and ranks.get("descriptor", PROPOSED + 1) > PROPOSED

    @property
    def is_weak(self) -> bool:
        """Whether the page should collapse it."""
        return self.probability is not None and self.probability < CUT


@dataclass(frozen=True)
class Match:
    """Comparison of a photo with a query.

    Attributes:
        similarity: cosine of the descriptors, -1 to 1.
        probability: that they show the same thing, 0 to 1. None if it was not fitted.
        verified: whether enough points match.
        verification: the matched points; None if one of the photos could not be read again.
        timings_ms: time of each stage.
    """

    similarity: float
    probability: float | None
    verified: bool
    verification: Verification | None
    timings_ms: dict[str, float]

    @property
    def confidence(self) -> str:
        """The probability as a word, see `Hit.confidence`."""
        return "" if self.probability is None else word(self.probability)


@dataclass(frozen=True)
class SearchResult:
    """Result of a search.

    Attributes:
        hits: hits, best first.
        timings_ms: times of stages that ran since the last result of this query.
        reused_ms: original times of stages whose cached results were used.
        notes: sentences for the user about skipped photos, and about photos that disagree.
    """

    hits: tuple[Hit, ...]
    timings_ms: dict[str, float]
    reused_ms: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def to_dict(self, query: str | list[str]) -> dict[str, Any]:
        """The object that `python -m search --json` prints. query: name or names of the photos."""
        return {
            "query": query,
            "hits": [
                {
                    "file": hit.file,
                    "title": hit.title,
                    "score": round(hit.score, 6),
                    "similarity": round(hit.similarity, 6),
                    "probability": None if hit.probability is None else round(hit.probability, 6),
                    "confidence": hit.confidence or None,
                    "inliers": hit.inliers,
                    "verified": hit.verified,
                    "by_details": hit.by_details,
                    "identical": hit.identical,
                    "chain": [{"file": link.file, "inliers": link.inliers} for link in hit.chain],
                    "contradicted_by": hit.contradicted_by and hit.contradicted_by.to_dict(),
                    "stage_ranks": hit.stage_ranks,
                }
                for hit in self.hits
            ],
            "timings_ms": {stage: round(ms, 3) for stage, ms in self.timings_ms.items()},
            "notes": self.notes,
        }


def hits_of(
    store: Store,
    ranking: Ranking,
    stages: Mapping[str, np.ndarray],
    identical: Sequence[int] | np.ndarray = (),
    by_graph: GraphEvidence | None = None,
) -> list[Hit]:
    """The photos of a ranking as hits.

    Args:
        store: store that names them.
        ranking: ranking after the last stage, best first.
        stages: gallery ids in the order after each stage, best first.
        identical: ids of the photos that are the query, pixel for pixel.
        by_graph: why the matching graph moved photos.
    """
    photos = store.catalogue.photos_of(ranking.ids)
    ranks = {
        stage: {int(id): rank for rank, id in enumerate(ids, 1)} for stage, ids in stages.items()
    }
    by_graph = by_graph or GraphEvidence()
    hits, same = [], set(map(int, identical))
    for position, photo in enumerate(photos):
        verified = ranking.verified
        evidence = None if verified is None else verified.found.get(photo.id)
        hits.append(
            Hit(
                id=photo.id,
                file=photo.file,
                title=photo.title,
                score=float(ranking.scores[position]),
                similarity=float(ranking.similarity[position]),
                probability=(
                    None if ranking.probability is None else float(ranking.probability[position])
                ),
                stage_ranks={name: of[photo.id] for name, of in ranks.items() if photo.id in of},
                inliers=None if evidence is None else evidence.inliers,
                verified=verified is not None and verified.passes(photo.id),
                verification=evidence,
                identical=photo.id in same,
                chain=chain_of(store, ranking, photo.id, by_graph.chains.get(photo.id, ())),
                contradicted_by=(
                    None if photo.id in same else contradiction_of(store, photo.id, by_graph)
                ),
            )
        )
    return hits


def chain_of(store: Store, ranking: Ranking, id: int, links: tuple[int, ...]) -> tuple[Link, ...]:
    """The chain of photos that leads to one, itself last; empty without links.

    Args:
        store: the gallery.
        ranking: ranking after the last stage.
        id: id of the photo.
        links: ids of the photos that lead to it.
    """
    if not links:
        return ()
    ids = [*links, id]
    first = None if ranking.verified is None else ranking.verified.found.get(ids[0])
    points = [None if first is None else first.inliers]
    points += [edge_inliers(store, one, other) for one, other in zip(ids, ids[1:])]
    photos = store.catalogue.photos_of(ids)
    return tuple(
        Link(photo.id, photo.file, photo.title, inliers) for photo, inliers in zip(photos, points)
    )


def contradiction_of(store: Store, id: int, by_graph: GraphEvidence) -> Contradiction | None:
    """The photo that speaks most against a photo; None without a notable contradiction.

    Args:
        store: the gallery.
        id: id of the photo.
        by_graph: why the matching graph moved photos.
    """
    if id not in by_graph.contradictions:
        return None
    other, strength = by_graph.contradictions[id]
    photo = store.catalogue.photo(other)
    inliers = edge_inliers(store, id, other)
    return Contradiction(photo.id, photo.file, photo.title, inliers, strength)


def edge_inliers(store: Store, id: int, other: int) -> int:
    """Points that two gallery photos match, by the matching graph; 0 without an edge."""
    edges = store.edges[id]
    return int(edges["inliers"][edges["id"] == other].max(initial=0))
