"""Published against measured: a made network and a made data set, from a server of our own."""

from __future__ import annotations

import dataclasses
import io
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from evaluation.__main__ import main
from evaluation.datasets import catalogue, read_dataset
from evaluation.datasets.catalogue import published_sets
from model.checkpoints.published import PUBLISHED
from tests.evaluation.test_named_datasets import photo_bytes, tar_of
from tests.export.test_named_networks import publish
from tests.model.test_checkpoints import META, random_state
from tests.model.test_model import plain_forward
from tests.support.file_server import serving

NETWORK = "gl18-resnet101"
SCALES = (1.0, 2**0.5, 2**-0.5)
TRUTH = {
    "imlist": [f"g{n}" for n in range(8)],
    "qimlist": ["q0", "q1"],
    "gnd": [
        {"bbx": [16.0, 16.0, 112.0, 80.0], "easy": [0, 1], "hard": [2, 5], "junk": [3]},
        {"bbx": [0.0, 0.0, 128.0, 96.0], "easy": [4], "hard": [6, 7], "junk": []},
    ],
}
EXPECTED = {"Medium": {"mAP": 70.0, "mP@10": 50.0}, "Hard": {"mAP": 40.0}}


def normalised(photo: Image.Image) -> torch.Tensor:
    mean, std = (torch.tensor(META[name])[:, None, None] for name in ("mean", "std"))
    return ((torch.from_numpy(np.array(photo)).permute(2, 0, 1) / 255 - mean) / std)[None]


def state_for(photos: dict[str, bytes]) -> dict[str, torch.Tensor]:
    """Random weights whose whitening takes off the photos' mean: nothing is nearly alike then."""
    state = random_state(2048)
    bare = state | {"whiten.weight": torch.eye(2048), "whiten.bias": torch.zeros(2048)}
    seen = [Image.open(io.BytesIO(content)).convert("RGB") for content in photos.values()]
    mean = torch.cat([plain_forward(bare, normalised(photo)) for photo in seen]).mean(0)
    state["whiten.bias"] = -state["whiten.weight"] @ mean
    return state


@pytest.fixture
def online(tmp_path, monkeypatch):
    """A server with a made network and a made data set, and their published figures."""
    with serving(tmp_path / "served") as server:
        monkeypatch.setenv("GEM_MIRRORS", server.address)
        monkeypatch.chdir(tmp_path)
        names = [*TRUTH["imlist"], *TRUTH["qimlist"]]
        photos = {f"{name}.jpg": photo_bytes(n, (128, 96)) for n, name in enumerate(names)}
        file = io.BytesIO()
        torch.save({"meta": META | {"whitening": True}, "state_dict": state_for(photos)}, file)
        publish(monkeypatch, server, NETWORK, file.getvalue())
        net = PUBLISHED[NETWORK]
        made = dataclasses.replace(net, side=128, results={"roxford5k": EXPECTED})
        monkeypatch.setitem(PUBLISHED, NETWORK, made)
        table = (catalogue.HERE / "published.json").read_text("utf-8")
        table = re.sub(r' "sha256": "\w+",', "", table)
        table = re.sub(r'"url": "(https?)://[^/]+', r'"url": "\1://example.invalid', table)
        here = tmp_path / "here"
        here.mkdir()
        (here / "published.json").write_text(table)
        monkeypatch.setattr(catalogue, "HERE", here)
        published_sets.cache_clear()
        truth, archive = (piece.remote.url for piece in published_sets()["roxford5k"].pieces)
        server.put(truth, pickle.dumps(TRUTH, protocol=2))
        server.put(archive, tar_of(photos))
        server.photos = photos
        yield server
        published_sets.cache_clear()


def published_descriptor(state, path: Path, box=None) -> np.ndarray:
    """The published arithmetic, written out: crop, normalise, scales, mean, length one."""
    photo = Image.open(path).convert("RGB")
    if box:
        photo = photo.crop(tuple(int(x) for x in box))
    x = normalised(photo)
    total = torch.zeros(())
    for scale in SCALES:
        seen = x
        if scale != 1:
            seen = F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)
        with torch.inference_mode():
            total = total + plain_forward(state, seen)[0]
    v = (total / len(SCALES)).numpy()
    return v / np.linalg.norm(v)


def test_published_and_measured_stand_side_by_side(online, tmp_path, capsys):
    assert main(["reproduce", NETWORK, "roxford5k"]) == 0
    printed = capsys.readouterr().out

    root = tmp_path / "downloads" / "roxford5k"
    benchmark = read_dataset("roxford5k", root)
    state = state_for(online.photos)
    gallery = np.stack([published_descriptor(state, root / "jpg" / f) for f in benchmark.gallery])
    values: dict[str, list[dict[str, float]]] = {}
    for query, entry in zip(benchmark.queries, TRUTH["gnd"]):
        cosines = gallery @ published_descriptor(state, query.photo, entry["bbx"])
        assert np.diff(np.sort(cosines)).min() > 1e-3, "no order hangs on a last digit"
        ranking = [benchmark.gallery[i] for i in np.argsort(-cosines, kind="stable")]
        for setup, found in benchmark.judge(query, ranking).items():
            values.setdefault(setup, []).append(found)
    expected = {}
    for setup in ("Easy", "Medium", "Hard"):
        for metric in ("mAP", "mP@10"):
            measured = 100 * np.mean([found[metric] for found in values[setup]])
            known = EXPECTED.get(setup, {}).get(metric)
            difference = "-" if known is None else f"{measured - known:+.1f}"
            known = "-" if known is None else f"{known:.1f}"
            expected[setup, metric] = (known, f"{measured:.1f}", difference)
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in printed.splitlines()
        if line.startswith("| roxford5k")
    ]
    assert {(row[1], row[2]): tuple(row[3:]) for row in rows} == expected
    assert "longest side 128, scales 1, 1.414, 0.7071, whitening inside" in printed
    assert PUBLISHED[NETWORK].source in printed and "Measured: commit " in printed
    assert "Not the published data set: 8 gallery photos" in printed

    asked = len(online.requests)
    assert main(["reproduce", NETWORK, "roxford5k"]) == 0
    assert len(online.requests) == asked, "everything is there"


def test_what_has_no_published_results_is_refused(online, capsys):
    for name in ("imagenet-resnet101", "sscd_disc_mixup"):
        assert main(["reproduce", name, "roxford5k"]) == 1
        assert f"{name} has no published results" in capsys.readouterr().err
    assert main(["reproduce", "nothing", "roxford5k"]) == 1
    assert "There is no published network 'nothing'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["reproduce", NETWORK, "gallery"])
