"""Visitors' own galleries: what is taken, what is not, and that they go."""

from __future__ import annotations

import io
import threading
import zipfile
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from serving.decoding.decoder import UploadDecoder
from serving.decoding.taken_uploads import taken_bytes
from serving.decoding.unpack import BadArchive, photos_in, short, unpack
from serving.galleries.galleries import galleries
from serving.galleries.own import OwnGalleries, OwnGallery, Stopped, own_galleries
from serving.galleries.pictures import thumbnail_url
from serving.refusal import Refused, busy
from serving.settings import Settings
from tests.conftest import GALLERY, PATIENCE
from tests.support.server import until
from ui.routes import ROUTES

MB = 2**20
TAKEN = ("jpeg", "png", "webp")
NO_PHOTO = "This is not a photo in a supported format (JPEG, PNG, WebP, HEIC, AVIF)."


def zipped(*entries: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return file.getvalue()


def test_photos_of_files_and_archives():
    data = zipped(
        ("album/../../a.jpg", b"1"),
        ("b.PNG", b"2"),
        ("__MACOSX/b.png", b"x"),
        (".hidden/c.jpg", b"x"),
        ("d.txt", b"x"),
        ("d2.TXT", b"x"),
        ("album/@eaDir/a.jpg/SYNOPHOTO_THUMB_XL.jpg", b"x"),
        ("inner.zip", b"x"),
        ("e\\f.webp", b"3"),
    )
    files = [("x/z.jpg", b"0"), ("all.ZIP", data)]
    assert list(photos_in(files, MB, TAKEN)) == [
        ("z.jpg", b"0"),
        ("a.jpg", b"1"),
        ("b.PNG", b"2"),
        ("f.webp", b"3"),
        ("all.ZIP", "Skipped 2 files of the type .txt; supported formats: JPEG, PNG, WebP."),
        ("all.ZIP", "Skipped 1 file of the type .zip; supported formats: JPEG, PNG, WebP."),
        ("all.ZIP", "Skipped hidden files and system thumbnails: 3."),
    ]
    assert short("a\nb\u202e.jpg") == "a�b�.jpg" and len(short("n" * 999)) == 120


def test_a_bomb_is_unpacked_no_further_than_a_photo_may_go():
    bomb = zipped(("bomb.jpg", bytes(50 * MB)), ("after.jpg", b"1"))
    assert len(bomb) < 0.1 * MB
    assert list(unpack("x.zip", bomb, MB, TAKEN)) == [
        ("bomb.jpg", "A photo may have at most 1 MB."), ("after.jpg", b"1")
    ]  # fmt: skip
    # The directory says 1 byte: what comes out counts.
    lying = bomb.replace((50 * MB).to_bytes(4, "little"), (1).to_bytes(4, "little"))
    assert lying != bomb and isinstance(next(unpack("x.zip", lying, MB, TAKEN))[1], str)


def test_archives_that_are_not_opened():
    with pytest.raises(BadArchive, match="not a zip"):
        list(unpack("x.zip", b"PK\x03\x04 and no more", MB, TAKEN))
    with pytest.raises(BadArchive, match="at most 5,000"):
        list(unpack("x.zip", b"PK\x01\x02" * 5001, MB, TAKEN))
    assert list(photos_in([("a.zip", b"x"), ("b.jpg", b"1")], MB, TAKEN)) == [
        ("a.zip", "This is not a zip archive, or it is damaged."), ("b.jpg", b"1")
    ]  # fmt: skip
    odd = zipped(("a.jpg", b"1"), method=zipfile.ZIP_LZMA)
    assert "unsupported" in str(next(unpack("x.zip", odd, MB, TAKEN))[1])
    good = zipped(("a.jpg", b"same" * 1000), method=zipfile.ZIP_STORED)
    damaged = good.replace(b"samesame", b"sameSAME", 1)
    assert list(unpack("x.zip", damaged, MB, TAKEN)) == [("a.jpg", "It cannot be unpacked.")]


@pytest.fixture
def shared(small_built, monkeypatch):
    """The server's own gallery."""
    monkeypatch.setenv("GEM_STORE", str(small_built / "store"))
    galleries().wait_until_open()


@pytest.fixture
def owns(shared):
    made = own_galleries()
    yield made
    for visitor in ("ann", "bob"):
        made.forget(visitor)


def wait(own: OwnGallery) -> OwnGallery:
    until(lambda: not own.building)
    return own


def photo(name: str) -> tuple[str, bytes]:
    return name, (GALLERY / name).read_bytes()


def test_a_gallery_of_ones_own(owns):
    archive = zipped(photo("colosseum-2.jpg"), photo("igloo.jpg"))
    files = [photo("colosseum.jpg"), ("mine.zip", archive), ("bad.jpg", b"no photo")]
    own = wait(owns.add("ann", "1.1.1.1", files, 4))
    assert not own.error and own.done == 4 and not files, "the files are let go"
    assert own.problems == [("bad.jpg", NO_PHOTO)]
    engine = own.gallery.engine
    result = engine.search(engine.prepare(0), "diffusion", "sift", 2)
    assert len(engine.store) == 3 and result.hits[0].file == "0001.jpg" and result.hits[0].verified

    wait(owns.add("ann", "1.1.1.1", [photo("wine.jpg")], 1))
    store = own.gallery.engine.store
    assert len(store) == 4 and own.problems == []
    client = TestClient(Starlette(routes=ROUTES))
    answer = client.get(thumbnail_url(store, 3))
    assert answer.status_code == 200 and answer.headers["cache-control"].startswith("private")
    assert client.get(f"photos/{store.version}/1/title.txt").text == "Colosseum 2"

    folder = own.folder
    assert owns.of("bob") is None and folder.is_dir()
    owns.sweep({"ann"})
    assert owns.of("ann") is own
    owns.sweep({"bob"})
    assert owns.of("ann") is None and not folder.exists()
    assert client.get(thumbnail_url(store, 3)).status_code == 404


def test_a_busy_decoder_is_waited_for_and_no_photo_is_left_out(owns, monkeypatch):
    decode, calls = UploadDecoder.decode, []

    def busy_at_first(*arguments):
        calls.append(1)
        if len(calls) < 3:
            raise busy("decoder", 10)
        return decode(*arguments)

    monkeypatch.setattr("serving.galleries.own.RETRY_SECONDS", 0)
    monkeypatch.setattr(UploadDecoder, "decode", busy_at_first)
    own = wait(owns.add("ann", "", [photo("wine.jpg")], 1))
    assert len(calls) == 3 and not own.problems and len(own.gallery.engine.store) == 1


def test_a_decoder_that_stays_busy_is_said(owns, monkeypatch):
    def always_busy(*_):
        raise busy("decoder", 10)

    monkeypatch.setattr("serving.galleries.own.RETRY_SECONDS", 0)
    monkeypatch.setattr(UploadDecoder, "decode", always_busy)
    own = OwnGallery("ann", "", 0)
    with pytest.raises(Refused, match="^Busy"):
        own.decode(b"", deadline=0.0)
    own.stopped.set()
    with pytest.raises(Stopped):
        own.decode(b"", deadline=float("inf"))


def test_no_photo_at_all_is_said(owns):
    own = wait(owns.add("ann", "", [("bad.jpg", b"no photo")], 1))
    assert own.gallery is None and own.error == "None of these files is a readable photo."


def test_limits(shared, monkeypatch):
    monkeypatch.setenv("GEM_OWN_PHOTOS", "2")
    monkeypatch.setenv("GEM_OWN_GALLERIES", "1")
    now = [1000.0]
    owns = OwnGalleries(lambda: now[0])
    own = wait(owns.add("ann", "", [photo("wine.jpg"), photo("dune.jpg"), photo("bulb.jpg")], 3))
    assert len(own.titles) == 2 and own.problems == [
        ("bulb.jpg", "A gallery holds at most 2 photos.")
    ]
    with pytest.raises(Refused, match="Too many visitors"):
        owns.add("bob", "", [photo("wine.jpg")], 1)
    now[0] += 3600
    assert owns.of("ann") is None and not own.folder.exists()
    monkeypatch.setattr(Settings, "own_seconds", 1)
    late = OwnGallery("bob", "", 0)
    late.titles["0000.jpg"] = "before"
    (late.folder / "photos").mkdir()
    (late.folder / "photos" / "0000.jpg").write_bytes(photo("dune.jpg")[1])
    late.add([photo("wine.jpg")], deadline=0.0)
    assert "Time ran out" in late.problems[0][1] and len(late.gallery.engine.store) == 1
    late.close()


def test_uploads_count_until_they_are_freed(shared, monkeypatch):
    monkeypatch.setattr(Settings, "own_workers", 1)
    begun, may_end = threading.Event(), threading.Event()

    def add(_own, files, deadline):
        begun.set()
        assert may_end.wait(PATIENCE)

    monkeypatch.setattr(OwnGallery, "add", add)
    owns, before = OwnGalleries(), taken_bytes()
    ann = owns.add("ann", "", [("a.jpg", bytes(3 * MB)), ("b.jpg", bytes(MB))], 2)
    assert begun.wait(PATIENCE)
    owns.add("bob", "", [("c.jpg", bytes(2 * MB))], 1)
    assert taken_bytes() == before + 6 * MB
    owns.forget("bob")
    assert taken_bytes() == before + 4 * MB, "what was only queued is freed at once"
    owns.forget("ann")
    assert taken_bytes() == before + 4 * MB, "what is worked on is still there"
    may_end.set()
    ann.job.result(PATIENCE)
    assert taken_bytes() == before and not ann.folder.exists()
    owns.close()


def test_a_visitor_who_leaves_while_it_is_made(owns, monkeypatch):
    own = owns.add("ann", "", [photo("wine.jpg"), photo("dune.jpg")], 2)
    with pytest.raises(Refused, match="still being processed"):
        owns.add("ann", "", [photo("bulb.jpg")], 1)
    folder: Path = own.folder
    owns.forget("ann")
    wait(own)
    if not own.job.cancelled():
        own.job.result(PATIENCE)
    assert not folder.exists()
