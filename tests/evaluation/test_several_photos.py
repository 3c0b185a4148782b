"""Several photos of one thing as one query: what the study compares."""

from __future__ import annotations

import json

import numpy as np
import pytest

from evaluation.__main__ import main
from evaluation.datasets import BadDataset
from evaluation.studies.retrieval import several_photos as study
from search.prepare import together
from tests.conftest import unit_rows

TAJ = ["taj-mahal.jpg", "taj-mahal-2.jpg", "taj-mahal-3.jpg"]


def test_weights_are_those_that_they_are_called(rng):
    query, gallery = unit_rows(rng, 3, 16, 2), unit_rows(rng, 40, 16, 4)
    np.testing.assert_allclose(study.weighted(query, np.ones(3)), together(list(query)), rtol=1e-5)
    mutual = [np.mean([one @ other for other in query]) for one in query]
    np.testing.assert_allclose(
        study.by_mutual_similarity(query, gallery), np.maximum(mutual, 0), rtol=1e-5
    )
    above = [sims[0] - sims[7] for sims in (sorted(gallery @ one)[::-1] for one in query)]
    np.testing.assert_allclose(study.by_best_candidate(query, gallery), above, rtol=1e-4)
    for way, scores in study.FUSIONS.items():
        assert scores(query[:1], gallery) == pytest.approx(gallery @ query[0], abs=1e-5), way


def test_a_query_leaves_something_to_find(rng):
    assert study.draw([1, 2], 2, rng) == []
    queries = study.draw([1, 2, 3], 2, rng)
    assert len(queries) == study.DRAWS
    assert all(len(set(ids)) == 2 and set(ids) < {1, 2, 3} for ids in queries)


def test_command_compares_the_ways(small_built, tmp_path, capsys):
    groups, store = tmp_path / "groups.json", str(small_built / "store")
    groups.write_text(json.dumps({"taj": TAJ}))
    assert main(["several", "--store", store, "--groups", str(groups)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split("|")[2].strip() == "2 photos"
    rows = {cells[1].strip(): cells[2].split()[0] for cells in (x.split("|") for x in lines[2:])}
    assert rows.keys() > {"each alone", *study.FUSIONS}
    assert rows["plain mean, diffusion + SIFT"] == "1.000", "the third one comes first"
    groups.write_text(json.dumps({"taj": TAJ[:2]}))
    assert main(["several", "--store", store, "--groups", str(groups)]) == 1
    assert "nothing is left to find" in capsys.readouterr().err


def test_asking_without_anything_to_find_is_refused():
    with pytest.raises(BadDataset, match="more than 2 photos"):
        study.measure(None, {"pair": [0, 1]}, 2)
