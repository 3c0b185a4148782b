"""What becomes of a store when bits of it change."""

from __future__ import annotations

import numpy as np
import pytest

from index_store import (
    PhotosDamaged,
    Store,
    StoreCorrupt,
    add,
    build,
    compact,
    push,
    remove,
    update,
    verify,
)
from index_store.__main__ import main
from index_store.ann.tune import replace_index
from index_store.storage import extraction_cache
from index_store.storage.integrity import read_damage
from search import Engine
from tests.conftest import CountingExtractor, QuickExtractor


def opened_and_verified(path):
    with Store(path) as store:
        verify(store)


def test_every_damaged_file_is_named(small, photos):
    files = [*(small / "generations" / "000001").iterdir(), *(small / "segments").iterdir()]
    assert len(files) == 14
    for path in sorted(files):
        whole = path.read_bytes()
        for at in {len(whole) // 2, len(whole) - 1}:
            broken = bytearray(whole)
            broken[at] ^= 0x10
            path.write_bytes(broken)
            for _ in range(2):
                with pytest.raises(StoreCorrupt, match=path.name) as found:
                    opened_and_verified(small)
            if (small / "damaged").exists() and not isinstance(found.value, PhotosDamaged):
                with pytest.raises(StoreCorrupt, match=path.name):
                    Store(small)  # once it has been found, the next opening knows
            (small / "damaged").unlink(missing_ok=True)
        for content in (whole + b"x", None):
            path.unlink() if content is None else path.write_bytes(content)
            with pytest.raises(StoreCorrupt, match=path.name):
                Store(small)
        path.write_bytes(whole)
    opened_and_verified(small)
    assert not (small / "damaged").exists()
    (small / "CURRENT").write_text("nonsense")
    with pytest.raises(StoreCorrupt, match="CURRENT"):
        Store(small)


def test_a_damaged_blob_is_not_served(small):
    (path,) = (small / "segments").iterdir()
    with Store(small) as store:
        thumbnail, features = store.thumbnail(4), store.stored_features(5)
    data = bytearray(path.read_bytes())
    for blob in (thumbnail, features):
        data[data.index(blob) + 100] ^= 1
    path.write_bytes(data)
    with Store(small) as store:
        assert store.thumbnail(5)[:2] == b"\xff\xd8" and store.stored_features(4)
        for read in (lambda: store.thumbnail(4), lambda: store.stored_features(5)):
            with pytest.raises(StoreCorrupt, match=path.name):
                read()


def test_only_what_is_damaged_is_made_anew(photos, tmp_path, monkeypatch, one_worker):
    monkeypatch.setattr(extraction_cache, "SEGMENT", 5)
    build(photos, tmp_path / "s", QuickExtractor())
    whole = Store(tmp_path / "s")
    assert [segment.photos for segment in whole.manifest.segments] == [5, 5, 2]
    (tmp_path / "s" / "generations" / "000001" / "index.faiss").write_bytes(b"x")
    again = QuickExtractor()
    build(photos, tmp_path / "s", again)
    assert again.described == 0

    expected = [whole.thumbnail(id) for id in range(12)]  # of bytes that are damaged in place below
    name = whole.manifest.segments[1].name
    path = tmp_path / "s" / "segments" / f"{name}.segment"
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)
    build(photos, tmp_path / "s", again)
    assert again.described == 0, "nobody has noticed"
    with pytest.raises(StoreCorrupt, match=name):
        opened_and_verified(tmp_path / "s")
    build(photos, tmp_path / "s", again)
    assert again.described == 1
    opened_and_verified(tmp_path / "s")
    with Store(tmp_path / "s") as store:
        np.testing.assert_array_equal(np.asarray(store.descriptors), np.asarray(whole.descriptors))
        for id in range(12):
            assert store.thumbnail(id) == expected[id]


def flip(path, *blobs):
    """Change one bit in each of some blobs of a file."""
    data = bytearray(path.read_bytes())
    for blob in blobs:
        assert data.count(blob) == 1
        data[data.index(blob) + len(blob) // 2] ^= 1
    path.write_bytes(data)


def contents(path):
    """What a store has of each photo, by its file."""
    with Store(path) as store:
        return {
            photo.file: (
                store.descriptors[photo.id].tobytes(),
                store.thumbnail(photo.id),
                store.stored_features(photo.id),
            )
            for photo in store.catalogue.photos()
        }


def test_damaged_photos_are_left_out_and_only_they(small, extractor):
    (path,) = (small / "segments").iterdir()
    expected = contents(small)
    names = sorted(expected)
    flip(path, expected[names[1]][0], expected[names[4]][1], expected[names[6]][2])
    with (
        Store(small) as store,
        pytest.raises(PhotosDamaged, match=f"served: 3, in {path.name}") as found,
    ):
        verify(store)
    assert found.value.ids == [1, 4, 6]

    store = Store(small, extractor)
    assert store.damaged.tolist() == [1, 4, 6]
    engine = Engine(store, extractor)
    for preset in (None, "flat"):
        asked = store if preset is None else store.proposed_by(preset)
        hits = Engine(asked, extractor).search(
            engine.prepare((store.root / names[4]).read_bytes()), rerank="diffusion", verify="sift"
        )
        left = {*names} - {names[1], names[4], names[6]}
        assert {hit.file for hit in hits.hits} == left
    for id in (1, 4, 6):
        assert store.catalogue.find(names[id]) is None
        for ask, *query in (
            [engine.prepare],
            [engine.explain, engine.prepare(0)],
            [engine.tentative, engine.prepare(0)],
        ):
            with pytest.raises(KeyError):
                ask(*query, id)
    store.close()

    for change in (
        lambda: remove([names[0]], small),
        lambda: compact(small),
        lambda: replace_index(small, "flat", 0),
        lambda: push(small, "http://127.0.0.1:9"),
        lambda: add([store.root / names[0]], small, extractor),
    ):
        with pytest.raises(StoreCorrupt, match="update"):
            change()
    again = CountingExtractor(extractor)
    update(small, again)
    assert again.described == 3 and not (small / "damaged").exists()
    opened_and_verified(small)
    assert contents(small) == expected


def test_damaged_bytes_of_a_removed_photo_cost_no_other(small, extractor):
    expected = contents(small)
    names = sorted(expected)
    remove([names[2]], small)
    (path,) = (small / "segments").iterdir()
    flip(path, expected[names[2]][0])
    with Store(small) as store, pytest.raises(PhotosDamaged) as found:
        verify(store)
    assert found.value.ids == []
    with Store(small) as store:
        assert not len(store.damaged) and store.is_damaged
    update(small, extractor)
    opened_and_verified(small)
    add([store.root / names[2]], small, extractor)
    assert contents(small) == expected


def test_the_command_names_damaged_photos(small, capsys):
    (path,) = (small / "segments").iterdir()
    expected = contents(small)
    names = sorted(expected)
    flip(path, expected[names[3]][1])
    assert main(["info", "--store", str(small)]) == 0  # nobody has looked yet
    assert "damaged" not in capsys.readouterr().out
    assert main(["info", "--verify", "--store", str(small)]) == 1
    said = capsys.readouterr()
    assert f"damaged, not served: {names[3]}\n" in said.out and path.name in said.err
    assert main(["info", "--store", str(small)]) == 0
    assert f"damaged, not served: {names[3]}\n" in capsys.readouterr().out


def test_a_note_of_many_files_is_read_again(small, monkeypatch):
    """However many segments are damaged, the note stays below what is read of it."""
    with Store(small) as store:
        many = {f"{number:064x}": [10**9 + number] for number in range(500)}
        monkeypatch.setattr("index_store.storage.integrity.damaged_slots", lambda *_: many)
        with pytest.raises(PhotosDamaged, match="497 more files"):
            verify(store)
        slots = read_damage(small, store.manifest_sha256)
    assert slots.tolist() == [slot for found in many.values() for slot in found]


def test_a_gallery_of_damaged_photos_only_is_not_served(small):
    (path,) = (small / "segments").iterdir()
    flip(path, *(thumbnail for _, thumbnail, _ in contents(small).values()))
    for _ in range(2):
        with pytest.raises(StoreCorrupt, match=path.name) as found:
            opened_and_verified(small)
        assert not isinstance(found.value, PhotosDamaged)


def test_too_many_damaged_photos_are_a_damaged_store(small, monkeypatch):
    monkeypatch.setattr("index_store.storage.integrity.MAX_PHOTOS", 1)
    (path,) = (small / "segments").iterdir()
    thumbnails = [thumbnail for _, thumbnail, _ in contents(small).values()]
    flip(path, *thumbnails[:2])
    for _ in range(2):
        with pytest.raises(StoreCorrupt, match=path.name) as found:
            opened_and_verified(small)
        assert not isinstance(found.value, PhotosDamaged)


@pytest.mark.parametrize("line", ["-1", "x", "9" * 20, "", "1\n\n2"])
def test_a_note_that_nobody_wrote_so_is_no_list_of_photos(small, line):
    with Store(small) as store:
        version = store.manifest_sha256
    (small / "damaged").write_text(f"{version}\nsomething\n{line}")
    with pytest.raises(StoreCorrupt, match="something"):
        Store(small)
    (small / "damaged").write_text(f"{version}\nsomething\n999999999999")
    with Store(small) as store:
        assert not len(store.damaged)
