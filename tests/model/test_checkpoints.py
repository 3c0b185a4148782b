"""Published file formats, written here with random weights exactly as their projects write them."""

from __future__ import annotations

import hashlib
import io
import os
import re
import zipfile

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from export import BadRecipe, Recipe, choose_recipe, to_onnx
from extractor import Extractor, seal
from model import (
    BadCheckpoint,
    GeMResNet,
    Whitening,
    learn_whitening,
    load_checkpoint,
    pca_whitening,
)
from model.checkpoints import checkpoint
from model.checkpoints.checkpoint import DIGESTS
from tests.model.test_model import plain_forward
from tests.support.networks import SMALL, TRUNK_DIM, narrow, traced_once

__all__ = ["narrow", "traced_once"]  # fixtures

META = {
    "architecture": SMALL,
    "pooling": "gem",
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
}


def random_state(output_dim: int | None = None, attention: bool = False) -> dict[str, torch.Tensor]:
    """A state dict in cirtorch's names with values under which every layer matters."""
    torch.manual_seed(4)
    network = GeMResNet(SMALL, output_dim, attention)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if name.endswith("running_var"):
                value.uniform_(0.5, 2)
            elif name.endswith(("running_mean", "bias")):
                value.uniform_(-0.1, 0.1)
            elif ".v." in name:
                value.normal_(0, 0.05)  # zero at the start of training, which would hide the block
        network.pool.p.fill_(2.9)
    return {k: v.clone() for k, v in network.state_dict().items()}


def random_names() -> list[str]:
    with torch.device("meta"):
        return list(GeMResNet(SMALL, None).state_dict())


def save(path, content):
    torch.save(content, path)
    return path


def describe(network, x: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return network(x)


@pytest.fixture(scope="module")
def x() -> torch.Tensor:
    torch.manual_seed(5)
    return torch.randn(2, 3, 96, 128)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_cirtorch_whitened_inside(tmp_path, x, legacy):
    state = random_state(TRUNK_DIM)
    meta = META | {
        "whitening": True,
        "local_whitening": False,
        "regional": False,
        "outputdim": TRUNK_DIM,
    }
    path = tmp_path / "gl18-tl-resnet50-gem-w.pth"
    content = {"meta": meta, "state_dict": state, "epoch": 3, "min_loss": np.float64(0.2)}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    network, provenance = load_checkpoint(path)
    torch.testing.assert_close(describe(network, x), plain_forward(state, x), rtol=1e-4, atol=1e-5)
    assert provenance.longest_side == 1024 and provenance.published_scales == pytest.approx(
        (1, 2**0.5, 2**-0.5)
    )
    assert provenance.learned_whitening == {} and choose_recipe(provenance).scales == (1.0,)


def test_cirtorch_without_counters_and_optional_meta(tmp_path):
    """Old files have no num_batches_tracked, and meta without the three booleans."""
    state = {k: v for k, v in random_state().items() if not k.endswith("num_batches_tracked")}
    network, _ = load_checkpoint(save(tmp_path / "old.pth", {"meta": META, "state_dict": state}))
    assert network.whiten is None and network.pool.p.item() == pytest.approx(2.9)


def test_cirtorch_whitened_afterwards(tmp_path, rng):
    one, other = (
        {"m": rng.normal(size=(TRUNK_DIM, 1)), "P": rng.normal(size=(TRUNK_DIM, TRUNK_DIM))}
        for _ in "12"
    )
    # The other data set's are the same two, the other way round: a file holds each but once.
    arrays = {
        "retrieval-SfM-120k": {"ss": one, "ms": other},
        "retrieval-SfM-30k": {"ss": other, "ms": one},
    }
    content = {"meta": META | {"whitening": False, "Lw": arrays}, "state_dict": random_state()}
    _, provenance = load_checkpoint(save(tmp_path / "retrievalSfM120k-resnet50-gem.pth", content))
    published = choose_recipe(provenance, scales="published")
    assert published.scales == pytest.approx((1, 2**-0.5, 0.5))
    for recipe, mode in ((published, "ms"), (choose_recipe(provenance), "ss")):
        stored = arrays["retrieval-SfM-120k"][mode]
        np.testing.assert_allclose(recipe.whitening.projection, stored["P"], rtol=1e-6)
        np.testing.assert_allclose(recipe.whitening.mean, stored["m"][:, 0], rtol=1e-6)
    assert len(choose_recipe(provenance, dim=64).whitening.projection) == 64
    with pytest.raises(BadRecipe, match="4096"):
        choose_recipe(provenance, dim=4096)


def test_solar(tmp_path, x):
    state = random_state(TRUNK_DIM, attention=True)
    names = {
        r"^features\.0\.": "features.conv1.0.",
        r"^features\.1\.": "features.conv1.1.",
        r"^features\.4\.": "features.conv2_x.2.",
        r"^features\.([567])\.": lambda m: f"features.conv{int(m[1]) - 2}_x.",
        r"^soa([45])\.": r"features.soa\1.",
    }
    solar = {}
    for key, value in state.items():
        for pattern, new in names.items():
            key, changed = re.subn(pattern, new, key)
            if changed:
                break
        solar[key] = value
    assert "features.conv3_x.0.conv1.weight" in solar and "features.soa5.v.bias" in solar
    meta = META | {"whitening": True, "soa": True, "soa_layers": "45"}
    network, _ = load_checkpoint(save(tmp_path / "solar.pth", {"meta": meta, "state_dict": solar}))

    def block(x, name):  # the published description, position by position
        def branch(part, y):
            y = F.conv2d(y, state[f"{name}.{part}.0.weight"], state[f"{name}.{part}.0.bias"])
            bn = [
                state[f"{name}.{part}.1.{k}"]
                for k in ("running_mean", "running_var", "weight", "bias")
            ]
            return F.relu(F.batch_norm(y, *bn))

        f, g = branch("f", x), branch("g", x)
        h = F.conv2d(x, state[f"{name}.h.weight"], state[f"{name}.h.bias"])
        b, m, rows, columns = f.shape
        mixed = torch.zeros_like(h)
        for i in range(rows * columns):
            at = f.flatten(2)[:, :, i]
            weights = torch.softmax(torch.einsum("bm,bmn->bn", at, g.flatten(2)) / m**0.5, dim=1)
            mixed.view(b, m, -1)[:, :, i] = torch.einsum("bn,bmn->bm", weights, h.flatten(2))
        return x + F.conv2d(mixed, state[f"{name}.v.weight"], state[f"{name}.v.bias"])

    with torch.inference_mode():
        to_layer3 = network.features[:-1](x)
        torch.testing.assert_close(
            network.soa4(to_layer3), block(to_layer3, "soa4"), rtol=1e-4, atol=1e-5
        )
        maps = block(network.features[-1](block(to_layer3, "soa4")), "soa5")
        torch.testing.assert_close(network.maps(x), maps, rtol=1e-4, atol=1e-4)


def test_torchvision(tmp_path, x, monkeypatch):
    monkeypatch.delitem(DIGESTS, "resnet50-0676ba61.pth")  # made here, not the published one
    state = random_state()
    names = {"features.0.": "conv1.", "features.1.": "bn1."} | {
        f"features.{n + 3}.": f"layer{n}." for n in range(1, 5)
    }
    flat = {"fc.weight": torch.zeros(10, TRUNK_DIM), "fc.bias": torch.zeros(10)}
    for key, value in state.items():
        prefix = next((old for old in names if key.startswith(old)), None)
        if prefix:
            flat[names[prefix] + key[len(prefix) :]] = value
    network, provenance = load_checkpoint(save(tmp_path / "resnet50-0676ba61.pth", flat))
    assert (
        network.whiten is None
        and network.pool.p.item() == 3
        and provenance.published_scales == (1.0,)
    )
    for key, value in state.items():
        if key != "pool.p" and not key.endswith("tracked"):
            assert torch.equal(network.state_dict()[key], value), key


class Evil:
    def __reduce__(self):
        return os.system, ("touch /tmp/never",)


@pytest.mark.parametrize(
    "content, sentence",
    [
        (
            {"meta": META, "state_dict": Evil()},
            "asks for .*system, and only tensors and plain values",
        ),
        ([1, 2], "holds a list"),
        ({"a": torch.ones(1)}, "no known kind; its first keys are a"),
        ({"meta": {"pooling": "gem"}, "state_dict": {}}, "meta lacks 'architecture'"),
        ({"meta": META | {"architecture": "vgg16"}, "state_dict": {}}, "its architecture is vgg16"),
        ({"meta": META | {"pooling": "gemmp"}, "state_dict": {}}, "only global GeM"),
        ({"meta": META | {"regional": True}, "state_dict": {}}, "only global GeM"),
        ({"meta": META | {"whitening": True}, "state_dict": {}}, "says whitening=True"),
    ],
)
def test_files_that_are_refused(tmp_path, content, sentence):
    with pytest.raises(BadCheckpoint, match=sentence):
        load_checkpoint(save(tmp_path / "file.pth", content))


NAMES = [name for name in random_names() if not name.endswith("tracked")]
LW = {"m": np.zeros((TRUNK_DIM, 1)), "P": np.eye(TRUNK_DIM)}


def with_weights(value):
    return {"meta": META, "state_dict": {"features.0.weight": value}}


def with_meta(**changes):
    return {"meta": META | changes, "state_dict": dict.fromkeys(NAMES, torch.zeros(1))}


def with_lw(**changes):
    arrays = {name: value for name, value in (LW | changes).items() if value is not None}
    return with_meta(Lw={"sfm": {"ss": arrays}})


class Made:
    """Pickled as a call of torch's or numpy's own."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


MALFORMED = {
    "weights in a list": (with_weights([1.0]), "features.0.weight is a list"),
    "weights that are a number": (with_weights(1.0), "features.0.weight is a float"),
    "weights that are nothing": (with_weights(None), "features.0.weight is nothing"),
    "weights in an array": (with_weights(np.ones(2)), "features.0.weight is a PlainArray"),
    "meta tensor": (
        with_weights(torch.empty(2, device="meta")),
        "features.0.weight is a tensor without values",
    ),
    "sparse": (with_weights(torch.eye(2).to_sparse()), "features.0.weight .*sparse_coo"),
    "sparse rows": (with_weights(torch.eye(2).to_sparse_csr()), "features.0.weight .*sparse_csr"),
    "quantised": (
        with_weights(torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)),
        "features.0.weight .*qint8",
    ),
    "complex": (
        with_weights(torch.ones(2, dtype=torch.complex64)),
        "features.0.weight .*complex64",
    ),
    "boolean": (with_weights(torch.ones(2, dtype=torch.bool)), "features.0.weight .*torch.bool"),
    "integer": (with_weights(torch.ones(2, dtype=torch.int32)), "features.0.weight .*int32"),
    "more values than its storage": (
        with_weights(torch.ones(1).expand(10**6)),
        "features.0.weight has more values than its storage",
    ),
    "late integer": (
        with_weights(torch.ones(2, dtype=torch.uint16)),
        "features.0.weight .*uint16|is damaged",
    ),
    "float8": (
        with_weights(torch.ones(2).to(torch.float8_e4m3fn)),
        "features.0.weight .*float8|is damaged",
    ),
    "state_dict that is a list": ({"meta": META, "state_dict": [1]}, "its state_dict is a list"),
    "state_dict that is a tensor": (
        {"meta": META, "state_dict": torch.ones(2)},
        "its state_dict is a Tensor",
    ),
    "no state_dict": ({"meta": META, "state_dict": None}, "its state_dict is nothing"),
    "integer keys": ({"meta": META, "state_dict": {7: torch.ones(1)}}, "key that is a int"),
    "endless key": (
        {"meta": META, "state_dict": {10**5000: torch.ones(1)}},
        "is damaged, or holds more",
    ),
    "no meta": (with_weights(torch.ones(1)) | {"meta": None}, "its meta is nothing"),
    "meta that is a list": (with_weights(torch.ones(1)) | {"meta": [1]}, "its meta is a list"),
    "architecture that is a list": (with_meta(architecture=[1]), "its architecture is a list"),
    "another architecture": (
        with_meta(architecture="resnet101"),
        f"meta says resnet101, its tensors are those of a {SMALL}",
    ),
    "no mean": (with_meta(mean=None), "its mean is not three numbers"),
    "mean of two": (with_meta(mean=[0.5, 0.5]), "its mean is not three numbers"),
    "mean of words": (with_meta(mean=["a", "b", "c"]), "its mean is not three numbers"),
    "mean without end": (with_meta(mean=[0.5, 0.5, float("inf")]), "its mean is not three numbers"),
    "std of zero": (with_meta(std=[0.2, 0, 0.2]), "its std is not three positive numbers"),
    "std below zero": (with_meta(std=[0.2, -1, 0.2]), "its std is not three positive numbers"),
    "Lw that is a list": (with_meta(Lw=[1]), "its Lw is a list"),
    "Lw of a list": (with_meta(Lw={"sfm": [1]}), "Lw of sfm is a list"),
    "Lw with integer keys": (with_meta(Lw={1: {}}), "its Lw is a dict, .* names for keys"),
    "Lw's mode a list": (with_meta(Lw={"sfm": {"ss": [1]}}), "Lw of sfm, ss is a list"),
    "Lw without P": (with_lw(P=None), "Lw of sfm, ss, P is nothing"),
    "Lw without m": (with_lw(m=None), "Lw of sfm, ss, m is nothing"),
    "Lw with P as a list": (with_lw(P=[[1.0]]), "Lw of sfm, ss, P is a list"),
    "Lw of integers": (with_lw(P=np.eye(TRUNK_DIM, dtype=int)), "P is a PlainArray, not .* floats"),
    "Lw of another dimension": (
        with_lw(m=np.zeros((64, 1)), P=np.eye(64)),
        rf"Lw of sfm has shapes \(64,\) and \(64, 64\), and the network has {TRUNK_DIM}",
    ),
    "Lw that is not square": (with_lw(P=np.zeros((64, TRUNK_DIM))), "Lw of sfm has shapes"),
    "Lw too large for float16": (
        with_lw(P=np.full((TRUNK_DIM, TRUNK_DIM), 1e5)),
        "P .* large for float16",
    ),
    "Lw that is not finite": (with_lw(m=np.full((TRUNK_DIM, 1), np.nan)), "m holds values"),
    "Lw of pointers": (
        with_lw(P=Made(np.ndarray, (1,), "O", b"A" * 8)),
        "it is damaged, or holds more",
    ),
    "Lw that is huge": (
        with_lw(P=Made(np._core.multiarray._reconstruct, np.ndarray, (10**12,), b"b")),
        "is damaged, or holds more",
    ),
    "no text in the first keys": ({7: 1}, "first keys are a int"),
}


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_checkpoints_are_refused_with_a_sentence(tmp_path, name, legacy):
    content, sentence = MALFORMED[name]
    path = tmp_path / "file.pth"
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(BadCheckpoint, match=f"file.pth: .*{sentence}") as caught:
        load_checkpoint(path)
    path.unlink()
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def spoiled(data: bytes, old: bytes, new: bytes) -> bytes:
    """A zip archive with other instructions in its data.pkl, with checksums that fit."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(out, "w") as archive:
        for entry in source.infolist():
            content = source.read(entry)
            if entry.filename.endswith("data.pkl"):
                assert old in content
                content = content.replace(old, new)
            archive.writestr(entry.filename, content)
    return out.getvalue()


@pytest.mark.parametrize(
    "old, new",
    [
        (b"cpuq\x12K\x06", b"cpuq\x12J\xff\xff\xff\xff"),  # the storage's length
        (b"cpuq\x12K\x06", b"cpuq\x12J\xff\xff\xff\x7f"),
        (b"K\x00K\x06\x85", b"K\x01K\x06\x85"),  # offset and shape
        (b"K\x00K\x06\x85", b"J\xff\xff\xff\xffK\x06\x85"),
        (b"K\x00K\x06\x85", b"K\x00K\x07\x85"),
        (b"K\x00K\x06\x85", b"K\x00)"),
        (b"X\x01\0\0\x000", b"X\x01\0\0\x009"),  # the storage's name
    ],
)
def test_tensors_that_do_not_fit_their_storage_are_refused(tmp_path, old, new):
    path = save(tmp_path / "file.pth", with_weights(torch.zeros(6)))
    path.write_bytes(spoiled(path.read_bytes(), old, new))
    with pytest.raises(BadCheckpoint, match="file.pth: it is damaged, or holds more"):
        load_checkpoint(path)


def test_a_flipped_byte_is_noticed(tmp_path):
    path = save(tmp_path / "file.pth", with_weights(torch.full((1000,), 0.5)))
    whole = path.read_bytes()
    weights = whole.index(np.full(1000, 0.5, np.float32).tobytes())
    for at in (weights, weights + 1999, weights + 3999, whole.index(b"architecture")):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        with pytest.raises(BadCheckpoint, match="it is damaged .*checksum"):
            load_checkpoint(path)


def test_a_flipped_byte_of_a_published_file_is_noticed(tmp_path, monkeypatch):
    """Those are of the legacy layout, which has no checksums; but their digests are known."""
    name = "resnet101-63fe2227.pth"
    assert checkpoint.DIGESTS[name] == checkpoint.DIGESTS["imagenet-resnet101.pth"] == "63fe2227"
    path = tmp_path / name
    torch.save(with_weights(torch.full((9,), 0.5)), path, _use_new_zipfile_serialization=False)
    whole = path.read_bytes()
    monkeypatch.setitem(checkpoint.DIGESTS, name, hashlib.sha256(whole).hexdigest()[:8])
    with pytest.raises(BadCheckpoint, match="mean|missing|unknown|trunk"):
        load_checkpoint(path)  # whole, if not a network
    at = whole.index(np.full(9, 0.5, np.float32).tobytes())
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
    with pytest.raises(BadCheckpoint, match="damaged or not the published file"):
        load_checkpoint(path)


def test_an_archive_that_is_not_torchs_is_refused(tmp_path):
    path = tmp_path / "file.pth"
    for how, sentence in (
        (zipfile.ZIP_DEFLATED, "compressed"),
        (zipfile.ZIP_STORED, "is damaged, or holds more"),
    ):
        with zipfile.ZipFile(path, "w", how) as archive:
            archive.writestr("a/b", b"0" * 1000)
        with pytest.raises(BadCheckpoint, match=sentence):
            load_checkpoint(path)


def test_damaged_pickle(tmp_path):
    path = save(tmp_path / "cut.pth", {"meta": META, "state_dict": random_state()})
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(BadCheckpoint, match="cut.pth: it is damaged"):
        load_checkpoint(path)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A net without whitening, used at three scales with a whitening learned afterwards, as the
    TPAMI nets are.
    """
    state = {k: v.half().float() if v.is_floating_point() else v for k, v in random_state().items()}
    folder = tmp_path_factory.mktemp("tpami")
    network, provenance = load_checkpoint(
        save(folder / "net.pth", {"meta": META, "state_dict": state})
    )
    rng = np.random.default_rng(6)
    whitening = Whitening(
        rng.normal(0, 0.01, TRUNK_DIM).astype(np.float32),
        rng.normal(size=(64, TRUNK_DIM)).astype(np.float32),
    )
    recipe = Recipe(160, (1.0, 2**-0.5, 0.5), whitening)
    (folder / "net.onnx").write_bytes(
        seal(to_onnx(network, provenance, recipe).SerializeToString())
    )
    return folder / "net.onnx", state, whitening


def test_multi_scale_descriptor_as_published(exported):
    """Against torch's own resampling and the rule written out."""
    path, state, whitening = exported
    extractor = Extractor(path)
    assert extractor.card.output_dim == 64 and extractor.card.msp == pytest.approx(
        state["pool.p"].item()
    )
    photo = np.random.default_rng(1).integers(0, 256, (101, 143, 3), np.uint8)
    tensor = torch.from_numpy(extractor.normalise(photo))[None]
    total = 0
    for scale in (1.0, 2**-0.5, 0.5):
        at = (
            tensor
            if scale == 1
            else F.interpolate(tensor, scale_factor=scale, mode="bilinear", align_corners=False)
        )
        p = state["pool.p"]
        maps = describe_maps(state, at)
        v = maps.clamp(min=1e-6).pow(p).mean(dim=(2, 3)).pow(1 / p)
        total = total + (v / (v.norm(dim=1, keepdim=True) + 1e-6)) ** p
    v = (total / 3) ** (1 / p)
    v = (v / v.norm()).numpy()
    half = whitening.projection.astype(np.float16).astype(np.float32)
    expected = (v - whitening.mean) @ half.T
    expected /= np.linalg.norm(expected) + 1e-6
    np.testing.assert_allclose(extractor.describe([photo]), expected, atol=2e-4)


def describe_maps(state, x):
    network = GeMResNet(SMALL, None)
    network.load_state_dict(state)
    with torch.inference_mode():
        return network.eval().maps(x)


def test_exported_file_reads_back_into_torch(exported, x):
    path, state, _ = exported
    network, provenance = load_checkpoint(path)
    for key, value in state.items():
        if not key.endswith("tracked"):
            assert torch.equal(network.state_dict()[key], value), key
    assert provenance.longest_side == 160


@pytest.mark.parametrize("scales", [(1.0,), (1.0, 0.5)])
def test_a_whitening_learned_afterwards_is_trained_on(exported, tmp_path, x, scales):
    """At one scale it is a layer of the network that comes back; after several it cannot be."""
    network, provenance = load_checkpoint(exported[0])
    recipe = Recipe(160, scales, exported[2])
    path = tmp_path / "net.onnx"
    path.write_bytes(seal(to_onnx(network, provenance, recipe).SerializeToString()))
    again, _ = load_checkpoint(path)
    with torch.inference_mode():
        whole, raw = again(x).numpy(), network(x).numpy()
    half = exported[2].projection.astype(np.float16).astype(np.float32)
    expected = Whitening(exported[2].mean, half)(raw) if scales == (1.0,) else raw
    np.testing.assert_allclose(whole, expected, atol=1e-6)


def test_region_is_cropped_then_shrunk_by_the_published_rule():
    from extractor.photo.crop import crop_region

    photo = np.zeros((600, 800, 3), np.uint8)
    photo[150:450, 200:600] = 255
    inside = crop_region(photo, (0.25, 0.25, 0.75, 0.75), 400)
    assert inside.shape == (150, 200, 3) and (inside == 255).all()
    assert crop_region(photo, (0, 0, 0.1, 0.1), 1024).shape == (60, 80, 3), "never enlarged"
    for region in ((0.5, 0, 0.5, 1), (-0.1, 0, 1, 1), (0, 0, 1, 1.1)):
        with pytest.raises(ValueError):
            crop_region(photo, region, 400)


def correlated_pairs(rng, count=400, dim=12):
    """Descriptors of `count` things in two views each; some directions differ between the views,
    others between things.
    """
    things = rng.normal(size=(count, dim)) * np.linspace(3, 0.5, dim)
    noise = np.linspace(0.2, 2, dim)
    views = np.stack([things + rng.normal(size=things.shape) * noise for _ in range(2)], 1)
    pairs = np.arange(2 * count).reshape(count, 2)
    return views.reshape(-1, dim).astype(np.float32), pairs


def test_learned_whitening_whitens_the_differences_of_pairs(rng):
    x, pairs = correlated_pairs(rng)
    learned = learn_whitening(x, pairs)
    y = (x - learned.mean) @ learned.projection.T
    within = (y[pairs[:, 0]] - y[pairs[:, 1]]).T @ (y[pairs[:, 0]] - y[pairs[:, 1]]) / len(pairs)
    np.testing.assert_allclose(within, np.eye(12), atol=1e-3)
    total = y.T @ y
    assert np.abs(total - np.diag(np.diag(total))).max() < 1e-3 * np.diag(total).max()
    assert (np.diff(np.diag(total)) <= 0).all(), "rows are sorted, so that the first d can be kept"
    assert np.linalg.norm(learned.truncated(3)(x), axis=1) == pytest.approx(1, abs=1e-4)


def test_learned_whitening_survives_too_few_pairs(rng):
    x, pairs = correlated_pairs(rng)
    assert np.isfinite(learn_whitening(x, pairs[:5])(x)).all()


def test_pca_whitening_gives_unit_covariance(rng):
    x, _ = correlated_pairs(rng)
    learned = pca_whitening(x)
    np.testing.assert_allclose(
        np.cov((x - learned.mean) @ learned.projection.T, rowvar=False, bias=True),
        np.eye(12),
        atol=1e-3,
    )
    flat = np.hstack([x, x[:, :2]])  # two directions without variance
    assert np.isfinite(pca_whitening(flat)(flat)).all()
