"""`evaluation steps`: mAP and numbers of comparisons, by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from evaluation.__main__ import main
from evaluation.calibration.evidence import queries_of
from evaluation.studies.retrieval import steps as study
from evaluation.studies.retrieval.steps import Searched
from search.verify.matcher import SIFT, Sift
from tests.evaluation.test_matching_study import GROUPS, labelled  # noqa: F401

# ruff: noqa: F811 - fixtures of other files are named by the tests that use them


def test_a_way_compares_as_many_photos_as_it_says(labelled):
    gallery, _ = labelled
    matcher, queries = gallery.engine.matchers[SIFT], queries_of(gallery)
    for first, most in ((2, 2), (3, 8), (100, 100)):
        with study.comparing(matcher, first, most):
            searched = study.search(gallery, queries, "diffusion")
        others = min(most, len(gallery) - 1)
        assert all(min(first, others) <= count <= others for count in searched.compared)
        assert len(searched.compared) == sum(map(len, GROUPS.values()))
        assert {group: len(aps) for group, aps in searched.aps.items()} == {
            str(number): len(members) for number, members in enumerate(gallery.groups)
        }
    assert (matcher.first, matcher.shortlist) == (Sift.first, Sift.shortlist)


def test_numbers_are_restored_after_an_error():
    with pytest.raises(KeyError), study.comparing(Sift, 1, 1):
        assert (Sift.first, Sift.shortlist) == (1, 1)
        raise KeyError
    assert (Sift.first, Sift.shortlist) == (15, 25)


def test_the_table_by_hand():
    one = Searched({"0": [1.0, 0.5], "1": [0.25]}, [15, 25, 20])
    other = Searched({"0": [0.5]}, [15])
    found = {("in steps", "SIFT"): [one, other]}
    groups = [{"a": ["x", "y"], "b": ["z", "w"]}, {"c": ["v", "u"]}]
    rows = study.table(["s", "t"], groups, found, {"tower": ["b"]})
    assert rows == [
        ["photos", "groups", "SIFT, in steps"],
        ["s, all groups", "2", "0.500"],
        ["s, few-view, 2-3", "2", "0.500"],
        ["s, tower", "1", "0.250"],
        ["t, all groups", "1", "0.500"],
        ["t, few-view, 2-3", "1", "0.500"],
    ]
    [line] = study.counted(found)
    assert line == "SIFT, in steps: 18.8 photos compared on average, median 18."


def test_the_command(small_built, tmp_path, capsys):
    file = tmp_path / "groups.json"
    file.write_text(json.dumps(GROUPS))
    store = str(small_built / "store")
    assert main(["steps", "--store", store, "--groups", str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    [row] = [line.split("|")[1:-1] for line in lines if "all groups" in line]
    assert len(row) == 2 + len(study.WAYS) * len(study.RERANKERS)
    assert np.all([0 < float(cell) <= 1 for cell in row[2:]])
    assert sum("compared on average" in line for line in lines) == 6
