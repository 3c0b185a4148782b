"""`evaluation things`: precision and recall of the grouping of photos into things.

Pairs of photos are counted. Precision is the share of grouped pairs that are labelled as the same
thing; a photo without a label is a thing of its own. Recall is the share of labelled pairs that are
grouped. Both are measured with the weights in use and, if there are several kinds of things, also
with weights that were fitted on the other kinds.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from command import print_lines, print_text
from evaluation.groups import add_labelled_stores, read_kinds, store_group_ids
from evaluation.report.results import format_rows
from index_store import Store
from index_store.analysis.things import group, proven_pairs
from index_store.graph.proof import LIKENESS, POINTS, background_of, probability, proofs

RIDGE = 1e-4  # for standardised features; only keeps the weights finite
START = np.array([-1.0, 1.0, 1.0, -1.0, 1.0])
EVERY = "all"
IN_USE, HELD_OUT = "in use", "held out"
HEAD = ["store", "photos of", "weights", "things", "pairs", "precision", "recall"]
HEAD += ["recall by thing"]

Weights = tuple[Sequence[float], Sequence[float]]


@dataclass(frozen=True)
class LabelledGraph:
    """The m proven pairs of a store of N photos.

    Attributes:
        name: name of the store.
        pairs: ids, int (m, 2).
        proofs: output of `proof.proofs`, (m, 3).
        descriptors: descriptors of the photos, unit rows (N, D).
        background: output of `proof.background_of`, (N,).
        thing: number of the thing in each photo, int (N,); unique for a photo without a group.
        kind: kind of the thing in each photo, str (N,); "" for a photo without a group.
    """

    name: str
    pairs: np.ndarray
    proofs: np.ndarray
    descriptors: np.ndarray
    background: np.ndarray
    thing: np.ndarray
    kind: np.ndarray

    @property
    def same(self) -> np.ndarray:
        """Whether the photos of each pair show the same thing, bool (m,)."""
        first, second = self.thing[self.pairs].T
        return first == second

    @property
    def pair_kind(self) -> np.ndarray:
        """The kind each pair counts for, str (m,)."""
        first, second = self.kind[self.pairs].T
        return np.where(first != "", first, second)

    def without(self, kind: str | None) -> LabelledGraph:
        """A copy without the pairs that contain a photo of a kind."""
        is_kept = (self.kind[self.pairs] != kind).all(1)
        return replace(self, pairs=self.pairs[is_kept], proofs=self.proofs[is_kept])

    def weight(self) -> np.ndarray:
        """Weight of each pair in a fit, (m,).

        Things of a kind weigh about the same; a kind weighs the square root of their number.
        """
        ends = self.thing[self.pairs]
        degree = np.bincount(ends.ravel(), minlength=self.thing.max() + 1)
        weight = (1 / degree[ends]).sum(1)
        kinds = self.pair_kind
        for kind in np.unique(kinds):
            inside = kinds == kind
            things = len(np.unique(ends[inside, 0]))
            weight[inside] *= np.sqrt(things) / weight[inside].sum()
        return weight


def labelled(path: Path, groups_file: Path, kinds: Mapping[str, Sequence[str]]) -> LabelledGraph:
    """Read a store and the labels of its photos.

    Args:
        path: path of the store.
        groups_file: JSON file, {"name": ["file", ...], ...}.
        kinds: kind -> names of groups. The kind of other groups is named after the file's folder.

    Raises:
        StoreError, BadGroups, OSError: the store or the groups file cannot be read.
    """
    kind_of = {name: kind for kind, names in kinds.items() for name in names}
    with Store(path, embedded=True) as store:
        thing = np.arange(len(store))
        kind = np.full(len(store), "", dtype=object)
        for number, (name, ids) in enumerate(store_group_ids(groups_file, store).items()):
            thing[ids] = len(store) + number
            kind[ids] = kind_of.get(name, "/".join(groups_file.absolute().parts[-3:-1]))
        pairs, edges = proven_pairs(store.edges, store.damaged)
        background = background_of(store.list_sims)
        return LabelledGraph(
            path.name,
            pairs,
            proofs(edges, background[pairs]),
            store.descriptors[np.arange(len(store))],
            background,
            thing,
            kind.astype(str),
        )


def fitted(graphs: Sequence[LabelledGraph], without: str | None = None) -> Weights:
    """Maximum-likelihood values of POINTS and LIKENESS.

    Args:
        graphs: training data.
        without: a kind to exclude.
    """
    subgraphs = [graph.without(without) for graph in graphs]
    rows = np.concatenate([graph.proofs for graph in subgraphs])
    same = np.concatenate([graph.same for graph in subgraphs])
    weight = np.concatenate([graph.weight() for graph in subgraphs])
    mean, deviation = rows.mean(0), rows.std(0)
    deviation[deviation == 0] = 1
    columns = np.insert((rows - mean) / deviation, [0, 2], 1.0, axis=1)  # biases
    weight = weight / weight.sum()
    of_points = np.arange(len(START)) < 3
    is_weight = np.array([0, 1, 1, 0, 1])

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        by_points, by_likeness = columns[:, :3] @ w[:3], columns[:, 3:] @ w[3:]
        doubt = np.minimum(-np.logaddexp(0, by_points) - np.logaddexp(0, by_likeness), -1e-9)
        chance = -np.expm1(doubt)  # doubt: ln(1 - chance)
        value = -(weight @ np.where(same, np.log(chance), doubt)) + RIDGE * is_weight @ w**2
        outer = weight * np.where(same, -np.exp(doubt) / chance, 1)
        inner = np.where(of_points, expit(by_points)[:, None], expit(by_likeness)[:, None])
        return float(value), outer @ (columns * inner) + 2 * RIDGE * is_weight * w

    found = minimize(loss, START, jac=True, method="L-BFGS-B").x
    points, likeness = found[1:3] / deviation[:2], found[4] / deviation[2]
    return (
        (found[0] - points @ mean[:2], *points.tolist()),
        (found[3] - likeness * mean[2], likeness),
    )


def kinds_of(graphs: Sequence[LabelledGraph]) -> list[str]:
    """The kinds of things, each of which is held out once."""
    return sorted({str(kind) for graph in graphs for kind in np.unique(graph.pair_kind)})


def held_out(graphs: Sequence[LabelledGraph]) -> list[np.ndarray]:
    """Probability of each pair of each graph, by weights that were fitted without its kind.

    Args:
        graphs: graphs with at least two kinds in all.
    """
    kinds = kinds_of(graphs)
    weights = {kind: fitted(graphs, kind) for kind in kinds}
    judged = [np.zeros(len(graph.pairs)) for graph in graphs]
    for graph, values in zip(graphs, judged):
        for kind in np.unique(graph.pair_kind):
            inside = graph.pair_kind == kind
            values[inside] = probability(graph.proofs[inside], *weights[kind])
    return judged


@dataclass(frozen=True)
class PairScore:
    """Quality of the grouping.

    Attributes:
        things: number of labelled things.
        pairs: number of grouped pairs.
        precision: share of grouped pairs that show the same thing; NaN if there are none.
        recall: share of labelled pairs that are grouped.
        by_thing: mean recall of the things.
    """

    things: int
    pairs: int
    precision: float
    recall: float
    by_thing: float


def pair_score(thing: np.ndarray, together: np.ndarray, part: np.ndarray) -> PairScore:
    """Compare the groups with the labels.

    Args:
        thing: labelled thing of each photo, int (N,).
        together: group of each photo, int (N,).
        part: photos that count, bool (N,). A grouped pair counts if one of its photos does.
    """

    def pairs(*labels: np.ndarray, among: np.ndarray) -> int:
        counts = np.unique(np.stack(labels)[:, among], axis=1, return_counts=True)[1]
        return int((counts * (counts - 1) // 2).sum())

    everything = np.ones(len(thing), bool)
    joined, correct = (
        pairs(*labels, among=everything) - pairs(*labels, among=~part)
        for labels in ((together,), (together, thing))
    )
    labels, counts = np.unique(thing[part], return_counts=True)
    shares = [
        pairs(together, among=thing == label) / (count * (count - 1) / 2)
        for label, count in zip(labels, counts)
        if count > 1
    ]
    found = pairs(together, thing, among=part)
    recall = found / max(pairs(thing, among=part), 1)
    return PairScore(
        len(shares), joined, correct / joined if joined else np.nan, recall, np.mean(shares)
    )


def put_together(graph: LabelledGraph, judged: np.ndarray) -> np.ndarray:
    """Group of each photo, int (N,). judged: probabilities of the graph's pairs."""
    found = group(graph.pairs, judged, graph.descriptors, graph.background)
    labels = -1 - np.arange(len(graph.thing))
    for number, thing in enumerate(found):
        labels[list(thing.ids)] = number
    return labels


def parts_of(graph: LabelledGraph) -> Iterator[tuple[str, np.ndarray]]:
    """All photos, then those of each kind if there are several."""
    yield EVERY, np.ones(len(graph.kind), bool)
    kinds = np.unique(graph.kind[graph.kind != ""])
    for kind in kinds if len(kinds) > 1 else ():
        yield str(kind), graph.kind == kind


def table(graphs: Sequence[LabelledGraph]) -> list[list[str]]:
    """Precision and recall of each graph and kind."""
    judged = {IN_USE: [probability(graph.proofs) for graph in graphs]}
    if len(kinds_of(graphs)) > 1:
        judged = {HELD_OUT: held_out(graphs)} | judged
    rows = [HEAD]
    for number, graph in enumerate(graphs):
        partitions = {name: put_together(graph, values[number]) for name, values in judged.items()}
        for part, inside in parts_of(graph):
            for name, together in partitions.items():
                found = pair_score(graph.thing, together, inside)
                shares = (found.precision, found.recall, found.by_thing)
                counts = [str(found.things), str(found.pairs)]
                rows.append([graph.name, part, name, *counts, *(f"{s:.3f}" for s in shares)])
    return rows


def add_options(command: argparse.ArgumentParser) -> None:
    add_labelled_stores(command, "one or several, of any model")


def run(args: argparse.Namespace) -> None:
    kinds = read_kinds(args)
    graphs = [labelled(store, groups, kinds) for store, groups in zip(args.store, args.groups)]
    print_text(format_rows(table(graphs)))
    points, likeness = ([f"{value:.1f}" for value in found] for found in fitted(graphs))
    print_lines("", f"fitted on all of them: {', '.join(points)}; {', '.join(likeness)}")
    print_lines(f"in use: {', '.join(map(str, POINTS))}; {', '.join(map(str, LIKENESS))}")
