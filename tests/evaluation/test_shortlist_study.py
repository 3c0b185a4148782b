"""`evaluation shortlist`: recall by hand, by weights that have not seen the group."""

from __future__ import annotations

import json

import numpy as np

from evaluation.__main__ import main
from evaluation.studies.retrieval import shortlist as study
from search.fusion.fit import Samples
from search.stages.details import PROMISE

GROUPS = {
    "Taj Mahal": ["taj-mahal.jpg", "taj-mahal-2.jpg", "taj-mahal-3.jpg"],
    "Colosseum": ["colosseum.jpg", "colosseum-2.jpg"],
    "Brandenburg Gate": ["brandenburg-gate.jpg", "brandenburg-gate-2.jpg"],
}


def samples(relevant, query, group) -> Samples:
    n = len(relevant)
    ones = np.ones(n)
    features = np.random.default_rng(0).random((n, len(PROMISE)))
    relevant, query, group = np.array(relevant, bool), np.array(query), np.array(group)
    return Samples(features, np.full(n, "alone"), relevant, ones, ones, query, group, ones)


def test_recall_by_hand():
    found = samples([1, 0, 1, 0, 0, 1, 1], [0, 0, 0, 0, 1, 1, 2], [1, 1, 1, 1, 1, 1, 2])
    promise = np.array([0.1, 0.9, 0.5, 0.2, 0.7, 0.3, 0.0])
    recall = study.recalls(found, promise, [9, 3, 2], (1, 2, 4))
    assert recall.keys() == {1, 2}
    # The first query finds: wrong, right, wrong, right. The second: wrong, right, and misses one.
    assert recall[1].tolist() == [0, 1 / 2, (1 + 1 / 2) / 2]
    assert recall[2].tolist() == [1, 1, 1]


def test_no_group_fits_the_weights_that_judge_it(monkeypatch):
    found = samples([1, 0] * 12, np.repeat(np.arange(12), 2), np.repeat(np.arange(6), 4))
    seen = []

    def fitted(part):
        seen.append(set(part.group.tolist()))
        return np.full(len(PROMISE), len(seen))

    monkeypatch.setattr(study, "fitted_weights", fitted)
    promise = study.cross_fitted(found)
    for group in range(6):
        judged = found.group == group
        [fold] = set(np.round(promise[judged] / found.features[judged].sum(1)).astype(int))
        assert group not in seen[fold - 1] and len(seen[fold - 1]) < 6


def test_weights_are_those_that_separate():
    found = samples([0] * 400, np.arange(400), np.arange(400) % 7)
    odds = 4 * found.features[:, 0] + 2 * found.features[:, 2] - 3
    found.relevant[:] = np.random.default_rng(1).random(400) < 1 / (1 + np.exp(-odds))
    votes, score, similarity = study.fitted_weights(found)
    assert votes > similarity > score >= 0
    found.features[:, 0] *= -1
    assert study.fitted_weights(found)[0] == 0, "evidence never counts against a photo"


def test_the_command(small_built, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("evaluation.calibration.fit.MIN_GROUPS", len(GROUPS))
    file = tmp_path / "groups.json"
    file.write_text(json.dumps(GROUPS))
    store = str(small_built / "store")
    assert main(["shortlist", "--store", store, "--groups", str(file)]) == 0
    printed = capsys.readouterr().out
    [row, *_] = [line for line in printed.splitlines() if "all groups" in line]
    assert row.split("|")[2].strip() == str(len(GROUPS)) and "Weights in use" in printed
    assert all(0.5 <= float(cell) <= 1 for cell in row.split("|")[3:-1])
    assert printed.count("Fitted on all groups") == 2
    file.write_text(json.dumps({"Taj Mahal": GROUPS["Taj Mahal"]}))
    assert main(["shortlist", "--store", store, "--groups", str(file)]) != 0


def test_the_table_by_hand():
    ways = [{number: np.array([0.1, 0.2, 0.3]) * (number + 1) for number in range(6)}] * 2
    found = study.table(["one", "two"], [GROUPS, GROUPS], ways, {})
    assert found[1] == ["one, all groups", "3", *["0.200", "0.400", "0.600"] * 2]
    [second] = [row for row in found if row[0] == "two, all groups"]
    assert second[2:] == ["0.500", "1.000", "1.500"] * 2
