"""What an update says it did, and what it asks before it does it."""

from __future__ import annotations

import io
import json
import os
import shutil

import pytest

from index_store import NothingToIndex, Store, TooMuchGone, build, update
from index_store.__main__ import main
from index_store.confirmation import Confirmation
from index_store.sources.difference import Difference, difference
from index_store.storage.catalogue import Entry
from tests.conftest import FEW_PHOTOS, GALLERY, QuickExtractor


def entries(**contents):
    return [Entry(f"{file}.jpg".replace("__", "/"), sha256) for file, sha256 in contents.items()]


def test_photos_are_matched_by_content_and_then_by_name():
    before = entries(a="1", b="2", c="2", d="3", e="4", f="5")
    after = entries(a="1", x__c="2", x__y="2", d="9", f="4", z="8")
    assert difference(before, after) == Difference(
        came=["z.jpg"],
        changed=["d.jpg", "f.jpg"],
        moved=[("b.jpg", "x/y.jpg"), ("c.jpg", "x/c.jpg")],
        gone=["e.jpg"],
    )


@pytest.mark.parametrize(
    "left, doubtful",
    [
        (dict(a="1", b="2", c="3", d="4", x__e="5"), ""),
        (dict(a="1", b="2", c="3", d="4"), "1 of 5 photos is gone, among them all of x/ (1)."),
        (dict(b="2", c="3", d="4", x__e="5"), ""),  # a fifth, and no folder
        (dict(c="3", d="4", x__e="5"), "2 of 5 photos are gone."),
        (dict(a="1", b="2", c="3", d="4", y__e="5"), ""),  # renamed
    ],
)
def test_more_than_a_fifth_and_whole_folders_are_doubtful(left, doubtful):
    before = entries(a="1", b="2", c="3", d="4", x__e="5")
    assert difference(before, entries(**left)).doubtful == doubtful


def test_the_outermost_folders_are_named_and_what_is_excluded_is_not_missed():
    before = entries(a__b__1="1", a__b__2="2", a__c__3="3", d="4")
    found = difference(before, entries(d="4"))
    assert found.doubtful == "3 of 4 photos are gone, among them all of a/ (3)."
    found = difference(before, entries(d="4"), ["a/"], lambda file: file.startswith("a/"))
    assert not found.doubtful and len(found.left_out) == 3 and not found.gone
    unreadable = difference(before, entries(d="4"), ["a/b/1.jpg", "a/b/2.jpg", "a/c/3.jpg"])
    assert unreadable.doubtful and len(unreadable.left_out) == 3


@pytest.fixture
def command(photos, tmp_path, monkeypatch, capsys):
    """Runs a command on a built store; returns its exit code, output and errors."""
    monkeypatch.setattr(
        "index_store.commands.extractor_for", lambda *_, **__: (QuickExtractor(), "quick")
    )
    monkeypatch.setattr("index_store.commands.model_of", lambda *_: "quick")
    (photos / "sub").mkdir()
    for name in ("wine.jpg", "dune.jpg"):
        shutil.move(photos / name, photos / "sub" / name)

    def run(name, *arguments):
        code = main([name, *map(str, arguments), "--store", str(tmp_path / "s")])
        said = capsys.readouterr()
        return code, said.out, said.err

    assert run("build", photos)[0] == 0
    return run


def test_an_update_says_what_it_did(command, photos):
    assert command("update")[1].startswith("came: 0, changed: 0, moved: 0, gone: 0\n12 photos")
    shutil.copy(GALLERY / "petra.jpg", photos)
    (photos / "bulb.jpg").unlink()
    (photos / "sub").rename(photos / "renamed")
    shutil.copy(photos / "igloo.jpg", photos / "colosseum.jpg")
    code, printed, _ = command("update", "--json")
    assert code == 0 and json.loads(printed) | {"store": ""} == {
        "store": "",
        "photos": 12,
        "skipped": 0,
        "came": ["petra.jpg"],
        "changed": ["colosseum.jpg"],
        "moved": [
            {"from": "sub/dune.jpg", "to": "renamed/dune.jpg"},
            {"from": "sub/wine.jpg", "to": "renamed/wine.jpg"},
        ],
        "gone": ["bulb.jpg"],
        "left_out": [],
    }
    (photos / "renamed" / "dune.jpg").write_text("no photo any more")
    _, printed, _ = command("update", "--verbose")
    assert "came: 0, changed: 0, moved: 0, gone: 0, no longer usable or excluded: 1" in printed
    assert "  no longer usable or excluded: renamed/dune.jpg\n" in printed


@pytest.mark.parametrize("name", ["update", "build"])
def test_a_folder_that_is_missing_is_not_a_cleanup(command, photos, tmp_path, name):
    arguments = [photos] if name == "build" else []
    shutil.move(photos / "sub", tmp_path / "unmounted")
    (photos / "sub").mkdir()
    shutil.copy(GALLERY / "petra.jpg", photos)
    code, _, said = command(name, *arguments)
    assert code == 1 and "2 of 12 photos are gone, among them all of sub/ (2)." in said
    assert "--yes" in said and len(Store(tmp_path / "s")) == 12
    code, printed, _ = command(name, *arguments, "--yes")
    assert code == 0 and "came: 1, changed: 0, moved: 0, gone: 2" in printed
    assert len(Store(tmp_path / "s")) == 11


@pytest.mark.parametrize("answer, photos_left", [("y\n", 9), ("n\n", 12), ("", 12)])
def test_a_person_is_asked(command, photos, tmp_path, monkeypatch, answer, photos_left):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    for name in ("bulb.jpg", "igloo.jpg", "colosseum.jpg"):
        (photos / name).unlink()
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    code, _, said = command("update")
    assert "3 of 12 photos are gone." in said and "[y/N]" in said
    assert code == (photos_left == 12) and len(Store(tmp_path / "s")) == photos_left


def test_what_the_owner_excludes_is_not_asked_about(command, photos):
    (photos / ".samethingignore").write_text("sub/\n")
    code, printed, _ = command("update")
    assert code == 0 and "no longer usable or excluded: 2" in printed
    assert "left out: sub/: Excluded by the pattern sub/" in printed


def test_a_refusal_leaves_the_store_and_keeps_the_work(photos, tmp_path):
    store, quick = tmp_path / "s", QuickExtractor()
    build(photos, store, quick)
    version = Store(store).version
    for name in FEW_PHOTOS[:4]:
        (photos / name).unlink()
    shutil.copy(GALLERY / "petra.jpg", photos)
    with pytest.raises(TooMuchGone, match="4 of 12"):
        update(store, quick, confirm=Confirmation(yes=False, interactive=False))
    assert Store(store).version == version and quick.described == 13
    seen = []
    assert update(store, quick, confirm=seen.append).photos == 9 and quick.described == 13
    assert seen[0].came == ["petra.jpg"] and len(seen[0].gone) == 4


def test_an_edit_with_its_time_kept_is_seen(photos, tmp_path):
    store, quick = tmp_path / "s", QuickExtractor()
    build(photos, store, quick)
    path = photos / "wine.jpg"
    times, data = os.stat(path), bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    seen = []
    update(store, quick, confirm=seen.append)
    assert seen[0].changed == ["wine.jpg"]


def test_recheck_compares_contents(photos, tmp_path, monkeypatch):
    """As on a file system that keeps no change time: nothing but the content tells."""
    monkeypatch.setattr("index_store.sources.scan.describe_file", lambda path: "as before")
    store, quick = tmp_path / "s", QuickExtractor()
    build(photos, store, quick)
    version = Store(store).version
    for name in ("wine.jpg", "dune.jpg"):
        shutil.copy(GALLERY / "petra.jpg", photos / name)
        assert update(store, quick).photos == 12 and Store(store).version == version
        changing = update if name == "wine.jpg" else build
        where = (store,) if name == "wine.jpg" else (photos, store)
        seen = []
        changing(*where, quick, recheck=True, confirm=seen.append)
        assert seen[0].changed == [name] and Store(store).version != version
        version = Store(store).version
    generation = Store(store).generation
    update(store, quick, recheck=True)
    assert Store(store).generation == generation and quick.described == 13


def test_what_is_left_out_is_summed_up_by_reason(command, photos):
    for number in range(300):
        (photos / f"{number}.cr3").write_bytes(b"x")
    (photos / "text.png").write_bytes(b"\xff\xd8\xff\xe0 cut")
    code, printed, _ = command("update")
    lines = [line for line in printed.splitlines() if "left out: " in line]
    assert code == 0 and len(lines) == 2
    assert lines[0].startswith("  left out: 300 like 0.cr3: ") and "text.png" in lines[1]
    assert command("build", photos)[1].count("\n") == 4
    for name, arguments in (("info", []), ("update", ["--verbose"])):
        assert command(name, *arguments)[1].count("left out: ") >= 301


def test_a_table_that_names_other_files_and_one_that_cannot_be_read_are_said(command, photos):
    (photos / "gallery.toml").write_text('photos = "photos.csv"')
    (photos / "photos.csv").write_text("file,credit\nbulb.jpg,Ann\nBulb2.jpg,Ann\n")
    code, printed, _ = command("update")
    assert code == 0 and "1 photo of the table not in the store, such as: Bulb2.jpg" in printed
    (photos / "photos.csv").write_text("file,credit\nbulb.jpg,Ann,Bo\n")
    code, _, said = command("update")
    assert code == 1 and "photos.csv cannot be read: line 2 has 3 cells, its head has 2" in said


def test_a_folder_of_several_that_is_missing_stops_the_update(photos, tmp_path):
    store, other = tmp_path / "s", tmp_path / "other"
    other.mkdir()
    shutil.copy(GALLERY / "petra.jpg", other)
    build([photos, other], store, QuickExtractor())
    shutil.rmtree(other)
    with pytest.raises(NothingToIndex, match=f"no folder {other}"):
        update(store, QuickExtractor())
    other.mkdir()
    with pytest.raises(TooMuchGone, match=r"all of other/ \(1\)"):
        update(store, QuickExtractor(), confirm=Confirmation(yes=False, interactive=False))
