"""What is known of one query. Made by the engine, read by the rerankers."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from extractor import LocalFeatures

from .verify.verification import Verification


@dataclass
class Query:
    """What is known of one query so far; grows as stages are asked for.

    own_id: the query's own gallery id, or None for an upload. copy_id: the gallery photo that is the query again, or
    None; it is a hit, but in reranking it counts as the query. ids, similarity: candidates, best first. background,
    spread: the query's own scale of similarity. cost_ms: what the stages cost whose results are kept here. features,
    verifications: by the matcher's name; a photo that could not be read has None. An upload itself is not kept: the engine
    outlives the visit.
    """

    descriptor: np.ndarray
    own_id: int | None
    copy_id: int | None
    ids: np.ndarray
    similarity: np.ndarray
    background: float
    spread: float
    cost_ms: dict[str, float] = field(default_factory=dict)
    features: dict[str, LocalFeatures] = field(default_factory=dict)
    verifications: defaultdict[str, dict[int, Verification | None]] = field(
        default_factory=lambda: defaultdict(dict)
    )

    @property
    def in_gallery(self) -> int | None:
        """The gallery photo that is the query, if any."""
        return self.copy_id if self.own_id is None else self.own_id
