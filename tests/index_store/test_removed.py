"""Removed stays removed: through renames, moves, new folders, other models and versions."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3

import pytest

from index_store import NothingToIndex, Store, add, build, compact, remove, update
from index_store.__main__ import main
from tests.conftest import GALLERY, QuickExtractor


@pytest.fixture
def library(photos, tmp_path):
    """A folder with a year in it, and its store; one photo of that year was removed."""
    (photos / "2019").mkdir()
    for name in ("wine.jpg", "bulb.jpg"):
        shutil.move(photos / name, photos / "2019" / name)
    build(photos, tmp_path / "s", QuickExtractor())
    remove(["2019/wine.jpg"], tmp_path / "s")
    return photos, tmp_path / "s"


def files(store):
    with Store(store) as opened:
        return [photo.file for photo in opened.catalogue.photos()]


def out(store):
    with Store(store) as opened:
        return {entry.file: entry.reason for entry in opened.catalogue.skipped()}


def bytes_in(store, needle):
    return any(needle in path.read_bytes() for path in store.rglob("*") if path.is_file())


def test_a_removed_photo_stays_out_when_its_folder_is_renamed(library):
    photos, store = library
    (photos / "2019").rename(photos / "2020")
    quick = QuickExtractor()
    assert update(store, quick).photos == 11 and quick.described == 0
    assert "2020/bulb.jpg" in files(store) and "2020/wine.jpg" not in files(store)
    assert "removed" in out(store)["2020/wine.jpg"]
    (photos / "2020" / "wine.jpg").rename(photos / "once more.jpg")
    assert update(store, quick).photos == build(photos, store, quick).photos == 11
    assert "once more.jpg" in out(store) and quick.described == 0
    # Another photo of the first name is another photo.
    (photos / "2019").mkdir()
    shutil.copy(GALLERY / "petra.jpg", photos / "2019" / "wine.jpg")
    assert update(store, quick).photos == 12 and "2019/wine.jpg" in files(store)


def test_it_is_not_described_again_after_its_bytes_have_left(library):
    photos, store = library
    compact(store)
    (photos / "2019").rename(photos / "2020")
    quick = QuickExtractor()
    update(store, quick)
    assert quick.described == 0


def test_it_stays_out_in_a_copy_and_under_an_edited_file(library):
    photos, store = library
    shutil.copy(photos / "2019" / "wine.jpg", photos / "copy.jpg")
    with open(photos / "2019" / "wine.jpg", "ab") as file:
        file.write(b"a comment")
    assert update(store, QuickExtractor()).photos == 11
    assert {"copy.jpg", "2019/wine.jpg"} == out(store).keys()


def test_it_stays_out_when_the_library_moves(library, tmp_path):
    photos, store = library
    moved = tmp_path / "disk" / "library"
    moved.parent.mkdir()
    photos.rename(moved)
    quick = QuickExtractor()
    with pytest.raises(NothingToIndex, match="no folder"):
        update(store, quick)
    assert build(moved, store, quick).photos == 11 and quick.described == 0
    assert "2019/wine.jpg" in out(store)
    # From another folder to another name, and back.
    shutil.copytree(moved, tmp_path / "new")
    os.rename(tmp_path / "new" / "2019" / "wine.jpg", tmp_path / "new" / "x.jpg")
    assert build(tmp_path / "new", store, quick).photos == 11
    assert build(moved, store, quick).photos == 11 and "2019/wine.jpg" in out(store)
    assert build([moved, tmp_path / "new"], store, quick).photos == 22 and quick.described == 0
    assert out(store).keys() == {"library/2019/wine.jpg", "new/x.jpg"}


def test_it_stays_out_of_a_store_of_another_model(library):
    photos, store = library
    (photos / "2019").rename(photos / "2020")
    other = QuickExtractor()
    other.fingerprint = "2" * 64
    assert build(photos, store, other).photos == 11 and other.described == 11


def test_it_stays_out_when_the_store_is_of_an_older_version(library):
    photos, store = library
    folder = store / "generations" / (store / "CURRENT").read_text().split()[0]
    facts = json.loads((folder / "manifest.json").read_text())
    facts |= {"schema": 8, "photos_root": facts.pop("sources")["folders"][0]}
    (folder / "manifest.json").write_text(json.dumps(facts))
    with sqlite3.connect(folder / "catalogue.sqlite") as db:
        db.execute("ALTER TABLE removed DROP COLUMN sha256")
    db.close()
    assert build(photos, store, QuickExtractor()).photos == 11
    assert out(store).keys() == {"2019/wine.jpg"}


def test_it_stays_out_when_the_store_is_damaged(library):
    photos, store = library
    folder = store / "generations" / (store / "CURRENT").read_text().split()[0]
    (folder / "index.faiss").write_bytes(b"damaged")
    (photos / "2019" / "wine.jpg").rename(photos / "x.jpg")
    assert build(photos, store, QuickExtractor()).photos == 11


def test_it_comes_back_when_it_is_added_by_name_and_not_with_its_folder(library):
    photos, store = library
    quick = QuickExtractor()
    shutil.copy(GALLERY / "petra.jpg", photos / "2019")
    (photos / "2019" / "wine.jpg").rename(photos / "2019" / "cup.jpg")
    assert add([photos / "2019"], store, quick).photos == 12
    assert "2019/cup.jpg" not in files(store)
    assert add([photos / "2019" / "cup.jpg"], store, quick).photos == 13
    (photos / "2019").rename(photos / "2020")
    assert update(store, quick).photos == 13 and "2020/cup.jpg" in files(store)
    with Store(store) as opened:
        assert opened.catalogue.removed() == [] == opened.catalogue.skipped()


def test_of_two_photos_of_one_content_the_other_one_stays(photos, tmp_path, capsys):
    store, quick = tmp_path / "s", QuickExtractor()
    shutil.copy(photos / "wine.jpg", photos / "copy.jpg")
    build(photos, store, quick)
    assert main(["remove", "copy.jpg", "--store", str(store)]) == 0
    assert "still in the store: wine.jpg" in capsys.readouterr().out
    os.utime(photos / "wine.jpg", ns=(1, 1))
    assert update(store, quick).photos == 12
    (photos / "sub").mkdir()
    for name in ("wine.jpg", "copy.jpg"):
        (photos / name).rename(photos / "sub" / name)
    assert update(store, quick).photos == 12 and quick.described == 12
    shutil.copy(photos / "sub" / "wine.jpg", photos / "third.jpg")
    assert update(store, quick).photos == 12


def test_names_are_taken_as_people_write_them(photos, tmp_path, monkeypatch):
    store = tmp_path / "s"
    decomposed = "cafe\u0301.jpg"
    (photos / "wine.jpg").rename(photos / decomposed)
    build(photos, store, QuickExtractor())
    with Store(store) as opened:
        assert opened.catalogue.find("./caf\xe9.jpg").file == decomposed
    remove(["./caf\xe9.jpg"], store)
    remove([str(photos / "dune.jpg")], store)
    monkeypatch.chdir(photos.parent)
    remove(["photos/igloo.jpg"], store)
    assert len(files(store)) == 9
    (photos / decomposed).rename(photos / "caf\xe9.jpg")  # as a copy by another system
    assert update(store, QuickExtractor()).photos == 9
    assert add(["photos/caf\u0065\u0301.jpg"], store, QuickExtractor()).photos == 10
    assert "caf\xe9.jpg" in files(store)


def test_of_names_in_two_unicode_forms_one_is_a_photo(photos, tmp_path):
    for name in ("cafe\u0301.jpg", "caf\xe9.jpg"):
        shutil.copy(photos / "wine.jpg", photos / name)
    assert build(photos, tmp_path / "s", QuickExtractor()).photos == 13
    assert "caf\xe9.jpg" in files(tmp_path / "s")
    assert "rename one" in out(tmp_path / "s")["cafe\u0301.jpg"]
