"""Switching between generations: who opens meanwhile, who was killed, what others put there."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading

import numpy as np
import pytest

from index_store import (
    Store,
    StoreCorrupt,
    StoreError,
    StoreMismatch,
    StoreMissing,
    build,
    update,
    verify,
)
from index_store import store as store_module
from index_store.storage import generation as generations
from index_store.storage.generation import new_generation, opening, writing
from tests.conftest import FEW_PHOTOS, GALLERY, QuickExtractor


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder with three photos and their store."""
    base = tmp_path_factory.mktemp("three")
    (base / "photos").mkdir()
    for name in FEW_PHOTOS[:3]:
        shutil.copy(GALLERY / name, base / "photos" / name)
    build(base / "photos", base / "store", QuickExtractor())
    return base


@pytest.fixture
def photos(built):
    return built / "photos"


@pytest.fixture
def store(built, tmp_path):
    """Path of a store that a test may damage."""
    return shutil.copytree(built / "store", tmp_path / "store")


def switch(store):
    """What a build does at its end: another generation, of the same content, becomes live."""
    with writing(store):
        with opening(store) as live:
            files = {path.name: path.read_bytes() for path in live.folder.iterdir()}
        with new_generation(store) as folder:
            manifest = json.loads(files.pop("manifest.json"))
            manifest["created"] = str(folder)
            for name, data in files.items():
                (folder / name).write_bytes(data)
            (folder / "manifest.json").write_text(json.dumps(manifest))


def names(store):
    return sorted(path.name for path in (store / "generations").iterdir())


def test_opening_while_builds_switch_never_fails(store):
    switched, versions = threading.Event(), set()

    def build_again():
        for _ in range(40):
            switch(store)
        switched.set()

    builder = threading.Thread(target=build_again)
    builder.start()
    while not switched.is_set():
        with Store(store) as opened:
            assert len(opened) == 3 and len(opened.catalogue.photos()) == 3
            versions.add(opened.version)
    builder.join()
    assert len(versions) > 3
    switch(store)
    assert len(names(store)) == 1


def test_a_generation_is_not_deleted_while_it_is_opened(store, photos, monkeypatch):
    verify, before = store_module.check_sizes, names(store)

    def slow(*args):
        switch(store)
        verify(*args)

    monkeypatch.setattr(store_module, "check_sizes", slow)
    opened = Store(store)
    monkeypatch.undo()
    assert opened.generation == before[0] and len(names(store)) == 2
    assert opened.thumbnail(2)[:2] == b"\xff\xd8"
    build(photos, store, QuickExtractor())
    assert names(store) == ["000002"], "a build with nothing to do tidies up"
    assert opened.thumbnail(2)[:2] == b"\xff\xd8"
    assert opened.catalogue.photo(2).file == sorted(FEW_PHOTOS[:3])[2]


def test_opening_tries_again_when_the_generation_has_just_gone(store, photos, monkeypatch):
    ask, asked = generations.current_version, []

    def outrun(path):
        answer = ask(path)
        if not asked:
            asked.append(answer)
            monkeypatch.undo()
            switch(store)
            build(photos, store, QuickExtractor())
        return answer

    monkeypatch.setattr(generations, "current_version", outrun)
    opened = Store(store)
    assert asked[0][0] == "000001" and opened.generation == "000002"
    assert names(store) == ["000002"]


def test_what_a_build_killed_at_its_very_end_left_is_deleted_by_the_next(store, photos):
    shutil.copytree(store / "generations" / "000001", store / "generations" / "000007")
    shutil.copytree(store / "generations" / "000001", store / "generations" / ".000008")
    for name in ("extracted.sqlite", "extracted.sqlite-wal", "extracted.sqlite-shm"):
        (store / name).write_bytes(b"x" * 5000)
    before = Store(store).version
    build(photos, store, QuickExtractor())
    assert names(store) == ["000001"] and Store(store).version == before
    assert sorted(path.name for path in store.iterdir()) == [
        "CURRENT",
        "comparisons",
        "generations",
        "lock",
        "segments",
    ]


def test_what_others_put_among_the_generations_stays(store, photos, tmp_path):
    folder = store / "generations"
    (folder / ".DS_Store").write_text("x")
    (folder / "holiday" / "2024").mkdir(parents=True)
    (folder / "201907").mkdir()
    (folder / "201907" / "photo.jpg").write_text("x")
    (folder / "000004").write_text("x")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "manifest.json").write_text("x")
    (folder / "000005").symlink_to(tmp_path / "elsewhere")
    foreign = set(names(store)) - {"000001"}
    build(photos, store, QuickExtractor())
    switch(store)
    with Store(store) as opened:
        assert set(names(store)) - {"000001"} == foreign | {opened.generation}
    assert (folder / "201907" / "photo.jpg").exists()
    assert (tmp_path / "elsewhere" / "manifest.json").exists()


def test_what_others_put_among_the_segments_stays(store, photos, tmp_path):
    folder = store / "segments"
    (folder / ".DS_Store").write_text("x")
    (folder / "holiday").mkdir()
    (folder / f"{'a' * 64}.segment").mkdir()
    (folder / f"{'b' * 64}").write_text("x")
    (folder / "short.segment").write_text("x")
    (folder / ".writing-77").write_text("of a build that was killed")
    (folder / f"{'c' * 64}.segment").write_text("of a build that was killed")
    build(photos, store, QuickExtractor())
    left = {path.name for path in folder.iterdir()}
    (segment,) = Store(store).manifest.segments
    others = {".DS_Store", "holiday", "short.segment", "b" * 64, f"{'a' * 64}.segment"}
    assert left == others | {f"{segment.name}.segment"}


def test_a_store_that_may_only_be_read_can_be_served(store, photos):
    (store / "lock").unlink()
    (store / "lock").mkdir()  # root may write everywhere, but nobody can open this as a file
    paths = [store, *store.rglob("*")]
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        assert build(photos, store, QuickExtractor()).photos == 3
        assert update(store, QuickExtractor()).photos == 3
        with Store(store) as opened:
            assert len(opened) == 3
    finally:
        for path in paths:
            path.chmod(0o755)


def change_manifest(store, change):
    """A manifest with another content, and the right checksum in CURRENT."""
    path = store / "generations" / "000001" / "manifest.json"
    facts = json.loads(path.read_text())
    change(facts)
    replace_manifest(store, json.dumps(facts).encode())


def replace_manifest(store, data):
    (store / "generations" / "000001" / "manifest.json").write_bytes(data)
    (store / "CURRENT").write_text(f"000001 {hashlib.sha256(data).hexdigest()}\n")


def replaced(name, by):
    """A file of the store with something else in its place."""

    def damage(store):
        path = store / name
        path.unlink()
        by(path)

    return damage


MANIFEST = "generations/000001/manifest.json"
DAMAGES = {
    "CURRENT is a folder": replaced("CURRENT", lambda path: path.mkdir()),
    "CURRENT is a full folder": replaced("CURRENT", lambda path: (path / "x").mkdir(parents=True)),
    "CURRENT links to itself": replaced("CURRENT", lambda path: path.symlink_to(path)),
    "CURRENT is a pipe": replaced("CURRENT", os.mkfifo),
    "CURRENT is endless": replaced("CURRENT", lambda path: path.symlink_to("/dev/zero")),
    "CURRENT is long": lambda store: (store / "CURRENT").write_text("x" * 10**6),
    "CURRENT is empty": lambda store: (store / "CURRENT").write_text(""),
    "CURRENT holds NUL": lambda store: (store / "CURRENT").write_text("00\0001 " + "0" * 64),
    "CURRENT climbs": lambda store: (store / "CURRENT").write_text("../x " + "0" * 64),
    "CURRENT is not UTF-8": lambda store: (store / "CURRENT").write_bytes(b"\xff\xfe 1"),
    "CURRENT names nothing": lambda store: (store / "CURRENT").write_text("000009 " + "0" * 64),
    "manifest is a folder": replaced(MANIFEST, lambda path: path.mkdir()),
    "manifest links to itself": replaced(MANIFEST, lambda path: path.symlink_to(path)),
    "manifest is a pipe": replaced(MANIFEST, os.mkfifo),
    "manifest is missing": replaced(MANIFEST, lambda path: None),
    "generation is a file": lambda store: (
        shutil.rmtree(store / "generations" / "000001"),
        (store / "generations" / "000001").write_text("x"),
    ),
    "manifest is deep": lambda store: replace_manifest(store, b"[" * 200_000),
    "manifest is not UTF-8": lambda store: replace_manifest(store, b'{"schema": "\xff"}'),
    "manifest is a list": lambda store: replace_manifest(store, b"[]"),
    "manifest is null": lambda store: replace_manifest(store, b"null"),
    "manifest is huge": lambda store: replace_manifest(store, b" " * 2**21 + b"{}"),
    "no artefacts": lambda store: change_manifest(store, lambda m: m.update(artefacts={})),
    "a list of artefacts": lambda store: change_manifest(store, lambda m: m.update(artefacts=[])),
    "one artefact less": lambda store: change_manifest(
        store, lambda m: m["artefacts"].pop("slots.npy")
    ),
    "an artefact elsewhere": lambda store: change_manifest(
        store, lambda m: m["artefacts"].update({"../../CURRENT": m["artefacts"]["index.faiss"]})
    ),
    "an artefact of nothing": lambda store: change_manifest(
        store, lambda m: m["artefacts"].update({"index.faiss": None})
    ),
    "no segments": lambda store: change_manifest(store, lambda m: m.update(segments=[])),
    "a segment of nothing": lambda store: change_manifest(
        store, lambda m: m.update(segments=[None])
    ),
    "a segment elsewhere": lambda store: change_manifest(
        store, lambda m: m["segments"][0].update(name="../../CURRENT")
    ),
    "a segment of a list": lambda store: change_manifest(
        store, lambda m: m["segments"][0].update(name=[1])
    ),
    "a segment too many": lambda store: change_manifest(
        store, lambda m: m["segments"].append({**m["segments"][0], "name": "0" * 64})
    ),
    "a segment of another size": lambda store: change_manifest(
        store, lambda m: m["segments"][0].update(photos=4)
    ),
    "drift is a word": lambda store: change_manifest(store, lambda m: m["drift"].update(rows="0")),
    "no drift": lambda store: change_manifest(store, lambda m: m.pop("drift")),
    "no parameters": lambda store: change_manifest(store, lambda m: m.update(parameters={})),
    "parameters of text": lambda store: change_manifest(
        store, lambda m: m["parameters"]["ann"].update(effort="4")
    ),
    "photos is a word": lambda store: change_manifest(store, lambda m: m.update(photos="3")),
    "photos is wrong": lambda store: change_manifest(store, lambda m: m.update(photos=4)),
    "dim is wrong": lambda store: change_manifest(store, lambda m: m.update(dim=47)),
    "model is null": lambda store: change_manifest(store, lambda m: m.update(model=None)),
    "root holds NUL": lambda store: change_manifest(
        store, lambda m: m["sources"].update(folders=["a\0b"])
    ),
    "no folders": lambda store: change_manifest(store, lambda m: m["sources"].update(folders=[])),
    "links are text": lambda store: change_manifest(
        store, lambda m: m["sources"].update(follow_links="no")
    ),
    "sources are a list": lambda store: change_manifest(store, lambda m: m.update(sources=[])),
    "an unknown key": lambda store: change_manifest(store, lambda m: m.update(more=1)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_a_sentence_and_the_next_build_repairs_it(store, photos, damage):
    DAMAGES[damage](store)
    with pytest.raises(StoreCorrupt) as caught:
        Store(store)
    assert str(caught.value).endswith("again.") and len(str(caught.value)) < 500
    build(photos, store, QuickExtractor())
    with Store(store, QuickExtractor()) as opened:
        assert len(opened) == 3


def test_a_store_of_another_version_is_refused_and_built_again(store, photos):
    change_manifest(store, lambda manifest: manifest.update(schema=2))
    with pytest.raises(StoreMismatch, match="schema 2"):
        Store(store)
    build(photos, store, QuickExtractor())
    with Store(store) as opened:
        assert len(opened) == 3


def test_a_file_is_no_store(store):
    with pytest.raises(StoreMissing):
        Store(store / "lock")
    with pytest.raises(StoreError, match="cannot be written"):
        build(GALLERY, store / "lock", QuickExtractor())


def test_the_pointer_is_never_written_through_a_link(store, tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (store / ".CURRENT").symlink_to(precious)
    (store / "lock").unlink()
    switch(store)
    assert precious.read_text() == "mine" and Store(store).generation == "000002"
    (store / "lock").unlink()
    (store / "lock").symlink_to(precious)
    with pytest.raises(OSError):
        switch(store)
    assert precious.read_text() == "mine"


def test_any_flipped_bit_is_noticed(store):
    """By the opening or by the verification, and never by another error."""
    apart = ("lock", "comparisons")  # each record of the latter has its own check
    files = [path for path in sorted(store.rglob("*")) if path.is_file() and path.name not in apart]
    rng = np.random.default_rng(9)
    for path in files:
        whole = path.read_bytes()
        for bit in rng.integers(8 * len(whole), size=12).tolist():
            data = bytearray(whole)
            data[bit // 8] ^= 1 << bit % 8
            path.write_bytes(data)
            with pytest.raises(StoreError), Store(store) as opened:
                verify(opened)
            (store / "damaged").unlink(missing_ok=True)
        path.write_bytes(whole)
    with Store(store) as opened:
        verify(opened)


def test_the_note_of_damage_is_never_written_through_a_link(store, photos, tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (store / "damaged").symlink_to(precious)
    assert len(Store(store)) == 3
    index = store / "generations" / "000001" / "slots.npy"
    data = bytearray(index.read_bytes())
    data[-24] ^= 1  # another slot that is there
    index.write_bytes(data)
    opened = Store(store)
    with pytest.raises(StoreCorrupt, match="slots.npy"):
        verify(opened)
    assert precious.read_text() == "mine" and not (store / "damaged").is_symlink()
    with pytest.raises(StoreCorrupt, match="slots.npy"):
        Store(store)
    build(photos, store, QuickExtractor())
    assert not (store / "damaged").exists()
    (store / "damaged").mkdir()
    assert len(Store(store)) == 3
    verify(Store(store))


def test_a_store_lets_go_of_its_files(store):
    def open_catalogues():
        links = []
        for handle in os.listdir("/proc/self/fd"):
            try:
                links.append(os.readlink(f"/proc/self/fd/{handle}"))
            except FileNotFoundError:
                continue
        return [
            link for link in links if link == str(store / "generations/000001/catalogue.sqlite")
        ]

    for _ in range(3):
        with Store(store) as opened:
            assert len(open_catalogues()) == 1
        assert not open_catalogues()
    del opened
    forgotten = Store(store)
    assert len(open_catalogues()) == 1
    del forgotten
    assert not open_catalogues()
    closed = Store(store)
    closed.close()
    closed.close()
    assert not open_catalogues()
