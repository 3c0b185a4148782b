"""Packed photos and weights in parts: written, read back, damaged."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from export.__main__ import main as export
from extractor import read_photo, resize
from model import load_checkpoint
from model.__main__ import main
from model.checkpoints.checkpoint import BadCheckpoint
from model.checkpoints.weight_parts import split_weights
from model.training.common.pairs import BadTrainingData
from model.training.device.pool import Pool
from model.training.packs import pack as packing
from model.training.packs.pack import archive_of, pack
from model.training.packs.packed import FILE, is_pack, packed_photos, read_pack
from model.training.packs.parts import BadParts
from tests.conftest import GALLERY
from tests.model.test_training import write_start
from tests.support.networks import SMALL, narrow

__all__ = ["narrow"]  # a fixture

NAMES = ("petra", "wine", "taj-mahal", "igloo", "bulb")


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """Five photos, one that is none, and one too narrow."""
    folder = tmp_path_factory.mktemp("pool")
    for name in NAMES:
        (folder / "deep").mkdir(exist_ok=True)
        shutil.copy(GALLERY / f"{name}.jpg", folder / "deep")
    (folder / "damaged.jpg").write_bytes(b"no photo")
    Image.new("RGB", (400, 40)).save(folder / "narrow.png")
    return folder


@pytest.fixture(scope="module")
def packed(photos, tmp_path_factory) -> Path:
    """The same, packed in several parts."""
    out = tmp_path_factory.mktemp("packs") / "parts"
    pack([photos], out, side=96, max_bytes=6000)
    return out


def test_packed_photos_come_back_as_they_were_written(photos, packed):
    found = list(packed_photos(packed))
    pack_ = read_pack(packed)
    assert (pack_.files, pack_.photos, pack_.left_out) == (7, 5, 2) and len(pack_.parts) > 1
    for (_, webp), name in zip(found, sorted(NAMES), strict=True):
        expected = io.BytesIO()
        shrunk = resize(read_photo(photos / "deep" / f"{name}.jpg"), 96)
        Image.fromarray(shrunk).save(expected, "WEBP", quality=packing.QUALITY, method=4)
        assert webp == expected.getvalue()
    pool = Pool([packed], 64, 1.0)
    for number, (path, webp) in enumerate(found):
        height, width = pool.sizes[number]
        pixels = np.asarray(Image.open(io.BytesIO(webp)))
        np.testing.assert_array_equal(pool.pixels[number, :height, :width].numpy(), pixels)
        assert pool.paths[number] == path
    for part in pack_.parts:
        assert (packed / part.name).stat().st_size == part.size <= 6000
    assert {file.name for file in packed.iterdir()} == {FILE, *(p.name for p in pack_.parts)}


def test_an_interrupted_pack_goes_on_and_is_the_same(photos, packed, tmp_path):
    def stop_before_the_fourth(files):
        for number, file in enumerate(files):
            if number == 5:
                raise KeyboardInterrupt
            yield file

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("extractor.cores.AHEAD", 0)
        pack([photos], tmp_path / "parts", 96, stop_before_the_fourth, max_bytes=6000)
    assert 0 < len(list((tmp_path / "parts").glob("*.zip"))) < len(list(packed.glob("*.zip")))
    with pytest.raises(BadParts, match="not finished; run the same"):
        read_pack(tmp_path / "parts")
    pack([photos], tmp_path / "parts", 96, max_bytes=6000)
    assert contents(tmp_path / "parts") == contents(packed)
    before = contents(packed)
    pack([photos], packed, 96, stop_before_the_fourth, max_bytes=6000)
    assert contents(packed) == before, "a finished one is left alone"


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_a_pack_overwrites_nothing_it_did_not_make(photos, packed, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(BadParts, match="holds other files"):
        pack([photos], tmp_path / "mine", 96)
    for pool, side in (([photos / "deep"], 96), ([photos], 64)):
        with pytest.raises(BadParts, match="of other photos or of another side"):
            pack(pool, packed, side)
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadTrainingData, match="there are no photos in"):
        pack([tmp_path / "empty"], tmp_path / "out", 96)
    with pytest.raises(BadTrainingData, match="--side must be from 32 to 1024, not 16"):
        pack([photos], tmp_path / "out", 16)


def changed_manifest(folder: Path, change) -> None:
    manifest = json.loads((folder / FILE).read_text())
    change(manifest)
    (folder / FILE).write_text(json.dumps(manifest))


def forged(folder: Path, data: bytes) -> None:
    """Another first part, with a manifest that has its checksum."""
    (folder / "photos-000.zip").write_bytes(data)
    facts = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "photos": 1}
    changed_manifest(folder, lambda manifest: manifest["parts"][0].update(facts))


def zipped(name: str, data: bytes, kind: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", kind) as archive:
        archive.writestr(name, data)
    return buffer.getvalue()


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage, sentence",
    [
        (lambda f: flipped(f / "photos-001.zip"), "photos-001.zip is damaged or of another set"),
        (lambda f: (f / "photos-001.zip").unlink(), "photos-001.zip is missing"),
        (lambda f: (f / "photos-000.zip").write_bytes(b""), "photos-000.zip is damaged"),
        (lambda f: (f / FILE).write_text("{"), "pack.json is damaged"),
        (
            lambda f: changed_manifest(f, lambda m: m["parts"][0].update(name="../photos-000.zip")),
            "parts.0.name",
        ),
        (
            lambda f: changed_manifest(f, lambda m: m["parts"][0].update(size=10**9)),
            "parts.0.size",
        ),
        (lambda f: changed_manifest(f, lambda m: m["parts"].reverse()), "must be photos-000.zip"),
        (lambda f: changed_manifest(f, lambda m: m.update(side=10**6)), "side"),
        (lambda f: forged(f, zipped("../evil.webp", b"")), "does not contain the photos"),
        (lambda f: forged(f, b"no archive"), "photos-000.zip was not written by"),
        (
            lambda f: forged(f, zipped("000000.webp", bytes(10**6), zipfile.ZIP_DEFLATED)),
            "is compressed",
        ),
        (lambda f: forged(f, archive_of([b"no photo"])), "photos-000.zip/000000.webp: This is not"),
    ],
)
def test_a_damaged_pack_is_refused_by_name(packed, tmp_path, damage, sentence):
    folder = tmp_path / "parts"
    shutil.copytree(packed, folder)
    damage(folder)
    with pytest.raises((BadParts, BadTrainingData), match=sentence.replace(".", r"\.")):
        Pool([folder], 64, 1.0)


def test_weights_come_back_from_their_parts(tmp_path):
    start = write_start(tmp_path / "start.safetensors", SMALL)
    split_weights(start, tmp_path / "parts", 10**5)
    parts = sorted((tmp_path / "parts").glob("*.part"))
    assert b"".join(p.read_bytes() for p in parts) == start.read_bytes()
    assert len(parts) > 1 and all(p.stat().st_size <= 10**5 for p in parts)
    network, provenance = load_checkpoint(start)
    for given in (tmp_path / "parts", tmp_path / "parts" / "weights.json"):
        again, same = load_checkpoint(given)
        assert same == provenance
        for name, value in network.state_dict().items():
            assert torch.equal(value, again.state_dict()[name]), name


@pytest.mark.parametrize(
    "damage, sentence",
    [
        (lambda f: (f / "weights-001.part").unlink(), "weights-001.part is missing"),
        (lambda f: flipped(f / "weights-000.part"), "weights-000.part is damaged"),
        (lambda f: (f / "weights.json").write_text("[]"), "weights.json is damaged"),
    ],
)
def test_a_missing_or_damaged_part_is_named(tmp_path, damage, sentence, capsys):
    start = write_start(tmp_path / "start.safetensors", SMALL)
    split_weights(start, tmp_path / "parts", 10**5)
    damage(tmp_path / "parts")
    with pytest.raises(BadCheckpoint, match=sentence.replace(".", r"\.")):
        load_checkpoint(tmp_path / "parts")
    assert export(["--checkpoint", str(tmp_path / "parts"), "--out", str(tmp_path / "x.onnx")]) == 1
    assert sentence in capsys.readouterr().err and not (tmp_path / "x.onnx").exists()


def test_pack_by_the_command(photos, tmp_path, capsys):
    out = tmp_path / "parts"
    assert main(["pack", str(photos), "--side", "64", "--out", str(out)]) == 0
    assert "5 photos in 1 part of together 0.0 MB, 2 left out" in capsys.readouterr().out
    assert is_pack(out) and read_pack(out).side == 64
    assert main(["pack", str(tmp_path / "nowhere"), "--out", str(tmp_path / "x")]) == 1
    assert "there are no photos in" in capsys.readouterr().err
