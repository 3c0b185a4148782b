"""Things: gallery photos of one building, one painting, one object, found without any label.

The edges of the matching graph are the evidence (compare Philbin and Zisserman 2008, "Object mining
using a matching graph"). Covers of one series share their logos, so matched points alone prove
little. An edge shows the same thing if one of two proofs holds: the matched points cover much of a
photo and few matches contradict them, or the descriptors are far more alike than those of strangers

    probability = 1 - (1 - logistic(POINTS . (1, root of coverage, inliers / matches)))
                      (1 - logistic(LIKENESS . (1, similarity above the background)))

Groups of photos are then joined by average linkage, the surest first, while their worth is LIKELY:

    worth = sum of the probabilities between them / (edges between them + DOUBT x missing edges)

Missing edges, of at most EXPECTED, are weak evidence against: so a single wrong pair joins two
photos but does not melt two groups.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import NotCompared
from ..graph.matching_graph import PROVEN, background_rank
from ..store import Store

# Both fitted by `evaluation things`, on landmarks, covers, paintings, cartons and other things.
POINTS = (-5.0, 8.9, 5.9)
LIKENESS = (-3.0, 13.5)
LIKELY = 0.7  # worth from which on groups are joined; the page calls such a probability likely
DOUBT = 0.1
# A photo keeps only its best edges, so of two large groups most pairs were never compared.
EXPECTED = 25


@dataclass(frozen=True)
class Thing:
    """Photos that show the same thing, two or more.

    Attributes:
        ids: Of the photos; the face first, which most evidence leads to, then by their evidence.
        sure: The worth of the weakest join that made it, LIKELY to 1.
    """

    ids: tuple[int, ...]
    sure: float


def things(store: Store) -> list[Thing]:
    """The things of a gallery, those with most photos first. Damaged photos are in none.

    Raises:
        NotCompared: The store has no matching graph.
    """
    if not store.edges.shape[1]:
        raise NotCompared(
            f"The photos of {store.path} were not compared with each other, so its things are not "
            "known; `build --matching` compares them."
        )
    pairs, edges = proven_pairs(store.edges, store.damaged)
    above = above_background(pairs, edges["similarity"], store.list_sims)
    return group(pairs, probability(proofs(edges, above)))


def proven_pairs(edges: np.ndarray, damaged: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each pair of photos with PROVEN matched points, once.

    Args:
        edges: EDGE (N, k), of the whole gallery.
        damaged: Ids of photos that are left out, int (d,).

    Returns:
        Ids int64 (m, 2), the smaller one first, in order; and their edges EDGE (m,).
    """
    proven = (edges["inliers"] >= PROVEN) & (edges["id"] >= 0) & (edges["id"] < len(edges))
    one, slot = np.nonzero(proven)
    found = edges[one, slot]
    pairs = np.sort(np.stack([one, found["id"]], axis=1).astype(np.int64), axis=1)
    pairs, first = np.unique(pairs, axis=0, return_index=True)
    served = ~np.isin(pairs, damaged).any(1)
    return pairs[served], found[first][served]


def above_background(
    pairs: np.ndarray, similarity: np.ndarray, list_sims: np.ndarray
) -> np.ndarray:
    """How far similarities are above the background of one photo of each pair, the lower: (m,).

    Args:
        pairs: Ids, int (m, 2).
        similarity: Of these, (m,).
        list_sims: Similarities of each photo's nearest, (N, k), as of `Store`.
    """
    rank = background_rank(*list_sims.shape)
    return similarity.astype(np.float64) - list_sims[pairs, rank].astype(np.float64).min(1)


def proofs(edges: np.ndarray, above: np.ndarray) -> np.ndarray:
    """What the proofs are judged by: root of coverage, inliers over matches, similarity above.

    Args:
        edges: EDGE (m,).
        above: Of `above_background`, (m,).

    Returns:
        float64 (m, 3).
    """
    coverage = np.sqrt(edges["coverage"].astype(np.float64))
    agreement = edges["inliers"] / np.maximum(edges["matches"], 1).astype(np.float64)
    return np.stack([coverage, agreement, above], axis=1)


def probability(
    proofs: np.ndarray,
    points: Sequence[float] = POINTS,
    likeness: Sequence[float] = LIKENESS,
) -> np.ndarray:
    """How probable it is that pairs show the same thing, float64 (m,), 0 to 1.

    Args:
        proofs: Of `proofs`, (m, 3).
        points: Bias and weights of coverage and agreement.
        likeness: Bias and weight of the similarity.
    """
    by_points = points[0] + proofs[:, :2] @ np.asarray(points[1:])
    by_likeness = likeness[0] + likeness[1] * proofs[:, 2]
    return 1 - (1 - logistic(by_points)) * (1 - logistic(by_likeness))


def logistic(z: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-z)), without overflow."""
    return 0.5 * (1 + np.tanh(z / 2))


def group(pairs: np.ndarray, probability: np.ndarray) -> list[Thing]:
    """Join photos to things.

    Args:
        pairs: Ids, int (m, 2), each pair once. In whatever order, the result is the same.
        probability: That the two show the same thing, (m,), 0 to 1.

    Returns:
        Those of two photos or more, the largest first, then by their faces.
    """
    order = np.lexsort(pairs.T)
    pairs, probability = pairs[order], probability[order]
    ids, ends = np.unique(pairs, return_inverse=True)
    ends = ends.reshape(-1, 2)
    evidence = np.bincount(ends.ravel(), np.repeat(probability, 2), len(ids))
    found = []
    for members, sure in join(len(ids), ends, probability):
        members.sort(key=lambda member: (-round(evidence[member], 9), member))
        found.append(Thing(tuple(ids[members].tolist()), sure))
    return sorted(found, key=lambda thing: (-len(thing.ids), thing.ids[0]))


def join(count: int, pairs: np.ndarray, probability: np.ndarray) -> list[tuple[list[int], float]]:
    """Average linkage over the edges of a sparse graph.

    Args:
        count: Nodes.
        pairs: int (m, 2), each once.
        probability: Of these, (m,).

    Returns:
        The nodes of each group of two or more, and the worth of the weakest join that made it.
    """
    members: list[list[int]] = [[node] for node in range(count)]
    sure = [1.0] * count
    # For each group those that edges lead to: sum of the probabilities, number of edges.
    near: list[dict[int, tuple[float, int]]] = [{} for _ in range(count)]
    for (one, other), value in zip(pairs.tolist(), probability.tolist()):
        near[one][other] = near[other][one] = value, 1
    waiting: list[tuple[float, int, int]] = []

    def propose(one: int, other: int) -> None:
        total, edges = near[one][other]
        missing = min(len(members[one]) * len(members[other]), EXPECTED) - edges
        worth = total / (edges + DOUBT * max(0, missing))
        if worth >= LIKELY:
            heapq.heappush(waiting, (-worth, min(one, other), max(one, other)))

    for one, other in pairs.tolist():
        propose(one, other)
    while waiting:
        worth, one, other = heapq.heappop(waiting)
        if not members[one] or not members[other]:
            continue  # joined with others since
        new = len(members)
        members.append(members[one] + members[other])
        sure.append(min(-worth, sure[one], sure[other]))
        near.append(
            {
                third: added(near[one].get(third), near[other].get(third))
                for third in sorted((near[one].keys() | near[other].keys()) - {one, other})
            }
        )
        for old in (one, other):
            for third in near[old]:
                near[third].pop(old, None)
            near[old], members[old] = {}, []
        for third, between in near[new].items():
            near[third][new] = between
            propose(new, third)
    return [(nodes, sure[number]) for number, nodes in enumerate(members) if len(nodes) > 1]


def added(one: tuple[float, int] | None, other: tuple[float, int] | None) -> tuple[float, int]:
    """What leads to a third group from two groups together."""
    total, edges = one or (0.0, 0)
    more, others = other or (0.0, 0)
    return total + more, edges + others
