"""The keypoint index: against faiss' own lists, through changes of a gallery, and when damaged."""

from __future__ import annotations

import shutil
from pathlib import Path

import faiss
import numpy as np
import pytest

from extractor import LocalFeatures, decode, local_features
from index_store import Store, StoreCorrupt, add, build, remove
from index_store.keypoints import keypoint_index
from index_store.keypoints.keypoint_form import (
    FORMS,
    KeypointForm,
    empty_index,
    form_for,
    form_of,
    form_parameters,
)
from index_store.keypoints.keypoint_index import KeypointChange, KeypointIndex, coded
from tests.conftest import FEW_PHOTOS, GALLERY

FORM = KeypointForm(60, 16, 256, 16, 6_000)


def keypoints(name: str) -> LocalFeatures:
    return local_features(decode((GALLERY / name).read_bytes()))


@pytest.fixture(scope="module")
def photos() -> list[tuple[int, LocalFeatures | None]]:
    found = [keypoints(name) for name in FEW_PHOTOS[:5]]
    return [(0, found[0]), (1, None), *((id, one) for id, one in enumerate(found[1:], 2))]


def saved(change: KeypointChange, path: Path, photos: int) -> KeypointIndex:
    change.save(path)
    return KeypointIndex(path, change.form, photos)


def contents(index: KeypointIndex) -> list[tuple[int, bytes, int]]:
    """List, code and entry of all keypoints, sorted: independent of the order of insertion."""
    held = index.block(0, index.form.lists)
    codes = (code.tobytes() for code in held.codes)
    return sorted(zip(held.lists.tolist(), codes, held.entries.tolist()))


@pytest.mark.parametrize("form", [FORM, KeypointForm(60, 16, 512, 24, 8)])
def test_neighbours_are_those_of_faiss_own_lists(form, photos, tmp_path):
    index = saved(KeypointChange(form, coded(photos, form)), tmp_path / "k", len(photos))
    reference = empty_index(form)
    reference.nprobe, reference.max_codes = form.probed, form.compared
    owners = []
    for id, one in photos:
        if one is not None:
            rows = one.strongest(form.points).descriptors
            reference.add(rows.astype(np.float32))
            owners += [id] * len(rows)
    assert len(index) == reference.ntotal == len(owners)
    asked = photos[0][1].strongest(form.points)
    found = index.nearest(asked.descriptors, 5)
    squared, numbers = reference.search(asked.descriptors.astype(np.float32), 5)
    at = numbers >= 0
    assert np.array_equal(found.photos >= 0, at)
    assert np.array_equal(found.photos[at], np.array(owners)[numbers[at]])
    assert np.allclose(found.distances[at] ** 2, squared[at], rtol=1e-4, atol=0.1)
    assert np.isinf(found.distances[~at]).all()
    # A photo's own keypoints are the nearest, where they are.
    assert (found.photos[:, 0] == 0).mean() > 0.95
    height, width = asked.size
    own = found.photos[:, 0] == 0
    places = found.places[own, 0][:, ::-1] / 2**16 * (width, height)
    apart = np.abs(places - asked.points[own]).max(1)
    assert np.median(apart) < 0.02


def test_blocks_of_any_size_make_the_same_file(photos, tmp_path, monkeypatch):
    KeypointChange(FORM, coded(photos, FORM)).save(tmp_path / "whole")
    monkeypatch.setattr(keypoint_index, "BATCH", 1)
    monkeypatch.setattr(keypoint_index, "WRITTEN", 64)
    again = saved(KeypointChange(FORM, coded(photos, FORM)), tmp_path / "again", len(photos))
    assert (tmp_path / "again").read_bytes() == (tmp_path / "whole").read_bytes()
    for number in np.flatnonzero(again.sizes)[:9].tolist():
        block, size = again.block(number, number + 1), int(again.sizes[number])
        start = FORM.head_bytes + int(again.sizes[:number].sum()) * (FORM.code_bytes + 8)
        stored = (tmp_path / "again").read_bytes()[start:][: size * (FORM.code_bytes + 8)]
        assert block.codes.tobytes() + block.entries.tobytes() == stored


def test_a_change_leaves_damaged_entries_out(photos, tmp_path):
    path = tmp_path / "k"
    KeypointChange(FORM, coded(photos, FORM)).save(path)
    data = bytearray(path.read_bytes())
    data[-1] ^= 0x80  # a negative id
    index = KeypointIndex(path, FORM, len(photos))
    number = int(np.flatnonzero(index.sizes)[0])
    first = FORM.head_bytes + int(index.sizes[number]) * FORM.code_bytes
    data[first + 6] = 0x7F  # an id beyond the gallery
    path.unlink()
    path.write_bytes(data)
    damaged = KeypointIndex(path, FORM, len(photos))
    kept = saved(KeypointChange.none(damaged), tmp_path / "kept", len(photos))
    assert len(kept) == len(damaged) - 2


def test_a_changed_index_is_that_of_the_photos_that_are_there(photos, tmp_path):
    whole = saved(KeypointChange(FORM, coded(photos, FORM)), tmp_path / "whole", len(photos))
    first = saved(KeypointChange(FORM, coded(photos[:4], FORM)), tmp_path / "first", 4)
    # The first photo goes, the others move up by one, and the last ones come.
    came = [(id - 1, one) for id, one in photos[4:]]
    change = KeypointChange(FORM, coded(came, FORM), first, np.array([-1, 0, 1, 2]))
    changed = saved(change, tmp_path / "changed", len(photos) - 1)
    left = [(id - 1, one) for id, one in photos[1:]]
    rebuilt = saved(KeypointChange(FORM, coded(left, FORM)), tmp_path / "rebuilt", len(left))
    assert contents(changed) == contents(rebuilt) != contents(whole)
    same = saved(KeypointChange.none(whole), tmp_path / "same", len(photos))
    assert (tmp_path / "same").read_bytes() == (tmp_path / "whole").read_bytes()
    assert contents(same) == contents(whole)


def test_an_index_without_any_keypoint(tmp_path):
    index = saved(KeypointChange(FORM, coded([(0, None)], FORM)), tmp_path / "k", 1)
    found = index.nearest(np.zeros((3, 128), np.uint8), 4)
    assert len(index) == 0 and (found.photos == -1).all() and np.isinf(found.distances).all()


def test_a_damaged_index_is_refused_and_a_damaged_entry_is_nobodys(photos, tmp_path):
    path = tmp_path / "k"
    KeypointChange(FORM, coded(photos, FORM)).save(path)
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole + b"x", b"\1" + whole[1:], whole[:9] + b"\7" + whole[10:]):
        path.unlink()
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="k is damaged"):
            KeypointIndex(path, FORM, len(photos))
    path.unlink()
    path.write_bytes(whole[: FORM.head_bytes] + b"\xff" * (len(whole) - FORM.head_bytes))
    index = KeypointIndex(path, FORM, len(photos))
    assert (index.nearest(photos[0][1].descriptors[:50], 5).photos == -1).all()


def test_forms_follow_the_size_of_the_gallery():
    assert [form_for(n).points for n in (1, 10_000, 10_001, 100_000, 10**6)] == [
        600, 600, 300, 300, 150,
    ]  # fmt: skip
    for _, form in FORMS:
        assert form_of(form_parameters(form)) == form
    with pytest.raises(ValueError, match="does not read"):
        form_of({**form_parameters(form), "quantizer": 0})


def test_a_store_carries_it_through_additions_and_removals(tmp_path, extractor):
    photos, store = tmp_path / "photos", tmp_path / "store"
    photos.mkdir()
    for name in FEW_PHOTOS[:-1]:
        shutil.copy(GALLERY / name, photos)
    build(photos, store, extractor)
    shutil.copy(GALLERY / FEW_PHOTOS[-1], photos)
    add([photos / FEW_PHOTOS[-1]], store, extractor)
    remove([FEW_PHOTOS[0]], store)
    with Store(store, extractor) as lived:
        (photos / FEW_PHOTOS[0]).unlink()
        build(photos, tmp_path / "rebuilt", extractor)
        with Store(tmp_path / "rebuilt", extractor) as rebuilt:
            assert contents(lived.keypoints) == contents(rebuilt.keypoints)
    path = store / "generations" / lived.generation / "keypoints.lists"
    data = bytearray(path.read_bytes())
    data[5] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    with pytest.raises(StoreCorrupt, match="keypoints.lists is damaged"):
        Store(store, extractor)


def test_the_shipped_quantizers_are_those_of_the_forms():
    for _, form in FORMS:
        index = empty_index(form)
        assert index.is_trained and index.ntotal == 0 and index.d == 128
        assert index.nlist == form.lists and index.pq.M == form.code_bytes
        assert isinstance(faiss.downcast_index(index.quantizer), faiss.MultiIndexQuantizer)
