"""What is known of one query. Made by the engine, read by the rerankers."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from extractor import LocalFeatures

from .verification import Verification


@dataclass
class Query:
    """What is known of one query so far; grows as stages are asked for.

    own_id: the query's own gallery id, or None for an upload. copy_id: the gallery photo that is the query again, or
    None; it is a hit, but in reranking it counts as the query. ids, similarity: candidates, best first. background,
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
    cost_ms: dict[str, float] = field(default_factory=dict)
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
