"""Copies of a photo are one picture, other photos of the same thing are not."""

from __future__ import annotations

import shutil

import cv2
import numpy as np
import pytest
from PIL import Image

from index_store import Store, build, duplicates
from index_store.__main__ import main
from tests.conftest import QuickExtractor


@pytest.fixture
def photos(photos):
    """Without the two that are copies of others."""
    for name in ("brandenburg-gate-2.jpg", "colosseum-2.jpg"):
        (photos / name).unlink()
    return photos


def saved_anew(source, target, scale=1.0, quality=70, brighter=0):
    pixels = np.asarray(Image.open(source).convert("RGB")).astype(int) + brighter
    photo = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    photo.resize((int(photo.width * scale), int(photo.height * scale))).save(
        target, quality=quality
    )


def test_copies_are_found_and_nothing_else(photos, tmp_path, capsys):
    saved_anew(photos / "wine.jpg", photos / "wine-small.jpg", scale=0.5)
    saved_anew(photos / "wine.jpg", photos / "wine-bright.jpg", brighter=12, quality=50)
    shutil.copy(photos / "dune.jpg", photos / "dune-copy.jpg")
    mirrored = cv2.flip(cv2.imread(str(photos / "taj-mahal.jpg")), 1)
    cv2.imwrite(str(photos / "mirrored.jpg"), mirrored)
    build(photos, tmp_path / "s", QuickExtractor())
    with Store(tmp_path / "s") as store:
        files = [photo.file for photo in store.catalogue.photos()]
        groups = [[files[id] for id in group] for group in duplicates(store)]
    assert [sorted(group) for group in groups] == [
        ["wine-bright.jpg", "wine-small.jpg", "wine.jpg"],
        ["dune-copy.jpg", "dune.jpg"],
    ]
    assert groups[0][-1] == "wine-small.jpg", "the largest first"
    assert main(["duplicates", "--store", str(tmp_path / "s")]) == 0
    printed = capsys.readouterr().out
    assert "2 groups, 3 photos more than pictures" in printed and "wine-bright.jpg" in printed


def test_a_gallery_without_copies_has_none(photos, tmp_path):
    build(photos, tmp_path / "s", QuickExtractor())
    with Store(tmp_path / "s") as store:
        assert duplicates(store) == []
