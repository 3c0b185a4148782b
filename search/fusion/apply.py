"""Final stage: turn the evidence of the other stages into an order and probabilities.

Only this module uses `search.fusion.calibration`. A probability is given only where it was fitted:
for this model, this reranker and this matcher. Elsewhere the order uses the same weights, those of
diffusion and SIFT, because they order well even though they are not calibrated.
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

__all__ = ["CUT", "UNCALIBRATED", "Evidence", "Fusion", "word"]

UNCALIBRATED = (
    "How probable a match is was not fitted for this model with these stages, so no probability is "
    "shown; python -m evaluation fit fits it."
)


class Fusion:
    """Judges the photos of one gallery with the calibration of its model.

    Attributes:
        calibration: fitted weights of the evidence.
        photos: number of photos in the gallery.
    """

    def __init__(self, fingerprint: str, photos: int):
        self.calibration = Calibration.of(fingerprint)
        self.photos = photos

    def is_fitted(self, rerank: str | None, verify: str | None) -> bool:
        """Whether probabilities are fitted for this reranker and this matcher (None for none)."""
        return self.calibration.is_fitted(rerank, verify)

    def trusted(self, query: PreparedQuery, ranking: Ranking, verify: str) -> Trusted:
        """The verified photos that probably show the same thing, judged by their own evidence.

        Args:
            query: the query.
            ranking: ranking after verification.
            verify: name of the matcher.
        """
        compared = ranking[np.isin(ranking.ids, list(ranking.verified.found))]
        evidence = self.pairwise(query, compared)
        odds = self.calibration.order_by(evidence, PAIR, verify)
        probability = log_odds.probability(odds)
        passed = evidence.verified & (probability >= TRUSTED)
        return Trusted(compared.ids[passed], probability[passed])

    def alone(self, query: PreparedQuery, photo: Ranking, verify: str) -> Ranking:
        """One verified photo judged by its own evidence, independent of the rest of the gallery."""
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
        """The final order, and the probability of each photo.

        Without verification the order stays. With it the score becomes the log-odds.

        Args:
            query: the query.
            ranking: ranking after all other stages.
            rerank: name of the reranker, None if there was none.
            verify: name of the matcher, None if there was none.
            trusted: photos that the reranker's second round started from, None if there was none.

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
        """Evidence for photos judged alone: their standing is that of their similarity, and votes
        do not count."""
        plain = replace(ranking, scores=ranking.similarity)
        own_scale = query.scale.background, query.scale.spread
        return self.evidence(query, plain, own_scale=own_scale)

    def pairs(self, query: PreparedQuery, pairs: Ranking, verify: str | None) -> np.ndarray | None:
        """Log-odds that pairs of a query's own photos show the same thing.

        The gallery says nothing about them. So neither a small gallery raises their odds, nor one
        whose photos have less in common with the query than unrelated photos of its kind.

        Args:
            query: the query.
            pairs: pairs with their evidence, numbered in place of ids.
            verify: name of the matcher that found it, None if there was none.

        Returns:
            Log-odds (n,), or None if they were not fitted.
        """
        background = max(query.scale.background, PAIR_BACKGROUND)
        query = replace(query, scale=replace(query.scale, background=background))
        evidence = replace(self.pairwise(query, pairs), photos=FULL_SIZE)
        return self.calibration.log_odds(evidence, PAIR, verify)

    def edge_odds(
        self, edges: np.ndarray, background: np.ndarray, spread: np.ndarray
    ) -> np.ndarray:
        """Log-odds that pairs of gallery photos show the same thing, with one as the query.

        Args:
            edges: evidence of the pairs, EDGE (m,).
            background, spread: scale of the photo that acts as the query, (m,).

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
        """The evidence for each photo of a ranking.

        Args:
            query: the query.
            ranking: ranking after any stage. Photos that were not verified have no points.
            verify: matcher whose votes count, None for none.
            own_scale: background and spread for measuring the scores; by default those of the
                ranking itself, without copies of the query.
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
    """Whether a reranker's second round had photos other than the query's own to start from."""
    return trusted is not None and len(trusted.without(query.in_gallery).ids) > 0
