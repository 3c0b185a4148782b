"""The comparison of indexes: its vectors, its tables, its picture."""

from __future__ import annotations

import multiprocessing
import shutil
import sys

import numpy as np
import pytest

from evaluation.__main__ import main
from evaluation.studies.ann.ann_data import (
    CropModel,
    crop_vectors,
    neighbour_distances,
    random_crop,
    sift_vectors,
)
from evaluation.studies.speed.memory import peak_mb
from extractor import local_features, read_photo
from tests.conftest import GALLERY, QuickExtractor, unit_rows


@pytest.fixture
def few(tmp_path):
    """A folder of three photos and a file that is none."""
    folder = tmp_path / "few"
    folder.mkdir()
    for name in ("petra.jpg", "wine.jpg", "bulb.jpg"):
        shutil.copy(GALLERY / name, folder)
    (folder / "broken.jpg").write_bytes(b"no photo")
    return folder


def test_sift_vectors_are_those_of_all_photos_and_kept(few, tmp_path):
    rows = sift_vectors(few, tmp_path / "cache")
    names = ("petra.jpg", "wine.jpg", "bulb.jpg")
    found = [local_features(read_photo(few / name)).descriptors for name in names]
    assert rows.shape == (sum(map(len, found)), 128)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    first = found[1][17] / np.linalg.norm(found[1][17])
    assert np.abs(rows - first).max(1).min() < 1e-6

    def nobody_reads_again(files):
        raise AssertionError

    again = sift_vectors(few, tmp_path / "cache", nobody_reads_again)
    np.testing.assert_array_equal(again, rows)


def test_crops_come_from_all_photos_alike(few, tmp_path):
    extractor = QuickExtractor()
    (few / "broken.jpg").unlink()
    rows = crop_vectors(few, extractor, 31, tmp_path / "cache")
    assert rows.shape == (31, 48) and extractor.described == 31
    assert len(np.unique(rows, axis=0)) == 31


def test_a_crop_is_a_part_of_its_photo(rng):
    photo = np.arange(60 * 80, dtype=np.int32).reshape(60, 80, 1).repeat(3, 2)
    for _ in range(50):
        crop = random_crop(photo, rng)
        height, width = crop.shape[:2]
        top, left = divmod(int(crop[0, 0, 0]), 80)
        np.testing.assert_array_equal(crop, photo[top : top + height, left : left + width])
        assert 0.15 * 4800 < height * width <= 4800


def test_drawn_vectors_lie_to_one_another_as_real_ones_do(rng):
    real = unit_rows(rng, 1_500, 32, 60)
    model = CropModel(real)
    drawn = np.float32(model.draw(1_500, 5))
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=1), 1, atol=2e-3)
    wanted = np.median(neighbour_distances(real), axis=0)
    found = np.median(neighbour_distances(drawn), axis=0)
    assert found[10] == pytest.approx(wanted[10], rel=0.05)
    assert found[1] == pytest.approx(wanted[1], rel=0.25)
    assert np.abs(drawn @ real.T).max() < 1 - 1e-4, "none is a copy"
    np.testing.assert_array_equal(model.draw(9, 1), model.draw(9, 1))
    assert np.any(model.draw(9, 1) != model.draw(9, 2))


def test_missing_libraries_are_named(few, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "hnswlib", None)
    command = ["ann", "--data", "sift", "--photos", str(few), "--cache", str(tmp_path)]
    assert main([*command, "--indexes", "hnswlib"]) == 1
    assert "requirements-ann.txt" in capsys.readouterr().err


def test_memory_is_that_of_the_process_alone():
    """`getrusage` counts what the parent had before the child's program began."""
    held = np.ones(400 * 2**20, np.uint8)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        child = pool.apply(peak_mb)
    assert child < 300 < held.nbytes / 2**20 < peak_mb()
