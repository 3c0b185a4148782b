"""The study of how often the warning of photos of different things is right."""

from __future__ import annotations

import json

import numpy as np

from evaluation.__main__ import main
from evaluation.studies.retrieval import query_agreement as study

GROUPS = [[0, 1, 2], [3, 4], [5, 6, 7, 8]]


def test_queries_are_of_one_thing_or_of_as_many_as_photos(rng):
    for count, large in ((2, GROUPS), (3, [GROUPS[0], GROUPS[2]])):
        same = list(study.of_one_thing(GROUPS, count, rng))
        assert len(same) == study.DRAWS and {len(set(ids)) for ids in same} == {count}
        assert all(any(set(ids) <= set(members) for members in large) for ids in same)
        different = list(study.of_different_things(GROUPS, count, rng))
        assert len(different) == study.DRAWS
        for ids in different:
            assert (
                len({n for n, members in enumerate(GROUPS) for id in ids if id in members}) == count
            )
    assert not [*study.of_one_thing(GROUPS, 5, rng), *study.of_different_things(GROUPS, 4, rng)]


def test_wrong_and_missing_warnings_are_counted(monkeypatch):
    monkeypatch.setattr(study, "is_warned", lambda engine, ids: len(ids) == 2)
    rows = study.measure(None, GROUPS)
    assert rows[:2] == [(2, 1.0, 0.0), (3, 0.0, 1.0)]
    assert rows[2][1] == 0.0 and np.isnan(rows[2][2]) and np.isnan(rows[3][1:]).all()


def test_command_prints_a_row_for_each_count(small_built, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(study, "DRAWS", 2)
    taj = ["taj-mahal.jpg", "taj-mahal-2.jpg", "taj-mahal-3.jpg"]
    groups = tmp_path / "groups.json"
    groups.write_text(json.dumps({"taj": taj, "wine": ["wine.jpg", "bulb.jpg"]}))
    store = str(small_built / "store")
    assert main(["agreement", "--store", store, "--groups", str(groups)]) == 0
    rows = [
        [cell.strip() for cell in line.split("|")] for line in capsys.readouterr().out.splitlines()
    ]
    assert [row[1] for row in rows[2:]] == [str(count) for count in study.COUNTS]
    assert rows[3][2:4] == ["0.000", "nan"] and rows[5][2:4] == ["nan", "nan"]
