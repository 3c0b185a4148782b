"""Growing, teachers, and distillation runs that stop and go on."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import re
from collections.abc import Callable

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn import functional as F

from evaluation.metrics import mean_average_precision
from model import GeMResNet, load_checkpoint, power_whitening
from model.__main__ import main
from model.depth import with_depth
from model.provenance import IMAGENET_MEAN, IMAGENET_STD
from model.training.common.config import BadConfig, read_config
from model.training.common.describe import describe_all, validate
from model.training.common.pairs import photos_in
from model.training.common.photos import PLAIN, Feed, Photos
from model.training.common.precision import autocast, trunk_type
from model.training.common.settings import DistillConfig, TeacherChoice
from model.training.distill import train as distill
from model.training.distill.batch_source import ViewWorkers
from model.training.distill.dataset import (
    DistillationBatch,
    DistillationDataset,
    feed,
    find_neighbours,
    nearest,
)
from model.training.distill.losses import NEGATIVES, POSITIONS, stage_maps
from model.training.distill.muon import Muon, MuonAdamW
from model.training.distill.ridge import half_whitening, ridge
from model.training.distill.teacher import CHUNK, BadTeacher, Teacher
from model.training.distill.train import Distillation
from tests.conftest import unit_rows
from tests.model.test_training import (
    DAMAGED,
    set_value,
    small_photo,
    truncate,
    widened,
    write_start,
)
from tests.support.networks import DEEPER, NARROW, SMALL, TRUNK_DIM, narrow

__all__ = ["narrow"]  # a fixture


def test_a_deeper_network_computes_what_the_small_one_did_and_can_be_cut_again():
    torch.manual_seed(0)
    small = GeMResNet("resnet50", 8).eval()
    for module in small.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_var.uniform_(0.5, 2)
            module.bias.data.uniform_(-0.1, 0.1)
    x = torch.randn(2, 3, 64, 80)
    for architecture, blocks in (("resnet101", 33), ("resnet152", 50)):
        large = with_depth(small, architecture)
        assert sum(len(stage) for stage in large.features[4:]) == blocks
        with torch.inference_mode():
            torch.testing.assert_close(large(x), small(x), rtol=0, atol=0)
            kept = with_depth(large, "resnet50")
            torch.testing.assert_close(kept(x), small(x), rtol=0, atol=0)
    new = large.features[6][20]
    large.train()
    large(x).square().sum().backward()
    assert new.conv3.weight.grad.abs().sum() > 0, "the new blocks can learn"
    assert torch.equal(new.conv1.weight, large.features[6][5].conv1.weight), "from what is known"


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


def choice(path, **changes) -> TeacherChoice:
    return TeacherChoice(path, layer1="stride4", layer4="stride32", **changes)


def seen_by(weights, photos: np.ndarray, mean, std) -> tuple[torch.Tensor, torch.Tensor]:
    """The made teacher's maps, by torch."""
    x = torch.from_numpy(((photos / 255 - mean) / std).transpose(0, 3, 1, 2).astype(np.float32))
    first = F.conv2d(x, torch.from_numpy(weights["w1"]), stride=4)
    return first, F.conv2d(first, torch.from_numpy(weights["w2"]), stride=8)


def test_teacher_gives_inner_maps_and_its_descriptor(teacher_path):
    path, weights = teacher_path
    photos = np.random.default_rng(1).integers(0, 256, (2, 64, 96, 3), np.uint8)
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
    first, second = seen_by(weights, photos, mean, std)
    asked = choice(path, mean=mean, std=std, pooled="pooled")
    maps, pooled = Teacher(asked, threads=1, quick=False)(photos)
    np.testing.assert_allclose(maps[0], first.numpy(), atol=1e-3)
    np.testing.assert_allclose(maps[1], second.numpy(), atol=1e-2)
    np.testing.assert_allclose(pooled, F.normalize(second.mean((2, 3))).numpy(), atol=1e-4)
    averaged = dataclasses.replace(asked, pooled="")
    _, last = Teacher(averaged, threads=1, quick=False)(photos)
    np.testing.assert_allclose(last, pooled, atol=1e-4)
    many = np.random.default_rng(2).integers(0, 256, (CHUNK + 3, 32, 32, 3), np.uint8)
    teacher = Teacher(asked, threads=1, quick=False)
    each = [teacher(photo[None]) for photo in many]
    for found, expected in zip(teacher(many)[0], zip(*(maps for maps, _ in each))):
        np.testing.assert_allclose(found, np.concatenate(expected), atol=1e-4)
    expected = np.concatenate([descriptors for _, descriptors in each])
    np.testing.assert_allclose(teacher(many)[1], expected, atol=1e-4)
    gem = dataclasses.replace(asked, pooled="stride32", p=3.0)
    _, pooled = Teacher(gem, threads=1, quick=False)(photos)
    expected = F.normalize(second.clamp(min=1e-6).pow(3).mean((2, 3)).pow(1 / 3))
    np.testing.assert_allclose(pooled, expected.numpy(), atol=1e-4)
    with pytest.raises(BadTeacher, match="no tensor 'stride8'"):
        Teacher(choice(path, layer2="stride8"), threads=1)
    with pytest.raises(BadTeacher, match="names no map"):
        Teacher(TeacherChoice(path), threads=1)


def test_the_quick_teacher_sees_the_same(teacher_path):
    """By OpenVINO in bfloat16 where that is installed, by onnxruntime where it is not."""
    photos = np.random.default_rng(1).integers(0, 256, (3, 64, 64, 3), np.uint8)
    exact, quick = (
        Teacher(choice(teacher_path[0], pooled="pooled"), threads=1, quick=quick)(photos)
        for quick in (False, True)
    )
    for a, b in zip([*exact[0], exact[1]], [*quick[0], quick[1]], strict=True):
        assert a.shape == b.shape and b.dtype == np.float32
        assert np.abs(a - b).max() < 0.02 * np.abs(a).max()


def test_bad_teacher_file(tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"no model")
    for name in ("x.onnx", "nowhere.onnx"):
        with pytest.raises(BadTeacher, match="damaged"):
            Teacher(choice(tmp_path / name), threads=1)


@pytest.mark.parametrize("has, expected", [(True, torch.bfloat16), (False, torch.float32)])
def test_bfloat16_is_for_processors_that_have_it(monkeypatch, has, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "avx512_bf16": has})
    assert trunk_type() == expected and trunk_type("cuda") == torch.bfloat16
    with autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == expected


def test_a_run_keeps_the_statistics_of_its_start(course):
    Distillation(course("first")).train()
    start = load_checkpoint(course("first").out / "student.safetensors")[0]
    run = Distillation(course("second", 'start = "first/student.safetensors"\nfit = 6'))
    run.train()
    end = load_checkpoint(run.config.out / "student.safetensors")[0]
    before, after = start.features.state_dict(), end.features.state_dict()
    statistics = [name for name in before if "running" in name]
    assert statistics and all(torch.equal(before[name], after[name]) for name in statistics)
    assert not torch.equal(before["0.weight"], after["0.weight"])


def test_the_optimiser_turns_convolutions_by_orthogonal_steps_and_the_rest_as_adamw_does():
    torch.manual_seed(0)
    layer = nn.Conv2d(8, 6, 3).to(memory_format=torch.channels_last)
    bias = copy.deepcopy(layer.bias)
    optimiser = MuonAdamW([layer.weight], [layer.bias], 0.1, 0.5)
    reference = torch.optim.AdamW([bias], 0.1, weight_decay=0.5)
    before = layer.weight.detach().clone()
    layer.weight.grad = torch.randn_like(before)
    layer.bias.grad, bias.grad = torch.ones(6), torch.ones(6)
    optimiser.step()
    reference.step()
    torch.testing.assert_close(layer.bias, bias)
    moved = (before * (1 - 0.1 * 0.5) - layer.weight.detach()).flatten(1) / (0.1 * 0.2 * 72**0.5)
    u, _, v = torch.linalg.svd(layer.weight.grad.flatten(1), full_matrices=False)
    seen = u.T @ moved @ v.T  # diagonal, where it has the gradient's directions
    assert seen.diagonal().min() > 0.6 and seen.diagonal().max() < 1.3
    assert (seen - seen.diagonal().diag()).abs().max() < 0.05
    assert {group["lr"] for group in optimiser.param_groups} == {0.1}
    optimiser.zero_grad()
    assert layer.weight.grad is None and layer.bias.grad is None


@pytest.mark.parametrize("shape", [(6, 8, 3, 3), (40, 2, 1, 1)], ids=["wide", "tall"])
def test_muon_steps_as_pytorchs_own(shape):
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(shape).to(memory_format=torch.channels_last))
    rows = nn.Parameter(weight.detach().flatten(1).clone())
    optimiser = Muon([weight], 0.1, 0.5)
    reference = torch.optim.Muon([rows], 0.1, 0.5, adjust_lr_fn="match_rms_adamw")
    for _ in range(3):
        weight.grad = torch.randn(shape)
        rows.grad = weight.grad.flatten(1)
        optimiser.step()
        reference.step()
    # Theirs rounds to bfloat16, ours may not.
    torch.testing.assert_close(weight.flatten(1), rows, rtol=0.01, atol=0.01)


def test_ridge_finds_the_linear_map_and_the_better_penalty():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 6)) + 3
    true, bias = rng.normal(size=(2, 6)), np.array([5.0, -1.0])
    weights, found = ridge(x, x @ true.T + bias)
    np.testing.assert_allclose(weights, true, atol=1e-3)
    np.testing.assert_allclose(found, bias, atol=1e-2)
    noise = rng.normal(size=(40, 30)), rng.normal(size=(40, 1))  # nothing to be learned
    weights, _ = ridge(*noise)
    fitted = np.linalg.lstsq(noise[0] - noise[0].mean(0), noise[1], rcond=None)[0]
    assert np.linalg.norm(weights) < 0.7 * np.linalg.norm(fitted)


def test_half_whitening_leaves_roots_of_the_variances():
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    x = rng.normal(size=(4000, 5)) * [4, 3, 2, 1, 0.5] @ turn
    y = x @ half_whitening(x, 3).T
    assert y.shape == (4000, 3)
    moments = y.T @ y / len(y)
    np.testing.assert_allclose(moments, np.diag([4.0, 3.0, 2.0]), atol=0.15)


def test_stage_maps_have_strides_4_to_32():
    maps = stage_maps(GeMResNet(SMALL, None).eval(), torch.zeros(1, 3, 128, 64))
    assert [tuple(m.shape[1:]) for m in maps] == [
        (4 * NARROW[0], 32, 16),
        (4 * NARROW[1], 16, 8),
        (4 * NARROW[2], 8, 4),
        (4 * NARROW[3], 4, 2),
    ]


@pytest.fixture
def course(tmp_path, teacher_path):
    """Makes the configuration of a short run."""
    for i in range(5):
        small_photo(tmp_path / "photos" / "deep" / f"{i}.jpg", i)
    small_photo(tmp_path / "more" / "last.jpg", 5)
    (tmp_path / "photos" / "damaged.jpg").write_bytes(b"no photo")
    groups = {"thing": ["0.jpg", "1.jpg"], "other": ["2.jpg", "3.jpg"]}
    (tmp_path / "groups.json").write_text(json.dumps(groups))

    def config(out: str, extra: str = "fit = 6", tables: str = "") -> DistillConfig:
        (tmp_path / f"{out}.toml").write_text(
            f'architecture = "{SMALL}"\nout = "{out}"\nphotos = ["photos", "more"]\nsize = 32\n'
            "image_size = 64\nbatch = 3\nsteps = 4\nwarmup = 2\ndim = 6\nworkers = 0\n"
            f"average = 0.5\n{extra}\n"
            f'[teacher]\nmodel = "{teacher_path[0]}"\nlayer1 = "stride4"\nlayer4 = "stride32"\n'
            f'pooled = "pooled"\n{tables}'
        )
        return read_config(tmp_path / f"{out}.toml", DistillConfig)

    return config


VALIDATION = '[validation]\nphotos = "photos/deep"\ngroups = "groups.json"\n'


def log_of(run: Distillation) -> list[dict]:
    return [json.loads(line) for line in (run.config.out / "log.jsonl").read_text().splitlines()]


def test_interrupted_distillation_ends_as_the_uninterrupted(course, monkeypatch):
    whole = Distillation(course("whole"))
    whole.train()
    learn = Distillation.learn

    def stop_at_third(self, lesson):
        if self.step == 2:
            raise KeyboardInterrupt
        return learn(self, lesson)

    with monkeypatch.context() as stopping, pytest.raises(KeyboardInterrupt):
        stopping.setattr(Distillation, "learn", stop_at_third)
        Distillation(course("parts")).train()
    resumed = Distillation(course("parts"))
    assert resumed.step == 2
    resumed.train()
    assert resumed.step == 4
    one, other = (
        load_checkpoint(run.config.out / "student.safetensors")[0].state_dict()
        for run in (whole, resumed)
    )
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, rtol=1e-2, atol=1e-4, msg=name)


def test_changed_rates_take_effect_when_a_distillation_resumes(course):
    begun = Distillation(course("rates", "fit = 6\nweight_decay = 0.1"))
    begun.learn(begun.batches[0])
    begun.save()
    config = dataclasses.replace(begun.config, rate=3e-5, weight_decay=0.3, warmup=0)
    run = Distillation(config)
    assert run.step == 1 and len(run.optimiser.muon.state) == len(begun.optimiser.muon.state) > 0
    run.optimiser.step = lambda: None
    run.learn(run.batches[1])
    rate = 3e-5 * 0.5 * (1 + math.cos(math.pi / config.cycle))
    for group in run.optimiser.param_groups:
        assert group["lr"] == pytest.approx(rate) and group["weight_decay"] == 0.3


@pytest.mark.parametrize(
    "damage",
    [
        truncate,
        lambda path: path.write_bytes(b""),
        lambda path: set_value(path, "mean"),
        lambda path: widened(path, "apprentice", "network.whiten.weight"),
    ],
    ids="truncated empty keys shapes".split(),
)
def test_a_damaged_state_is_a_bad_configuration(course, damage):
    run = Distillation(course("damaged"))
    run.save()
    damage(run.config.out / "last.pt")
    with pytest.raises(BadConfig, match=DAMAGED):
        Distillation(run.config)


def test_a_run_goes_on_deeper(course):
    begun = Distillation(course("begun"))
    begun.train()
    message = "make it the start of a deeper run"
    with pytest.raises(BadConfig, match=message):
        Distillation(dataclasses.replace(begun.config, architecture=DEEPER))
    shallow = Distillation(course("deeper", 'start = "begun/student.safetensors"\nfit = 6'))
    shallow.train()
    config = dataclasses.replace(shallow.config, architecture=DEEPER, steps=8)
    deep = Distillation(config)
    x = torch.randn(1, 3, 64, 64)
    for one, other in (
        (shallow.mean.module, deep.mean.module),
        (shallow.apprentice.network, deep.apprentice.network),
    ):
        with torch.inference_mode():
            torch.testing.assert_close(one.eval()(x), other.eval()(x))
    assert deep.step == 4 and deep.rate() == pytest.approx(deep.config.rate / 2, rel=1e-3)
    deep.train()
    student, _ = load_checkpoint(deep.config.out / "student.safetensors")
    for block in (b for stage in student.features[4:] for b in stage[1:]):
        assert block.conv3.weight.abs().max() > 0, "the new blocks have learned"
    assert Distillation(config).step == 8


class Clock:
    """A clock that advances only when the test or a sleep advances it.

    Attributes:
        now: seconds.
        asleep: called after each sleep.
    """

    def __init__(self, asleep: Callable[[], None]):
        self.now, self.asleep = 0.0, asleep

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += 1000 * seconds
        self.asleep()


def test_a_pause_file_stops_the_run_until_it_goes(course, monkeypatch):
    run = Distillation(course("paused"))
    pause = run.config.out / "PAUSE"
    pause.write_text("")
    paused = []

    def asleep() -> None:
        state = torch.load(run.config.out / "last.pt", weights_only=True)
        paused.append((run.step, state["step"], state["seconds"]))
        if len(paused) == 3:
            pause.unlink()

    clock, learn = Clock(asleep), run.learn

    def learn_for_a_second(lesson: DistillationBatch) -> dict[str, float]:
        clock.now += 1
        return learn(lesson)

    monkeypatch.setattr(distill, "time", clock)
    monkeypatch.setattr(run, "learn", learn_for_a_second)
    run.train()
    assert paused == 3 * [(1, 1, 1.0)], "the state of step 1 was saved, and no step followed"
    assert (run.step, run.seconds) == (4, 4.0), "a pause is no training"


def test_lessons_are_the_same_from_the_background(course):
    config = course("background")
    paths = photos_in(config.photos)
    assert len(paths) == 7, "both folders, the damaged file among them"
    here = DistillationDataset(ViewWorkers(config, paths))
    there = DistillationDataset(ViewWorkers(dataclasses.replace(config, workers=1), paths))
    steps = range(5, 9)
    for expected, found in zip(feed(here, steps), feed(there, steps), strict=True):
        assert expected.views.shape == (3, 3, 32, 32) and expected.views.dtype == torch.uint8
        assert [tuple(m.shape) for m in found.maps] == [(3, 5, 8, 8), (3, 7, 1, 1)]
        for a, b in zip(expected[::2], found[::2], strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-5)
        assert torch.equal(expected.photos, found.photos)


def test_lessons_for_instances_show_each_photo_twice_beside_its_like(course):
    table = (
        '[instances]\nname = "triplet"\nmargin = 0.5\nsecond_order = 1.0\nneighbours = 2\n'
        "alike = 0.99999\n"
    )
    config = dataclasses.replace(course("instances", tables=table), batch=4)
    paths = photos_in(config.photos)
    run = Distillation(config)
    neighbours = np.load(config.out / "neighbours.npy")
    assert neighbours.shape == (7, 2)
    for step in range(6):
        lesson = run.batches[step]
        one, same, other, too = lesson.photos.tolist()
        assert one == same and other == too
        assert other in neighbours[one] and one != other
        assert not torch.equal(lesson.views[0], lesson.views[1])
    run.train()
    assert run.step == 4 and log_of(run)[-1]["instances"] > 0
    for path in paths:  # mined once: a run that goes on does not look at them again
        path.write_bytes(b"")
    room = ViewWorkers(config, paths)
    np.testing.assert_array_equal(find_neighbours(room), neighbours)
    with pytest.raises(BadConfig, match="of other photos"):
        find_neighbours(ViewWorkers(config, paths[1:]))
    truncate(config.out / "neighbours.npy")
    with pytest.raises(BadConfig, match="neighbours.npy is damaged or of other photos"):
        find_neighbours(room)
    (config.out / "neighbours.npy").write_bytes(b"")
    with pytest.raises(BadConfig, match="neighbours.npy is damaged or of other photos"):
        find_neighbours(room)


def test_nearest_is_brute_force_without_the_all_but_equal(rng):
    x = unit_rows(rng, 30, 8, 4).astype(np.float32)
    x[3] = x[17]
    found = nearest(x, 5, 0.99)
    for i in range(30):
        cosines = x @ x[i]
        order = [j for j in np.argsort(-cosines) if j != i and cosines[j] <= 0.99]
        np.testing.assert_allclose(cosines[found[i]], cosines[order[:5]], atol=1e-6)
        assert i not in found[i]
    assert 17 not in found[3]
    assert (nearest(x[:3], 5, 0.99)[:, 2:] == -1).all()


def test_a_run_leaves_log_curve_and_a_student_that_can_be_grown(course, tmp_path):
    config = course("long", "rate = 3e-4\nfit = 12", VALIDATION)
    run = Distillation(config)
    run.train()
    entries = log_of(run)
    assert [e["step"] for e in entries if "validation" in e] == [0, 4]
    assert entries[-2].keys() >= {"maps", "descriptor", "cosines", "minutes", "crops", "rate"}
    assert (run.config.out / "curve.png").read_bytes()[:4] == b"\x89PNG"
    student, provenance = load_checkpoint(tmp_path / "long" / "student.safetensors")
    assert student.architecture == SMALL and student.output_dim == 6
    assert provenance.longest_side == 64
    assert "distilled from teacher.onnx, 4 steps" in provenance.training
    shipped = validate(student, provenance, run.config.validation)
    assert entries[-1]["validation"] == pytest.approx(shipped)

    config = course("grown", 'start = "long/student.safetensors"\nfit = 6')
    grown = Distillation(dataclasses.replace(config, architecture="resnet50"))
    network = grown.apprentice.network.eval()
    assert network.architecture == "resnet50"
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(
            network.pool(network.features(x)),
            student.pool(student.features(x)),
            rtol=1e-4,
            atol=1e-5,
        )


def test_whitenings_are_compared_on_the_trunk_alone(course, tmp_path, capsys):
    Distillation(course("student", "fit = 6", VALIDATION)).train()
    checkpoint = tmp_path / "student" / "student.safetensors"
    validation = course("student", "fit = 6", VALIDATION).validation
    asked = ["--photos", str(validation.photos), "--groups", str(validation.groups)]
    command = ["whitenings", str(checkpoint), *asked, "--others", str(tmp_path / "more")]
    capsys.readouterr()
    assert main(command) == 0
    said = capsys.readouterr().out.splitlines()
    head, _, *rows = [line.strip("| ").split(" | ") for line in said]
    assert head[1:] == [f"mAP, {dim} dimensions" for dim in (TRUNK_DIM, TRUNK_DIM // 2, 64)]
    table = {name: cells for name, *cells in rows}
    network, provenance = load_checkpoint(checkpoint)
    network.whiten = None
    network.eval()
    raw = validate(network, provenance, validation)
    assert table["none"][0] == f"{raw:.4f}"
    files = sorted(validation.photos.iterdir())
    described = {
        name: describe_all(
            network, Feed(Photos(paths, provenance, 64)), [(i, PLAIN, 0) for i in range(n)], ""
        )
        for name, paths, n in (
            ("asked", files, len(files)),
            ("others", [tmp_path / "more" / "last.jpg"], 1),
        )
    }
    whitened = power_whitening(described["others"], -0.25).truncated(64)(described["asked"])
    groups = [[0, 1], [2, 3]]
    expected = mean_average_precision(whitened, groups)
    assert table["PCA, power -0.25"][2] == f"{expected:.4f}"
    assert set(table) >= {"PCA, power -0.5", "pairs of views"}
    for change, sentence in (
        (["--most", "0"], "--most must be at least 1"),
        (["--others", str(tmp_path / "nowhere")], "there are no photos in"),
    ):
        assert main([*command, *change]) == 1
        assert sentence in capsys.readouterr().err


def test_the_fit_is_a_ridge_regression_over_all_lessons(course, in_float32):
    run = Distillation(dataclasses.replace(course("fitted"), size=64))
    apprentice, lessons = run.apprentice.train(), [run.batches[100 + i] for i in range(4)]
    rng = np.random.default_rng(0)
    seen, taught, pooled = ([], []), ([], []), []
    for lesson in lessons:
        with torch.no_grad():
            maps, vectors = apprentice.student_outputs(lesson.views)
        pooled.append(vectors)
        for place, (mine, theirs) in enumerate(zip(maps, lesson.maps)):
            width = mine.shape[3]
            positions = rng.integers(mine.shape[2] * width, size=POSITIONS)
            for view in range(len(mine)):
                for row, column in (divmod(position, width) for position in positions):
                    seen[place].append(mine[view, :, row, column])
                    taught[place].append(theirs[view, :, row, column].float())
    apprentice.fit(lessons)
    for place, adapter in enumerate(apprentice.adapters):
        x, y = torch.stack(seen[place]), torch.stack(taught[place])
        weights, bias = ridge(x.numpy(), ((y - y.mean(0)) / y.std(0)).numpy())
        np.testing.assert_allclose(adapter.weight[:, :, 0, 0].detach(), weights, atol=1e-5)
        np.testing.assert_allclose(adapter.bias.detach(), bias, atol=1e-5)
    descriptors = torch.cat([lesson.descriptors for lesson in lessons])
    targets = F.normalize(descriptors @ torch.from_numpy(half_whitening(descriptors.numpy(), 6)).T)
    weights, bias = ridge(torch.cat(pooled).numpy(), targets.numpy())
    np.testing.assert_allclose(run.apprentice.network.whiten.weight.detach(), weights, atol=1e-5)
    np.testing.assert_allclose(run.apprentice.network.whiten.bias.detach(), bias, atol=1e-5)


def slow_step(run: Distillation, lesson: DistillationBatch) -> tuple[dict[str, float], dict]:
    """Losses and gradients by name in double precision, by plain modules and loops over views."""
    config, apprentice = run.config, copy.deepcopy(run.apprentice).double()
    network = GeMResNet(SMALL, config.dim).double()  # with convolutions and norms of PyTorch
    network.load_state_dict(apprentice.network.state_dict())
    network.train(not apprentice.keeps_statistics)
    scale = 255 * torch.tensor([IMAGENET_MEAN, IMAGENET_STD], dtype=torch.float64)
    x = (lesson.views - scale[0].view(3, 1, 1)) / scale[1].view(3, 1, 1)
    maps = stage_maps(network, x)
    errors = []
    for i, adapter, theirs in zip(apprentice.stages, apprentice.adapters, lesson.maps):
        mean, std = getattr(apprentice, f"mean{i}"), getattr(apprentice, f"std{i}")
        errors.append((adapter(maps[i]) - (theirs - mean) / std).square().mean())
    d = F.normalize(network.whiten(F.normalize(network.pool(maps[-1]))))
    t = F.normalize(lesson.descriptors.double() @ apprentice.projection.T)
    views = range(len(d))
    cosines = [(d[i] @ d[j] - t[i] @ t[j]) ** 2 for i in views for j in views if i != j]
    tuples = []
    for i in views:
        others = [k for k in views if lesson.photos[k] != lesson.photos[i]]
        hardest = sorted(others, key=lambda k, i=i: -(d[i] @ d[k]).item())[:NEGATIVES]
        far = [(d[i] - d[k]).square().sum() for k in hardest]
        for j in views:
            if j != i and lesson.photos[j] == lesson.photos[i]:
                near = (d[i] - d[j]).square().sum()
                first = sum((near - x + config.instances.margin).clamp(min=0) for x in far)
                alike = [x - (d[j] - d[k]).square().sum() for x, k in zip(far, hardest)]
                second = sum(x.square() for x in alike).sqrt()
                tuples.append(first + config.instances.second_order * second)
    losses = {
        "maps": sum(errors) / len(errors),
        "descriptor": sum(1 - d[i] @ t[i] for i in views) / len(d),
        "cosines": sum(cosines) / len(cosines),
        "instances": sum(tuples) / len(tuples),
    }
    weights = (config.maps, config.descriptor, config.cosines, config.instances.weight)
    sum(weight * loss for weight, loss in zip(weights, losses.values())).backward()
    gradients = {f"network.{name}": x.grad for name, x in network.named_parameters()}
    gradients |= {f"adapters.{name}": x.grad for name, x in apprentice.adapters.named_parameters()}
    return {name: loss.item() for name, loss in losses.items()}, gradients


@pytest.mark.parametrize("start", ["", 'start = "start.safetensors"'], ids=["random", "trained"])
def test_a_step_has_the_gradient_of_a_loop_over_views(course, tmp_path, in_float32, start):
    write_start(tmp_path / "start.safetensors", SMALL)
    table = '[instances]\nname = "triplet"\nmargin = 0.5\nsecond_order = 2.0\nneighbours = 0\n'
    config = dataclasses.replace(course("step", start, table), batch=6, size=64)
    run = Distillation(config)
    torch.manual_seed(0)
    run.apprentice.projection.normal_()
    for name, buffer in run.apprentice.named_buffers(recurse=False):
        if name.startswith(("mean", "std")):
            buffer.uniform_(0.5, 2)
    lesson = run.batches[2]  # others have hinges and maxima where rounding decides
    losses, expected = slow_step(run, lesson)
    run.optimiser.step = lambda: None
    assert run.learn(lesson) == pytest.approx(losses, rel=1e-3)
    for name, parameter in run.apprentice.named_parameters():
        error = (parameter.grad - expected[name]).norm()
        assert error < 1e-2 * expected[name].norm(), (name, error / expected[name].norm())


def test_the_command_trains_goes_on_measures_and_says_what_is_wrong(course, tmp_path, capsys):
    course("command")
    assert main(["distill", str(tmp_path / "command.toml"), "steps=2"]) == 0
    assert main(["distill", str(tmp_path / "command.toml")]) == 0
    said = capsys.readouterr().out
    assert "resuming at step 2" in said and "4 steps" in said
    before = (tmp_path / "command" / "last.pt").read_bytes()
    assert main(["distill", str(tmp_path / "command.toml"), "--benchmark"]) == 0
    assert re.search(
        r"bare step [\d.]+ photos/s, whole run [\d.]+ photos/s: [\d.]+\n"
        r"[\d.]+ GFLOP a photo: [\d.]+ TFLOP/s\n",
        capsys.readouterr().out,
    )
    assert (tmp_path / "command" / "last.pt").read_bytes() == before
    for change, sentence in (
        ('teacher.layer1="stride5"', "no tensor 'stride5'"),
        ('architecture="resnet18"', "architecture: 'resnet18' is unknown"),
        ("dim=5", "state of another run"),
        ("teacher.std=[0.5, 0.0, 0.5]", "teacher.std.1 must be greater than 0"),
        ("teacher.mean=[0.5, 0.5]", "teacher.mean.2 is missing"),
        ("batch=1", "batch must be greater than or equal to 2"),
        ("photos=[]", "photos must have"),
        ('photos="nowhere"', "there are no photos"),
    ):
        assert main(["distill", str(tmp_path / "command.toml"), change]) == 1
        error = capsys.readouterr().err
        assert sentence in error and error.count("\n") == 1
