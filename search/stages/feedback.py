"""Relevance feedback: move the query towards relevant photos and away from non-relevant ones.

Rocchio's rule (Rocchio 1971; Manning, Raghavan and Schuetze 2008, equation 9.3):

    moved = ALPHA x query + BETA x mean(relevant) - GAMMA x mean(non-relevant), at unit length

The weights are those that section 9.1.1 of that book recommends. Non-relevant photos weigh little:
photos of the same thing resemble each other, those of other things each differ in their own way.

Besides moving the descriptor, relevant photos become further photos of the query, whose points a
hit may match. Neither kind is ever a hit, and rerankers do not start from non-relevant ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ..query import QueryPhoto

ALPHA, BETA, GAMMA = 1.0, 0.75, 0.15


@dataclass(frozen=True)
class Feedback:
    """Feedback on gallery photos.

    Attributes:
        relevant: photos that show the same thing.
        non_relevant: photos that do not.
    """

    relevant: tuple[QueryPhoto, ...] = ()
    non_relevant: tuple[QueryPhoto, ...] = ()

    @property
    def ids(self) -> list[int]:
        """The gallery photos that feedback was given on."""
        return [photo.id for photo in (*self.relevant, *self.non_relevant) if photo.id is not None]

    @property
    def weights(self) -> np.ndarray:
        """Weights of the original query, of each relevant and each non-relevant photo, float32."""
        return rocchio_weights(len(self.relevant), len(self.non_relevant))

    def move(self, descriptor: np.ndarray) -> np.ndarray:
        """The moved descriptor. descriptor: of the original query, unit vector float32 (D,)."""
        return moved(self._rows(descriptor), self.weights)

    def contributions(self, descriptor: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Split the similarity of photos with the moved query into its contributions.

        Args:
            descriptor: descriptor of the original query, unit vector float32 (D,).
            rows: descriptors of the photos, (n, D).

        Returns:
            float32 (n, 1 + relevant + non-relevant): contributions of the original query, of each
            relevant and each non-relevant photo. A row's sum is the similarity.
        """
        examples = self._rows(descriptor)
        length = np.linalg.norm(self.weights @ examples)
        return (rows.astype(np.float32) @ examples.T) * (self.weights / length)

    def _rows(self, descriptor: np.ndarray) -> np.ndarray:
        judged = [photo.descriptor for photo in (*self.relevant, *self.non_relevant)]
        return np.stack([descriptor, *judged]).astype(np.float32)


def rocchio_weights(relevant: int, non_relevant: int) -> np.ndarray:
    """Weights float32 (1 + relevant + non_relevant,) of the query and these numbers of photos."""
    return np.float32(
        [ALPHA]
        + [BETA / max(1, relevant)] * relevant
        + [-GAMMA / max(1, non_relevant)] * non_relevant
    )


def moved(rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The weighted sum of rows (n, D) by weights (n,) at unit length, float32 (D,).

    Returns the first row if the sum is zero.
    """
    total = weights @ rows
    length = np.linalg.norm(total)
    return rows[0] if length == 0 else (total / length).astype(np.float32)


NO_FEEDBACK = Feedback()
