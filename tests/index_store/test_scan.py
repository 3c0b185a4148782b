"""Which files are read, which are named as left out, and which nobody may wait for."""

from __future__ import annotations

import inspect
import os
import shutil
import socket
import sys

import pytest

from extractor import VISITOR, BadPhoto, open_regular, read_at_most, read_bytes
from index_store import NothingToIndex, Store, build
from index_store.sources.scan import scan
from tests.conftest import GALLERY, QuickExtractor


def test_nothing_that_blocks_or_has_no_end_is_read(photos, tmp_path):
    os.mkfifo(photos / "pipe.jpg")
    (photos / "endless.jpg").symlink_to("/dev/zero")
    (photos / "loop.jpg").symlink_to(photos / "loop.jpg")
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(os.path.relpath(photos / "door.jpg"))
    with open(photos / "large.jpg", "wb") as file:
        file.truncate(5 * 2**30)
    assert build(photos, tmp_path / "s", QuickExtractor()).photos == 12
    with Store(tmp_path / "s") as store:
        reasons = {entry.file: entry.reason for entry in store.catalogue.skipped()}
    names = ("pipe.jpg", "endless.jpg", "loop.jpg", "door.jpg")
    assert reasons.keys() == {*names, "large.jpg"}
    assert all(reasons[name].startswith("The file cannot be read (") for name in names)
    assert "Not a regular file" in reasons["pipe.jpg"] and "5120 MB" in reasons["large.jpg"]


def test_reading_a_file(tmp_path):
    (tmp_path / "x").write_bytes(b"12345")
    assert read_bytes(tmp_path / "x") == read_at_most(tmp_path / "x", 5) == b"12345"
    with pytest.raises(OSError, match="too large"):
        read_at_most(tmp_path / "x", 4)
    for what in (tmp_path, "/dev/null", "/proc/self/fd/99999"):
        with pytest.raises(OSError):
            open_regular(what)
        with pytest.raises(OSError):
            read_bytes(what)
    # A file whose size is not told, and is more than the limit of photos.
    with open(tmp_path / "large", "wb") as file:
        file.truncate(65 * 2**20)
    with pytest.raises(BadPhoto, match="65 MB; at most 12 MB"):
        read_bytes(tmp_path / "large", VISITOR)


@pytest.fixture
def unreadable(monkeypatch):
    """Makes folders that nobody may list, not even root (whom permissions do not stop)."""
    closed = set()
    listing = os.scandir

    def scandir(path="."):
        if not isinstance(path, int) and os.path.basename(path) in closed:
            raise PermissionError(13, "Permission denied", str(path))
        return listing(path)

    monkeypatch.setattr(os, "scandir", scandir)
    return closed


def test_photos_of_an_unreadable_folder_stay(photos, tmp_path, unreadable):
    (photos / "sub").mkdir()
    for name in ("wine.jpg", "dune.jpg"):
        shutil.move(photos / name, photos / "sub" / name)
    build(photos, tmp_path / "s", QuickExtractor())
    before = Store(tmp_path / "s")
    unreadable.add("sub")
    shutil.copy(GALLERY / "petra.jpg", photos)
    again = QuickExtractor()
    assert build(photos, tmp_path / "s", again).photos == 13 and again.described == 1
    after = Store(tmp_path / "s")
    (entry,) = after.catalogue.skipped()
    assert entry.file == "sub/" and "Permission denied" in entry.reason
    assert entry.reason.endswith("kept: 2.")
    files = [photo.file for photo in after.catalogue.photos()]
    assert files == sorted(files) and {"sub/wine.jpg", "sub/dune.jpg"} < set(files)
    old, new = (store.catalogue.find("sub/wine.jpg") for store in (before, after))
    assert (before.descriptors[old.id] == after.descriptors[new.id]).all()
    assert before.thumbnail(old.id) == after.thumbnail(new.id)
    version = after.version
    build(photos, tmp_path / "s", again)
    assert Store(tmp_path / "s").version == version, "nothing has changed"

    unreadable.clear()
    (photos / "sub" / "dune.jpg").unlink()
    assert build(photos, tmp_path / "s", again).photos == 12 and again.described == 1
    with Store(tmp_path / "s") as store:
        assert store.catalogue.find("sub/wine.jpg") and not store.catalogue.find("sub/dune.jpg")
        assert store.catalogue.skipped() == []


def test_a_folder_that_cannot_be_read_at_all_leaves_the_store(photos, tmp_path, unreadable):
    build(photos, tmp_path / "s", QuickExtractor())
    unreadable.add("photos")
    with pytest.raises(NothingToIndex, match="Permission denied"):
        build(photos, tmp_path / "s", QuickExtractor())
    assert len(Store(tmp_path / "s")) == 12


def test_a_folder_that_was_never_indexed_is_named(photos, tmp_path, unreadable):
    (photos / "sub").mkdir()
    unreadable.add("sub")
    build(photos, tmp_path / "s", QuickExtractor())
    with Store(tmp_path / "s") as store:
        assert [entry.file for entry in store.catalogue.skipped()] == ["sub/"] and len(store) == 12


def test_jpegs_of_any_suffix_are_photos_and_the_rest_is_named(photos):
    jpeg = (photos / "wine.jpg").read_bytes()
    for name in ("a.jfif", "b.JPE", "c.mpo"):
        (photos / name).write_bytes(jpeg)
    for name in ("d.exr", "e.tga", "f.psd", "g.svg", "h.PPM", "i.ico", "j.jxr"):
        (photos / name).write_bytes(b"x")
    (photos / "IMG_0001").write_bytes(jpeg)
    (photos / "README").write_text("no photo")
    (photos / "notes.txt").write_text("no photo")
    os.mkfifo(photos / "pipe")
    listing = scan(photos)
    assert {"a.jfif", "b.JPE", "c.mpo"} < set(listing.files) and len(listing.files) == 15
    named = {entry.file: entry.reason for entry in listing.foreign}
    assert sorted(named) == "IMG_0001 d.exr e.tga f.psd g.svg h.PPM i.ico j.jxr".split()
    assert ".ppm" in named["h.PPM"] and "no suffix" in named["IMG_0001"]


def test_names_that_are_not_unicode(photos, tmp_path):
    jpeg = (photos / "wine.jpg").read_bytes()
    with open(os.fsencode(photos) + b"/caf\xe9.jpg", "wb") as file:
        file.write(jpeg)
    listing = scan(photos)
    assert len(listing.files) == 12 and "not valid Unicode" in listing.foreign[0].reason
    # A folder above all photos may be named as it likes.
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/odd \xff")
    os.rename(photos, odd)
    store = os.fsdecode(os.fsencode(tmp_path) + b"/store \xfe")
    build(odd, store, QuickExtractor())
    with Store(store) as opened:
        assert len(opened) == 12 and opened.pixels(0).ndim == 3


def test_what_is_left_out_counts_as_a_change(photos):
    before = scan(photos).digest
    (photos / "x.psd").write_bytes(b"x")
    assert scan(photos).digest != before


def test_folders_nested_too_deeply_are_said(photos):
    """os.walk of Python 3.11 calls itself for each level."""
    limit, folders = sys.getrecursionlimit(), [photos]
    sys.setrecursionlimit(len(inspect.stack()) + 150)
    while len(folders) <= 200:
        folders.append(folders[-1] / "d")
        os.mkdir(folders[-1])
    try:
        with pytest.raises(NothingToIndex, match="nested too deeply"):
            scan(photos)
        assert len(scan(photos, exclude=["d"]).files) == 12
    finally:
        sys.setrecursionlimit(limit)
        # here, because shutil.rmtree calls itself too
        for folder in folders[:0:-1]:
            os.rmdir(folder)
