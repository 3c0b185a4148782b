"""Builds that meet bad files, interruptions, damage and other models."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from extractor import BadPhoto, decode
from extractor.keypoints import keypoint_codes
from index_store import (
    Catalogue,
    NothingToIndex,
    Photo,
    Store,
    StoreBusy,
    StoreMismatch,
    StoreMissing,
    StoreUnwritable,
    add,
    build,
    engine_choice,
    extraction,
)
from index_store.__main__ import main
from index_store.parameters import described_before
from index_store.storage import extraction_cache, publish
from index_store.storage.catalogue import write_catalogue
from index_store.storage.generation import new_generation
from tests.conftest import FEW_PHOTOS, GALLERY, ROOT, CountingExtractor, QuickExtractor


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
    (photos / "phone.psd").write_bytes(b"x")
    (photos / "gone.jpg").symlink_to(photos / "nothing.jpg")
    (photos / ".hidden.jpg").write_bytes(b"x")
    (photos / "notes.txt").write_text("not looked at")
    (photos / "sub").mkdir()
    shutil.move(photos / "igloo.jpg", photos / "sub" / "Iglu_Nº 1.JPG")
    assert main(["build", str(photos), "--store", str(tmp_path / "s")]) == 0
    store = Store(tmp_path / "s", extractor)
    reasons = {s.file: s.reason for s in store.catalogue.skipped()}
    assert set(reasons) == {"broken.jpg", "text.png", "phone.psd", "gone.jpg"}
    assert (
        "damaged" in reasons["broken.jpg"]
        and "not a photo" in reasons["text.png"]
        and ".psd" in reasons["phone.psd"]
    )
    assert len(store) == 12 and store.catalogue.find("sub/Iglu_Nº 1.JPG") is not None
    printed = capsys.readouterr().out
    assert "12 photos indexed, 4 left out" in printed and "left out: broken.jpg" in printed


def test_nothing_to_index(tmp_path, extractor):
    (tmp_path / "empty").mkdir()
    with pytest.raises(NothingToIndex, match="no photo"):
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


def test_interrupted_build_resumes(photos, tmp_path, extractor, one_worker):
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
        "from index_store import build\n"
        "from index_store.storage import publish\n"
        "write = publish.write_catalogue\n"
        "def hang(*args):\n"
        "    write(*args); print('writing', flush=True); time.sleep(60)\n"
        "publish.write_catalogue = hang\n"
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


def test_photos_of_equal_content_are_held_once(photos, tmp_path):
    shutil.copy(photos / "wine.jpg", photos / "again.jpg")
    quick = QuickExtractor()
    manifest = build(photos, tmp_path / "s", quick)
    assert manifest.photos == 13 and manifest.segments[0].photos == 12
    with Store(tmp_path / "s") as store:
        first, second = (store.catalogue.find(name).id for name in ("again.jpg", "wine.jpg"))
        assert store.thumbnail(first) == store.thumbnail(second) and first == 0
        assert store.rows.unused == 0


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


def test_features_beyond_the_budget_come_from_the_thumbnail(
    photos, tmp_path, extractor, monkeypatch
):
    monkeypatch.setattr(extraction_cache, "LOCAL_FEATURES_BUDGET", 0)
    build(photos, tmp_path / "s", extractor)
    store = Store(tmp_path / "s", extractor)
    id = store.catalogue.find("colosseum.jpg").id
    store.photo_path(id).unlink()
    assert store.stored_features(id) == b"" and len(store.local_features(id).points) > 200


def test_keypoints_of_another_version_are_said(small, monkeypatch):
    monkeypatch.setattr("extractor.keypoints.keypoint_codes.LAYOUT", 5)
    with pytest.raises(StoreMismatch, match="keypoints were encoded by another version"):
        Store(small)


def test_info_prints_what_is_inside(small, capsys):
    assert main(["info", "--store", str(small)]) == 0
    printed = capsys.readouterr().out
    assert "12 from" in printed and "flat: Flat" in printed and "resnet101" in printed
    assert main(["info", "--store", str(small / "none")]) == 1
    assert "There is no store" in capsys.readouterr().err
    (small / "file").write_text("")
    assert (
        main(["info", "--store", str(small / "file")]) == 1 and "error: " in capsys.readouterr().err
    )


def test_a_gallery_that_outgrows_exact_keypoints_encodes_what_comes(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(extraction_cache, "EXACT_PHOTOS", 13)
    built, extractor = tmp_path / "s", QuickExtractor()

    def exact() -> list[bool]:
        with Store(built) as store:
            assert all(len(store.local_features(id).points) for id in range(len(store)))
            return [
                keypoint_codes.is_exact(store.stored_features(photo.id))
                for photo in store.catalogue.photos()
                if photo.file in came or photo.file == "colosseum.jpg"
            ]

    came: list[str] = []
    build(photos, built, extractor)
    assert exact() == [True]
    for name in ("petra.jpg", "aitzgorri.jpg"):
        shutil.copy(GALLERY / name, photos)
        add([photos / name], built, extractor)
        came.append(name)
    assert exact() == [False, True, True], "in the order of their names"
    shutil.copy(GALLERY / "alphabets.jpg", photos)
    came.append("alphabets.jpg")
    build(photos, built, extractor)
    assert sorted(exact()) == [False, False, True, True] and extractor.described == 15


def test_a_rebuild_past_the_budget_describes_only_what_is_new(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(extraction_cache, "LOCAL_FEATURES_BUDGET", 8 * 10**5)
    first = QuickExtractor()
    build(photos, tmp_path / "s", first)
    with Store(tmp_path / "s") as store:
        stored = [bool(store.stored_features(id)) for id in range(12)]
        assert any(stored) and not all(stored), "the budget ends among these photos"
    shutil.copy(GALLERY / "petra.jpg", photos)
    again = QuickExtractor()
    assert build(photos, tmp_path / "s", again).photos == 13 and again.described == 1
    with Store(tmp_path / "s") as store:
        size = sum(len(store.stored_features(id)) for id in range(13))
        assert 0 < size <= 8 * 10**5
        assert all(len(store.local_features(id).points) for id in range(13))


def test_many_photos_are_looked_up_at_once(small_built):
    catalogue = Store(small_built / "store").catalogue
    ids = [5, 0, 11, 5]
    photos = catalogue.photos_of(np.array(ids))
    assert [photo.id for photo in photos] == ids
    assert photos[0] == catalogue.photo(5) == photos[3]
    assert catalogue.photos_of([]) == []
    assert catalogue.photos_of(range(12)) == catalogue.photos()
    for unknown in ([3, 12], [-1]):
        with pytest.raises(KeyError):
            catalogue.photos_of(unknown)


def test_more_ids_than_one_query_takes(tmp_path):
    photos = [Photo(id, f"{id}.jpg", "x", "0" * 64, 10, 10) for id in range(5000)]
    write_catalogue(tmp_path / "catalogue.sqlite", photos, [])
    catalogue = Catalogue(tmp_path / "catalogue.sqlite")
    assert catalogue.photos_of(range(4999, -1, -1)) == photos[::-1]
    assert catalogue.find("\udcff.jpg") is None
    catalogue.close()


def test_rows_of_different_precision_are_not_mixed(photos, tmp_path, caplog, capsys):
    build(photos, tmp_path / "s", QuickExtractor())
    int8 = QuickExtractor("openvino", "int8")
    build(photos, tmp_path / "s", int8)
    assert int8.described == 0, "nothing has changed, so nothing is mixed"
    assert main(["info", "--store", str(tmp_path / "s")]) == 0
    assert "float32 by onnxruntime" in capsys.readouterr().out
    shutil.copy(GALLERY / "petra.jpg", photos)
    manifest = build(photos, tmp_path / "s", int8)
    assert int8.described == 13 and "float32 by onnxruntime" in caplog.text
    assert manifest.described_by == {"engine": "openvino", "precision": "int8"}
    shutil.copy(GALLERY / "bulb.jpg", photos / "bulb-2.jpg")
    caplog.clear()
    build(photos, tmp_path / "s", int8)
    assert int8.described == 13 and not caplog.text


def test_a_killed_build_goes_on_with_the_engine_it_began_with(photos, tmp_path):
    store = tmp_path / "s"
    assert described_before(store) is None
    build(photos, store, QuickExtractor())
    assert described_before(store) == {"engine": "onnxruntime", "precision": "float32"}
    shutil.rmtree(store)
    int8 = QuickExtractor("openvino", "int8")
    int8.stop_after = 5
    with pytest.raises(KeyboardInterrupt):
        build(photos, store, int8)
    assert described_before(store) == {"engine": "openvino", "precision": "int8"}
    other = QuickExtractor()
    build(photos, store, other)
    assert other.described == 12


def test_a_build_goes_on_with_the_engine_that_was_written_down(photos, tmp_path, monkeypatch):
    opened = []

    def open_(model, written, calls):
        opened.append(written)
        return QuickExtractor(), "opened"

    monkeypatch.setattr(engine_choice, "choose_extractor", lambda model, calls: (None, "measured"))
    monkeypatch.setattr(engine_choice, "open_extractor", open_)
    store = tmp_path / "s"
    assert engine_choice.extractor_for(store, Path("x"))[1] == "measured", "its first build"
    build(photos, store, QuickExtractor("openvino", "int8"))
    assert engine_choice.extractor_for(store, Path("x"))[1] == "opened"
    engine_choice.write_engine(store, "onnxruntime-cuda", "float32")
    engine_choice.extractor_for(store, Path("x"))
    assert opened == [
        {"engine": "openvino", "precision": "int8"},
        {"engine": "onnxruntime-cuda", "precision": "float32"},
    ]


ARTEFACTS = (
    "catalogue.sqlite slots.npy index.faiss index_ids.npy"
    " neighbour_ids.npy neighbour_sims.npy diffusion_ids.npy diffusion_values.npy"
    " keypoints.lists marks.npy mark_words.npy edges.npy"
).split()


@pytest.mark.parametrize("name", ARTEFACTS)
def test_a_full_disk_is_a_sentence(photos, tmp_path, monkeypatch, name):
    """/dev/full in the place of one file: every write to it fails as on a full disk."""
    for file in FEW_PHOTOS[2:]:
        (photos / file).unlink()
    build(photos, tmp_path / "s", QuickExtractor())
    before = Store(tmp_path / "s").version

    @contextmanager
    def full(store):
        with new_generation(store) as folder:
            (folder / name).symlink_to("/dev/full")
            yield folder

    shutil.copy(GALLERY / "petra.jpg", photos)
    monkeypatch.setattr(publish, "new_generation", full)
    with pytest.raises(StoreUnwritable, match=str(tmp_path / "s")) as caught:
        build(photos, tmp_path / "s", QuickExtractor())
    reason = "disk is full" if name == "catalogue.sqlite" else "No space left on device"
    assert reason in str(caught.value)
    assert Store(tmp_path / "s").version == before
    monkeypatch.undo()
    again = QuickExtractor()
    assert build(photos, tmp_path / "s", again).photos == 3 and again.described == 0


@pytest.mark.parametrize("limit", [20_000, 200_000, 1_000_000])
def test_no_file_can_grow_any_more(photos, tmp_path, limit):
    """A limit on the size of files, past which each write fails, in a process of its own."""
    code = (
        "import resource\n"
        "from index_store import build, StoreUnwritable\n"
        "from tests.conftest import QuickExtractor\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        "try:\n"
        f"    build({str(photos)!r}, {str(tmp_path / 's')!r}, QuickExtractor())\n"
        "except StoreUnwritable as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "cannot be written" in done.stdout, done.stderr
    build(photos, tmp_path / "s", QuickExtractor())
    assert len(Store(tmp_path / "s")) == 12


def quick_build(monkeypatch, *arguments: str) -> int:
    """The command with a model that needs no trial."""
    monkeypatch.setattr(
        "index_store.commands.extractor_for", lambda *_, **__: (QuickExtractor(), "quick")
    )
    return main(["build", *arguments])


def test_folders_that_are_none_are_a_sentence(tmp_path, monkeypatch, capsys):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name in ("~nosuch/x", str(tmp_path / "none"), str(tmp_path / "loop")):
        assert quick_build(monkeypatch, name, "--store", str(tmp_path / "s")) == 1
        assert capsys.readouterr().err.endswith(f"error: There is no folder {name}.\n")
    for arguments in (["", "--store", "s"], [str(tmp_path), "--store", ""]):
        with pytest.raises(SystemExit):
            quick_build(monkeypatch, *arguments)
        assert "the name of the folder is empty" in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


def test_names_do_not_reach_the_terminal_as_they_are(photos, tmp_path, monkeypatch, capsys):
    (photos / "red\x1b[31m\nline\u202e.psd").write_bytes(b"x")
    (photos / "green\x1b[32m.jpg").write_bytes(b"x")
    store = str(tmp_path / "store\x07")
    assert quick_build(monkeypatch, str(photos), "--store", store) == 0
    assert main(["info", "--store", store]) == 0
    assert main(["info", "--store", store + "\x1b"]) == 1
    printed = capsys.readouterr()
    for character in "\x1b\x07\u202e":
        assert character not in printed.out + printed.err
    assert printed.out.count("red\\x1b[31m\\nline\\u202e.psd") == 2
    assert printed.out.count("green\\x1b[32m.jpg") == 2


@pytest.mark.parametrize("encoding", ["ascii:strict", "utf-8:strict"])
def test_info_prints_whatever_the_output_holds(photos, tmp_path, encoding):
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/Fotos \xc3\xa9 \xff")
    os.rename(photos, odd)
    shutil.copy(GALLERY / "wine.jpg", os.path.join(odd, "été.psd"))
    build(odd, tmp_path / "s", QuickExtractor())
    done = subprocess.run(
        [sys.executable, "-m", "index_store", "info", "--store", tmp_path / "s"],
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
    )
    assert done.returncode == 0 and b"Traceback" not in done.stderr
    assert b"Fotos" in done.stdout and b"\\udcff" in done.stdout
    assert ("été" if "utf" in encoding else "\\xe9t\\xe9").encode() in done.stdout


def test_a_closed_pipe_is_no_traceback(small):
    command = f"{sys.executable} -m index_store info --store {small} | true"
    done = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr == ""


def test_photo_that_changed_after_indexing(photos, tmp_path, extractor):
    build(photos, tmp_path / "s", extractor)
    store = Store(tmp_path / "s", extractor)
    for content in (b"gone bad", (photos / "dune.jpg").read_bytes()):
        (photos / "wine.jpg").write_bytes(content)
        with pytest.raises(BadPhoto):
            store.pixels(store.catalogue.find("wine.jpg").id)


def test_other_thumbnails_or_keypoints_are_made_anew(photos, tmp_path, extractor, monkeypatch):
    build(photos, tmp_path / "s", extractor)
    monkeypatch.setattr(extraction, "THUMBNAIL_SIDE", 200)
    build(photos, tmp_path / "s", extractor)
    store = Store(tmp_path / "s", extractor)
    assert store.manifest.parameters["thumbnails"]["longest_side"] == 200
    assert max(decode(store.thumbnail(0)).shape) == 200
