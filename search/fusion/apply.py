"""The last stage: what the others found out about a photo becomes an order and a probability.

This is the only place that uses `search.fusion`. A probability is given only where it was fitted:
for this model, this reranker and this matcher. Elsewhere the order is by the same weights, those of
diffusion and SIFT, because they order well though they promise nothing.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..query import PreparedQuery
from ..ranking import Ranking, Trusted
from ..verify.matcher import SIFT, Sift
from . import log_odds
from .calibration import Calibration
from .log_odds import CUT, FULL_SIZE, PAIR, TRUSTED, Evidence, word

PAIR_BACKGROUND = 0.25  # mean background of landmarks and things in galleries of their own kind

__all__ = ["CUT", "UNCALIBRATED", "Evidence", "Fusion", "diffusion_share", "word"]

UNCALIBRATED = (
    "How probable a match is was not fitted for this model with these stages, so no probability is "
    "shown; python -m evaluation fit fits it."
)


def diffusion_share(fingerprint: str) -> float:
    """Weight of diffusion against similarity, for the model with this fingerprint."""
    return Calibration.of(fingerprint).diffusion_share


class Fusion:
    """Judges the photos of one gallery by what was fitted for its model.

    Attributes:
        calibration: what evidence is worth.
        photos: how many the gallery has.
    """

    def __init__(self, fingerprint: str, photos: int):
        self.calibration = Calibration.of(fingerprint)
        self.photos = photos

    def is_fitted(self, rerank: str | None, verify: str | None) -> bool:
        """Whether there are probabilities for this reranker and this matcher, None being none."""
        return self.calibration.is_fitted(rerank, verify)

    def trusted(self, query: PreparedQuery, ranking: Ranking, verify: str) -> Trusted:
        """The verified photos that probably show the same thing, judged by their own evidence.

        Args:
            query: asked for.
            ranking: after verification.
            verify: the matcher's name.
        """
        looked_at = ranking[np.isin(ranking.ids, list(ranking.verified.found))]
        evidence = self.pairwise(query, looked_at)
        odds = self.calibration.order_by(evidence, PAIR, verify)
        probability = log_odds.probability(odds)
        passed = evidence.verified & (probability >= TRUSTED)
        return Trusted(looked_at.ids[passed], probability[passed])

    def alone(self, query: PreparedQuery, photo: Ranking, verify: str) -> Ranking:
        """One verified photo judged by its own evidence, whatever else the gallery holds."""
        odds = self.calibration.order_by(self.pairwise(query, photo), PAIR, verify)
        return replace(photo, scores=odds, probability=self._probability(odds, PAIR, verify))

    def fuse(
        self,
        query: PreparedQuery,
        ranking: Ranking,
        rerank: str | None,
        verify: str | None,
        trusted: Trusted | None,
    ) -> tuple[Ranking, np.ndarray]:
        """The last order, and how probable each photo is.

        Without verification the order stays. With it the score becomes the log-odds.

        Args:
            query: asked for.
            ranking: after all other stages.
            rerank: the reranker's name, None if there was none.
            verify: the matcher's name, None if there was none.
            trusted: what the reranker's second round started from, None if there was none.

        Returns:
            The ranking, and the log-odds of its photos, float64 (n,), calibrated or not.
        """
        evidence = self.evidence(query, ranking, verify)
        odds = self.calibration.order_by(evidence, rerank, verify, has_seeds(query, trusted))
        judged = replace(ranking, probability=self._probability(odds, rerank, verify))
        if verify is None:
            return judged, odds
        ordered = judged.rescored(odds)
        return ordered, ordered.scores

    def pairwise(self, query: PreparedQuery, ranking: Ranking) -> Evidence:
        """Evidence for photos by themselves: their standing is that of their similarity, and votes
        do not count."""
        plain = replace(ranking, scores=ranking.similarity)
        own_scale = query.scale.background, query.scale.spread
        return self.evidence(query, plain, own_scale=own_scale)

    def pairs(self, query: PreparedQuery, pairs: Ranking, verify: str | None) -> np.ndarray | None:
        """How likely pairs of a query's own photos show the same thing.

        The gallery is no evidence on them. So a small one does not raise their odds, nor does one
        whose photos have less in common with the query than photos of other things of its kind.

        Args:
            query: asked for.
            pairs: with the evidence, numbered instead of ids.
            verify: the name of the matcher that found it, None if there was none.

        Returns:
            Log-odds (n,), or None where they were not fitted.
        """
        background = max(query.scale.background, PAIR_BACKGROUND)
        query = replace(query, scale=replace(query.scale, background=background))
        evidence = replace(self.pairwise(query, pairs), photos=FULL_SIZE)
        return self.calibration.log_odds(evidence, PAIR, verify)

    def edge_odds(
        self, edges: np.ndarray, background: np.ndarray, spread: np.ndarray
    ) -> np.ndarray:
        """Log-odds that gallery photos show the same thing, as if one of them were the query.

        Args:
            edges: what was found out about pairs, EDGE (m,).
            background, spread: of the one that is the query, (m,).

        Returns:
            float64 (m,), calibrated or not.
        """
        similarity = edges["similarity"].astype(np.float64)
        inliers = edges["inliers"].astype(int)
        evidence = Evidence(
            background,
            spread,
            self.photos,
            similarity=similarity,
            standing=(similarity - background) / spread,
            verified=inliers >= Sift.floor,
            inliers=inliers,
            matches=edges["matches"].astype(int),
            coverage=edges["coverage"].astype(np.float64),
        )
        return self.calibration.order_by(evidence, PAIR, SIFT)

    def evidence(
        self,
        query: PreparedQuery,
        ranking: Ranking,
        verify: str | None = None,
        own_scale: tuple[float, float] | None = None,
    ) -> Evidence:
        """What speaks for each photo of a ranking.

        Args:
            query: asked for.
            ranking: after any stage. Photos that were not looked at have no points.
            verify: the matcher whose votes count, None for none.
            own_scale: background and spread that the scores are measured on; by default those of
                the ranking itself, its copies of the query left out.
        """
        if own_scale is None:
            own_scale = query.scale.of(ranking.scores[~np.isin(ranking.ids, query.copy_ids)])
        verified = ranking.verified
        votes = None if verify is None else query.votes.get(verify)
        found = [None if verified is None else verified.found.get(int(id)) for id in ranking.ids]
        return Evidence(
            query.scale.background,
            query.scale.spread,
            self.photos,
            similarity=ranking.similarity,
            standing=(ranking.scores - own_scale[0]) / own_scale[1],
            verified=np.array([v is not None and v.inliers >= verified.floor for v in found], bool),
            inliers=np.array([0 if v is None else v.inliers for v in found], int),
            matches=np.array([0 if v is None else v.matches for v in found], int),
            coverage=np.array([0 if v is None else v.coverage for v in found], float),
            details=None if votes is None else votes.of(ranking.ids),
        )

    def _probability(
        self, odds: np.ndarray, rerank: str | None, verify: str | None
    ) -> np.ndarray | None:
        return log_odds.probability(odds) if self.is_fitted(rerank, verify) else None


def has_seeds(query: PreparedQuery, trusted: Trusted | None) -> bool:
    """Whether a reranker's second round had other photos than the query itself to start from."""
    return trusted is not None and len(trusted.without(query.in_gallery).ids) > 0
