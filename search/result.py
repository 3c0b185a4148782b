"""What a search returns. The page, the command line and the evaluation all read this one object."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .verification import Verification


@dataclass(frozen=True)
class Hit:
    """One photo of the answer.

    similarity: cosine of the descriptors, -1 to 1. score: what the order is by (the similarity; with diffusion the mix;
    verified photos above all others); it falls from hit to hit and compares only within one answer.
    inliers: matched points, None if the photo was not looked at, 0 if nothing plausible was found.
    stage_ranks: rank from 1 after each stage ("descriptor", "diffusion", "sift") that was on and had the photo.
    """

    id: int
    file: str
    title: str
    score: float
    similarity: float
    stage_ranks: dict[str, int]
    inliers: int | None = None
    verified: bool = False
    verification: Verification | None = None


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
                    "inliers": hit.inliers,
                    "verified": hit.verified,
                    "stage_ranks": hit.stage_ranks,
                }
                for hit in self.hits
            ],
            "timings_ms": {stage: round(ms, 3) for stage, ms in self.timings_ms.items()},
            "notes": self.notes,
        }
