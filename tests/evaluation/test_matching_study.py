"""`evaluation matching`: the weights that judge a group have not seen it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from evaluation.__main__ import main
from evaluation.calibration.labelled_galleries import whole_gallery
from evaluation.groups import store_groups
from evaluation.run import STAGES
from evaluation.studies.retrieval import matching as study
from index_store import Store

GROUPS = {
    "Taj Mahal": ["taj-mahal.jpg", "taj-mahal-2.jpg", "taj-mahal-3.jpg"],
    "Colosseum": ["colosseum.jpg", "colosseum-2.jpg"],
    "Brandenburg Gate": ["brandenburg-gate.jpg", "brandenburg-gate-2.jpg"],
}


@pytest.fixture
def labelled(small_built, tmp_path, extractor):
    file = tmp_path / "groups.json"
    file.write_text(json.dumps(GROUPS))
    store = Store(small_built / "store", extractor)
    groups = store_groups(file, store)
    ids = [[store.catalogue.find(file).id for file in files] for files in groups.values()]
    return whole_gallery(store, extractor, ids, "sift"), groups


def test_no_group_fits_the_weights_that_judge_it(labelled, monkeypatch):
    gallery, groups = labelled
    numbers, seen = {name: number for number, name in enumerate(groups)}, []
    fit, evaluate = study.fit_curves, study.evaluate_groups

    def counted(samples):
        seen.append(set(samples.group.tolist()))
        return fit(samples)

    def checked(engine, part):
        for groups_of_a_setting in seen[-len(study.SETTINGS) :]:
            assert groups_of_a_setting == set(numbers.values()) - {numbers[n] for n in part}
        return evaluate(engine, part)

    monkeypatch.setattr(study, "fit_curves", counted)
    monkeypatch.setattr(study, "evaluate_groups", checked)
    unseen = study.cross_fitted([gallery], [groups], "model")
    [(plain, chained)], found = study.without_and_with([gallery], [groups], unseen)
    assert np.unique(found.query).tolist() == list(range(len(gallery)))
    assert found.relevant.sum() == sum(len(files) * (len(files) - 1) for files in groups.values())
    for maps in (plain, chained):
        assert list(maps) == list(STAGES)
        for method in STAGES:
            assert maps[method].keys() == groups.keys()
            assert all(0 < value <= 1 for value in maps[method].values())
    assert plain["rerank off"] == chained["rerank off"]


def test_an_engine_without_edges_finds_the_same_candidates_and_no_chains(labelled):
    engine = labelled[0].engine
    plain = study.without_edges(engine)
    assert engine.graph and not plain.graph
    query = engine.prepare(0)
    assert "graph" in engine.search(query, verify="sift").timings_ms
    assert "graph" not in plain.search(query, verify="sift").timings_ms


def test_the_table_by_hand():
    maps = {method: dict(zip(GROUPS, (0.2, 0.4, 0.9))) for method in STAGES}
    rows = study.table(["one"], [GROUPS], [(maps, maps)], {"gates": ["Brandenburg Gate"]})
    assert [row[:3] for row in rows[1::2]] == [
        ["one, all groups", "3", "without"],
        ["one, few-view, 2-3", "3", "without"],
        ["one, gates", "1", "without"],
    ]
    assert rows[1][3:] == ["0.500"] * len(STAGES) and rows[6][3:] == ["0.900"] * len(STAGES)
    assert np.shape(rows) == (7, 3 + len(STAGES))


def test_too_few_groups_are_refused(small_built, tmp_path, capsys):
    file = tmp_path / "groups.json"
    file.write_text(json.dumps(GROUPS))
    assert main(["matching", "--store", str(small_built / "store"), "--groups", str(file)]) == 1
    assert "too little to fit" in capsys.readouterr().err


def test_the_command_says_how_sure_it_is_on_each_store(small_built, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("evaluation.calibration.fit.MIN_GROUPS", len(GROUPS))
    file = tmp_path / "groups.json"
    file.write_text(json.dumps(GROUPS))
    store = str(small_built / "store")
    assert main(["matching", "--store", store, "--groups", str(file)]) == 0
    printed = capsys.readouterr().out
    together, alone = printed.split("\nstore:\n")
    # Four photos of pairs have one other photo, three have two. With one store, both are the same.
    for part in (together, alone):
        counts = [line.split("|")[2] for line in part.splitlines() if line.startswith("| 1 to 1 ")]
        assert [int(count) for count in counts] == [4]
        counts = [line.split("|")[2] for line in part.splitlines() if line.startswith("| 2 to 4 ")]
        assert [int(count) for count in counts] == [3]
