"""Published networks by name: made files from a server on this machine, through the command."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from download import DownloadFailed
from export.__main__ import main
from extractor import Extractor
from model.checkpoints import checkpoint, published
from model.checkpoints.published import PUBLISHED, format_list
from tests.conftest import GALLERY
from tests.model.test_checkpoints import META, random_state
from tests.support.file_server import serving
from tests.support.networks import SMALL, TRUNK_DIM, narrow, traced_once

__all__ = ["narrow", "traced_once"]  # fixtures

QUICK = ["--count", "1", "--photos", str(GALLERY)]


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    with serving(tmp_path / "served") as server:
        monkeypatch.setenv("GEM_MIRRORS", server.address)
        monkeypatch.chdir(tmp_path)
        yield server


def publish(monkeypatch, mirror, name: str, content: bytes, prefix: bool = True) -> None:
    """Let a made file be the published one of a name, at an address that nobody has."""
    net = PUBLISHED[name]
    digits = hashlib.sha256(content).hexdigest()[:7] if prefix else ""
    url = f"https://example.invalid/{Path(net.url).name}"
    monkeypatch.setitem(PUBLISHED, name, dataclasses.replace(net, url=url, sha256=digits))
    if prefix:
        monkeypatch.setitem(checkpoint.DIGESTS, f"{name}.pth", digits)
    mirror.put(url, content)


def cirtorch_file(whitened: bool = True) -> bytes:
    file = io.BytesIO()
    state = random_state(TRUNK_DIM if whitened else None)
    torch.save({"meta": META | {"whitening": whitened}, "state_dict": state}, file)
    return file.getvalue()


class SSCD(nn.Module):
    """A network as Meta's is published: a trunk, GeM with p = 3, a linear layer, length one."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 8, 7, stride=4, padding=3), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, groups=4)
        )
        self.linear = nn.Linear(16, 6)

    def forward(self, x):
        x = self.backbone(x)
        pooled = x.flatten(2).clamp(min=1e-6).pow(3.0).mean(dim=2).pow(1 / 3.0)
        return F.normalize(self.linear(pooled))


def torchscript_file() -> tuple[SSCD, bytes]:
    torch.manual_seed(3)
    network, file = SSCD().eval(), io.BytesIO()
    torch.jit.script(network).save("sscd.pt")
    file.write(Path("sscd.pt").read_bytes())
    Path("sscd.pt").unlink()
    return network, file.getvalue()


def test_a_cirtorch_network_in_one_command(mirror, monkeypatch, tmp_path, capsys):
    publish(monkeypatch, mirror, "gl18-resnet101", cirtorch_file())
    assert main(["gl18-resnet101", "--out", "net.onnx", "--longest-side", "64", *QUICK]) == 0
    printed = capsys.readouterr().out
    assert f"{SMALL}, GeM p = 2.900" in printed and "min cosine" in printed
    card = Extractor("net.onnx").card
    assert card.longest_side == 64 and card.output_dim == TRUNK_DIM and card.scales == (1.0,)
    assert card.licence == PUBLISHED["gl18-resnet101"].licence
    kept = tmp_path / "downloads" / "networks"
    assert sorted(path.name for path in kept.iterdir()) == ["gl18-resnet101.pth", "pins.json"]
    asked = len(mirror.requests)
    assert main(["gl18-resnet101", "--out", "net.onnx", "--longest-side", "64", *QUICK]) == 0
    assert len(mirror.requests) == asked, "downloaded once"


def test_another_file_in_its_place_is_refused(mirror, monkeypatch, tmp_path, capsys):
    publish(monkeypatch, mirror, "gl18-resnet101", b"weights")
    mirror.put(PUBLISHED["gl18-resnet101"].url, b"others")
    assert main(["gl18-resnet101", "--out", "net.onnx"]) == 1
    error = capsys.readouterr().err
    assert "gl18-resnet101.pth could not be downloaded" in error and "SHA-256" in error
    assert not list((tmp_path / "downloads" / "networks").iterdir())


def test_a_torchscript_network_is_proved_against_itself(mirror, monkeypatch, capsys):
    network, content = torchscript_file()
    publish(monkeypatch, mirror, "sscd_disc_mixup", content, prefix=False)
    digest = hashlib.sha256(content).hexdigest()
    command = ["sscd_disc_mixup", "--out", "sscd.onnx", *QUICK]
    assert main([*command, "--sha256", digest.upper()]) == 0
    assert "is a vector of 6 channels" in capsys.readouterr().out
    extractor = Extractor("sscd.onnx")
    assert extractor.card.longest_side == 384 and extractor.card.licence == "MIT"
    photo = np.random.default_rng(1).integers(0, 256, (101, 143, 3), np.uint8)
    tensor = torch.from_numpy(extractor.normalise(photo))[None]
    with torch.inference_mode():
        expected = network(tensor).numpy()
    np.testing.assert_allclose(extractor.describe([photo]), expected, atol=2e-3)
    assert [path.name for path in Path("downloads/networks").iterdir()] == ["sscd_disc_mixup.pt"]


def test_a_torchscript_network_of_unknown_digest_is_not_downloaded(mirror, monkeypatch, capsys):
    _, content = torchscript_file()
    publish(monkeypatch, mirror, "sscd_disc_mixup", content, prefix=False)
    command = ["sscd_disc_mixup", "--out", "sscd.onnx", *QUICK]
    assert main(command) == 1
    error = " ".join(capsys.readouterr().err.split())
    place = Path("downloads/networks/sscd_disc_mixup.pt")
    assert "(--sha256 DIGEST)" in error and f"put it at {place}" in error
    assert main([*command, "--sha256", "0" * 64]) == 1
    assert "sent another file" in capsys.readouterr().err and not place.exists()
    with pytest.raises(SystemExit):
        main([*command, "--sha256", "0" * 63])
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    asked = len(mirror.requests)
    assert main(command) == 0 and len(mirror.requests) == asked


def test_a_file_without_a_digest_comes_from_no_mirror(mirror, monkeypatch, capsys):
    content = cirtorch_file()
    publish(monkeypatch, mirror, "solar-resnet101", content, prefix=False)
    with pytest.raises(DownloadFailed, match="could not be downloaded"):
        published.fetch_network("solar-resnet101", [mirror.address])
    assert mirror.requests == []
    digest = hashlib.sha256(content).hexdigest()
    path = published.fetch_network("solar-resnet101", [mirror.address], sha256=digest)
    assert path.read_bytes() == content


def test_a_file_that_is_no_torchscript_is_named(mirror, monkeypatch, capsys):
    publish(monkeypatch, mirror, "sscd_disc_large", b"nothing", prefix=False)
    digest = hashlib.sha256(b"nothing").hexdigest()
    assert main(["sscd_disc_large", "--out", "sscd.onnx", "--sha256", digest]) == 1
    assert "sscd_disc_large.pt is damaged or no TorchScript file" in capsys.readouterr().err


class Maps(nn.Module):
    """Stands for a convolutional network of timm, channels last."""

    output_fmt = "NHWC"

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 8, 8)

    def forward_features(self, x):
        return self.stem(x).relu().permute(0, 2, 3, 1)


class Tokens(nn.Module):
    """Stands for a transformer of timm: a class token before those of the patches, one size."""

    num_prefix_tokens = 1

    def __init__(self, side: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 12, 14, 14)
        self.positions = nn.Parameter(torch.randn(1, (side // 14) ** 2, 12))

    def forward_features(self, x):
        patches = self.patches(x).flatten(2).transpose(1, 2) + self.positions
        return torch.cat([100 + patches[:, :1], patches], 1)


@pytest.fixture
def timm(monkeypatch):
    """A stand-in with the four functions of timm that are called."""
    made = types.ModuleType("timm")
    made.__spec__ = types.SimpleNamespace(name="timm")
    configs = {
        "maps.made": dict(mean=(0.5,) * 3, std=(0.25,) * 3, input_size=(3, 96, 96), license="mit"),
        "vit_small_patch14_dinov2.lvd142m": dict(
            mean=(0.4,) * 3, std=(0.2,) * 3, input_size=(3, 518, 518), fixed_input_size=True
        ),
    }

    def create_model(name, pretrained, num_classes, global_pool, img_size=518):
        assert pretrained and num_classes == 0 and global_pool == ""
        torch.manual_seed(2)
        return Maps() if name == "maps.made" else Tokens(img_size)

    made.__version__ = "1"
    made.is_model = lambda name: any(known.startswith(name + ".") for known in configs)
    made.get_pretrained_cfg = lambda name: types.SimpleNamespace(to_dict=lambda: configs[name])
    made.create_model = create_model
    monkeypatch.setitem(sys.modules, "timm", made)


def test_any_map_of_timm_is_pooled(timm, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["timm:maps.made", "--out", "maps.onnx", *QUICK]) == 0
    assert "map is a map of 12 channels" in capsys.readouterr().out
    extractor = Extractor("maps.onnx")
    assert extractor.card.mean == (0.5,) * 3 and extractor.card.longest_side == 96
    assert extractor.card.p == 3 and extractor.card.licence == "mit"
    torch.manual_seed(2)
    network = Maps()
    photo = np.random.default_rng(1).integers(0, 256, (64, 96, 3), np.uint8)
    with torch.inference_mode():
        maps = network.forward_features(torch.from_numpy(extractor.normalise(photo))[None])
    pooled = maps.clamp(min=1e-6).pow(3).mean((1, 2)).pow(1 / 3)
    expected = F.normalize(pooled).numpy()
    np.testing.assert_allclose(extractor.describe([photo]), expected, atol=2e-3)


def test_dinov2_is_the_mean_of_its_patches(timm, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ["dinov2-vits14", "--out", "dino.onnx", "--longest-side", "56", *QUICK]
    assert main(arguments) == 0
    assert "tokens is a tokens of 12 channels" in capsys.readouterr().out
    extractor = Extractor("dino.onnx")
    assert extractor.card.p == 1 and extractor.card.licence == "Apache-2.0"
    torch.manual_seed(2)
    network = Tokens(56)
    photo = np.random.default_rng(1).integers(0, 256, (56, 56, 3), np.uint8)
    with torch.inference_mode():
        tokens = network.forward_features(torch.from_numpy(extractor.normalise(photo))[None])
    expected = F.normalize(tokens[:, 1:].mean(1)).numpy()
    np.testing.assert_allclose(extractor.describe([photo]), expected, atol=2e-3)


def test_timm_is_asked_for_only_where_it_is_needed(monkeypatch, capsys, timm):
    assert main(["timm:nothing.x", "--out", "x.onnx"]) == 1
    assert "timm 1 has no network nothing.x" in capsys.readouterr().err
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["timm:maps.made", "--out", "x.onnx"]) == 1
    assert "timm is not installed; run: pip install timm" in capsys.readouterr().err


def test_the_list_and_unknown_names(capsys):
    assert main(["--list"]) == 0
    table = capsys.readouterr().out
    assert table.strip() == format_list()
    for name, net in PUBLISHED.items():
        assert re.search(rf"^{re.escape(name)} ", table, re.M) and net.url in table
        assert re.fullmatch("[0-9a-f]*", net.sha256) and net.licence and net.source
        assert net.url.startswith(("https://", "timm:"))
        assert net.sha256 in net.url, "the digits are those of the address"
    assert "timm:NAME" in table
    wanted = "gl18-resnet50 gl18-resnet101 gl18-resnet152 sfm120k-resnet50 sfm120k-resnet101 "
    wanted += "sfm120k-resnet152 solar-resnet101 imagenet-resnet101 sscd_disc_mixup sscd_disc_large"
    assert set(wanted.split()) <= set(PUBLISHED)
    assert main(["nothing", "--out", "x.onnx"]) == 1
    assert "There is no published network 'nothing'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["gl18-resnet101"])
    assert "need --out" in capsys.readouterr().err


def test_the_published_table_is_read_whole():
    assert published.read_published() == PUBLISHED
    solar = PUBLISHED["solar-resnet101"].results
    assert solar["roxford5k"]["Hard"] == {"mAP": 47.91, "mP@10": 63.0}
    assert PUBLISHED["gl18-resnet101"].results["rparis6k"]["Medium"] == {"mAP": 80.6}
