"""`evaluation graph-weights`: every combination searches each group once."""

# ruff: noqa: F811 - fixtures of other files are named by the tests that use them

from __future__ import annotations

import json

import numpy as np

from evaluation.__main__ import main
from evaluation.studies.retrieval import graph_weights as study
from search.stages.graph import GraphWeights
from tests.evaluation.test_matching_study import GROUPS, labelled  # noqa: F401


def test_each_group_is_searched_with_all_weights(labelled, monkeypatch):
    gallery, groups = labelled
    names, used = list(groups), []
    unseen = [[{name: groups[name] for name in names[::2]}], [{names[1]: groups[names[1]]}]]

    def answers(gallery, engine, queries, rerank, verify):
        used.append((engine.graph._weights, {names[query.group] for query in queries}))
        for query in queries:
            yield query.group, (), engine.graph._weights.trust

    monkeypatch.setattr(study, "answers", answers)
    varied = [GraphWeights(), GraphWeights(trust=0.1)]
    maps = study.measure([gallery], [groups], unseen, varied)
    assert maps.shape == (2, 3, 3)
    assert np.allclose(maps, [[[GraphWeights().trust]], [[0.1]]])
    methods = len(study.METHODS)
    for part in (set(names[::2]), {names[1]}):
        for weights in varied:
            assert used[:methods] == [(weights, part)] * methods
            del used[:methods]
    assert not used


def test_weights_change_what_the_graph_does_and_nothing_else(labelled):
    engine = labelled[0].engine
    # Without shift, contradiction and trust, the graph leaves the ranking as it is.
    idle = study.with_weights(engine, GraphWeights(0.0, 0.0, 0.0))
    query = engine.prepare(0)
    plain = study.copy.copy(engine)
    plain.graph = None
    by_idle, by_plain = (one.search(query, verify="sift") for one in (idle, plain))
    assert [hit.id for hit in by_idle.hits] == [hit.id for hit in by_plain.hits]
    shifted = study.with_weights(engine, GraphWeights(1.0, 0.0, 0.0)).search(query, verify="sift")
    assert [hit.id for hit in shifted.hits] == [hit.id for hit in by_plain.hits]
    assert shifted.hits[0].probability > by_plain.hits[0].probability


def test_the_table_by_hand():
    maps = np.zeros((len(study.VARIED), 3, 4))
    maps[0] = [[0.1, 0.2, 0.3, 0.4]] * 3
    maps[2, 1] = [0.9, 0.9, 0.9, 0.9]
    maps[2, 2] = [0.5, 0.5, 0.5, 0.5]
    weights = np.full(4, 0.25)
    rows = study.table(["x", "y"], np.array([0, 0, 1, 1]), maps, weights)
    assert rows[0][3:] == [f"{name}, {m}" for name in "xy" for m in study.METHODS]
    assert rows[1] == ["0.35", "0.9", "0.35", *["0.150"] * 3, *["0.350"] * 3]
    assert rows[3] == ["0.525", "0.9", "0.35", *["0.000", "0.900", "0.500"] * 2]
    assert rows[-1] == ["chosen on other groups", "", "", *["0.000", "0.900", "0.500"] * 2]


def test_the_command(small_built, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("evaluation.calibration.fit.MIN_GROUPS", len(GROUPS))
    monkeypatch.setattr(study, "VARIED", study.VARIED[:2])
    file = tmp_path / "groups.json"
    file.write_text(json.dumps(GROUPS))
    store = str(small_built / "store")
    assert main(["graph-weights", "--store", store, "--groups", str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split("|")[1:-1] for line in lines if line.startswith("|")]
    assert len(rows) == 2 + 2 + 1
    assert all(0 < float(cell) <= 1 for row in rows[2:] for cell in row[3:])
