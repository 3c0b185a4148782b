"""Any ONNX network through one door: cut, pooled, whitened, and proved against the file it came
from.
"""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.__main__ import main
from export.backbone import read_backbone
from export.cut import BadBackbone
from extractor import Extractor, read_photo, resize
from model.whitening import power_whitening
from tests.conftest import GALLERY

CHANNELS = 12
PHOTOS = ("taj-mahal.jpg", "taj-mahal-2.jpg", "wine.jpg", "petra.jpg", "bulb.jpg", "igloo.jpg")


def network(height="h", width="w", batch="b", last=False, patch=4, tokens=False, opset=17):
    """A made network of one strided convolution: a map, its tokens, and a vector, as three outputs.

    patch: the stride. tokens: they are laid out by a Reshape that only fits sides that are
    multiples of the patch.
    """
    rng = np.random.default_rng(3)
    weight = rng.normal(0, 0.3, (CHANNELS, 3, patch, patch)).astype(np.float16).astype(np.float32)
    constants = {"weight": weight, "bias": rng.normal(0, 0.3, CHANNELS).astype(np.float32)}
    constants["layout"] = np.array([0, CHANNELS, -1], np.int64)
    nodes = []
    source = "pixels"
    if last:
        nodes.append(helper.make_node("Transpose", ["pixels"], ["first"], perm=[0, 3, 1, 2]))
        source = "first"
    nodes += [
        helper.make_node("Conv", [source, "weight", "bias"], ["conv"], strides=[patch, patch]),
        helper.make_node("Relu", ["conv"], ["map"]),
        helper.make_node("Reshape", ["conv", "layout"], ["flat"]),
        helper.make_node("Transpose", ["flat"], ["tokens"], perm=[0, 2, 1]),
        helper.make_node("GlobalAveragePool", ["map"], ["vector"]),
        helper.make_node("Sigmoid", ["vector"], ["unused"]),
    ]
    if (
        tokens
    ):  # position codes for each token, cut to the number that (h / patch) x (w / patch) asks for
        nodes[-3:-3] = []
        extra = [
            helper.make_node("Shape", [source], ["shape"]),
            helper.make_node("Div", ["shape", "patches"], ["grid"]),
            helper.make_node("Slice", ["grid", "two", "four"], ["sides"]),
            helper.make_node("Mul", ["shape", "one"], ["kept"]),
            helper.make_node("Slice", ["kept", "two", "four"], ["pixelsides"]),
            helper.make_node("Mul", ["sides", "back"], ["whole"]),
            helper.make_node("Concat", ["leading", "pixelsides"], ["wanted"], axis=0),
            helper.make_node("Concat", ["leading", "whole"], ["rounded"], axis=0),
            helper.make_node("Slice", [source, "zero4", "rounded"], ["checked"]),
            helper.make_node("Reshape", ["checked", "wanted"], ["same"]),
        ]
        constants |= {
            "patches": np.array([1, 1, patch, patch], np.int64),
            "one": np.array([1, 1, 1, 1], np.int64),
            "two": np.array([2], np.int64),
            "four": np.array([4], np.int64),
            "back": np.array([patch, patch], np.int64),
            "leading": np.array([1, 3], np.int64),
            "zero4": np.array([0, 0, 0, 0], np.int64),
        }
        at = next(i for i, node in enumerate(nodes) if node.op_type == "Conv")
        nodes[at].input[0] = "same"
        nodes[at:at] = extra
    shape = [batch, height, width, 3] if last else [batch, 3, height, width]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        for name in ("map", "tokens", "unused")
    ]
    graph = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, shape)],
        outputs,
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


@pytest.fixture
def folder(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in PHOTOS:
        (photos / name).write_bytes((GALLERY / name).read_bytes())
    (photos / "broken.jpg").write_bytes(b"x")
    (tmp_path / "groups.json").write_text('{"Taj Mahal": ["taj-mahal.jpg", "taj-mahal-2.jpg"]}')
    return tmp_path


def exported(folder, model, tensor, *more, size=96):
    """The command on a made network; the extractor of what it wrote."""
    onnx.save(model, str(folder / "made.onnx"))
    command = ["--backbone", str(folder / "made.onnx"), "--map", tensor, "--size", str(size)]
    command += ["--mean", "127", "--std", "128", "--out", str(folder / "out.onnx"), "--count", "2"]
    assert main([*command, *more]) == 0
    return Extractor(folder / "out.onnx")


def plain(photo, p, patch=4):
    """The descriptor of `network`'s map written out: every patch by itself, GeM, length 1. photo:
    uint8 (H, W, 3).
    """
    model = network(patch=patch)
    weight, bias = (numpy_helper.to_array(t) for t in model.graph.initializer[:2])
    x = ((photo.astype(np.float64) - 127) / 128).transpose(2, 0, 1)
    rows = []
    for top in range(0, x.shape[1] - patch + 1, patch):
        for left in range(0, x.shape[2] - patch + 1, patch):
            part = x[:, top : top + patch, left : left + patch]
            rows.append((weight * part).sum((1, 2, 3)) + bias)
    activations = np.maximum(np.array(rows), 1e-6)  # Relu, and GeM's clamp
    v = (activations**p).mean(0) ** (1 / p)
    return v / np.linalg.norm(v)


@pytest.mark.parametrize("opset", [13, 17, 18, 20])
@pytest.mark.parametrize("last", [False, True], ids=["channels first", "channels last"])
def test_a_map_is_pooled_by_gem(folder, opset, last, capsys):
    extractor = exported(folder, network(last=last, opset=opset), "map", "--p", "3")
    assert "map is a map of 12 channels" in capsys.readouterr().out
    photo = read_photo(GALLERY / "petra.jpg")
    np.testing.assert_allclose(
        extractor.describe([photo])[0], plain(resize(photo, 96), 3), atol=2e-5
    )
    card = extractor.card
    assert (card.p, card.output_dim, card.longest_side, card.max_batch) == (3, 12, 96, None)
    assert card.mean == pytest.approx([127 / 255] * 3) and card.std == pytest.approx(
        [128 / 255] * 3
    )


def test_what_the_tensor_does_not_need_is_cut_away(folder):
    exported(folder, network(), "map", "--p", "2")
    kinds = [node.op_type for node in onnx.load(str(folder / "out.onnx")).graph.node]
    assert "Sigmoid" not in kinds and "GlobalAveragePool" not in kinds


def test_tokens_are_pooled_over_all_of_them(folder):
    extractor = exported(folder, network(), "tokens", "--p", "1")
    photo = resize(read_photo(GALLERY / "wine.jpg"), 96)
    model = network()
    weight, bias = (numpy_helper.to_array(t) for t in model.graph.initializer[:2])
    h, w = (side // 4 * 4 for side in photo.shape[:2])
    x = ((photo[:h, :w].astype(np.float64) - 127) / 128).transpose(2, 0, 1)
    blocks = x.reshape(3, h // 4, 4, w // 4, 4)
    mean = np.einsum("kcij,chiwj->k", weight, blocks) / (h // 4 * (w // 4)) + bias
    np.testing.assert_allclose(
        extractor.describe([photo])[0], mean / np.linalg.norm(mean), atol=2e-5
    )


def test_a_vector_is_taken_as_it_is(folder, capsys):
    extractor = exported(folder, network(), "vector")
    photo = resize(read_photo(GALLERY / "petra.jpg"), 96)
    np.testing.assert_allclose(extractor.describe([photo])[0], plain(photo, 1), atol=2e-5)
    assert extractor.card.p is None
    command = ["--backbone", str(folder / "made.onnx"), "--map", "vector", "--size", "96"]
    command += ["--mean", "0", "--std", "1", "--out", str(folder / "x.onnx"), "--p", "3"]
    assert main(command) == 1
    assert "pooled already" in capsys.readouterr().err and not (folder / "x.onnx").exists()


@pytest.mark.parametrize("batch", ["b", 1])
def test_a_network_for_one_size_sees_photos_stretched(folder, batch, capsys):
    extractor = exported(folder, network(64, 48, batch), "map", "--p", "2", size=64)
    assert "stretched to 48 x 64 pixels" in capsys.readouterr().out
    photos = [read_photo(GALLERY / name) for name in PHOTOS[:3]]
    alone = np.concatenate([extractor.describe([photo]) for photo in photos])
    np.testing.assert_allclose(extractor.describe(photos + photos[:1])[:3], alone, atol=1e-5)
    exact = photos[0][:64, :48]
    np.testing.assert_allclose(extractor.describe([exact])[0], plain(exact, 2), atol=2e-5)


def test_a_network_that_wants_multiples_gets_them(folder, capsys):
    model = network(batch=1, patch=14, tokens=True)
    extractor = exported(folder, model, "map", "--p", "2")
    assert "multiples of 14" in capsys.readouterr().out
    exact = read_photo(GALLERY / "petra.jpg")[:84, :70]
    np.testing.assert_allclose(extractor.describe([exact])[0], plain(exact, 2, 14), atol=2e-5)
    assert extractor.card.max_batch == 1, "its layout names a batch of one"
    assert extractor.describe([exact, exact]).shape == (2, 12)


def test_exponent_is_chosen_on_labelled_photos_and_whitening_learned(folder, capsys):
    more = ["--photos", str(folder / "photos"), "--whiten", str(folder / "photos"), "--dim", "5"]
    (folder / "photos" / "broken.jpg").unlink()
    extractor = exported(folder, network(), "map", *more)
    printed = capsys.readouterr().out
    assert "GeM p = " in printed and "whitening learned on 6 photos, 5 dimensions kept" in printed
    assert extractor.card.output_dim == 5
    pooled = np.stack(
        [plain(resize(read_photo(GALLERY / n), 96), extractor.card.p) for n in sorted(PHOTOS)]
    )
    expected = power_whitening(pooled).truncated(5)(pooled)
    found = extractor.describe([read_photo(GALLERY / n) for n in sorted(PHOTOS)])
    assert np.abs((found * expected).sum(1)).min() > 0.999


def test_power_whitening_evens_out_the_directions(rng):
    x = rng.normal(size=(500, 8)) * np.linspace(3, 0.5, 8)
    learned = power_whitening(x, -0.25)
    y = x @ learned.projection.T
    moments = y.T @ y / len(y)
    values = np.linalg.eigvalsh(x.T @ x / len(x))[::-1]
    np.testing.assert_allclose(np.diag(moments), values**0.5 * values[0] ** 0.5, rtol=1e-4)
    assert np.abs(moments - np.diag(np.diag(moments))).max() < 1e-4


def pixels(model: onnx.ModelProto):
    """The type of the network's input."""
    return model.graph.input[0].type.tensor_type


def four_channels(model):
    pixels(model).shape.dim[1].dim_value = 4


def old_operators(model):
    model.opset_import[0].version = 9


def whole_numbers(model):
    pixels(model).elem_type = TensorProto.INT64


def unknown_operator(model):
    model.graph.node[0].op_type = "NoSuch"


def weights_elsewhere(model):
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL


@pytest.mark.parametrize(
    "change, sentence",
    [
        (four_channels, "4 channels"),
        (old_operators, "operator set 9"),
        (whole_numbers, "not a batch of photos"),
        (unknown_operator, "does not run"),
        (weights_elsewhere, "in other files"),
    ],
)
def test_networks_that_are_refused(tmp_path, change, sentence):
    model = network()
    change(model)
    (tmp_path / "x.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(BadBackbone, match=sentence):
        read_backbone(tmp_path / "x.onnx", "map", [0], [1], 96)


def test_what_is_asked_of_a_network_is_checked(tmp_path):
    onnx.save(network(), str(tmp_path / "x.onnx"))
    for arguments, sentence in (
        (("none", [0], [1]), "no tensor 'none'; its outputs are map, tokens"),
        (("map", [0, 1], [1]), "one number or three"),
        (("map", [0], [0]), "above 0"),
    ):
        with pytest.raises(BadBackbone, match=sentence):
            read_backbone(tmp_path / "x.onnx", *arguments, 96)
    (tmp_path / "x.onnx").write_bytes(b"no model")
    with pytest.raises(BadBackbone, match="damaged or no ONNX"):
        read_backbone(tmp_path / "x.onnx", "map", [0], [1], 96)
    with pytest.raises(FileNotFoundError):
        read_backbone(tmp_path / "none.onnx", "map", [0], [1], 96)
