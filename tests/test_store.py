"""Builds that meet bad files, interruptions, damage and other models."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import sqlite3
import subprocess
import sys

import numpy as np
import pytest

from extractor import BadPhoto, decode
from index_store import (
    NothingToIndex,
    Store,
    StoreBusy,
    StoreCorrupt,
    StoreMismatch,
    StoreMissing,
    build,
    builder,
)
from index_store.__main__ import main
from tests.conftest import FEW_PHOTOS, ROOT


class CountingExtractor:
    """The real extractor, counting the photos it describes; optionally stops like an interrupt."""

    def __init__(self, extractor, stop_after: int | None = None):
        self._extractor, self.described, self.stop_after = extractor, 0, stop_after

    def __getattr__(self, name):
        return getattr(self._extractor, name)

    def describe(self, photos):
        if self.described == self.stop_after:
            raise KeyboardInterrupt
        self.described += len(photos)
        return self._extractor.describe(photos)


@pytest.fixture
def small(small_built, tmp_path):
    """Path of a store that a test may damage."""
    return shutil.copytree(small_built / "store", tmp_path / "store")


def test_store_holds_every_photo(small_built, extractor):
    store = Store(small_built / "store", extractor)
    assert [p.file for p in store.catalogue.photos()] == sorted(FEW_PHOTOS)
    assert store.catalogue.find("taj-mahal-2.jpg").title == "Taj mahal 2"
    assert store.catalogue.skipped() == [] and len(store) == 12
    for id in (0, 11):
        pixels = store.pixels(id)
        expected = extractor.describe([pixels])[0]
        np.testing.assert_allclose(store.descriptors[id], expected, atol=1e-3)
        photo = store.catalogue.photo(id)
        assert pixels.shape[:2] == (photo.height, photo.width)
        assert store.thumbnail(id)[:2] == b"\xff\xd8"
    with pytest.raises(KeyError):
        store.catalogue.photo(12)
    with pytest.raises(IndexError):
        store.thumbnail(-1)


def test_bad_files_are_left_out_with_their_reason(photos, tmp_path, extractor, capsys):
    (photos / "broken.jpg").write_bytes((photos / "wine.jpg").read_bytes()[:500])
    (photos / "text.png").write_text("no photo")
    (photos / "phone.heic").write_bytes(b"x")
    (photos / "gone.jpg").symlink_to(photos / "nothing.jpg")
    (photos / ".hidden.jpg").write_bytes(b"x")
    (photos / "notes.txt").write_text("not looked at")
    (photos / "sub").mkdir()
    shutil.move(photos / "igloo.jpg", photos / "sub" / "Iglu_Nº 1.JPG")
    assert main(["build", str(photos), "--store", str(tmp_path / "s")]) == 0
    store = Store(tmp_path / "s", extractor)
    reasons = {s.file: s.reason for s in store.catalogue.skipped()}
    assert set(reasons) == {"broken.jpg", "text.png", "phone.heic", "gone.jpg"}
    assert (
        "damaged" in reasons["broken.jpg"]
        and "not a JPEG" in reasons["text.png"]
        and ".heic" in reasons["phone.heic"]
    )
    assert len(store) == 12 and store.catalogue.find("sub/Iglu_Nº 1.JPG") is not None
    printed = capsys.readouterr().out
    assert "12 photos indexed, 4 left out" in printed and "left out: broken.jpg" in printed


def test_nothing_to_index(tmp_path, extractor):
    (tmp_path / "empty").mkdir()
    with pytest.raises(NothingToIndex, match="no JPEG"):
        build(tmp_path / "empty", tmp_path / "s", extractor)
    with pytest.raises(NothingToIndex, match="no folder"):
        build(tmp_path / "none", tmp_path / "s", extractor)
    (tmp_path / "empty" / "x.jpg").write_bytes(b"x")
    with pytest.raises(NothingToIndex, match="can be read"):
        build(tmp_path / "empty", tmp_path / "s", extractor)
    with pytest.raises(StoreMissing, match="index_store build"):
        Store(tmp_path / "s", extractor)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_galleries_of_very_few_photos(photos, tmp_path, extractor, count):
    from search import Engine

    for name in FEW_PHOTOS[count:]:
        (photos / name).unlink()
    build(photos, tmp_path / "s", extractor)
    engine = Engine(Store(tmp_path / "s", extractor), extractor)
    result = engine.search(
        engine.prepare((photos / FEW_PHOTOS[0]).read_bytes()), rerank="diffusion", verify="sift"
    )
    assert len(result.hits) == count and result.hits[0].file == FEW_PHOTOS[0]
    assert len(engine.search(engine.prepare(0), "diffusion", "sift").hits) == count - 1


def test_interrupted_build_resumes(photos, tmp_path, extractor):
    first = CountingExtractor(extractor, stop_after=5)
    with pytest.raises(KeyboardInterrupt):
        build(photos, tmp_path / "s", first)
    second = CountingExtractor(extractor)
    build(photos, tmp_path / "s", second)
    assert (first.described, second.described) == (5, 7)
    assert (
        len(Store(tmp_path / "s", extractor)) == 12
        and not (tmp_path / "s" / "extracted.sqlite").exists()
    )


def test_rebuild_describes_only_what_is_new_and_nothing_if_nothing_is(photos, tmp_path, extractor):
    build(photos, tmp_path / "s", extractor)
    before = Store(tmp_path / "s", extractor)
    counting = CountingExtractor(extractor)
    assert build(photos, tmp_path / "s", counting) == before.manifest and counting.described == 0
    shutil.copy(ROOT / "gallery" / "photos" / "petra.jpg", photos / "petra.jpg")
    (photos / "wine.jpg").unlink()
    build(photos, tmp_path / "s", counting)
    after = Store(tmp_path / "s", extractor)
    assert counting.described == 1 and after.version != before.version
    assert after.catalogue.find("petra.jpg") and not after.catalogue.find("wine.jpg")
    old, new = before.catalogue.find("dune.jpg").id, after.catalogue.find("dune.jpg").id
    np.testing.assert_array_equal(before.descriptors[old], after.descriptors[new])
    assert before.thumbnail(old) == after.thumbnail(new), (
        "the generation that was open can still be read"
    )
    assert len(list((tmp_path / "s" / "generations").iterdir())) == 1


def test_killed_build_leaves_the_old_generation_serving(photos, tmp_path, extractor):
    """SIGKILL while the new generation's files are being written, not a polite exception."""
    store = tmp_path / "s"
    build(photos, store, extractor)
    before = Store(store, extractor)
    shutil.copy(ROOT / "gallery" / "photos" / "petra.jpg", photos / "petra.jpg")
    code = (
        "import sys, time\n"
        "from extractor import Extractor\n"
        "from index_store import build, builder\n"
        "write = builder.write_packed\n"
        "def hang(*args):\n"
        "    write(*args); print('writing', flush=True); time.sleep(60)\n"
        "builder.write_packed = hang\n"
        f"build({str(photos)!r}, {str(store)!r}, Extractor())\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "writing\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert list((store / "generations").glob(".*")), "the kill came in the middle"
    after = Store(store, extractor)
    assert after.version == before.version and len(after) == 12
    counting = CountingExtractor(extractor)
    build(photos, store, counting)
    assert len(Store(store, extractor)) == 13 and counting.described == 0, (
        "what was done is not done again"
    )
    assert not list((store / "generations").glob(".*"))


def test_two_builds_at_once(photos, tmp_path, extractor):
    store = tmp_path / "s"
    store.mkdir()
    with open(store / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(StoreBusy):
            build(photos, store, extractor)


def test_every_damaged_file_is_refused_by_name(small, extractor):
    folder = next((small / "generations").iterdir())
    for path in sorted(folder.iterdir()):
        whole = path.read_bytes()
        broken = bytearray(whole)
        broken[len(broken) // 2] ^= 0xFF
        path.write_bytes(broken)
        with pytest.raises(StoreCorrupt, match=path.name):
            Store(small, extractor)
        path.unlink()
        with pytest.raises(StoreCorrupt):
            Store(small, extractor)
        path.write_bytes(whole)
    Store(small, extractor)
    (small / "CURRENT").write_text("nonsense")
    with pytest.raises(StoreCorrupt, match="CURRENT"):
        Store(small, extractor)


def test_damaged_store_is_built_again(small, small_built, extractor):
    (next((small / "generations").iterdir()) / "descriptors.npy").write_bytes(b"x")
    counting = CountingExtractor(extractor)
    build(small_built / "photos", small, counting)
    assert len(Store(small, extractor)) == counting.described == 12


def test_damaged_journal_costs_only_time(photos, tmp_path, extractor):
    (tmp_path / "s").mkdir()
    journal = tmp_path / "s" / "extracted.sqlite"
    journal.write_bytes(b"garbage" * 1000)
    with pytest.raises(KeyboardInterrupt):
        build(photos, tmp_path / "s", CountingExtractor(extractor, stop_after=8))
    content = bytearray(journal.read_bytes())
    content[4096:20480] = os.urandom(16384)  # behind the header
    journal.write_bytes(content)
    build(photos, tmp_path / "s", extractor)
    assert len(Store(tmp_path / "s", extractor)) == 12


def test_journal_of_another_model_is_not_used(photos, tmp_path, extractor):
    with pytest.raises(KeyboardInterrupt):
        build(photos, tmp_path / "s", CountingExtractor(extractor, stop_after=5))
    db = sqlite3.connect(tmp_path / "s" / "extracted.sqlite")
    db.execute("UPDATE model SET fingerprint = 'another'")
    db.commit()
    db.close()
    counting = CountingExtractor(extractor)
    build(photos, tmp_path / "s", counting)
    assert counting.described == 12


class OtherModel(CountingExtractor):
    fingerprint = "f" * 64


def test_store_of_another_model_is_refused_by_name(small, extractor):
    with pytest.raises(
        StoreMismatch, match="another model .resnet101, 512 dimensions.*ffffffffffff"
    ):
        Store(small, OtherModel(extractor))
    Store(small)  # looking into it needs no model


def test_features_beyond_the_budget_come_from_the_photo(photos, tmp_path, extractor, monkeypatch):
    monkeypatch.setattr(builder, "LOCAL_FEATURES_BUDGET", 0)
    build(photos, tmp_path / "s", extractor)
    store = Store(tmp_path / "s", extractor)
    monkeypatch.undo()
    id = store.catalogue.find("colosseum.jpg").id
    assert len(store.local_features(id).points) > 300
    store.photo_path(id).unlink()
    with pytest.raises(OSError):
        store.local_features(id)


def test_info_prints_what_is_inside(small, capsys):
    assert main(["info", "--store", str(small)]) == 0
    printed = capsys.readouterr().out
    assert "12 from" in printed and "IVF1,PQ64x1" in printed and "resnet101" in printed
    assert main(["info", "--store", str(small / "none")]) == 1
    assert "There is no store" in capsys.readouterr().err
    (small / "file").write_text("")
    assert (
        main(["info", "--store", str(small / "file")]) == 1 and "error: " in capsys.readouterr().err
    )


def test_photo_that_changed_after_indexing(photos, tmp_path, extractor):
    build(photos, tmp_path / "s", extractor)
    store = Store(tmp_path / "s", extractor)
    for content in (b"gone bad", (photos / "dune.jpg").read_bytes()):
        (photos / "wine.jpg").write_bytes(content)
        with pytest.raises(BadPhoto):
            store.pixels(store.catalogue.find("wine.jpg").id)


def test_other_thumbnails_or_keypoints_are_made_anew(photos, tmp_path, extractor, monkeypatch):
    build(photos, tmp_path / "s", extractor)
    monkeypatch.setattr(builder.extraction, "THUMBNAIL_SIDE", 200)
    build(photos, tmp_path / "s", extractor)
    store = Store(tmp_path / "s", extractor)
    assert store.manifest.parameters["thumbnails"]["longest_side"] == 200
    assert max(decode(store.thumbnail(0)).shape) == 200
