"""Growing, teachers, and distillation runs that stop and go on."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch.nn import functional as F

from model import GeMResNet, load_checkpoint
from model.__main__ import main
from model.grow import grow
from model.training.config import read_config
from model.training.distill import Distillation, DistillConfig, map_loss, stage_maps
from model.training.teacher import BadTeacher, Teacher
from tests.test_training import small_photo


def test_a_grown_network_computes_what_the_small_one_did():
    torch.manual_seed(0)
    small = GeMResNet("resnet50", 8).eval()
    for module in small.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_var.uniform_(0.5, 2)
            module.bias.data.uniform_(-0.1, 0.1)
    x = torch.randn(2, 3, 64, 80)
    for architecture, blocks in (("resnet101", 33), ("resnet152", 50)):
        large = grow(small, architecture)
        assert sum(len(stage) for stage in large.features[4:]) == blocks
        with torch.inference_mode():
            torch.testing.assert_close(large(x), small(x), rtol=0, atol=0)
    new = large.features[6][20]
    large.train()
    large(x).square().sum().backward()
    assert new.bn3.weight.grad.abs().sum() > 0, "the new blocks can learn"
    with pytest.raises(ValueError, match="more blocks"):
        grow(large, "resnet50")


@pytest.fixture(scope="module")
def teacher_path(tmp_path_factory):
    """Two strided convolutions and a pooled output; the map of stride 4 lies inside the graph."""
    rng = np.random.default_rng(0)
    weights = {
        "w1": rng.normal(size=(5, 3, 4, 4)).astype(np.float32),
        "w2": rng.normal(size=(7, 5, 8, 8)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["photo", "w1"], ["stride4"], strides=[4, 4]),
        helper.make_node("Conv", ["stride4", "w2"], ["stride32"], strides=[8, 8]),
        helper.make_node("GlobalAveragePool", ["stride32"], ["pooled"]),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "teacher",
        [value("photo", TensorProto.FLOAT, ["b", 3, "h", "w"])],
        [value("pooled", TensorProto.FLOAT, ["b", 7, 1, 1])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    path = tmp_path_factory.mktemp("teacher") / "teacher.onnx"
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
        str(path),
    )
    return path, weights


def test_teacher_gives_inner_maps_and_its_descriptor(teacher_path):
    path, weights = teacher_path
    photos = np.random.default_rng(1).integers(0, 256, (2, 64, 96, 3), np.uint8)
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
    maps, pooled = Teacher(path, ["stride4", "stride32"], "pooled", mean, std)(photos)
    x = torch.from_numpy(((photos / 255 - mean) / std).transpose(0, 3, 1, 2).astype(np.float32))
    first = F.conv2d(x, torch.from_numpy(weights["w1"]), stride=4)
    second = F.conv2d(first, torch.from_numpy(weights["w2"]), stride=8)
    np.testing.assert_allclose(maps[0], first.numpy(), atol=1e-3)
    np.testing.assert_allclose(maps[1], second.numpy(), atol=1e-2)
    np.testing.assert_allclose(pooled, second.mean((2, 3)).numpy(), atol=1e-2)
    _, averaged = Teacher(path, ["stride32"], "", mean, std)(photos)
    np.testing.assert_allclose(averaged, pooled, atol=1e-3)
    with pytest.raises(BadTeacher, match="no tensor 'stride8'"):
        Teacher(path, ["stride8"], "", mean, std)


def test_bad_teacher_file(tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"no model")
    with pytest.raises(BadTeacher, match="damaged"):
        Teacher(tmp_path / "x.onnx", ["a"], "", (0,) * 3, (1,) * 3)


def test_map_loss_by_hand():
    """A teacher's map of twice the size is averaged over 2 x 2; then 1 - cosine over channels, mean over positions."""
    student = torch.tensor(
        [[[[1.0, 0.0]], [[0.0, 2.0]]]]
    )  # (1, 2, 1, 2): vectors (1, 0) and (0, 2)
    teacher = torch.zeros(1, 2, 2, 4)
    teacher[0, 0, :, :2] = torch.tensor([[4.0, 0], [0, 0]])  # averages to (1, 0): cosine 1
    teacher[0, 0, :, 2:] = 1.0
    teacher[0, 1, :, 2:] = 1.0  # averages to (1, 1): cosine with (0, 2) is 1/sqrt 2
    assert map_loss(student, teacher).item() == pytest.approx((0 + 1 - 2**-0.5) / 2, abs=1e-6)


def test_stage_maps_have_strides_4_to_32():
    maps = stage_maps(GeMResNet("resnet50", None).eval(), torch.zeros(1, 3, 128, 64))
    assert [tuple(m.shape[1:]) for m in maps] == [
        (256, 32, 16),
        (512, 16, 8),
        (1024, 8, 4),
        (2048, 4, 2),
    ]


@pytest.fixture
def course(tmp_path, teacher_path):
    for i in range(5):
        small_photo(tmp_path / "photos" / "deep" / f"{i}.jpg", i)

    def config(out: str, extra: str = "") -> DistillConfig:
        (tmp_path / f"{out}.toml").write_text(
            f'architecture = "resnet50"\nout = "{out}"\nphotos = "photos"\nsize = 32\nbatch = 3\nsteps = 4\n'
            f"warmup = 2\nsave_every = 1\n{extra}\n"
            f'[teacher]\nmodel = "{teacher_path[0]}"\nlayer1 = "stride4"\nlayer4 = "stride32"\npooled = "pooled"\n'
        )
        return read_config(tmp_path / f"{out}.toml", DistillConfig)

    return config


def test_interrupted_distillation_ends_as_the_uninterrupted(course, monkeypatch):
    whole = Distillation(course("whole"))
    whole.train()
    losses = Distillation.losses

    def stop_at_third(self, step):
        if step == 2:
            raise KeyboardInterrupt
        return losses(self, step)

    monkeypatch.setattr(Distillation, "losses", stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        Distillation(course("parts")).train()
    monkeypatch.undo()
    resumed = Distillation(course("parts"))
    assert resumed.step == 2
    resumed.train()
    for name, value in whole.network.state_dict().items():
        torch.testing.assert_close(
            resumed.network.state_dict()[name], value, rtol=1e-3, atol=1e-5, msg=name
        )


def test_distillation_learns_and_its_student_can_be_grown_and_exported(course, tmp_path, capsys):
    run = Distillation(course("long", "rate = 3e-3"))
    with torch.no_grad():
        before = sum(x.item() for x in run.losses(1000))
    run.train()
    with torch.no_grad():
        after = sum(x.item() for x in run.losses(1000))
    assert after < before
    student, provenance = load_checkpoint(tmp_path / "long" / "student.safetensors")
    assert (
        student.architecture == "resnet50" and "distilled from teacher.onnx" in provenance.training
    )
    config = course("grown", 'start = "long/student.safetensors"')
    grown = Distillation(dataclasses.replace(config, architecture="resnet101"))
    assert grown.network.architecture == "resnet101"
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(grown.network.eval()(x), student(x), rtol=1e-5, atol=1e-6)

    course("command")
    assert main(["distill", str(tmp_path / "command.toml")]) == 0
    assert "4 steps" in capsys.readouterr().out
    (tmp_path / "bad.toml").write_text(
        (tmp_path / "command.toml").read_text().replace("stride4", "stride5")
    )
    assert main(["distill", str(tmp_path / "bad.toml")]) == 1
    assert "no tensor 'stride5'" in capsys.readouterr().err
