"""Marks: overlays at one place of many photos are found, and are no evidence."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from extractor import Extractor, decode, local_features
from extractor.descriptor.registry import model_path
from index_store import Store, StoreCorrupt, add, build, remove
from index_store.__main__ import main
from index_store.keypoints.find_marks import find_marks
from index_store.keypoints.keypoint_form import FORMS
from index_store.keypoints.keypoint_index import CodedKeypoints, coded
from index_store.keypoints.marks import PLACED, WORDS, Marks, measures
from index_store.report import described_marks, mark_lines
from index_store.storage.arrays import save_array
from matching.verification import verify
from search.verify.matcher import Sift
from tests.conftest import GALLERY
from tests.support.overlays import (
    BEARERS,
    INSET,
    LOGO,
    Overlay,
    date_stamp,
    different_things,
    logo,
    strangers_that_match,
    watermark,
    with_overlay,
)

FORM = FORMS[0][1]
OTHERS = 30


@pytest.fixture(scope="module")
def lite() -> Extractor:
    return Extractor(model_path("efficientnet-lite2"))


def write_gallery(folder: Path, overlay: Overlay) -> Path:
    """BEARERS photos with an overlay and OTHERS without, all of different things."""
    folder.mkdir()
    for number, path in enumerate(different_things(BEARERS + OTHERS)):
        drawn = overlay if number < BEARERS else None
        (folder / f"{number:02d}.jpg").write_bytes(with_overlay(path, drawn, number))
    return folder


@pytest.fixture(scope="module")
def branded(tmp_path_factory, lite) -> Path:
    """A gallery in which half of the photos have a logo: `photos`, and its `store`."""
    base = tmp_path_factory.mktemp("branded")
    build(write_gallery(base / "photos", logo), base / "store", lite)
    return base


def marks_of(photos: list[np.ndarray], extractor: Extractor) -> tuple[Marks, CodedKeypoints]:
    keypoints = coded(enumerate(map(local_features, photos)), FORM)
    sizes = np.array([photo.shape[:2] for photo in photos])
    return find_marks(keypoints, sizes, extractor.describe(photos)), keypoints


def share_of_logo(box: np.ndarray, size: tuple[int, int]) -> tuple[float, float]:
    """Which share of the logo boxes (n, 4) cover, and which share of the photo beside it."""
    height, width = size
    side = max(size)
    covered, is_logo = np.zeros((2, height, width), bool)
    for left, top, right, bottom in box * (width, height, width, height):
        covered[int(top) : int(bottom), int(left) : int(right)] = True
    inset, wide, high = (round(share * side) for share in (INSET, *LOGO))
    is_logo[height - inset - high : height - inset, inset : inset + wide] = True
    return covered[is_logo].mean(), covered[~is_logo].mean()


def test_a_logo_is_found_where_it_is(branded, lite, capsys):
    with Store(branded / "store", lite) as store:
        bearers = np.unique(store.marks.placed["photo"])
        assert set(bearers) <= set(range(BEARERS)) and len(bearers) >= 0.8 * BEARERS
        shares = np.array(
            [
                share_of_logo(store.marks.boxes(id), (photo.height, photo.width))
                for id in bearers
                for photo in [store.catalogue.photo(int(id))]
            ]
        )
        assert np.median(shares[:, 0]) >= 0.8 and np.median(shares[:, 1]) <= 0.06
        kept = store.keypoints.block(0, store.keypoints.form.lists).entries
        assert not store.marks.covered(kept).any()
        [line, *_] = mark_lines(store)
    assert line == f"  a mark in the lower left corner of {len(bearers)} photos is ignored"
    assert main(["info", "--store", str(branded / "store")]) == 0
    assert line in capsys.readouterr().out.splitlines()


def test_a_logo_is_no_evidence(branded, lite):
    with Store(branded / "store", lite) as store:
        sift = Sift(store)
        before = strangers_that_match([store.local_features(id) for id in range(BEARERS)])
        after = [sift.gallery_features(id) for id in range(BEARERS)]
        asked = [sift.query_features(id) for id in range(BEARERS)]
        assert before >= 40 and strangers_that_match(after) <= before / 10
        assert all(np.array_equal(a.points, b.points) for a, b in zip(after, asked))
        for id in range(BEARERS, BEARERS + OTHERS):
            whole = store.local_features(id)
            assert len(sift.gallery_features(id).points) == len(whole.points)


def test_true_pairs_keep_their_matched_points(lite):
    """Pairs of one thing, all with the logo: they match as the same photos without it do."""
    groups = json.loads((GALLERY.parent / "groups.json").read_text())
    pairs = [files[:2] for files in groups.values() if len(files) > 1]
    paths = [GALLERY / file for pair in pairs for file in pair]
    photos = [decode(with_overlay(path, logo)) for path in paths]
    marks, _ = marks_of(photos, lite)
    assert len(np.unique(marks.placed["photo"])) >= 0.8 * len(paths)
    ours = [marks.outside(id, local_features(photo)) for id, photo in enumerate(photos)]
    plain = [local_features(decode(with_overlay(path, None))) for path in paths]
    after, without = (
        np.array([verify(*some[n : n + 2]).inliers for n in range(0, len(paths), 2)])
        for some in (ours, plain)
    )
    matched = without >= 2 * Sift.floor
    assert matched.sum() >= 5 and (after[matched] >= Sift.floor).mean() >= 0.8


@pytest.mark.parametrize("overlay", [date_stamp, watermark])
def test_stamps_and_watermarks_are_found(overlay, lite):
    things = different_things(BEARERS + OTHERS)
    photos = [
        decode(with_overlay(path, overlay if number < BEARERS else None, number))
        for number, path in enumerate(things)
    ]
    marks, keypoints = marks_of(photos, lite)
    bearers = np.unique(marks.placed["photo"])
    assert set(bearers) <= set(range(BEARERS)) and len(bearers) >= 8
    place, count = described_marks(marks.placed)[0]
    assert count >= 8
    if overlay is date_stamp:
        assert place in ("in the lower right corner", "at the lower edge")
    covered, photo = marks.covered(keypoints.entries), keypoints.entries >> 32
    assert all(covered[photo == id].mean() <= 0.5 for id in bearers)
    left = [marks.outside(id, local_features(photos[id])) for id in range(BEARERS)]
    assert strangers_that_match(left) <= 0.05 * math.comb(BEARERS, 2)


def test_the_sample_gallery_has_no_marks(gallery):
    assert len(gallery.marks.placed) == len(gallery.marks.words) == 0
    assert mark_lines(gallery) == []


def nearly(photo: np.ndarray, number: int) -> np.ndarray:
    """A shot of the same burst: a little darker, and noisy."""
    noise = np.random.default_rng(number).normal(0, 3, photo.shape)
    return np.clip(photo * (1 - number / 200) + noise, 0, 255).astype(np.uint8)


def test_a_burst_and_views_of_one_thing_are_no_mark(lite):
    things = [decode(path.read_bytes()) for path in different_things(OTHERS + 1)]
    burst = [nearly(things[0], number) for number in range(30)]
    views = []
    height, width = things[0].shape[:2]
    for number in range(30):
        warp = cv2.getRotationMatrix2D((width / 2, height / 2), number / 10, 1 + number / 300)
        views.append(cv2.warpAffine(things[0], warp, (width, height)))
    for same in (burst, views):
        marks, _ = marks_of([*things[1:], *same], lite)
        assert len(marks.placed) == len(marks.words) == 0
    marks, _ = marks_of(burst, lite)  # nothing to compare with: no photo loses what it shows
    assert len(marks.placed) == 0


def test_additions_bear_known_marks_and_removals_lose_theirs(branded, lite, tmp_path):
    photos, store = tmp_path / "photos", tmp_path / "store"
    shutil.copytree(branded / "photos", photos)
    kept = photos / "00.jpg"
    came = kept.read_bytes()
    kept.unlink()
    build(photos, store, lite)
    with Store(store, lite) as before:
        bearers = len(np.unique(before.marks.placed["photo"]))
        words = before.marks.words
    kept.write_bytes(came)
    add([kept], store, lite)
    with Store(store, lite) as grown:
        assert len(grown.marks.boxes(0)) and np.array_equal(grown.marks.words, words)
        assert len(np.unique(grown.marks.placed["photo"])) == bearers + 1
        entries = grown.keypoints.block(0, grown.keypoints.form.lists).entries
        assert (entries >> 32 == 0).any() and not grown.marks.covered(entries).any()
        boxes = {f.file: grown.marks.boxes(f.id) for f in grown.catalogue.photos()}
    remove(["00.jpg", "03.jpg"], store)
    with Store(store, lite) as shrunk:
        for photo in shrunk.catalogue.photos():
            assert np.array_equal(shrunk.marks.boxes(photo.id), boxes[photo.file])


def test_a_damaged_file_is_refused(branded, lite, tmp_path):
    store = shutil.copytree(branded / "store", tmp_path / "store")
    for name in ("marks.npy", "mark_words.npy"):
        [path] = store.glob(f"generations/*/{name}")
        path.chmod(0o644)
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(StoreCorrupt, match=f"{name} is damaged"):
            Store(store, lite)
        path.write_bytes(whole)
    Store(store, lite).close()


@pytest.mark.parametrize(
    "row",
    [
        (3, 0, (0, 0, 1, 1)),
        (-1, 0, (0, 0, 1, 1)),
        (0, -1, (0, 0, 1, 1)),
        (0, 0, (0, 0, 1.1, 1)),
        (0, 0, (0.5, 0, 0.4, 1)),
        (0, 0, (0, np.nan, 1, 1)),
    ],
)
def test_hostile_marks_are_refused(tmp_path, row):
    good = Marks(np.array([(0, 0, (0, 0, 0.1, 0.1))], PLACED), np.empty(0, WORDS))
    good.save(tmp_path)
    assert np.array_equal(Marks.load(tmp_path, 3).placed, good.placed)
    save_array(tmp_path / "marks.npy", np.array([row], PLACED))
    with pytest.raises(ValueError, match="marks.npy is damaged"):
        Marks.load(tmp_path, 3)


def test_covered_entries_are_those_inside_a_box_of_their_photo(rng):
    ids = np.sort(rng.integers(20, size=40))
    corners = np.sort(rng.random((40, 2, 2)), axis=1).reshape(40, 4)
    placed = np.empty(40, PLACED)
    placed["photo"], placed["mark"], placed["box"] = ids, 0, corners
    photos, x, y = rng.integers(25, size=500), *rng.integers(2**16, size=(2, 500))
    marks = Marks(placed, np.empty(0, WORDS))
    expected = [
        any(
            left <= (a + 0.5) / 2**16 <= right and top <= (b + 0.5) / 2**16 <= bottom
            for left, top, right, bottom in placed["box"][ids == photo].tolist()
        )
        for photo, a, b in zip(photos, x.tolist(), y.tolist())
    ]
    entries = photos.astype(np.int64) << 32 | x << 16 | y
    assert marks.covered(entries).tolist() == expected
    new_ids = np.r_[np.full(5, -1), rng.permutation(20)]
    moved = marks.renumbered(new_ids)
    for photo in range(25):
        if new_ids[photo] >= 0:
            assert np.array_equal(moved.boxes(new_ids[photo]), marks.boxes(photo))
    assert len(moved.placed) == (ids >= 5).sum()


def test_units_of_length():
    sizes = np.array([[480, 640], [240, 320], [3000, 4000], [400, 300]])
    shares = [[1, 0.75], [1, 0.75], [1, 0.75], [0.75, 1]]
    assert np.allclose(measures(sizes, 0), shares)
    pixels = [[640, 480], [320, 240], [640, 480], [300, 400]]
    assert np.allclose(measures(sizes, 1) * 640, pixels)
