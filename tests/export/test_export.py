"""The ONNX file gives torch's descriptors, keeps torch's parameters, and nothing else passes for
it.
"""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save_file

from export import Recipe, check_parity, original_in_torch, to_onnx
from export import __main__ as command
from extractor import DEFAULT_MODEL, BadModel, Extractor, read_photo, resize, seal
from model import (
    BadCheckpoint,
    GeMResNet,
    Provenance,
    learn_whitening,
    load_checkpoint,
    pca_whitening,
)
from model.checkpoints.weight_parts import split_weights
from model.depth import with_depth, without_idle_blocks
from tests.conftest import GALLERY
from tests.support.networks import SMALL, TRUNK_DIM, narrow, published_width, traced_once

__all__ = ["narrow", "published_width", "traced_once"]  # fixtures


@pytest.fixture(scope="module")
def network() -> GeMResNet:
    torch.manual_seed(2)
    network = GeMResNet(SMALL, output_dim=32).eval()
    with torch.no_grad():
        for parameter in (
            network.parameters()
        ):  # what the file can hold, so that parity tests the graph and not rounding
            parameter.copy_(parameter.half().float())
        network.pool.p.fill_(2.7)
    return network


@pytest.fixture(scope="module")
def proto(network) -> onnx.ModelProto:
    return to_onnx(
        network, Provenance(longest_side=200, training="random", licence="CC0-1.0"), Recipe(200)
    )


@pytest.fixture(scope="module")
def onnx_path(proto, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "net.onnx"
    path.write_bytes(seal(proto.SerializeToString()))
    return path


def initialisers(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def test_initialisers_are_the_parameters_by_name_in_half_precision(network, proto):
    found = initialisers(proto)
    for name, value in network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        np.testing.assert_array_equal(found[name].astype(np.float32), value.numpy(), err_msg=name)
        half = name.endswith((".weight", ".bias"))
        assert found[name].dtype == (np.float16 if half else np.float32), name
    assert not [
        t.name for t in proto.graph.initializer if t.HasField("data_location") and t.data_location
    ]


def test_blocks_that_are_the_identity_are_left_out_and_come_back_in_torch(network, proto, tmp_path):
    deeper = with_depth(network, "resnet50")
    exported = to_onnx(deeper, Provenance(200), Recipe(200))
    assert [node.op_type for node in exported.graph.node] == [n.op_type for n in proto.graph.node]
    found, expected = initialisers(exported), initialisers(proto)
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], expected[name]) for name in expected)
    path = tmp_path / "deeper.onnx"
    path.write_bytes(seal(exported.SerializeToString()))
    assert Extractor(path).card.architecture == "resnet50"
    again, _ = load_checkpoint(path)
    assert again.architecture == "resnet50"
    x = torch.randn(2, 3, 64, 80)
    with torch.inference_mode():
        torch.testing.assert_close(again(x), network(x), rtol=0, atol=0)
        deeper.features[6][2].bn3.bias.fill_(1e-3)  # a block that has learned something
    assert without_idle_blocks(deeper).architecture == "resnet50"


def test_batch_height_and_width_are_free(onnx_path):
    model = Extractor(onnx_path)
    for shape in ((1, 3, 64, 64), (3, 3, 40, 200), (2, 3, 333, 97)):
        assert model.describe_batch(np.zeros(shape, np.float32)).shape == (shape[0], 32)


def test_metadata_describes_the_file(onnx_path):
    card = Extractor(onnx_path).card
    assert (card.architecture, card.output_dim, card.longest_side, card.licence) == (
        SMALL,
        32,
        200,
        "CC0-1.0",
    )
    assert card.p == pytest.approx(2.7) and card.std == (0.229, 0.224, 0.225)


def test_onnx_equals_torch_on_real_photos(network, onnx_path):
    original = original_in_torch(network, Provenance(200), Recipe(200))
    rows = check_parity(
        original, onnx_path, [GALLERY / "taj-mahal.jpg", GALLERY / "eiffel-tower.jpg"]
    )
    assert {row.aspect for row in rows} == {"as taken", "1:1", "3:1", "1:3"} and len(
        {r.longest_side for r in rows}
    ) == 4
    assert min(row.min_cosine for row in rows) > 0.999999
    assert max(row.max_difference for row in rows) < 1e-4


def test_shipped_file_equals_torch_on_real_photos(published_width):
    """The shipped file, read back into the torch network with its whitening, gives what onnxruntime
    gives.
    """
    assert DEFAULT_MODEL.stat().st_size < 100e6
    network, provenance = load_checkpoint(DEFAULT_MODEL)
    assert network.architecture == "resnet101" and network.output_dim == 512
    original = original_in_torch(network, provenance, Recipe(320))
    rows = check_parity(original, DEFAULT_MODEL, [GALLERY / "colosseum.jpg"])
    assert min(row.min_cosine for row in rows) >= 0.9999


def test_command_writes_nothing_when_parity_fails(network, tmp_path, monkeypatch, capsys):
    checkpoint, out = tmp_path / "net.safetensors", tmp_path / "out" / "net.onnx"
    save_file(
        {k: v for k, v in network.state_dict().items() if not k.endswith("tracked")}, checkpoint
    )
    arguments = [
        "--checkpoint",
        str(checkpoint),
        "--out",
        str(out),
        "--count",
        "1",
        "--licence",
        "CC0-1.0",
    ]
    monkeypatch.setattr("export.parity.MIN_COSINE", 1.1)
    assert command.main(arguments) == 1
    assert "disagree" in capsys.readouterr().err and list(out.parent.iterdir()) == []
    monkeypatch.undo()
    assert command.main(arguments) == 0
    assert "min cosine" in capsys.readouterr().out
    assert Extractor(out).card.licence == "CC0-1.0" and list(out.parent.iterdir()) == [out]


def test_command_names_what_is_wrong_with_a_checkpoint(tmp_path, capsys):
    (tmp_path / "x.safetensors").write_bytes(b"not a checkpoint")
    assert (
        command.main(
            ["--checkpoint", str(tmp_path / "x.safetensors"), "--out", str(tmp_path / "x.onnx")]
        )
        == 1
    )
    assert "x.safetensors: it is damaged or not a safetensors file" in capsys.readouterr().err
    assert not (tmp_path / "x.onnx").exists()


def test_damaged_models_are_refused(onnx_path, tmp_path):
    whole = onnx_path.read_bytes()
    half = len(whole) // 2
    changed = whole[:half] + bytes([whole[half] ^ 1]) + whole[half + 1 :]  # one bit of one weight
    for data in (whole[:half], changed, whole[:-1], whole + b"x", b"", b"not a model"):
        (tmp_path / "damaged.onnx").write_bytes(data)
        with pytest.raises(BadModel, match="damaged.onnx is damaged, or not a descriptor model"):
            Extractor(tmp_path / "damaged.onnx")
        with pytest.raises(BadCheckpoint, match="damaged.onnx: it is damaged"):
            load_checkpoint(tmp_path / "damaged.onnx")
    with pytest.raises(FileNotFoundError):
        Extractor(tmp_path / "none.onnx")


def test_foreign_models_are_refused(tmp_path):
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "g",
        [value("x", TensorProto.FLOAT, [1])],
        [value("y", TensorProto.FLOAT, [1])],
    )
    foreign = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(foreign, str(tmp_path / "foreign.onnx"))
    with pytest.raises(BadModel, match="foreign.onnx is damaged, or not a descriptor model"):
        Extractor(tmp_path / "foreign.onnx")
    (tmp_path / "foreign.onnx").write_bytes(seal(foreign.SerializeToString()))
    with pytest.raises(BadModel, match="not a descriptor model"):
        Extractor(tmp_path / "foreign.onnx")


def test_model_that_gives_no_numbers_is_refused(proto, tmp_path):
    model = onnx.ModelProto()
    model.CopyFrom(proto)
    (p,) = [tensor for tensor in model.graph.initializer if tensor.name == "pool.p"]
    p.CopyFrom(numpy_helper.from_array(np.full(1, np.nan, np.float32), "pool.p"))
    (tmp_path / "nan.onnx").write_bytes(seal(model.SerializeToString()))
    with pytest.raises(BadModel, match="length 1"):
        Extractor(tmp_path / "nan.onnx")


def test_model_with_outside_weights_is_refused(proto, tmp_path):
    """External data is a way to read other files; the shipped kind of model never needs it."""
    model = onnx.ModelProto()
    model.CopyFrom(proto)
    onnx.save(
        model,
        str(tmp_path / "outside.onnx"),
        save_as_external_data=True,
        location="outside.bin",
        size_threshold=0,
    )
    with pytest.raises(BadModel):
        Extractor(tmp_path / "outside.onnx")


@pytest.mark.parametrize(
    "facts, sentence",
    [
        ({"gem.schema": "99"}, "schema 99"),
        ({"gem.schema": "1"}, "schema 1;.*Export it again"),
    ],
)
def test_metadata_of_other_versions_is_refused(proto, tmp_path, facts, sentence):
    model = onnx.ModelProto()
    model.CopyFrom(proto)
    helper.set_model_props(model, {p.key: p.value for p in model.metadata_props} | facts)
    (tmp_path / "other.onnx").write_bytes(seal(model.SerializeToString()))
    with pytest.raises(BadModel, match=sentence):
        Extractor(tmp_path / "other.onnx")


def test_a_parameter_that_float16_would_spoil_is_stored_whole(tmp_path, capsys):
    """A filter above float16's range: half precision cannot hold it, float32 does."""
    torch.manual_seed(4)
    network = GeMResNet(SMALL, None).eval()
    with torch.no_grad():
        network.features[0].weight.mul_(1e6)
        network.features[1].running_var.mul_(1e12)
    state = {k: v for k, v in network.state_dict().items() if not k.endswith("tracked")}
    save_file(state, tmp_path / "net.safetensors", metadata={"image_size": "64"})
    command_line = ["--checkpoint", str(tmp_path / "net.safetensors"), "--count", "1"]
    assert command.main([*command_line, "--out", str(tmp_path / "net.onnx")]) == 0
    assert "parameters as float32" in capsys.readouterr().out
    found = initialisers(onnx.load(str(tmp_path / "net.onnx")))
    np.testing.assert_array_equal(found["features.0.weight"], network.features[0].weight.detach())


def test_weights_in_parts_are_exported_as_the_whole_is(network, tmp_path, capsys):
    state = {k: v for k, v in network.state_dict().items() if not k.endswith("tracked")}
    whole, parts = tmp_path / "net.safetensors", tmp_path / "parts"
    save_file(state, whole, metadata={"image_size": "64", "licence": "CC0-1.0"})
    split_weights(whole, parts, 10**5)
    assert len(list(parts.glob("*.part"))) > 1
    for given, out in ((whole, "whole.onnx"), (parts, "joined.onnx")):
        arguments = ["--checkpoint", str(given), "--out", str(tmp_path / out), "--count", "1"]
        assert command.main(arguments) == 0, capsys.readouterr().err
    assert (tmp_path / "whole.onnx").read_bytes() == (tmp_path / "joined.onnx").read_bytes()


def test_a_stored_whitening_can_be_left_out(tmp_path, capsys):
    torch.manual_seed(5)
    network = GeMResNet(SMALL, None).eval()
    state = network.state_dict()
    rng = np.random.default_rng(1)
    lw = {
        "ss": {
            "m": rng.normal(0, 0.01, (TRUNK_DIM, 1)),
            "P": np.linalg.qr(rng.normal(size=(TRUNK_DIM, TRUNK_DIM)))[0],
        }
    }
    meta = {"architecture": SMALL, "pooling": "gem", "whitening": False}
    meta |= {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "Lw": {"sfm": lw}}
    torch.save({"meta": meta, "state_dict": state}, tmp_path / "net.pth")
    command_line = [
        "--checkpoint",
        str(tmp_path / "net.pth"),
        "--count",
        "1",
        "--longest-side",
        "64",
    ]
    for more, dim in ((["--dim", "16"], 16), (["--no-whitening"], TRUNK_DIM)):
        assert command.main([*command_line, *more, "--out", str(tmp_path / "net.onnx")]) == 0
        printed = capsys.readouterr().out
        assert ("whitening learned afterwards" in printed) == ("--no-whitening" not in more)
        assert Extractor(tmp_path / "net.onnx").card.output_dim == dim
    assert (
        command.main([*command_line, "--scales", "1,0.5", "--out", str(tmp_path / "x.onnx")]) == 1
    )
    assert "--no-whitening" in capsys.readouterr().err


@pytest.mark.parametrize("paired", [False, True], ids=["PCA", "Lw"])
def test_whitening_is_learned_from_a_folder_and_saved_with_the_model(tmp_path, paired, capsys):
    torch.manual_seed(5)  # the network of the test above, which is traced once
    plain = GeMResNet(SMALL, None).eval()
    state = {k: v for k, v in plain.state_dict().items() if not k.endswith("tracked")}
    save_file(state, tmp_path / "net.safetensors", metadata={"image_size": "64"})
    folder = tmp_path / "photos"
    folder.mkdir()
    names = [f"{thing}{n}.jpg" for thing in ("hammer-", "fish-", "windmill-") for n in (1, 2, 3, 4)]
    for name in names:
        (folder / name).write_bytes((GALLERY / name).read_bytes())
    (folder / "broken.jpg").write_bytes(b"x")
    groups = {
        thing: [n for n in names if n.startswith(thing)] for thing in ("hammer", "fish", "windmill")
    }
    (tmp_path / "groups.json").write_text(json.dumps(groups))
    arguments = [
        "--checkpoint",
        tmp_path / "net.safetensors",
        "--out",
        tmp_path / "net.onnx",
        "--count",
        "1",
    ]
    arguments += ["--whiten-on", folder, "--dim", "6"] + (
        ["--groups", tmp_path / "groups.json"] if paired else []
    )
    assert command.main([str(a) for a in arguments]) == 0
    assert "whitening learned afterwards, to 6 dimensions" in capsys.readouterr().out

    extractor = Extractor(tmp_path / "net.onnx")
    photos = [read_photo(folder / name) for name in names]
    with torch.inference_mode():
        x = np.concatenate(
            [
                plain(torch.from_numpy(extractor.normalise(resize(p, 64))[None])).numpy()
                for p in photos
            ]
        )
    if paired:
        rows = {name: i for i, name in enumerate(names)}
        pairs = [
            (rows[a], rows[b]) for g in groups.values() for i, a in enumerate(g) for b in g[i + 1 :]
        ]
        expected = learn_whitening(x, np.array(pairs))
    else:
        expected = pca_whitening(x)
    found = extractor.describe(photos)
    assert found.shape == (12, 6)
    # Signs of eigenvectors are free: compare what does not depend on them.
    np.testing.assert_allclose(found @ found.T, (y := expected.truncated(6)(x)) @ y.T, atol=0.05)


def test_whitening_says_what_is_wrong_with_its_groups(tmp_path, capsys):
    save_file(
        {k: v for k, v in GeMResNet(SMALL, None).state_dict().items() if not k.endswith("tracked")},
        tmp_path / "net.safetensors",
    )
    (tmp_path / "a.jpg").write_bytes((GALLERY / "wine.jpg").read_bytes())
    (tmp_path / "b.jpg").write_bytes((GALLERY / "dune.jpg").read_bytes())
    (tmp_path / "groups.json").write_text('{"x": ["a.jpg", "c.jpg"]}')
    arguments = [
        "--checkpoint",
        tmp_path / "net.safetensors",
        "--out",
        tmp_path / "net.onnx",
        "--longest-side",
        "64",
    ]
    arguments += ["--whiten-on", tmp_path, "--groups", tmp_path / "groups.json"]
    assert command.main([str(a) for a in arguments]) == 1
    assert "names 'c.jpg', which is not among the photos" in capsys.readouterr().err
