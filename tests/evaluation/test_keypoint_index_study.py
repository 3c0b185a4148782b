"""The study of what the keypoint index costs: its made galleries, and its table."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.__main__ import main
from evaluation.datasets import BadDataset
from evaluation.studies.retrieval import keypoint_index as study


def test_made_keypoints_are_real_ones_with_a_little_noise(rng):
    descriptors = rng.integers(60, 200, (50, 128)).astype(np.uint8)
    made = list(study.synthetic_photos(descriptors, 300, 7))
    assert [id for id, _ in made] == list(range(300))
    rows = np.concatenate([one.descriptors for _, one in made]).astype(float)
    assert rows.shape == (2100, 128)
    apart = np.linalg.norm(rows[:, None] - descriptors.astype(float), axis=2)
    assert apart.min(1) == pytest.approx(study.NOISE * 128**0.5, rel=0.3)
    assert len(np.unique(apart.argmin(1))) == 50
    for _, one in made[:3]:
        assert (one.points >= 0).all() and (one.points < study.SIZE[::-1]).all()
    again = list(study.synthetic_photos(descriptors, 300, 7))
    assert all(np.array_equal(a.descriptors, b.descriptors) for (_, a), (_, b) in zip(made, again))


def test_list_imbalance_by_hand():
    assert study.list_imbalance(np.array([0, 0, 0, 5])) == 4
    # Of four keypoints each meets one of three others: in a third of all pairs, of two lists.
    assert study.list_imbalance(np.array([2, 2], np.uint32)) == pytest.approx(2 / 3)


def test_the_table(small_built, tmp_path, capsys):
    command = ["keypoint-index", "--store", str(small_built / "store"), "--queries", "2"]
    assert main([*command, "--sizes", "30", "50", "--work", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "one thread" in out
    lines = [line for line in out.splitlines() if line.startswith("|")]
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert len(head) == 13
    for row, photos in zip(rows, (30, 50), strict=True):
        table = dict(zip(head, row))
        assert table["photos"] == str(photos)
        assert table["keypoints"] == f"{600 * photos:,}"
        assert float(table["file, MB"]) == round((600 * photos * 24 + 4 * 65537) / 1e6)
        assert float(table["share of detection"].rstrip("%")) > 0
        assert float(table["query, ms"]) > 0 and float(table["open, ms"]) > 0
    assert not list(tmp_path.iterdir())


def test_a_store_without_keypoints_is_refused(small_built, monkeypatch):
    monkeypatch.setattr(
        "index_store.storage.rows.Rows.keypoints", lambda self, ids: iter([(0, None)])
    )
    with pytest.raises(BadDataset, match="no keypoints"):
        study.real_keypoints([small_built / "store"])
