"""Rankings: photos with their similarity and score, best first. What the stages hand to one another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FLOOR = 8  # matched points from which on two photos are taken to show the same thing
SHORTLIST = 100  # best photos that are verified


@dataclass
class Ranking:
    """An order in the making: gallery ids (n,), their similarity and score (n,), best score first."""

    ids: np.ndarray
    similarity: np.ndarray
    scores: np.ndarray

    def __getitem__(self, which: slice | np.ndarray) -> Ranking:
        """The photos at these positions, or where this mask (n,) is true."""
        return Ranking(self.ids[which], self.similarity[which], self.scores[which])

    def sorted(self) -> Ranking:
        return self[order(self.scores)]

    def rescored(self, scores: np.ndarray) -> Ranking:
        """The same photos with other scores (n,), best first."""
        return Ranking(self.ids, self.similarity, scores).sorted()

    def parted(self, id: int | None) -> tuple[Ranking, Ranking]:
        """The photo `id` alone (nothing if it is None or not here), and the others."""
        alone = self.ids == id
        return self[alone], self[~alone]

    def followed_by(self, rest: Ranking) -> Ranking:
        """This ranking, then all of the other one, whose scores are lowered together if they reach too high."""
        floor = self.scores.min(initial=np.inf)
        excess = max(0.0, rest.scores.max(initial=-np.inf) - floor)
        lowered = np.minimum(rest.scores.astype(np.float64) - excess, floor)
        return Ranking(
            np.concatenate([self.ids, rest.ids]),
            np.concatenate([self.similarity, rest.similarity]),
            np.concatenate([self.scores, lowered]),
        )


@dataclass(frozen=True)
class Verified:
    """Photos that SIFT has verified: gallery ids (n,), best ranked first, and the probability (n,) that each is the thing."""

    ids: np.ndarray
    weights: np.ndarray

    def without(self, id: int | None) -> Verified:
        others = self.ids != id
        return Verified(self.ids[others], self.weights[others])


def order(scores: np.ndarray) -> np.ndarray:
    """Positions by falling score (n,), or for each row of (m, n); ties keep their order."""
    return np.argsort(-scores, kind="stable")


def cosine(descriptor: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Exact cosine float32 (n,) of a descriptor (D,) with stored descriptors (n, D)."""
    # Rows stored as float16 are unit to three digits only.
    return np.clip(rows.astype(np.float32) @ descriptor, -1, 1)


def nearest(similarity: np.ndarray, k: int) -> np.ndarray:
    """Neighbour lists int (n, min(k + 1, n)) of photos with these similarities (n, n): itself, then its k nearest.

    Itself first even among exact duplicates; ties keep their order.
    """
    own_first = similarity.copy()
    np.fill_diagonal(own_first, np.inf)
    return order(own_first)[:, : k + 1]
