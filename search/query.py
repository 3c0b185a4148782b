"""A prepared query: what is known of the photo asked with. Asked once, it serves every search."""

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
        file: gallery file, None for an upload. Other generations may know it by another id.
        keypoints: by the matcher's name. An upload has those it was prepared with, a gallery photo
            gets its from the store when they are first needed.
        region: the part of it that counts, None for all of it.
        note: a sentence on what is not as it should be with its file, or "".
    """

    descriptor: np.ndarray
    id: int | None = None
    file: str | None = None
    keypoints: dict[str, LocalFeatures] = field(default_factory=dict)
    region: Region | None = None
    note: str = ""


@dataclass
class PreparedQuery:
    """What is known of one query so far; grows as stages are asked for.

    Made by `Engine.prepare`, kept by whoever asks, thrown away at will.

    Attributes:
        photos: one or several photos of one thing.
        region: the part of the photo that counts, None for all of it.
        descriptor: of all photos together, moved by the feedback, unit vector float32 (D,).
        model: fingerprint of the model that made the descriptors.
        generation: `Store.version` of the gallery that the ids below belong to.
        candidates: the first ranking.
        copy_ids: gallery photos that are one of the query's photos again, int (c,). They are hits,
            but in reranking they count as the query.
        scale: the query's own yardstick of similarity.
        feedback: what was said of gallery photos since.
        votes: matcher -> what its keypoints vote for, see `details`.
        verifications: matcher -> gallery id -> evidence, None for a photo that could not be read.
        pairs: matcher -> evidence for the pairs of `photos`, numbered in the order of
            `np.triu_indices`; None if one of the photos could not be read. See `agreement`.
        cost_ms: what every stage cost whose result is kept here. A caller that decoded the photo
            itself may add what that cost, as "decode".
        unreported_ms: stages of the preparation that no answer has told of yet.
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
        """All photos of the thing: those asked with, then those called relevant.

        `Verification.photo` counts in this order.
        """
        return self.photos + self.feedback.relevant

    @property
    def own_ids(self) -> np.ndarray:
        """Gallery photos it was made of, or that something was said of, int (n,); never hits."""
        asked = [photo.id for photo in self.photos if photo.id is not None]
        return np.array(asked + self.feedback.ids, np.int64)

    @property
    def in_gallery(self) -> np.ndarray:
        """The gallery photos that are the query, int (n,): its own and its copies."""
        return np.concatenate([self.own_ids, self.copy_ids])

    def spend(self, stage: str, ms: float) -> None:
        """Note what a stage of the preparation has cost; the next answer tells of it."""
        self.cost_ms[stage] = self.cost_ms.get(stage, 0.0) + ms
        self.unreported_ms[stage] = self.unreported_ms.get(stage, 0.0) + ms
