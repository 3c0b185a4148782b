"""Stores that are changed, against stores that are built of the same photos."""

from __future__ import annotations

import fcntl
import os
import shutil
from contextlib import contextmanager

import numpy as np
import pytest

from evaluation.studies.speed.synthetic import (
    SyntheticExtractor,
    inject,
    lay_out,
    real_features,
    synthetic_file,
    synthetic_rows,
)
from index_store import (
    NothingToIndex,
    Store,
    StoreBusy,
    StoreMismatch,
    StoreUnwritable,
    UnknownPhoto,
    add,
    build,
    candidate_ids,
    compact,
    remove,
    update,
    verify,
)
from index_store.__main__ import main
from index_store.graph.affinity import neighbour_graph
from index_store.graph.incremental import moves
from index_store.storage import extraction_cache
from index_store.storage.generation import new_generation
from tests.conftest import GALLERY, QuickExtractor

COUNT, DIM = 1500, 32
CAME = 4
WENT = range(0, 1200, 400)


def files(store):
    return [photo.file for photo in store.catalogue.photos()]


def same_neighbours(store, full):
    """Lists that name the same photos, but for such as are equally near."""
    np.testing.assert_allclose(store.list_sims, full.list_sims, atol=2e-6)
    differ = store.lists != full.lists
    assert differ.mean() < 0.01


@pytest.fixture(scope="module")
def changed(tmp_path_factory):
    """A store of 1,496 made photos, updated by 4 that came and 3 that went, and one built of
    the same photos at once.
    """
    base = tmp_path_factory.mktemp("made")
    photos, extractor = base / "photos", SyntheticExtractor(DIM)
    inject(base / "built", synthetic_rows(COUNT, DIM), extractor, real_features(30))
    shutil.copytree(base / "built", base / "store")
    lay_out(photos, range(COUNT - CAME))
    build(photos, base / "store", extractor)
    lay_out(photos, range(COUNT - CAME, COUNT))
    for number in WENT:
        synthetic_file(photos, number).unlink()
    for path in base.glob("built/extracted.sqlite*"):
        shutil.copy(path, base / "store")
    update(base / "store", extractor)
    build(photos, base / "built", extractor)
    return Store(base / "store"), Store(base / "built")


def test_an_update_gives_the_photos_of_a_build(changed):
    store, full = changed
    assert files(store) == files(full) and len(store) == COUNT - len(WENT)
    np.testing.assert_array_equal(np.asarray(store.descriptors), np.asarray(full.descriptors))
    assert [store.thumbnail(id) for id in range(len(store))] == [
        full.thumbnail(id) for id in range(len(full))
    ]
    assert store.manifest.listing == full.manifest.listing
    assert (store.manifest.drift.added, store.manifest.drift.removed) == (CAME, len(WENT))
    verify(store)


def test_neighbours_stay_exact(changed):
    same_neighbours(*changed)


def test_rows_drift_little_and_tell_how_much(changed):
    store, full = changed
    drift = store.manifest.drift.rows
    ids = np.arange(len(store))

    def dense(of):
        rows = np.zeros((len(of), len(of)))
        values = np.array(of.diffusion_values, np.float64)
        np.add.at(
            rows, (ids[:, None], of.diffusion_ids), np.where(of.diffusion_ids >= 0, values, 0)
        )
        np.fill_diagonal(rows, 0)
        return rows

    off = np.abs(dense(store) - dense(full)).sum() / dense(full).sum()
    assert 0 < off < 0.05 and 0.3 * off < drift < 3 * off, (off, drift)
    # Rows of photos that came are as good as a build's.
    walk = neighbour_graph(np.array(full.lists), np.array(full.list_sims), full.edges)
    assert walk.shape[0] == len(store)
    came = [id for id, file in enumerate(files(store)) if int(file[-11:-4]) >= COUNT - CAME]
    off = np.abs(dense(store) - dense(full))[came].sum() / dense(full)[came].sum()
    assert off < 0.01


def test_the_index_holds_exactly_the_photos(changed):
    store, full = changed
    assert store.index.ntotal == len(store)
    for id in range(0, len(store), 7):
        found = candidate_ids(store.index, store.descriptors[id].astype(np.float32), 100)
        assert id in found and len(set(found.tolist())) == len(found)
        assert found.max() < len(store)
    everything = candidate_ids(store.index, store.descriptors[0].astype(np.float32), len(store))
    assert len(everything) <= len(store)
    assert abs(store.manifest.shortlist_recall - full.manifest.shortlist_recall) < 0.05


def test_moves_match_photos_by_content():
    moved = moves(["a", "b", "c", "b", "d"], ["b", "x", "d", "a", "b", "b"])
    assert moved.old_ids.tolist() == [1, -1, 4, 0, 3, -1]
    assert moved.new_ids.tolist() == [3, 0, -1, 4, 2]
    assert moved.added.tolist() == [1, 5]


def test_an_added_photo_is_found_and_the_rest_is_left_alone(photos, tmp_path):
    store, quick = tmp_path / "s", QuickExtractor()
    build(photos, store, quick)
    before = set((store / "segments").iterdir())
    shutil.copy(GALLERY / "petra.jpg", photos / "petra.jpg")
    (photos / "sub").mkdir()
    shutil.copy(GALLERY / "juche-tower.jpg", photos / "sub")
    manifest = add([photos / "petra.jpg", photos / "sub"], store, quick)
    assert manifest.photos == 14 and len(manifest.segments) == 2
    assert before < set((store / "segments").iterdir())
    described = quick.described
    assert update(store, quick).photos == 14 and quick.described == described
    build(photos, tmp_path / "full", QuickExtractor())
    with Store(store) as changed, Store(tmp_path / "full") as full:
        assert files(changed) == files(full)
        same_neighbours(changed, full)
    built = build(photos, store, quick)
    assert built.drift.added == 0 and quick.described == described


def test_what_cannot_be_added_is_a_sentence(photos, tmp_path):
    store, quick = tmp_path / "s", QuickExtractor()
    build(photos, store, quick)
    version = Store(store).version
    (photos / "text.jpg").write_text("no photo")
    (photos / ".hidden.jpg").write_text("no photo")
    (photos / "notes.txt").write_text("no photo")
    for name, reason in {
        GALLERY / "petra.jpg": "whose photos this store holds",
        photos / "none.jpg": "There is no photo",
        photos / "none" / "x.jpg": "There is no folder",
        photos / ".hidden.jpg": "hidden",
        photos / "notes.txt": "is not indexed",
        photos / "text.jpg": "not a photo",
        tmp_path: "whose photos this store holds",
    }.items():
        with pytest.raises(NothingToIndex, match=reason):
            add([name], store, quick)
    with pytest.raises(StoreMismatch, match="another way"):
        add([photos / "wine.jpg"], store, QuickExtractor("openvino", "int8"))
    assert Store(store).version == version


def test_removed_photos_leave_answers_at_once_and_the_disk_when_compacted(
    photos, tmp_path, monkeypatch
):
    store, quick = tmp_path / "s", QuickExtractor()
    build(photos, store, quick)
    with Store(store) as before:
        gone = before.catalogue.find("wine.jpg").id
        blobs = [before.thumbnail(gone), bytes(before.stored_features(gone))]
        blobs.append(before.descriptors[gone].tobytes())
    manifest = remove(["wine.jpg"], store)
    assert manifest.photos == 11
    with Store(store) as opened:
        assert opened.catalogue.find("wine.jpg") is None and len(opened) == 11
        assert opened.index.ntotal == 11 and opened.rows.unused == 1
        assert not any(blob in opened.thumbnail(id) for id in range(11) for blob in blobs)
        (entry,) = opened.catalogue.skipped()
        assert entry.file == "wine.jpg" and "Removed" in entry.reason
        assert opened.lists.max() == 10 and opened.diffusion_ids.max() == 10
    with pytest.raises(UnknownPhoto, match="wine"):
        remove(["dune.jpg", "wine.jpg"], store)
    # The file is still there, and nobody takes it in again.
    (photos / "bulb.jpg").touch()
    assert update(store, quick).photos == build(photos, store, quick).photos == 11
    everything = b"".join(path.read_bytes() for path in store.rglob("*") if path.is_file())
    assert all(blob in everything for blob in blobs)
    compact(store)
    everything = b"".join(path.read_bytes() for path in store.rglob("*") if path.is_file())
    assert not any(blob in everything for blob in blobs)
    with Store(store) as opened:
        verify(opened)
        assert opened.rows.unused == 0 and len(opened) == 11
    version = Store(store).version
    compact(store)
    assert Store(store).version == version, "there is nothing to do"
    assert add([photos / "wine.jpg"], store, quick).photos == 12
    with Store(store) as opened:
        assert opened.catalogue.skipped() == opened.catalogue.removed() == []
    everyone = [photo.file for photo in Store(store).catalogue.photos()]
    with pytest.raises(NothingToIndex):
        remove(everyone, store)


def test_compaction_joins_segments_and_changes_nothing(photos, tmp_path, monkeypatch):
    store, quick = tmp_path / "s", QuickExtractor()
    for name in ("petra.jpg", "bulb.jpg"):
        (photos / name).unlink(missing_ok=True)
    build(photos, store, quick)
    for name in ("petra.jpg", "bulb.jpg"):
        shutil.copy(GALLERY / name, photos / name)
        update(store, quick)
    held = Store(store)
    assert len(held.manifest.segments) == 3
    manifest = compact(store)
    assert [segment.photos for segment in manifest.segments] == [13]
    assert len(list((store / "segments").iterdir())) == 1
    with Store(store) as after:
        assert files(after) == files(held)
        np.testing.assert_array_equal(np.asarray(after.descriptors), np.asarray(held.descriptors))
        np.testing.assert_array_equal(after.diffusion_ids, held.diffusion_ids)
        for id in range(13):
            assert after.thumbnail(id) == held.thumbnail(id), "what was opened can still be read"
            assert after.stored_features(id) == held.stored_features(id)
        assert after.manifest.drift == held.manifest.drift
    monkeypatch.setattr(extraction_cache, "SEGMENT", 13)
    shutil.copy(GALLERY / "taj-mahal.jpg", photos / "again.jpg")
    assert update(store, quick).photos == 14
    assert len(compact(store).segments) == 1


def test_an_update_reads_only_what_looks_new(photos, tmp_path, monkeypatch):
    store, quick = tmp_path / "s", QuickExtractor()
    build(photos, store, quick)
    read = []
    monkeypatch.setattr(
        "index_store.extraction.read_bytes",
        lambda path, limits: read.append(path.name) or path.read_bytes(),
    )
    version = Store(store).version
    assert update(store, quick).photos == 12 and Store(store).version == version and not read
    shutil.copy(photos / "dune.jpg", photos / "wine.jpg")
    os.utime(photos / "igloo.jpg", ns=(1, 1))
    assert update(store, quick).photos == 12
    assert sorted(read) == ["igloo.jpg", "wine.jpg"] and quick.described == 12
    with Store(store) as opened:
        assert opened.manifest.drift.added == 1
        assert opened.catalogue.find("wine.jpg").sha256 == opened.catalogue.find("dune.jpg").sha256


def test_a_photo_that_changes_while_it_is_read_is_read_again(photos, tmp_path, monkeypatch):
    store, quick = tmp_path / "s", QuickExtractor()

    def changing(path, limits):
        data = path.read_bytes()
        if path.name == "wine.jpg":
            shutil.copy(photos / "dune.jpg", path)
        return data

    monkeypatch.setattr("index_store.extraction.read_bytes", changing)
    build(photos, store, quick)
    monkeypatch.undo()
    update(store, quick)
    with Store(store) as opened:
        found = {photo.file: photo.sha256 for photo in opened.catalogue.photos()}
    assert found["wine.jpg"] == found["dune.jpg"] and len(found) == 12


def test_many_small_segments_are_joined_by_themselves(photos, tmp_path, monkeypatch):
    monkeypatch.setattr("index_store.changes.MANY", 3)
    store, quick = tmp_path / "s", QuickExtractor()
    build(photos, store, quick)
    counts = []
    for number in range(4):
        shutil.copy(sorted(GALLERY.glob("*.jpg"))[20 + number], photos / f"new-{number}.jpg")
        counts.append(len(update(store, quick).segments))
    assert counts == [2, 3, 1, 2]
    with Store(store) as opened:
        verify(opened)
        assert len(opened) == 16


def test_much_change_is_a_build(photos, tmp_path):
    store, quick = tmp_path / "s", QuickExtractor()
    build(photos, store, quick)
    for name in ("wine.jpg", "dune.jpg", "igloo.jpg", "bulb.jpg"):
        (photos / name).unlink()
    manifest = update(store, quick)
    assert manifest.photos == 8 and manifest.drift.removed == 0


def test_commands_change_a_store(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        "index_store.commands.extractor_for", lambda *_, **__: (QuickExtractor(), "quick")
    )
    monkeypatch.setattr("index_store.commands.model_of", lambda *_: "quick")
    store = ["--store", str(tmp_path / "s")]
    assert main(["build", str(photos), *store]) == 0
    shutil.copy(GALLERY / "petra.jpg", photos / "petra.jpg")
    assert main(["add", str(photos / "petra.jpg"), *store]) == 0
    assert "13 photos, 0 left out, 2 segments" in capsys.readouterr().out
    assert main(["remove", "wine.jpg", *store]) == 0
    assert main(["remove", "wine.jpg", *store]) == 1
    assert "There is no photo wine.jpg" in capsys.readouterr().err
    assert main(["update", *store]) == main(["info", "--verify", *store]) == 0
    printed = capsys.readouterr().out
    assert "2, with 1 unused photo, until" in printed and "checksums verified" in printed
    assert "photos added: 1, removed: 1, since the last full build" in printed
    assert main(["compact", *store]) == 0
    assert "12 photos, 1 left out, 1 segment: " in capsys.readouterr().out


WRITERS = {
    "update": lambda photos, store: update(store, QuickExtractor()),
    "add": lambda photos, store: add([photos / "petra.jpg"], store, QuickExtractor()),
    "remove": lambda photos, store: remove(["dune.jpg"], store),
    "compact": lambda photos, store: compact(store),
}


@pytest.fixture
def changeable(photos, tmp_path):
    """A folder and a store for which each of WRITERS has something to do."""
    build(photos, tmp_path / "s", QuickExtractor())
    remove(["wine.jpg"], tmp_path / "s")
    shutil.copy(GALLERY / "petra.jpg", photos)
    return photos, tmp_path / "s"


@pytest.mark.parametrize("name", WRITERS)
def test_only_one_writes_at_a_time(changeable, name):
    photos, store = changeable
    with open(store / "lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(StoreBusy, match="Another build"):
            WRITERS[name](photos, store)
    WRITERS[name](photos, store)  # the lock's file is still there, and nobody holds it


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_leaves_what_was_there(changeable, name, monkeypatch):
    photos, store = changeable
    before = Store(store).version

    @contextmanager
    def full(path):
        with new_generation(path) as folder:
            (folder / "slots.npy").symlink_to("/dev/full")
            yield folder

    monkeypatch.setattr("index_store.storage.publish.new_generation", full)
    with pytest.raises(StoreUnwritable, match="No space left"):
        WRITERS[name](photos, store)
    monkeypatch.undo()
    with Store(store) as opened:
        verify(opened)
        assert opened.version == before
    WRITERS[name](photos, store)
    with Store(store) as opened:
        verify(opened)
        assert opened.version != before
