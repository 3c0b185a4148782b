"""A prepared query: descriptor, candidates and cached evidence, shared by all its searches."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from extractor import LocalFeatures, Region
from matching.verification import Verification
from matching.votes import Votes

from .ranking import Ranking, Scale, Verified
from .stages.feedback import NO_FEEDBACK, Feedback


@dataclass(frozen=True)
class QueryPhoto:
    """One photo of a query. Its pixels and bytes are not kept.

    Attributes:
        descriptor: unit vector float32 (D,).
        id: gallery id, None for an upload.
        file: gallery file, None for an upload. Its id may differ in other generations.
        keypoints: keypoints by matcher. An upload has those it was prepared with; those of a
            gallery photo are loaded from the store on demand.
        region: part of the photo to search with, None for the whole photo.
        note: a sentence about a defect of its file, or "".
    """

    descriptor: np.ndarray
    id: int | None = None
    file: str | None = None
    keypoints: dict[str, LocalFeatures] = field(default_factory=dict)
    region: Region | None = None
    note: str = ""


@dataclass
class PreparedQuery:
    """State of one query; grows as stages run.

    Created by `Engine.prepare` and owned by the caller, who may discard it at any time.

    Attributes:
        photos: one or several photos of one thing.
        region: part of the photo to search with, None for the whole photo.
        descriptor: of all photos together, moved by the feedback, unit vector float32 (D,).
        model: fingerprint of the model that computed the descriptors.
        generation: `Store.version` of the gallery that the ids below belong to.
        candidates: the first ranking.
        copy_ids: gallery photos that are copies of the query's photos, int (c,). They are hits,
            but in reranking they count as the query.
        scale: the query's own scale of similarity.
        feedback: relevance feedback on gallery photos.
        votes: votes of its keypoints, by matcher, see `details`.
        verifications: matcher -> gallery id -> evidence, None for a photo that could not be read.
        pairs: matcher -> evidence for the pairs of `photos`, numbered in the order of
            `np.triu_indices`; None if one of the photos could not be read. See `agreement`.
        cost_ms: time of every stage whose result is kept here. A caller that decoded the photo
            itself may add that time, as "decode".
        unreported_ms: stages of the preparation that no result has reported yet.
    """

    photos: tuple[QueryPhoto, ...]
    region: Region | None
    descriptor: np.ndarray
    model: str
    generation: str
    candidates: Ranking
    copy_ids: np.ndarray
    scale: Scale
    feedback: Feedback = NO_FEEDBACK
    votes: dict[str, Votes] = field(default_factory=dict)
    verifications: defaultdict[str, dict[int, Verification | None]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    pairs: dict[str, Verified | None] = field(default_factory=dict)
    cost_ms: dict[str, float] = field(default_factory=dict)
    unreported_ms: dict[str, float] = field(default_factory=dict)

    @property
    def examples(self) -> tuple[QueryPhoto, ...]:
        """All photos of the thing: the query's own, then those marked as relevant.

        `Verification.photo` is an index into this tuple.
        """
        return self.photos + self.feedback.relevant

    @property
    def own_ids(self) -> np.ndarray:
        """Gallery photos of the query and of its feedback, int (n,); they are never hits."""
        own = [photo.id for photo in self.photos if photo.id is not None]
        return np.array(own + self.feedback.ids, np.int64)

    @property
    def in_gallery(self) -> np.ndarray:
        """The gallery photos that are the query, int (n,): its own and its copies."""
        return np.concatenate([self.own_ids, self.copy_ids])

    def spend(self, stage: str, ms: float) -> None:
        """Record the time of a preparation stage; the next result reports it."""
        self.cost_ms[stage] = self.cost_ms.get(stage, 0.0) + ms
        self.unreported_ms[stage] = self.unreported_ms.get(stage, 0.0) + ms
