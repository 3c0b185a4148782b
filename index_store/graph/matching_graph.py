"""Matching graph: pairs of gallery photos with the evidence that they show the same thing.

Whether two gallery photos match does not depend on a query. So they are matched by keypoints when
the store is built (Philbin and Zisserman 2008, "Object mining using a matching graph"), each with
its nearest by descriptor and by keypoint votes. Pairs for which both signals make a match
improbable are skipped. The evidence is weighed when a query traverses the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from extractor import LocalFeatures
from matching.pool import on_all_cores
from matching.verification import verify
from matching.votes import NEAREST as NEIGHBOURS
from matching.votes import Votes, count_votes

from ..keypoints.keypoint_index import KeypointIndex
from ..keypoints.marks import Marks
from ..storage.rows import Descriptors, Rows
from .comparisons import Comparisons, Evidence, pair_keys

NEAREST = 10  # photos that each one is compared with by descriptor, and as many by votes
EDGES = 24  # edges kept per photo, those with the most evidence
MAX_VOTERS = 300  # voting keypoints per photo
# A pair is compared if its similarity exceeds the background of one of its photos by ABOVE, or if
# its `Votes.scores` are at least VOTED. 97 to 99 % of the useful edges pass.
ABOVE = 0.1
VOTED = 1.5
PROVEN = 8  # matched points from which a pair is assumed to show the same thing
BATCH = 256  # pairs compared and stored at a time
CACHED = 4096  # photos whose keypoints are cached
PARAMETERS = {
    "nearest": NEAREST,
    "edges": EDGES,
    "asking": MAX_VOTERS,
    "above": ABOVE,
    "voted": VOTED,
}
EDGE = np.dtype(
    [
        ("id", "<i4"),
        ("similarity", "<f2"),
        ("inliers", "<u2"),
        ("matches", "<u2"),
        ("coverage", "<f2"),
    ]
)

Progress = Callable[[Iterable, int, str], Iterable]


def names_of(rows: Rows, marks: Marks) -> list[str]:
    """Names of photos for comparisons: each photo's content and the boxes of its marks."""
    names = [sha256.decode() for sha256 in rows.column("sha256").tolist()]
    for id in np.unique(marks.placed["photo"]).tolist():
        names[id] += marks.boxes(id).tobytes().hex()
    return names


@dataclass(frozen=True)
class Gallery:
    """Data by which pairs are proposed and compared.

    Attributes:
        rows: the photos' stored data.
        neighbour_ids: int32 (N, K), nearest photos, the photo itself in slot 0, -1 unused.
        neighbour_sims: float32 (N, K).
        keypoints: the keypoint index.
        marks: marks, whose keypoints are ignored.
    """

    rows: Rows
    neighbour_ids: np.ndarray
    neighbour_sims: np.ndarray
    keypoints: KeypointIndex
    marks: Marks

    def features(self, id: int) -> LocalFeatures | None:
        """A photo's keypoints outside marks; None if the store does not hold its keypoints."""
        [(_, found)] = self.rows.keypoints([id])
        return None if found is None else self.marks.outside(id, found)


def matching_edges(
    gallery: Gallery,
    photos: np.ndarray,
    before: np.ndarray,
    comparisons: Comparisons,
    progress: Progress,
) -> np.ndarray:
    """Compare neighbours, and collect each photo's edges.

    Args:
        gallery: data of N photos.
        photos: photos whose keypoints vote, int (n,): all, or the added ones.
        before: pairs that were compared before, int (m, 2).
        comparisons: known comparisons, to which new ones are added.
        progress: see `build`.

    Returns:
        EDGE (N, EDGES), most evidence first, id -1 in unused slots.

    Raises:
        OSError: the comparisons cannot be written.
    """
    voted = detail_pairs(gallery, photos, progress)
    pairs = unique_pairs([before, near_pairs(gallery), voted], len(gallery.rows))
    names = names_of(gallery.rows, gallery.marks)
    keys = pair_keys(names, pairs)
    is_compared, _ = comparisons.find(keys)
    held = lru_cache(CACHED)(gallery.features)
    todo = np.flatnonzero(~is_compared)
    blocks = [todo[start : start + BATCH] for start in range(0, len(todo), BATCH)]
    for block in progress(blocks, len(blocks), "matching"):
        found = compare(pairs[block], names, held)
        comparisons.append(keys[block], found)
    _, evidence = comparisons.find(keys)
    return best_edges(pairs, evidence, similarities(gallery.rows, pairs), len(gallery.rows))


def near_pairs(gallery: Gallery) -> np.ndarray:
    """Pairs of neighbours by descriptor that are similar enough for a match, int (m, 2)."""
    neighbours = gallery.neighbour_ids[:, 1 : NEAREST + 1]
    sims = gallery.neighbour_sims[:, 1 : NEAREST + 1]
    rank = background_rank(*gallery.neighbour_sims.shape)
    background = gallery.neighbour_sims[:, rank]
    above = np.maximum(sims - background[:, None], sims - background[neighbours])
    first, slot = np.nonzero((neighbours >= 0) & (above >= ABOVE))
    return np.stack([first, neighbours[first, slot]], axis=1)


def background_rank(count: int, length: int) -> int:
    """Rank of a neighbour assumed to be unrelated: the list's last, or a fifth of a small gallery.

    Args:
        count: number of photos in the gallery.
        length: length of a neighbour list, including the photo itself.
    """
    return min(length - 1, -(-count // 5))


def detail_pairs(gallery: Gallery, photos: np.ndarray, progress: Progress) -> np.ndarray:
    """Pairs of photos with common keypoints, by votes, int (m, 2). See `matching_edges`."""
    found = [np.empty((0, 2), np.int64)]
    for id in progress(photos.tolist(), len(photos), "details"):
        votes = votes_of(gallery, id)
        best = votes.ids[votes.scores >= VOTED]
        best = best[best != id][:NEAREST]
        found.append(np.stack([np.full(len(best), id), best], axis=1))
    return np.concatenate(found)


def votes_of(gallery: Gallery, id: int) -> Votes:
    """Votes of a photo's keypoints."""
    features = gallery.features(id)
    if features is None or not len(features.points):
        return Votes(np.empty(0, np.int64), np.empty(0))
    voters = features.strongest(min(MAX_VOTERS, gallery.keypoints.form.points))
    neighbours = gallery.keypoints.nearest(voters.descriptors, NEIGHBOURS + 2)
    return count_votes(neighbours.distances, neighbours.photos, len(gallery.rows), np.array([id]))


def unique_pairs(parts: Sequence[np.ndarray], count: int) -> np.ndarray:
    """All pairs once, the smaller id first, sorted: int (m, 2). count: number of photos."""
    pairs = np.sort(np.concatenate([part.reshape(-1, 2) for part in parts]).astype(np.int64), 1)
    numbers = np.unique(pairs[:, 0] * count + pairs[:, 1])
    return np.stack([numbers // count, numbers % count], axis=1)


def compare(
    pairs: np.ndarray, names: Sequence[str], features: Callable[[int], LocalFeatures | None]
) -> Evidence:
    """Compare pairs of photos, on all cores. No evidence if the keypoints of one are missing.

    Args:
        pairs: ids, int (m, 2).
        names: names of the photos, which decide which of the two is the query.
        features: function that returns a photo's keypoints.
    """

    def found(pair: list[int]) -> tuple[int, int, float]:
        query, hit = (features(id) for id in sorted(pair, key=lambda id: names[id]))
        if query is None or hit is None:
            return 0, 0, 0.0
        evidence = verify(query, hit)
        return evidence.inliers, evidence.matches, evidence.coverage

    columns = np.array(on_all_cores(found, pairs.tolist()), np.float64).reshape(-1, 3).T
    return Evidence(columns[0].astype(int), columns[1].astype(int), columns[2].astype(np.float32))


def similarities(rows: Rows, pairs: np.ndarray) -> np.ndarray:
    """Cosine similarities of pairs, float32 (m,), reading descriptors block by block."""
    descriptors, found = Descriptors(rows), [np.empty(0, np.float32)]
    for start in range(0, len(pairs), 4096):
        left_rows, right_rows = (
            descriptors[ids].astype(np.float32) for ids in pairs[start : start + 4096].T
        )
        found.append(np.einsum("ij,ij->i", left_rows, right_rows))
    return np.concatenate(found)


def best_edges(
    pairs: np.ndarray, evidence: Evidence, similarity: np.ndarray, count: int
) -> np.ndarray:
    """Each photo's edges, most evidence first: EDGE (count, EDGES).

    Args:
        pairs: ids, int (m, 2).
        evidence: evidence of the pairs.
        similarity: cosine similarities of the pairs, (m,).
        count: number of photos.
    """
    edges = np.full((count, EDGES), no_edge())
    ends = np.concatenate([pairs, pairs[:, ::-1]])
    other = np.tile(np.arange(len(pairs)), 2)
    order = np.lexsort((-similarity[other], -evidence.inliers[other], ends[:, 0]))
    owner, other = ends[order, 0], other[order]
    slot = np.arange(len(owner)) - np.searchsorted(owner, owner)
    is_best = slot < EDGES
    owner, slot, other = owner[is_best], slot[is_best], other[is_best]
    max_inliers = np.iinfo(np.uint16).max
    edges["id"][owner, slot] = ends[order, 1][is_best]
    edges["similarity"][owner, slot] = similarity[other]
    edges["inliers"][owner, slot] = np.minimum(evidence.inliers[other], max_inliers)
    edges["matches"][owner, slot] = np.minimum(evidence.matches[other], max_inliers)
    edges["coverage"][owner, slot] = evidence.coverage[other]
    return edges


def pairs_in(edges: np.ndarray) -> np.ndarray:
    """The pairs of a graph, int (m, 2), each listed at one end or both. edges: EDGE (N, k)."""
    first, slot = np.nonzero(edges["id"] >= 0)
    return np.stack([first, edges["id"][first, slot]], axis=1)


def no_edge() -> np.ndarray:
    """Value of an unused edge slot, EDGE ()."""
    edge = np.zeros((), EDGE)
    edge["id"] = -1
    return edge


def no_edges(count: int) -> np.ndarray:
    """The edges of a gallery whose photos were not compared, EDGE (count, 0)."""
    return np.empty((count, 0), EDGE)
