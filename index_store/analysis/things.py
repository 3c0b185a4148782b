"""Group gallery photos by the thing they show (a building, a painting, an object), without labels.

The evidence is the matching graph (compare Philbin and Zisserman 2008, "Object mining using a
matching graph"), its edges judged by `graph.proof`. Photos are merged into groups by two rules, one
after the other, the surest merges first:

1. Average linkage: the worth of a merge is at least LIKELY, where

       worth = sum of the probabilities between the groups / (edges + DOUBT x missing edges)

   Missing edges (of at most EXPECTED possible ones) are weak evidence against a merge. So a single
   wrong pair can merge two photos, but not two groups.
2. Similarity of the groups: the probabilities between them sum to at least LINKED, and the mean
   similarity of their descriptors is at least ALIKE above the background. This merges views of a
   building of which few pairs match, but not covers of a series, whose pictures differ.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..errors import NotCompared
from ..graph.matching_graph import PROVEN
from ..graph.proof import background_of, probability, proofs
from ..storage.rows import Descriptors
from ..store import Store

LIKELY = 0.7  # minimum worth of a merge; the page calls such a probability likely
DOUBT = 0.1
# A photo keeps only its best edges, so most pairs of two large groups were never compared.
EXPECTED = 25
LINKED = 0.5
ALIKE = 0.22


@dataclass(frozen=True)
class Thing:
    """Two or more photos that show the same thing.

    Attributes:
        ids: ids of the photos, by decreasing evidence; the first is the face.
        sure: mean probability of the edges between them, 0 to 1.
    """

    ids: tuple[int, ...]
    sure: float


def things(store: Store) -> list[Thing]:
    """The things of a gallery, largest first, without damaged photos.

    Raises:
        NotCompared: the store has no matching graph.
    """
    if not store.edges.shape[1]:
        raise NotCompared(
            f"The photos of {store.path} were not compared with each other, so its things are not "
            "known; `build --matching` compares them."
        )
    pairs, edges = proven_pairs(store.edges, store.damaged)
    background = background_of(store.list_sims)
    judged = probability(proofs(edges, background[pairs]))
    return group(pairs, judged, store.descriptors, background)


def proven_pairs(edges: np.ndarray, damaged: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of photos with at least PROVEN matched points, each once.

    Args:
        edges: edges of the whole gallery, EDGE (N, k).
        damaged: ids of photos to exclude, int (d,).

    Returns:
        Ids int64 (m, 2), sorted, the smaller one of each pair first, and their edges EDGE (m,).
    """
    verified = (edges["inliers"] >= PROVEN) & (edges["id"] >= 0) & (edges["id"] < len(edges))
    one, slot = np.nonzero(verified)
    found = edges[one, slot]
    pairs = np.sort(np.stack([one, found["id"]], axis=1).astype(np.int64), axis=1)
    pairs, first = np.unique(pairs, axis=0, return_index=True)
    served = ~np.isin(pairs, damaged).any(1)
    return pairs[served], found[first][served]


def group(
    pairs: np.ndarray,
    probability: np.ndarray,
    descriptors: np.ndarray | Descriptors,
    background: np.ndarray,
) -> list[Thing]:
    """Group photos into things.

    Args:
        pairs: ids, int (m, 2), each pair once. Their order does not affect the result.
        probability: probability that the two show the same thing, (m,), 0 to 1.
        descriptors: descriptors of all photos, unit rows (N, D).
        background: output of `background_of`, (N,).

    Returns:
        Things of two or more photos, largest first, then by the id of the face.
    """
    order = np.lexsort(pairs.T)
    pairs, probability = pairs[order], probability[order]
    ids, ends = np.unique(pairs, return_inverse=True)
    ends = ends.reshape(-1, 2)
    evidence = np.zeros(len(ids))
    np.add.at(evidence, ends, probability[:, None])
    evidence = evidence.round(9)  # the order of summation must not decide
    groups = Groups(np.asarray(descriptors[ids]), background[ids])
    groups.join(ends, probability)
    found = []
    for members, sure in groups.joined():
        members.sort(key=lambda member: (-evidence[member], member))
        found.append(Thing(tuple(ids[members].tolist()), sure))
    return sorted(found, key=lambda thing: (-len(thing.ids), thing.ids[0]))


class Groups:
    """Groups of photos while they are merged. A group that was merged into a new one is empty."""

    def __init__(self, rows: np.ndarray, background: np.ndarray):
        """Start with a group for each photo.

        Args:
            rows: descriptors of the photos, unit rows (n, D).
            background: their backgrounds, (n,).
        """
        self._members: list[list[int]] = [[photo] for photo in range(len(rows))]
        self._descriptors: list[np.ndarray] = list(rows)  # sum over the members
        self._background = background.tolist()  # sum over the members, too
        self._inside = [(0.0, 0)] * len(rows)  # probabilities within a group: sum, number of edges
        # For each group its neighbours: sum of the probabilities, number of edges.
        self._near: list[dict[int, tuple[float, int]]] = [{} for _ in rows]

    def join(self, pairs: np.ndarray, probability: np.ndarray) -> None:
        """Merge groups while the first rule allows it, then while the second one does.

        Args:
            pairs: indices of photos, int (m, 2), each pair once.
            probability: probability of each pair, (m,).
        """
        for (first, second), value in zip(pairs.tolist(), probability.tolist()):
            self._near[first][second] = self._near[second][first] = value, 1
        for rule in (self._linkage, self._likeness):
            waiting = [
                (-worth, first, second)
                for first, neighbours in enumerate(self._near)
                for second in neighbours
                if first < second and (worth := rule(first, second)) is not None
            ]
            heapq.heapify(waiting)
            while waiting:
                _, first, second = heapq.heappop(waiting)
                if not self._members[first] or not self._members[second]:
                    continue
                new = self._unite(first, second)
                for third in self._near[new]:
                    if (worth := rule(third, new)) is not None:
                        heapq.heappush(waiting, (-worth, third, new))

    def joined(self) -> Iterator[tuple[list[int], float]]:
        """The photos of each group of two or more, and the mean probability of its edges."""
        for members, (total, edges) in zip(self._members, self._inside):
            if len(members) > 1:
                yield members, total / edges

    def _linkage(self, first_group: int, second_group: int) -> float | None:
        """Worth of a merge by the first rule; None if the rule does not allow it."""
        total, edges = self._near[first_group][second_group]
        possible = min(len(self._members[first_group]) * len(self._members[second_group]), EXPECTED)
        worth = total / (edges + DOUBT * max(0, possible - edges))
        return worth if worth >= LIKELY else None

    def _likeness(self, one: int, other: int) -> float | None:
        """Mean similarity of two groups above the lower background of the two; None if the second
        rule does not allow the merge.
        """
        if self._near[one][other][0] < LINKED:
            return None
        (first, size), (second, count) = (
            (self._descriptors[number].astype(np.float32), len(self._members[number]))
            for number in (one, other)
        )
        background = min(self._background[one] / size, self._background[other] / count)
        likeness = float(first @ second) / (size * count) - background
        return likeness if likeness >= ALIKE else None

    def _unite(self, one: int, other: int) -> int:
        """Merge two groups. Returns the number of the new one."""
        new, neighbours = len(self._members), self._near
        between = neighbours[one].pop(other)
        del neighbours[other][one]
        self._members.append(self._members[one] + self._members[other])
        first, second = self._descriptors[one], self._descriptors[other]
        self._descriptors.append(first.astype(np.float32) + second)
        self._background.append(self._background[one] + self._background[other])
        self._inside.append(added(between, added(self._inside[one], self._inside[other])))
        neighbours.append({})
        for old in (one, other):
            for third, edges in neighbours[old].items():
                neighbours[new][third] = added(neighbours[new].get(third, (0.0, 0)), edges)
                del neighbours[third][old]
            neighbours[old], self._members[old], self._descriptors[old] = {}, [], np.empty(0)
        for third, edges in neighbours[new].items():
            neighbours[third][new] = edges
        return new


def added(first: tuple[float, int], second: tuple[float, int]) -> tuple[float, int]:
    """Add two pairs of (sum of probabilities, number of edges)."""
    return first[0] + second[0], first[1] + second[1]
