"""`evaluation pooling`: settings are chosen on groups that they do not judge."""

from __future__ import annotations

import json
import shutil

import numpy as np
import onnx
import pytest

from evaluation.__main__ import main
from evaluation.metrics import mean_average_precision
from evaluation.studies.retrieval import pooling as study
from evaluation.studies.retrieval.pooling import Setting
from model import power_whitening
from tests.conftest import GALLERY
from tests.export.test_backbone import network

GROUPS = {
    name: [f"{name}.jpg", f"{name}-2.jpg"]
    for name in ("taj-mahal", "colosseum", "brandenburg-gate", "neuschwanstein-castle")
}
GROUPS["neuschwanstein-castle"][1] = "neuschwanstein.jpg"


def test_measures_by_hand():
    rows = np.array([[1.0, 0.0], [0.8, 0.6], [0.96, 0.28], [0.0, 1.0]])
    # By the plain rows the distractor (row 2) is nearer to both photos than they are to each other.
    maps = study.measure([rows], [{"one": [0, 1]}], rows, [None])
    assert maps.tolist() == [[1 / 2]]
    [[with_one]] = study.measure([rows], [{"one": [0, 1]}], rows, [1])
    whitened = power_whitening(rows).truncated(1)(rows)
    assert with_one == mean_average_precision(whitened, [[0, 1]]) != 1 / 2


def test_the_table_by_hand():
    settings = [Setting(320, 2, 768), Setting(384, 3, None)]
    maps = np.array([[0.2, 0.4, 0.6, 0.8], [0.3, 0.5, 0.7, 0.9]])
    weights, set_of = np.array([0.25, 0.25, 0.125, 0.375]), np.array([0, 0, 1, 1])
    printed = study.table(settings, maps, weights, set_of, ["x", "y"], settings[0]).splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in printed[2:6]]
    assert rows[0] == ["in use: 320 pixels, p = 2, 768 dimensions", "0.300", "0.750", "0.525"]
    assert rows[1] == ["chosen on other groups", "0.400", "0.850", "0.625"]
    assert rows[2][0] == "best of all: 384 pixels, p = 3, no whitening"
    assert "in use: +0.100 [" in printed[-2]
    assert printed[-1].endswith(": 384 pixels, p = 3, no whitening.")


@pytest.fixture
def arguments(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "SIDES", (64, 96))
    monkeypatch.setattr(study, "EXPONENTS", (1.0, 3.0))
    monkeypatch.setattr(study, "DIMENSIONS", (4, 64))
    onnx.save(network(), tmp_path / "x.onnx")
    (tmp_path / "set").mkdir()
    for file in sum(GROUPS.values(), []):
        shutil.copy(GALLERY / file, tmp_path / "set")
    (tmp_path / "groups.json").write_text(json.dumps(GROUPS))
    return [
        *("pooling", "--backbone", str(tmp_path / "x.onnx"), "--root", str(tmp_path / "set")),
        *("--groups", str(tmp_path / "groups.json"), "--whiten", str(tmp_path / "set")),
        *("--mean", "0", "--std", "1", "--size", "96", "--p", "3"),
    ]


def test_the_command(arguments, capsys):
    assert main([*arguments, "--map", "map", "--dim", "4"]) == 0
    printed = capsys.readouterr().out
    assert "in use: 96 pixels, p = 3, 4 dimensions" in printed
    assert printed.count("best of all") == study.BEST
    assert "learned on 8 photos" in printed


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--map", "vector"], "pooled already"),
        (["--map", "map", "--dim", "64"], "channels, fewer than --dim"),
        (["--map", "nothing"], "nothing"),
    ],
)
def test_what_cannot_be_chosen_is_refused(arguments, capsys, more, sentence):
    assert main([*arguments, *more]) == 1
    assert sentence in capsys.readouterr().err
