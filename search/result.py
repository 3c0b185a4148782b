"""What a search returns. The page, the command line and the evaluation all read this one object."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .fusion import fusion
from .verify.verification import Verification


@dataclass(frozen=True)
class Hit:
    """One photo of the answer.

    similarity: cosine of the descriptors, -1 to 1. score: what the order is by (the similarity; reranked globally, that
    method's score; with SIFT the log-odds of `fusion`); it falls from hit to hit and compares only within one answer.
    probability: that the photo shows the same thing, 0 to 1, as far as the stages that were on can
        tell (`fusion`). None where that was not fitted (`fusion.calibration`).
    inliers: matched points, None if the photo was not looked at, 0 if nothing plausible was found.
    stage_ranks: rank from 1 after each stage ("descriptor", the global reranker's name, the matcher's) that was on and had it.
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

    @property
    def confidence(self) -> str:
        """The probability as a word: "sure", "likely" or "unsure"; empty where there is none."""
        return "" if self.probability is None else fusion.word(self.probability)

    @property
    def is_weak(self) -> bool:
        """Whether it is better folded away."""
        return self.probability is not None and self.probability < fusion.CUT


@dataclass(frozen=True)
class SearchResult:
    """Hits, best first.

    timings_ms: stages that were run for this call. reused_ms: stages whose earlier result served, and what that had cost.
    notes: sentences on what was left out, for a person.
    """

    hits: list[Hit]
    timings_ms: dict[str, float]
    reused_ms: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def to_dict(self, query: str) -> dict[str, Any]:
        """The object `python -m search --json` prints."""
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
                    "stage_ranks": hit.stage_ranks,
                }
                for hit in self.hits
            ],
            "timings_ms": {stage: round(ms, 3) for stage, ms in self.timings_ms.items()},
            "notes": self.notes,
        }
