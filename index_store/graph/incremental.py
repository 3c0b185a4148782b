"""Incremental update of index, neighbour lists and diffusion rows after a small change.

The neighbour lists stay exact: added photos, and photos that lost a neighbour, search the whole
gallery; for all others, each new photo is compared with the list's last neighbour. Diffusion rows
are solved again for added photos and those whose edges have changed; the other rows only lose
removed photos, and drift. The drift is measured on a sample after each change, and accumulated.
Added photos are checked for known marks; new marks are found by the next build.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import faiss
import numpy as np
from scipy import sparse
from threadpoolctl import threadpool_limits

from ..ann.id_map import renumber
from ..ann.nearest import exact_search
from ..global_artifacts import Derived, Graphs, Progress, empty_rows, silent
from ..keypoints.keypoint_index import KeypointChange, KeypointIndex, coded
from ..storage.manifest import Drift
from ..storage.rows import Descriptors, Rows
from ..store import Store
from . import affinity, matching_graph
from . import offline_diffusion as diffusion
from .comparisons import Comparisons
from .neighbours import self_first
from .partition import region

EDGE = 0.01  # change of a normalised edge weight below which rows are not solved again
REBUILD = 0.25  # share of photos changed since the last full build, above which to rebuild
DRIFTED = 0.05  # value of `Drift.rows` from which a full build is worthwhile
SAMPLE = 24  # photos whose rows measure the drift
AROUND = 1000  # photos in each of their systems of equations
BLOCK = 32  # photos solved together: they may be far apart, and need more room than in a build
CELLS = 2**26  # similarities in memory at a time
ROWS = 2**16  # photos processed at a time


@dataclass(frozen=True)
class Moves:
    """Correspondence between the photos of an old and a new generation.

    Attributes:
        old_ids: int32 (N,), the old id of each new one; -1 for an added photo.
        new_ids: int32 (M,), the new id of each old one; -1 for a removed photo.
    """

    old_ids: np.ndarray
    new_ids: np.ndarray

    @property
    def added(self) -> np.ndarray:
        """New ids of the added photos."""
        return np.flatnonzero(self.old_ids < 0)

    @property
    def retained(self) -> np.ndarray:
        """New ids of the photos that were already in the old generation."""
        return np.flatnonzero(self.old_ids >= 0)


def moves(before: list[str], after: list[str]) -> Moves:
    """Match photos by content.

    Args:
        before: SHA-256 of each old photo.
        after: SHA-256 of each new photo.
    """
    ids: dict[str, list[int]] = {}
    for id in range(len(before) - 1, -1, -1):
        ids.setdefault(before[id], []).append(id)
    old_ids = np.full(len(after), -1, np.int32)
    for id, sha256 in enumerate(after):
        if same := ids.get(sha256):
            old_ids[id] = same.pop()
    new_ids = np.full(len(before), -1, np.int32)
    retained = np.flatnonzero(old_ids >= 0)
    new_ids[old_ids[retained]] = retained
    return Moves(old_ids, new_ids)


def derive_changed(
    live: Store,
    moved: Moves,
    rows: Rows,
    comparisons: Comparisons | None,
    progress: Progress = silent,
) -> Derived:
    """Compute what `derive` computes, starting from the live generation.

    Args:
        live: generation before the change.
        moved: correspondence between its photos and the new ones.
        rows: the photos' stored data.
        comparisons: see `derive`.
        progress: see `build`.
    """
    added, descriptors = moved.added, cast(np.ndarray, Descriptors(rows))  # reads as one
    removed_count = int((moved.new_ids < 0).sum())
    for _ in progress(range(1), 1, "index"):
        index = renumber(
            live.index.embedded, live.index.ids, moved.new_ids, added, descriptors[added]
        )
    for _ in progress(range(1), 1, "neighbours"):
        ids, sims = neighbours(live.lists, live.list_sims, moved, descriptors)
    form = live.keypoints.form
    photos = progress(rows.keypoints(added.tolist()), len(added), "keypoints")
    fresh = coded(photos, form)
    marks = live.marks.renumbered(moved.new_ids).joined(fresh, rows.sizes)
    fresh = marks.uncovered(fresh)

    def graphs(index: KeypointIndex) -> Graphs:
        edges = matching_graph.no_edges(len(ids))
        if comparisons is not None:
            pairs = moved.new_ids[matching_graph.pairs_in(live.edges)]
            edges = matching_graph.matching_edges(
                matching_graph.Gallery(rows, ids, sims, index, marks),
                added,
                pairs[(pairs >= 0).all(1)],
                comparisons,
                progress,
            )
        walk = affinity.neighbour_graph(ids, sims, edges)
        row_ids, row_values, differ = rows_after(live, moved, walk, progress)
        drift = live.manifest.drift
        counts = drift.added + len(added), drift.removed + removed_count
        return Graphs(edges, row_ids, row_values, Drift(*counts, round(differ, 6)))

    return Derived(
        parameters=Derived.of(live).parameters,
        index=index,
        neighbour_ids=ids,
        neighbour_sims=sims,
        neighbour_recall=live.manifest.neighbour_recall,
        keypoints=KeypointChange(form, fresh, live.keypoints, moved.new_ids),
        marks=marks,
        graphs=graphs,
    )


def rows_after(
    live: Store, moved: Moves, walk: sparse.csr_array, progress: Progress
) -> tuple[np.ndarray, np.ndarray, float]:
    """The diffusion rows after a change.

    Args:
        live: generation before the change.
        moved: correspondence between its photos and the new ones.
        walk: S of `neighbour_graph` after the change, (N, N).
        progress: see `build`.

    Returns:
        Ids int32 and values float16, both (N, KEPT), and `Drift.rows`.
    """
    count = len(moved.old_ids)
    old_walk = affinity.neighbour_graph(live.lists, live.list_sims, live.edges)
    before = renumbered(old_walk, moved)
    stale = np.union1d(moved.added, changed_rows(before, walk)).astype(np.int32)
    whole = len(stale) * diffusion.BLOCK > count * BLOCK  # then solving all rows costs less
    row_ids, row_values = empty_rows(count) if whole else kept_rows(live, moved)
    diffusion.diffusion_rows(
        walk,
        row_ids,
        row_values,
        block=diffusion.BLOCK if whole else BLOCK,
        progress=lambda items, total: progress(items, total, "diffusion"),
        photos=None if whole else stale,
    )
    if whole:
        return row_ids, row_values, 0.0
    return row_ids, row_values, live.manifest.drift.rows + drifted(before, walk, row_ids, stale)


def is_small(live: Store, moved: Moves) -> bool:
    """Whether the change since the last full build is small enough for an incremental update."""
    drift, removed_count = live.manifest.drift, int((moved.new_ids < 0).sum())
    changed = drift.added + drift.removed + len(moved.added) + removed_count
    return changed <= REBUILD * len(moved.old_ids)


def neighbours(
    old_lists: np.ndarray, old_sims: np.ndarray, moved: Moves, descriptors: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The lists of `self_first` after a change.

    Args:
        old_lists: lists before the change, int32 (M, k).
        old_sims: their similarities, float32 (M, k).
        moved: correspondence between old and new photos.
        descriptors: float16 (N, D), of all photos.

    Returns:
        Ids int32 and similarities float32, both (N, min(N, BACKGROUND + 1)).
    """
    count = len(moved.old_ids)
    k = min(count, affinity.BACKGROUND + 1)
    ids, sims = np.full((count, k), -1, np.int32), np.zeros((count, k), np.float32)
    added, retained = moved.added, moved.retained
    width = min(k, old_lists.shape[1])
    for photos in in_blocks(retained):
        lists = old_lists[moved.old_ids[photos], :width]
        ids[photos, :width] = np.where(lists >= 0, moved.new_ids[lists], -1)
        sims[photos, :width] = old_sims[moved.old_ids[photos], :width]
    # Incomplete lists: a neighbour was removed, or the gallery was smaller than a list.
    stale = np.flatnonzero((ids < 0).any(1))
    ids[stale], sims[stale] = search(descriptors, stale, k)
    fresh = np.ascontiguousarray(descriptors[added], np.float32)
    if not len(fresh):
        return ids, sims
    block = min(ROWS, max(1024, CELLS // len(fresh)))
    unaffected = np.setdiff1d(retained, stale)
    for start in range(0, len(unaffected), block):
        some = unaffected[start : start + block]
        rows = np.ascontiguousarray(descriptors[some], np.float32)
        near_sims, new_ids_found = faiss.knn(
            rows, fresh, min(k, len(fresh)), metric=faiss.METRIC_INNER_PRODUCT
        )
        nearer = np.flatnonzero(near_sims[:, 0] > sims[some, -1])
        photos = some[nearer]
        all_sims = np.concatenate([sims[photos], near_sims[nearer]], 1)
        all_ids = np.concatenate([ids[photos], added[new_ids_found[nearer]]], 1)
        all_sims[:, 0] = np.inf  # the photo itself
        best = np.argsort(-all_sims, axis=1, kind="stable")[:, :k]
        ids[photos] = np.take_along_axis(all_ids, best, 1)
        sims[photos] = np.take_along_axis(all_sims, best, 1)
        sims[photos, 0] = 1.0
    return ids, sims


def in_blocks(photos: np.ndarray) -> Iterator[np.ndarray]:
    """Split ids into blocks, to bound the memory for processing them."""
    for start in range(0, len(photos), ROWS):
        yield photos[start : start + ROWS]


def search(descriptors: np.ndarray, photos: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Exact neighbour lists of photos, reading the gallery block by block.

    Args:
        descriptors: float16 (N, D).
        photos: int (n,).
        k: length of a list, at most N.

    Returns:
        As `self_first`: int32 and float32, both (n, k).
    """
    queries = np.ascontiguousarray(descriptors[photos], np.float32)
    return self_first(*exact_search(descriptors, queries, k), photos)


def renumbered(walk: sparse.csr_array, moved: Moves) -> sparse.csr_array:
    """The old graph with the new ids, without removed photos."""
    edges = walk.tocoo()
    rows, columns = moved.new_ids[edges.row], moved.new_ids[edges.col]
    valid = (rows >= 0) & (columns >= 0)
    shape = (len(moved.old_ids),) * 2
    return sparse.csr_array((edges.data[valid], (rows[valid], columns[valid])), shape=shape)


def changed_rows(before: sparse.csr_array, after: sparse.csr_array) -> np.ndarray:
    """Photos with an edge whose weight has changed by at least EDGE; ascending."""
    difference = abs(after - before).tocoo()
    return np.unique(difference.row[difference.data >= EDGE])


def kept_rows(live: Store, moved: Moves) -> tuple[np.ndarray, np.ndarray]:
    """The old diffusion rows with the new ids, without removed photos."""
    row_ids, row_values = empty_rows(len(moved.old_ids))
    width = min(row_ids.shape[1], live.diffusion_ids.shape[1])
    for photos in in_blocks(moved.retained):
        old = moved.old_ids[photos]
        ids = live.diffusion_ids[old, :width]
        ids = np.where(ids >= 0, moved.new_ids[ids], -1)
        values = live.diffusion_values[old, :width]
        torn = np.flatnonzero(((ids < 0) & (values > 0)).any(1))
        values[ids < 0] = 0
        order = np.argsort(ids[torn] < 0, axis=1, kind="stable")  # close the gaps
        ids[torn] = np.take_along_axis(ids[torn], order, 1)
        values[torn] = np.take_along_axis(values[torn], order, 1)
        row_ids[photos, :width], row_values[photos, :width] = ids, values
    return row_ids, row_values


def drifted(
    before: sparse.csr_array, walk: sparse.csr_array, row_ids: np.ndarray, stale: np.ndarray
) -> float:
    """Relative error of the diffusion rows after one change.

    Rows without photos whose edges have changed count as correct. A sample of the others is solved
    on the graph before and on the graph after the change.

    Args:
        before: the old graph with the new ids, (N, N).
        walk: the new graph, (N, N).
        row_ids: ids of the rows, int32 (N, k).
        stale: photos whose rows were solved again, int (n,).

    Returns:
        Mean over all photos of a row's summed absolute difference over its sum.
    """
    is_valid = np.zeros(len(row_ids) + 1, bool)  # one extra slot for the id -1
    is_valid[stale] = True
    touched = np.flatnonzero(is_valid[row_ids].any(1) & ~is_valid[:-1]).astype(np.int32)
    if not len(touched):
        return 0.0
    sample = np.random.default_rng(len(touched)).permutation(touched)[:SAMPLE]
    shares = []
    with threadpool_limits(1, user_api="blas"):
        for photo in sample:
            ids = region(walk, np.array([photo]), AROUND, diffusion.ALPHA)
            former_values, new_values = (
                diffusion.solve_block(matrix, ids, 1)[0, :-1] for matrix in (before, walk)
            )
            shares.append(
                np.abs(new_values - former_values).sum()
                / max(new_values.sum(), former_values.sum(), 1e-9)
            )
    return float(np.mean(shares)) * len(touched) / len(row_ids)
