"""Data sets by name: made ones from a server on this machine, by the commands a user types."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import re
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from evaluation.__main__ import main
from evaluation.datasets import BadDataset, catalogue
from evaluation.datasets.catalogue import open_names, open_set, published_sets
from evaluation.datasets.fetched import named_dataset
from evaluation.datasets.names import inside
from evaluation.datasets.photos import render
from tests.evaluation.test_datasets import GND
from tests.support.file_server import serving

COMMIT = "a" * 40
RAW = "https://raw.example.invalid"


def photo_bytes(seed: int, size=(660, 440), kind="JPEG", **options) -> bytes:
    """A made photo, size being (width, height)."""
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(pixels).resize(size).save(encoded, kind, **options)
    return encoded.getvalue()


def rendered(content: bytes) -> bytes:
    """The rule of renderings, written out."""
    photo = Image.open(io.BytesIO(content)).convert("RGB")
    photo.thumbnail((640, 640), Image.Resampling.LANCZOS)
    encoded = io.BytesIO()
    photo.save(encoded, "JPEG", quality=90)
    return encoded.getvalue()


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    with serving(tmp_path / "served") as server:
        monkeypatch.setenv("GEM_MIRRORS", server.address)
        monkeypatch.chdir(tmp_path)
        yield server


@pytest.fixture
def made(mirror, tmp_path, monkeypatch):
    """A made open set of five photos beside the published sets without their checksums."""
    originals = {f"{name} 1.jpeg": photo_bytes(n, kind="JPEG") for n, name in enumerate("abcde")}
    groups = {"a 1.jpeg": "tower", "b 1.jpeg": "tower", "c 1.jpeg": "bridge", "d 1.jpeg": "bridge"}
    photos = {}
    for name, content in originals.items():
        mirror.put(f"{RAW}/them/photos/{COMMIT}/in/{name}", content)
        photos[f"{name[0]}.jpg"] = {
            "repository": "them/photos",
            "path": f"in/{name}",
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            "rendering": hashlib.sha256(rendered(content)).hexdigest(),
            "group": groups.get(name),
        }
    facts = {
        "title": "made",
        "repositories": {"them/photos": {"commit": COMMIT, "licence": "MIT"}},
        "kinds": {"all": ["tower", "bridge"]},
        "photos": photos,
    }
    published = (catalogue.HERE / "published.json").read_text("utf-8")
    published = re.sub(r' "sha256": "\w+",', "", published)
    published = re.sub(r'"url": "(https?)://[^/]+', r'"url": "\1://example.invalid', published)
    here = tmp_path / "here"
    (here / "open").mkdir(parents=True)
    (here / "open" / "made.json").write_text(json.dumps(facts))
    (here / "published.json").write_text(published)
    monkeypatch.setattr(catalogue, "HERE", here)
    monkeypatch.setattr(catalogue, "RAW", RAW)
    open_set.cache_clear()
    published_sets.cache_clear()
    yield originals
    open_set.cache_clear()
    published_sets.cache_clear()


def get(name: str, *more: str) -> int:
    return main(["data", "get", name, *more])


def tar_of(photos: dict[str, bytes]) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name, content in photos.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return archive.getvalue()


# -- the project's own labels ----------------------------------------------------------------------


def test_a_set_of_public_photos_is_fetched_rendered_and_laid_out(made, mirror, tmp_path, capsys):
    assert get("made") == 0
    root = tmp_path / "downloads" / "made"
    for name, content in made.items():
        assert (root / "images" / f"{name[0]}.jpg").read_bytes() == rendered(content)
    groups = {"bridge": ["c.jpg", "d.jpg"], "tower": ["a.jpg", "b.jpg"]}
    assert json.loads((root / "groups.json").read_text()) == groups
    assert json.loads((root / "kinds.json").read_text()) == {"all": ["tower", "bridge"]}
    assert sorted(path.name for path in root.iterdir()) == ["groups.json", "images", "kinds.json"]
    printed = capsys.readouterr().out
    assert "made: 5 gallery photos, 4 queries" in printed and "MIT (5)" in printed

    benchmark = named_dataset("made")
    assert benchmark.gallery == [f"{name}.jpg" for name in "abcde"] and benchmark.notes == []
    (root / "images" / "stranger.jpg").write_bytes(b"not of the set")
    assert named_dataset("made").gallery == benchmark.gallery
    asked = len(mirror.requests)
    assert get("made") == 0 and len(mirror.requests) == asked, "all is there"


def test_a_set_that_was_interrupted_goes_on(made, mirror, tmp_path, capsys):
    missing = next(mirror.folder.rglob("c 1.jpeg"))
    content = missing.read_bytes()
    missing.unlink()
    assert get("made") == 1
    assert "c.jpg could not be downloaded" in capsys.readouterr().err
    with pytest.raises(BadDataset, match="of made missing.*evaluation data get made"):
        named_dataset("made")
    missing.write_bytes(content)
    had = {path.name for path in (tmp_path / "downloads" / "made" / "images").iterdir()}
    mirror.requests.clear()
    assert get("made") == 0
    assert len(mirror.requests) == 5 - len(had) and had


def test_what_a_killed_run_has_left_is_deleted(made, tmp_path):
    """Killed between a photo's rendering and the end of its original."""
    originals = tmp_path / "downloads" / "made" / ".originals"
    originals.mkdir(parents=True)
    for name in ("a.jpg", "b.jpg.rendering"):
        (originals / name).write_bytes(made["a 1.jpeg"])
    images = originals.with_name("images")
    images.mkdir()
    (images / "a.jpg").write_bytes(rendered(made["a 1.jpeg"]))
    (originals / "notes.txt").write_text("not ours")
    assert get("made") == 0
    assert [path.name for path in originals.iterdir()] == ["notes.txt"]


def test_another_photo_in_its_place_is_an_error_that_names_it(made, mirror, tmp_path, capsys):
    content = made["b 1.jpeg"]
    next(mirror.folder.rglob("b 1.jpeg")).write_bytes(content[:-1] + b"!")
    assert get("made", "--to", "elsewhere") == 1
    error = capsys.readouterr().err
    assert "b.jpg could not be downloaded" in error and "SHA-256" in error
    assert not (tmp_path / "elsewhere" / "images" / "b.jpg").exists()


def test_a_changed_rendering_is_said(made, tmp_path, capsys):
    assert get("made") == 0
    (tmp_path / "downloads" / "made" / "images" / "e.jpg").write_bytes(photo_bytes(3))
    assert get("made") == 0
    assert "1 photo of made with other bytes than the manifest says, the first: e.jpg" in (
        capsys.readouterr().out
    )


def test_a_rendering_is_upright_and_not_enlarged(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "a").write_bytes(photo_bytes(1, (1600, 400), exif=exif))
    assert Image.open(io.BytesIO(render(tmp_path / "a"))).size == (160, 640)
    (tmp_path / "b").write_bytes(photo_bytes(1, (50, 40)))
    assert Image.open(io.BytesIO(render(tmp_path / "b"))).size == (50, 40)
    (tmp_path / "c").write_bytes(b"no photo")
    with pytest.raises(BadDataset, match="c cannot be decoded"):
        render(tmp_path / "c")


@pytest.mark.parametrize("name", open_names())
def test_the_manifests_are_whole(name):
    labelled = open_set(name)
    in_groups = [file for files in labelled.groups.values() for file in files]
    assert len(labelled.photos) > 300 and len(set(in_groups)) == len(in_groups) > 200
    assert all(len(files) > 1 for files in labelled.groups.values())
    for kind, groups in labelled.kinds.items():
        assert kind and set(groups) <= set(labelled.groups)
    for photo in labelled.photos:
        assert inside(photo.file).endswith(".jpg") and photo.remote.size
        assert re.fullmatch("[0-9a-f]{64}", photo.remote.sha256)
        assert re.fullmatch("[0-9a-f]{64}", photo.rendering)
        assert re.match(
            r"https://raw\.githubusercontent\.com/[^/]+/[^/]+/[0-9a-f]{40}/", photo.remote.url
        )
        assert labelled.licences[photo.repository]


# -- published sets --------------------------------------------------------------------------------


def test_revisited_oxford_is_laid_out(made, mirror, tmp_path, capsys):
    truth, archive = (piece.remote.url for piece in published_sets()["roxford5k"].pieces)
    names = [*GND["imlist"], *GND["qimlist"]]
    mirror.put(truth, pickle.dumps(GND, protocol=2))
    content = tar_of({f"./{name}.jpg": photo_bytes(n, (64, 48)) for n, name in enumerate(names)})
    mirror.put(archive, content)
    assert get("roxford5k") == 0
    assert "roxford5k: 5 gallery photos, 2 queries" in capsys.readouterr().out
    root = tmp_path / "downloads" / "roxford5k"
    assert sorted(path.name for path in root.iterdir()) == ["gnd_roxford5k.pkl", "jpg"]
    assert named_dataset("roxford5k").setups == ("Easy", "Medium", "Hard")
    pins = json.loads((tmp_path / "downloads" / "pins.json").read_text())
    assert pins[archive] == hashlib.sha256(content).hexdigest() and set(pins) == {truth, archive}
    asked = len(mirror.requests)
    assert get("roxford5k") == 0 and len(mirror.requests) == asked


def test_an_interrupted_archive_resumes_once_it_is_pinned(made, mirror, tmp_path):
    """The first download of a file without a published checksum starts over, later ones resume."""
    first, second = (piece.remote.url for piece in published_sets()["holidays"].pieces)
    mirror.put(first, tar_of({"jpg/100000.jpg": photo_bytes(1), "jpg/100001.jpg": photo_bytes(2)}))
    assert get("holidays") == 1, "the second is missing"
    assert not (tmp_path / "downloads" / "holidays" / "jpg").exists()
    mirror.put(second, tar_of({"jpg/100100.jpg": photo_bytes(3), "jpg/100101.jpg": photo_bytes(4)}))
    assert get("holidays") == 0
    assert [path for path, _ in mirror.requests].count(
        "/example.invalid/data/holidays/jpg1.tar.gz"
    ) == 1
    assert len(named_dataset("holidays").gallery) == 4


def test_paris_is_two_archives_in_one_folder(made, mirror, tmp_path):
    truth, first, second = (piece.remote.url for piece in published_sets()["rparis6k"].pieces)
    mirror.put(truth, pickle.dumps(GND, protocol=2))
    mirror.put(first, tar_of({f"paris/one/{x}.jpg": photo_bytes(ord(x)) for x in "abc"}))
    others = ["d", "e", "q1", "q2"]
    mirror.put(second, tar_of({f"paris/two/{x}.jpg": photo_bytes(ord(x[-1])) for x in others}))
    assert get("rparis6k") == 0
    assert len(list((tmp_path / "downloads" / "rparis6k" / "jpg").iterdir())) == 7


def test_ukbench_leaves_its_thumbnails_out(made, mirror, tmp_path):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        for n in range(4):
            zipped.writestr(f"full/ukbench0000{n}.jpg", photo_bytes(n))
            zipped.writestr(f"thumbnails/ukbench0000{n}.jpg", b"small")
    mirror.put(published_sets()["ukbench"].pieces[0].remote.url, archive.getvalue())
    assert get("ukbench") == 0
    assert len(named_dataset("ukbench").queries) == 4


def test_no_path_in_an_archive_leads_anywhere(made, mirror, tmp_path):
    first, second = (piece.remote.url for piece in published_sets()["holidays"].pieces)
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name in ("../../100000.jpg", "/tmp/100001.jpg"):
            entry = tarfile.TarInfo(name)
            entry.size = 4
            tar.addfile(entry, io.BytesIO(b"jpeg"))
        link = tarfile.TarInfo("jpg/100002.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    mirror.put(first, archive.getvalue())
    mirror.put(second, tar_of({"jpg/100100.jpg": photo_bytes(3), "jpg/100101.jpg": photo_bytes(4)}))
    assert get("holidays") == 0
    jpg = tmp_path / "downloads" / "holidays" / "jpg"
    expected = ["100000.jpg", "100001.jpg", "100100.jpg", "100101.jpg"]
    assert sorted(path.name for path in jpg.iterdir()) == expected
    assert not any(path.is_symlink() for path in jpg.iterdir())


def encrypted_zip() -> bytes:
    """A zip archive whose one photo says that it is encrypted."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("full/ukbench00000.jpg", b"x")
    content = bytearray(archive.getvalue())
    for head, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.index(head) + flags] |= 1
    return bytes(content)


def damaged_lzma_zip() -> bytes:
    """A zip archive whose one photo has a wrong head of LZMA."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_LZMA) as zipped:
        zipped.writestr("full/ukbench00000.jpg", b"x" * 999)
    content = bytearray(archive.getvalue())
    properties = content.index(b".jpg") + len(".jpg") + 4
    content[properties] = 0xFF
    return bytes(content)


@pytest.mark.parametrize("content", [encrypted_zip(), damaged_lzma_zip()], ids=["key", "lzma"])
def test_a_zip_archive_that_cannot_be_unpacked_is_named(made, mirror, content, capsys):
    mirror.put(published_sets()["ukbench"].pieces[0].remote.url, content)
    assert get("ukbench") == 1
    assert "ukbench.zip is damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content",
    [b"no archive", tar_of({"jpg/1.jpg": b"x" * 5000})[:-40]],
    ids=["no archive", "cut off"],
)
def test_a_damaged_archive_is_named(made, mirror, content, capsys):
    first, second = (piece.remote.url for piece in published_sets()["holidays"].pieces)
    mirror.put(first, content)
    mirror.put(second, content)
    assert get("holidays") == 1
    assert "jpg1.tar.gz is damaged" in capsys.readouterr().err


def test_the_list_and_unknown_names(made, capsys):
    for command in (["data"], ["data", "list"]):
        assert main(command) == 0
        printed = capsys.readouterr().out
        for name in ("gallery", "made", "roxford5k", "rparis6k", "holidays", "ukbench"):
            assert re.search(rf"^\| {name} .* \| (no|gallery/photos) +\|$", printed, re.M), name
    with pytest.raises(SystemExit):
        get("nothing")
    with pytest.raises(BadDataset, match="no data set 'nothing'"):
        named_dataset("nothing")
    with pytest.raises(BadDataset, match="data get roxford5k"):
        named_dataset("roxford5k")
    assert named_dataset("gallery").name == "gallery"
