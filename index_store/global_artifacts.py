"""Data derived from all photos together: index, neighbour lists, diffusion rows, marks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from .ann import nearest
from .ann.faiss_index import SEED
from .ann.id_map import NumberedIndex, all_numbered
from .ann.presets import IndexParameters
from .graph import affinity, matching_graph
from .graph import offline_diffusion as diffusion
from .graph.comparisons import Comparisons
from .graph.neighbours import nearest_photos
from .keypoints.find_marks import find_marks
from .keypoints.keypoint_form import form_for
from .keypoints.keypoint_index import KeypointChange, KeypointIndex, coded
from .keypoints.marks import Marks
from .parameters import derived_parameters
from .storage.arrays import save_array
from .storage.manifest import Drift
from .storage.rows import Descriptors, Rows
from .store import Store

RECALL_QUERIES = 200
# Recall is measured at this small a shortlist: a query's would hold all of a small gallery.
RECALL_CANDIDATES = 100

STAGES = ("ann", "graph", "diffusion", "keypoints", "matching")  # keys of `derived_parameters`

Progress = Callable[[Iterable, int, str], Iterable]


def silent(items: Iterable, total: int, label: str) -> Iterable:
    """Progress display for callers that want none."""
    return items


@dataclass(frozen=True)
class Graphs:
    """What follows from the comparisons of photos with each other.

    Attributes:
        edges: the matching graph, EDGE (N, k).
        row_ids: int32 (N, KEPT), ids of `diffusion_rows`.
        row_values: float16, their values.
        drift: difference from what `derive` would compute.
    """

    edges: np.ndarray
    row_ids: np.ndarray
    row_values: np.ndarray
    drift: Drift


@dataclass
class Derived:
    """All derived data of a gallery, in memory.

    Attributes:
        parameters: the `derived_parameters` that were used.
        index: index over all descriptors.
        neighbour_ids: int32 (N, BACKGROUND + 1), lists of `self_first`.
        neighbour_sims: float32, their similarities.
        neighbour_recall: share of the exact neighbours in the lists.
        keypoints: content of the keypoint index.
        marks: marks, whose keypoints are not in it.
        graphs: computes the graphs, once the keypoint index is written.
    """

    parameters: dict[str, dict]
    index: NumberedIndex
    neighbour_ids: np.ndarray
    neighbour_sims: np.ndarray
    neighbour_recall: float
    keypoints: KeypointChange
    marks: Marks
    graphs: Callable[[KeypointIndex], Graphs]

    @staticmethod
    def of(live: Store) -> Derived:
        """The derived data of an existing generation."""
        return Derived(
            parameters={key: live.manifest.parameters[key] for key in STAGES},
            index=live.index,
            neighbour_ids=live.lists,
            neighbour_sims=live.list_sims,
            neighbour_recall=live.manifest.neighbour_recall,
            keypoints=KeypointChange.none(live.keypoints),
            marks=live.marks,
            graphs=lambda _: Graphs(
                live.edges, live.diffusion_ids, live.diffusion_values, live.manifest.drift
            ),
        )

    def save(self, folder: Path) -> Drift:
        """Write everything into a generation's folder, and return the drift. Raises OSError."""
        self.index.embedded.save(folder / "index.faiss")
        save_array(folder / "index_ids.npy", self.index.ids)
        save_array(folder / "neighbour_ids.npy", self.neighbour_ids)
        save_array(folder / "neighbour_sims.npy", self.neighbour_sims)
        path = folder / "keypoints.lists"
        self.keypoints.save(path)
        self.marks.save(folder)
        graphs = self.graphs(KeypointIndex(path, self.keypoints.form, len(self.neighbour_ids)))
        save_array(folder / "edges.npy", graphs.edges)
        save_array(folder / "diffusion_ids.npy", graphs.row_ids)
        save_array(folder / "diffusion_values.npy", graphs.row_values)
        return graphs.drift


def derive(
    rows: Rows,
    parameters: IndexParameters,
    comparisons: Comparisons | None,
    progress: Progress = silent,
) -> Derived:
    """Compute the derived data of all photos at once.

    Args:
        rows: the photos' stored data.
        parameters: parameters of the index.
        comparisons: known comparisons of pairs; None if photos are not compared.
        progress: see `build`.
    """
    count, descriptors = len(rows), cast(np.ndarray, Descriptors(rows))  # reads as one
    form = form_for(count)
    for _ in progress(range(1), 1, "index"):
        index = nearest.build_index(descriptors, parameters)
    ids, sims, recall = nearest_photos(
        descriptors,
        min(count, affinity.BACKGROUND + 1),
        progress=lambda items, total: progress(items, total, "neighbours"),
    )
    keypoints = coded(progress(rows.keypoints(range(count)), count, "keypoints"), form)
    for _ in progress(range(1), 1, "marks"):
        marks = find_marks(keypoints, rows.sizes, descriptors)

    def graphs(index: KeypointIndex) -> Graphs:
        edges = matching_graph.no_edges(count)
        if comparisons is not None:
            gallery = matching_graph.Gallery(rows, ids, sims, index, marks)
            no_pairs = np.empty((0, 2), np.int64)
            edges = matching_graph.matching_edges(
                gallery, np.arange(count), no_pairs, comparisons, progress
            )
        walk = affinity.neighbour_graph(ids, sims, edges)
        row_ids, row_values = empty_rows(count)
        diffusion.diffusion_rows(
            walk, row_ids, row_values, progress=lambda i, total: progress(i, total, "diffusion")
        )
        return Graphs(edges, row_ids, row_values, Drift())

    return Derived(
        parameters=derived_parameters(parameters, form, comparisons is not None),
        index=all_numbered(index),
        neighbour_ids=ids,
        neighbour_sims=sims,
        neighbour_recall=round(recall, 4),
        keypoints=KeypointChange(form, marks.uncovered(keypoints)),
        marks=marks,
        graphs=graphs,
    )


def empty_rows(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Empty ids and values for the diffusion rows of `count` photos."""
    shape = (count, min(count, diffusion.KEPT))
    return np.full(shape, -1, np.int32), np.zeros(shape, np.float16)


def shortlist_recall(derived: Derived, descriptors: np.ndarray) -> float:
    """Share of the 10 nearest among the index's first RECALL_CANDIDATES, on a sample."""
    sample = np.random.default_rng(SEED).permutation(len(descriptors))[:RECALL_QUERIES]
    nearest = derived.neighbour_ids[sample, :10]
    queries = np.ascontiguousarray(descriptors[sample], np.float32)
    depth = min(RECALL_CANDIDATES, derived.index.ntotal)
    _, found = derived.index.search(queries, depth)
    hit = (nearest[:, :, None] == found[:, None, :]).any(2) & (nearest >= 0)
    return round(float(hit.mean()), 4)
