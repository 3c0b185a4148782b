"""Folders as they are: what is left out of them, linked folders, and several of them."""

from __future__ import annotations

import os
import shutil

import pytest

from index_store import BadPatterns, NothingToIndex, Store, add, build, update
from index_store.sources.scan import scan
from tests.conftest import GALLERY, QuickExtractor


@pytest.fixture
def folder(tmp_path):
    """A folder that a test fills: writes a photo for each name."""
    root = tmp_path / "photos"

    def fill(*names):
        for name in names:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(GALLERY / "wine.jpg", root / name)
        return root

    return fill


def reasons(listing):
    return {entry.file: entry.reason for entry in listing.excluded + listing.foreign}


def test_thumbnails_bins_and_folders_without_media_are_left_out_and_said(folder):
    out = ("@eaDir", "sub/@eaDir", "#recycle", "$RECYCLE.BIN", "lost+found")
    root = folder("a.jpg", "sub/b.jpg", *(f"{name}/x.jpg" for name in out), "phone/x.jpg")
    (root / "phone" / ".nomedia").write_text("")
    (root / ".nomedia").write_text("")  # whoever names a folder means it
    listing = scan(root)
    assert listing.files == ["a.jpg", "sub/b.jpg"]
    said = reasons(listing)
    assert said.keys() == {*(f"{name}/" for name in out), "phone/"}
    assert said["@eaDir/"] == said["sub/@eaDir/"] and "!/@eaDir/" not in said["phone/"]
    assert ".nomedia" in said["phone/"]
    (root / ".samethingignore").write_text("!@eaDir/\n!phone/\n")
    assert {"@eaDir/x.jpg", "sub/@eaDir/x.jpg", "phone/x.jpg"} < set(scan(root).files)


def test_patterns_are_those_of_gitignore(folder):
    names = "a.jpg a.png draft.jpg in/draft.jpg in/keep.png in/deep/a.png out/x.jpg out/in/y.jpg"
    root = folder(*names.split())
    (root / ".samethingignore").write_bytes(
        "\ufeff# what nobody wants\r\n*.png\r\n/draft.jpg\r\nout/\r\n".encode()
    )
    (root / "in" / ".samethingignore").write_text("!keep.png\n")
    listing = scan(root)
    assert listing.files == ["a.jpg", "in/draft.jpg", "in/keep.png"]
    said = reasons(listing)
    assert said["a.png"] == "Excluded by the pattern *.png" == said["in/deep/a.png"]
    assert said["draft.jpg"].endswith("/draft.jpg") and said["out/"].endswith("out/")
    assert scan(root, ["keep.png", "!out/"]).files == [
        "a.jpg",
        "in/draft.jpg",
        "out/in/y.jpg",
        "out/x.jpg",
    ]


@pytest.mark.parametrize("content", ["good\n!\n", b"\xff\xfe\xff", None])
def test_patterns_that_cannot_be_read_let_nothing_in(folder, content):
    root = folder("a.jpg", "sub/b.jpg")
    path = root / "sub" / ".samethingignore"
    if content is None:
        os.mkfifo(path)
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(BadPatterns, match="samethingignore"):
        scan(root)
    path.unlink()
    with pytest.raises(BadPatterns, match="--exclude"):
        scan(root, ["!"])


def test_what_is_excluded_is_excluded_from_updates_and_additions(folder, tmp_path):
    root, store, quick = folder("a.jpg", "raw/b.jpg", "c.png"), tmp_path / "s", QuickExtractor()
    assert build(root, store, quick, exclude=["raw/"]).photos == 2
    folder("raw/d.jpg", "e.jpg")
    assert update(store, quick).photos == build(root, store, quick).photos == 3
    for path in (root / "raw", root / "raw" / "b.jpg"):
        with pytest.raises(NothingToIndex, match="raw/: Excluded by the pattern"):
            add([path], store, quick)
    assert add([root], store, quick).photos == 3
    assert build(root, store, quick, exclude=[]).photos == 5


def test_linked_folders_are_named_and_followed_on_request(folder, tmp_path):
    root = folder("a.jpg", "sub/b.jpg")
    (tmp_path / "other").mkdir()
    shutil.copy(GALLERY / "petra.jpg", tmp_path / "other")
    (root / "elsewhere").symlink_to(tmp_path / "other")
    (root / "sub" / "up").symlink_to(root)  # a circle
    (root / "again").symlink_to(root / "sub")
    (tmp_path / "other" / "back").symlink_to(root / "elsewhere")
    listing = scan(root)
    assert listing.files == ["a.jpg", "sub/b.jpg"]
    assert reasons(listing).keys() == {"elsewhere/", "sub/up/", "again/"}
    followed = scan(root, follow_links=True)
    assert followed.files == ["a.jpg", "elsewhere/petra.jpg", "sub/b.jpg"]
    said = reasons(followed)
    assert said.keys() == {"sub/up/", "again/", "elsewhere/back/"}
    assert "contains it" in said["sub/up/"] and "contains it" in said["elsewhere/back/"]
    assert "sub/, which is indexed" in said["again/"]

    store, quick = tmp_path / "s", QuickExtractor()
    assert build(root, store, quick).photos == 2
    assert build(root, store, quick, follow_links=True).photos == 3
    assert update(store, quick).photos == build(root, store, quick).photos == 3
    shutil.copy(GALLERY / "dune.jpg", tmp_path / "other")
    assert add([root / "elsewhere" / "dune.jpg"], store, quick).photos == 4
    assert build(root, store, quick, follow_links=False).photos == 2


def test_several_folders_in_one_store(tmp_path, folder):
    root, store, quick = folder("a.jpg", "sub/b.jpg"), tmp_path / "s", QuickExtractor()
    other = tmp_path / "elsewhere" / "photos"
    other.mkdir(parents=True)
    shutil.copy(GALLERY / "petra.jpg", other / "a.jpg")
    build(root, store, quick)
    seen, described = [], quick.described
    assert build([root, other], store, quick, confirm=seen.append).photos == 3
    names = ["photos-2/a.jpg", "photos/a.jpg", "photos/sub/b.jpg"]
    with Store(store) as opened:
        assert [photo.file for photo in opened.catalogue.photos()] == names
        assert opened.photo_path(0) == other / "a.jpg" and opened.pixels(0).ndim == 3
    assert (
        seen[0].came == ["photos-2/a.jpg"] and not seen[0].gone and quick.described == described + 1
    )
    shutil.copy(GALLERY / "dune.jpg", other)
    assert add([other / "dune.jpg"], store, quick).photos == 4
    (root / "a.jpg").unlink()
    assert update(store, quick).photos == 3
    with pytest.raises(NothingToIndex, match="is inside"):
        build([root, root / "sub"], store, quick)
    assert build([other, root, other], store, quick).photos == 3


def test_files_are_not_read_again_when_a_folder_joins(tmp_path, folder, monkeypatch):
    root, store, quick = folder("a.jpg", "sub/b.jpg"), tmp_path / "s", QuickExtractor()
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(GALLERY / "petra.jpg", other)
    build(root, store, quick)
    read = []
    monkeypatch.setattr(
        "index_store.extraction.read_bytes",
        lambda path, limits: read.append(path.name) or path.read_bytes(),
    )
    build([root, other], store, quick)
    assert read == ["petra.jpg"]


def test_patterns_that_would_take_for_ever_are_refused(folder):
    root = folder("a.jpg", "sub/b.jpg")
    (root / ".samethingignore").write_text(
        "# ***** what is left out *****\n**/s*b/*\n\\*\\*\\*\\*\\*\n"
    )
    assert scan(root).files == ["a.jpg"]
    assert scan(root, ["*a*a*a*/*a*a*a*"]).files == ["a.jpg"]
    with pytest.raises(BadPatterns, match="--exclude holds .* at most 4"):
        scan(root, ["*a*a*a*a*a*a*a*ab"])
