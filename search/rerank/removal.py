"""Diffusion without some photos: the change that removing them makes to the offline rows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from index_store import Store
from index_store.graph import affinity

# A photo that loses more of its degree is treated as if it lost this much, because the update
# divides by the remainder, and rows are stored to three digits. One that loses all of it is exact.
MOST_LOST = 0.99
ALL_LOST = 1 - 1e-6


@dataclass(frozen=True)
class Removal:
    """Removal of photos from the graph, for one query.

    The photos R are removed, and their neighbours lose a part of their degrees. In the system
    I - alpha S that is one change of its diagonal: + infinity for the photos of R, minus `lost` for
    their neighbours. So the inverse Z changes by one update (Woodbury 1950) with the rows of both,
    B: Z - Z_B^T (C + Z_BB)^-1 Z_B, where C is diagonal, 0 on R and -1 / lost on the neighbours.
    Then everything is normalised by the new degrees. A neighbour that loses all of its degree is
    removed with R, and a walk that starts there stays there. The neighbours' lists are not
    refilled: a photo that would be among the nearest only without R gets no edge.

    Attributes:
        ids: offline rows of B, each photo itself in slot 0, int (b, M).
        values: their values, (b, M).
        lost: share of its degree that each photo of B loses, (b,); infinity for removed ones.
        alone: ids of the neighbours that are removed with R, int (a,), ascending.
    """

    ids: np.ndarray
    values: np.ndarray
    lost: np.ndarray
    alone: np.ndarray

    @classmethod
    def of(cls, photos: np.ndarray, store: Store) -> Removal:
        """The removal of these gallery photos, distinct ids int (r,)."""
        graph = store.lists, store.list_sims, store.edges
        near, weights = affinity.edges_of(photos, *graph)
        beside = np.setdiff1d(near[weights > 0], photos)
        around, of_neighbours = affinity.edges_of(beside, *graph)
        to_removed = (of_neighbours * np.isin(around, photos)).sum(1)
        share = to_removed / of_neighbours.sum(1)
        is_alone = share >= ALL_LOST
        both = np.concatenate([photos, beside])
        lost = np.concatenate(
            [
                np.full(len(photos), np.inf),
                np.where(is_alone, np.inf, np.minimum(share, MOST_LOST)),
            ]
        )
        return cls(store.diffusion_ids[both], store.diffusion_values[both], lost, beside[is_alone])

    def kept(self, ids: np.ndarray) -> np.ndarray:
        """Square root of the share of its degree that each photo keeps, (n,)."""
        order = np.argsort(self.ids[:, 0])
        share = np.where(np.isinf(self.lost), 1.0, 1 - self.lost)
        return np.sqrt(values_at(ids, self.ids[order, 0], share[order], missing=1.0))

    def change(self, ids: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """The amount by which the update lowers a walk's scores.

        Args:
            ids: photos that the walk reached, int (m,), ascending.
            scores: their scores, float64 (m,).

        Returns:
            float64 (m,).
        """
        at_photos = values_at(self.ids[:, 0], ids, scores)
        return np.linalg.solve(self._system.T, at_photos) @ self._at(ids)

    def own_values(self, ids: np.ndarray, values: np.ndarray) -> np.ndarray:
        """The values Z_ii of photos after the removal, at least 1.

        Args:
            ids: the photos, int (n,).
            values: Z_ii before it, float64 (n,).

        Returns:
            float64 (n,).
        """
        rows = self._at(ids)
        taken = (rows * np.linalg.solve(self._system, rows)).sum(0)
        return np.maximum((values - taken) * self.kept(ids) ** 2, 1)

    @cached_property
    def _system(self) -> np.ndarray:
        """C + Z_BB, float64 (b, b)."""
        system = self._at(self.ids[:, 0])
        system[np.diag_indices_from(system)] -= np.where(np.isinf(self.lost), 0, 1 / self.lost)
        return system

    def _at(self, ids: np.ndarray) -> np.ndarray:
        """Z_B at these photos (n,), float64 (b, n)."""
        found = np.zeros((len(self.ids), len(ids)))
        for number, (row_ids, values) in enumerate(zip(self.ids, self.values.astype(np.float64))):
            order = np.argsort(row_ids, kind="stable")
            found[number] = values_at(ids, row_ids[order], values[order])
        return found


def values_at(
    wanted: np.ndarray, ids: np.ndarray, values: np.ndarray, missing: float = 0.0
) -> np.ndarray:
    """Look up values by id.

    Args:
        wanted: gallery ids, int (m,).
        ids: ids of the known values, ascending, int (n,); -1 for none.
        values: the known values, (n,).
        missing: value for unknown ids.

    Returns:
        (m,), of the values' type.
    """
    if len(ids) == 0:
        return np.full(len(wanted), missing, values.dtype)
    slots = np.minimum(np.searchsorted(ids, wanted), len(ids) - 1)
    return np.where((ids[slots] == wanted) & (wanted >= 0), values[slots], missing)
