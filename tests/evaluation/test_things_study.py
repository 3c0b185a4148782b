"""`evaluation things`: pairs counted by hand, and weights that have not seen what they judge."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from evaluation.__main__ import main
from evaluation.studies.retrieval.things import (
    HELD_OUT,
    LabelledGraph,
    fitted,
    held_out,
    pair_score,
    table,
)
from index_store.graph.proof import probability


@pytest.mark.parametrize("seed", range(5))
def test_precision_and_recall_are_those_of_all_pairs(seed):
    rng = np.random.default_rng(seed)
    thing, together = rng.integers(6, size=24), rng.integers(8, size=24)
    whole = np.isin(thing, [0, 2, 3])  # a kind has all photos of its things
    pairs = list(combinations(range(24), 2))
    score = pair_score(thing, together, whole)
    made = [(a, b) for a, b in pairs if together[a] == together[b] and (whole[a] or whole[b])]
    right = [(a, b) for a, b in made if thing[a] == thing[b]]
    wanted = [(a, b) for a, b in pairs if thing[a] == thing[b] and whole[a] and whole[b]]
    found = [(a, b) for a, b in wanted if together[a] == together[b]]
    assert score.pairs == len(made)
    assert score.precision == pytest.approx(len(right) / len(made))
    assert score.recall == pytest.approx(len(found) / len(wanted))
    shares = [
        np.mean([together[a] == together[b] for a, b in wanted if thing[a] == one])
        for one in np.unique(thing[whole])
        if (thing == one).sum() > 1
    ]
    assert score.things == len(shares) and score.by_thing == pytest.approx(np.mean(shares))


def a_graph(seed: int, kinds: list[str]) -> LabelledGraph:
    """30 photos of ten things, whose true pairs have the better proofs."""
    rng = np.random.default_rng(seed)
    thing = np.repeat(np.arange(10), 3)
    pairs = np.array([pair for pair in combinations(range(30), 2) if rng.random() < 0.5])
    same = thing[pairs[:, 0]] == thing[pairs[:, 1]]
    rows = rng.random((len(pairs), 3)) * [0.5, 0.5, 0.2] + same[:, None] * [0.3, 0.2, 0.15]
    kind = np.array([kinds[number % len(kinds)] for number in thing])
    return LabelledGraph(f"store {seed}", pairs, rows, np.eye(30), np.zeros(30), thing, kind)


def test_weights_are_fitted_to_what_is_labelled():
    graph = a_graph(0, ["one"])
    judged = probability(graph.proofs, *fitted([graph]))
    assert judged[graph.same].min() > judged[~graph.same].mean()
    assert ((judged > 0.5) == graph.same).mean() > 0.95


def test_a_kind_is_judged_by_weights_that_have_not_seen_it():
    graphs = [a_graph(1, ["a", "b"]), a_graph(2, ["b", "c"])]
    before = held_out(graphs)
    wrong = np.where(graphs[0].kind == "a", np.arange(30) + 50, graphs[0].thing)
    after = held_out([replace(graphs[0], thing=wrong), graphs[1]])
    inside = graphs[0].pair_kind == "a"
    np.testing.assert_array_equal(after[0][inside], before[0][inside])
    assert (after[0][~inside] != before[0][~inside]).all()
    rows = table(graphs)
    assert [row[1] for row in rows[1:] if row[2] == HELD_OUT] == ["all", "a", "b", "all", "b", "c"]
    assert len(table([a_graph(3, ["one"])])) == 2, "with the weights in use alone"


def test_the_command_measures_a_store(small, tmp_path, capsys):
    groups = {
        name: [f"{name}.jpg", f"{name}-2.jpg"] for name in ("colosseum", "brandenburg-gate")
    } | {"taj-mahal": [f"taj-mahal{end}.jpg" for end in ("", "-2", "-3")]}
    (tmp_path / "groups.json").write_text(json.dumps(groups))
    command = ["things", "--store", str(small), "--groups", str(tmp_path / "groups.json")]
    assert main(command) == 0
    line = next(line for line in capsys.readouterr().out.split("\n") if "in use" in line)
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[:4] == ["store", "all", "in use", "3"] and cells[5] == "1.000"
    assert main([*command, str(tmp_path / "groups.json")]) == 1
    assert "each store needs one groups file" in capsys.readouterr().err
