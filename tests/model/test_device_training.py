"""Training on a device from photos in memory: the same code as on a GPU, here on the CPU."""

# ruff: noqa: F811 - fixtures of other files are named by the tests that use them
from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from model import load_checkpoint
from model.__main__ import main
from model.checkpoints.weight_parts import split_weights
from model.training.common.config import read_config
from model.training.common.pairs import BadTrainingData
from model.training.common.photos import PLAIN, POSITIVE, QUERY
from model.training.common.settings import DistillConfig, TrainConfig
from model.training.common.views import draw_light, geometric, plain_view, relight
from model.training.device.batch_source import DeviceBatchSource
from model.training.device.jpeg import recompress
from model.training.device.pool import Pool
from model.training.device.teacher import CHUNK, DeviceTeacher, open_session
from model.training.device.views import blur, plain_views, random_views, shrink
from model.training.device.views import relight as lit_on_device
from model.training.distill.batch_source import ViewWorkers
from model.training.distill.dataset import DistillationDataset
from model.training.distill.teacher import BadTeacher, Teacher, with_outputs
from model.training.distill.train import Distillation
from model.training.finetune import train as training
from tests.model.test_distill import choice, course, log_of, teacher_path  # noqa: F401
from tests.model.test_packs import packed, photos  # noqa: F401
from tests.model.test_training import small_photo, write_start
from tests.support.networks import SMALL, narrow  # noqa: F401

CPU = torch.device("cpu")


def test_a_pool_that_takes_too_much_memory_is_refused(packed):
    with pytest.raises(BadTrainingData, match=r"5 photos of 96 pixels take 0\.0 GB of memory"):
        Pool([packed], 64, 1e-6)


def test_views_on_a_device_are_those_of_opencv(photos):
    """From the same chance: equal up to 2 levels, after a JPEG to 1 on average; noise is apart."""
    pool = Pool([photos / "deep"], 128, 1.0)
    numbers = np.arange(40) % len(pool)
    rngs = [np.random.default_rng(seed) for seed in range(40)]
    found = random_views(pool, numbers, 128, rngs, CPU).permute(0, 2, 3, 1).numpy()
    kinds = set()
    for seed, number in enumerate(numbers):
        rng, (height, width) = np.random.default_rng(seed), pool.sizes[number]
        view = geometric(pool.pixels[number, :height, :width].numpy(), 128, rng)
        light = draw_light(128, rng)
        error = np.abs(relight(view, light).astype(int) - found[seed])
        if light.noise:  # of the same deviation, and the rest of the light the same
            assert error.mean() < 255 * 2 * light.noise * light.cast.max() + 1
        else:
            assert error.max() <= 2 if light.quality is None else error.mean() < 1
        kinds |= {"grey"} if light.grey else set()
        kinds |= {"blur"} if light.blur and not light.noise else set()
        kinds |= {"jpeg"} if light.quality and not light.noise else set()
        kinds |= {"hidden"} if light.hidden and not light.noise else set()
    assert kinds == {"grey", "blur", "jpeg", "hidden"}


def test_noise_has_the_deviation_that_was_drawn(photos):
    pool = Pool([photos / "deep"], 128, 1.0)
    seed = next(s for s in range(99) if noisy(np.random.default_rng(s), pool.sizes[0]))
    rng = np.random.default_rng(seed)
    geometric(pool.pixels[0].numpy()[: pool.sizes[0, 0], : pool.sizes[0, 1]], 128, rng)
    light = dataclasses.replace(draw_light(128, rng), quality=None, hidden=None)
    grey = torch.full((1, 3, 128, 128), 128.0)
    still = lit_on_device(grey, [dataclasses.replace(light, noise=0.0)]).float()
    noise = lit_on_device(grey, [light]).float() - still
    assert noise.std().item() == pytest.approx(255 * light.noise, rel=0.03)


def noisy(rng, size) -> bool:
    """Whether a view of a photo of that size has noise, and is dark enough to show all of it."""
    geometric(np.zeros((*size, 3), np.uint8), 128, rng)
    light = draw_light(128, rng)
    return bool(light.noise) and light.brightness < 1 and not light.blur


def test_plain_views_and_smaller_ones_are_averages_over_areas(photos):
    pool = Pool([photos / "deep"], 128, 1.0)
    for size in (40, 96, 200):  # a smaller one, one that is no divisor, a larger one
        found = plain_views(pool, np.arange(5), size, CPU).permute(0, 2, 3, 1).numpy()
        for number, (height, width) in enumerate(pool.sizes):
            view = plain_view(pool.pixels[number, :height, :width].numpy(), size)
            assert np.abs(view.astype(int) - found[number]).max() <= 1
    image = torch.arange(36.0).reshape(1, 1, 6, 6).expand(1, 3, 6, 6)
    halves = shrink(image, np.array([[2, 0]]), np.array([4]), 2)
    assert halves[0, 0].tolist() == [[16, 18], [28, 30]]  # means of 2 x 2, rounded to even


def test_jpeg_and_blur_follow_their_formulas():
    rng = np.random.default_rng(0)
    flat = torch.from_numpy(rng.integers(0, 256, (3, 3, 1, 1), np.uint8)).expand(3, 3, 21, 34)
    assert (recompress(flat, [5, 50, 95]).int() - flat.int()).abs().max() <= 40
    assert (recompress(flat[2:], [95]).int() - flat[2:].int()).abs().max() <= 3
    point = torch.zeros(1, 1, 31, 31)
    point[..., 15, 15] = 1
    spread = blur(point, [1.2])
    line = torch.exp(-(torch.arange(-15, 16.0) ** 2) / (2 * 1.2**2))
    expected = torch.outer(line, line) / line.sum() ** 2
    torch.testing.assert_close(spread[0, 0], expected, rtol=0, atol=1e-4)


def test_the_teacher_on_the_device_sees_what_the_other_sees(teacher_path, capsys):
    views = torch.randint(0, 256, (CHUNK + 3, 3, 32, 64), dtype=torch.uint8)
    for changes in ({"pooled": "pooled"}, {"pooled": "stride32", "p": 3.0}, {}):
        asked = choice(teacher_path[0], mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4), **changes)
        maps, descriptors = DeviceTeacher(asked, CPU)(views)
        wanted = Teacher(asked, threads=1, quick=False)(views.permute(0, 2, 3, 1).numpy())
        for found, expected in zip([*maps, descriptors], [*wanted[0], wanted[1]], strict=True):
            np.testing.assert_allclose(found.numpy(), expected, atol=1e-3)
    with pytest.raises(BadTeacher, match="no tensor 'stride8'"):
        DeviceTeacher(choice(teacher_path[0], layer2="stride8"), CPU)


def test_a_teacher_without_cuda_says_so_and_runs(teacher_path, capsys):
    model, _ = with_outputs(teacher_path[0], ["stride4"])
    session, device = open_session(model, torch.device("cuda"))
    assert device == CPU and session.get_providers() == ["CPUExecutionProvider"]
    assert "the teacher runs on the processor" in capsys.readouterr().err


def test_distillation_from_packs_ends_at_its_time_and_goes_on(
    course, packed, tmp_path, monkeypatch
):
    changes = [f'photos = ["{packed}"]', "in_parts = true", "steps=50"]
    config = read_config(course("packed").out.parent / "packed.toml", DistillConfig, changes)
    monkeypatch.setattr("model.training.common.run.split_weights", small_parts)
    rates = []
    run = Distillation(config, limit=10_000)
    assert isinstance(run.source, DeviceBatchSource) and len(run.source) == 5
    learn, clock = run.learn, Clock(run.deadline - 10_000)
    for module in ("model.training.common.run.time", "model.training.distill.train.time"):
        monkeypatch.setattr(module, clock)

    def learn_for_a_while(lesson):
        rates.append(run.rate())
        clock.now += 6000
        return learn(lesson)

    run.learn = learn_for_a_while
    run.train()
    assert run.step == 2, "of 10,000 seconds the second step began after 6,000"
    assert rates[1] == pytest.approx(config.rate * 0.5 * (1 + np.cos(0.6 * np.pi)))
    assert (config.out / "student.safetensors").is_file() and run.rate() == pytest.approx(0)
    resumed = Distillation(dataclasses.replace(config, steps=3))
    assert resumed.step == 2
    resumed.train()
    assert resumed.step == 3 and all(np.isfinite(line["maps"]) for line in log_of(resumed)[-1:])
    one, _ = load_checkpoint(config.out / "student.safetensors")
    other, provenance = load_checkpoint(config.out / "weights")
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name
    assert "3 steps" in provenance.training


def small_parts(path: Path, folder: Path) -> None:
    split_weights(path, folder, 10**5)


class Clock:
    """A clock that only the test advances."""

    def __init__(self, now: float):
        self.now = now

    def monotonic(self) -> float:
        return self.now


def test_lessons_of_a_device_are_those_of_the_processor(course, photos):
    """With the same photos: the same numbers are drawn, and views and maps differ by rounding."""
    config = dataclasses.replace(course("rooms"), photos=(photos / "deep",), size=64, batch=8)
    paths = sorted((photos / "deep").iterdir())
    rooms = DeviceBatchSource(config, CPU), ViewWorkers(config, paths)
    for number in range(5):
        a, b = (room.plain([number]) for room in rooms)
        assert [m.shape for m in a[0]] == [m.shape for m in b[0]]
        assert (a[1] * b[1]).sum() > 0.95, "the processor's photos have been JPEGs in memory"
    one, other = (DistillationDataset(room)[3] for room in rooms)
    assert torch.equal(one.photos, other.photos) and one.views.shape == other.views.shape
    assert one.views.dtype == torch.uint8 and one.maps[0].dtype == torch.float16


@pytest.fixture(scope="module")
def tuning(tmp_path_factory, packed) -> Path:
    """A configuration that fine-tunes on packed photos."""
    folder = tmp_path_factory.mktemp("tuning")
    write_start(folder / "start.safetensors", SMALL)
    for i in range(4):
        small_photo(folder / "valid" / f"{i}.jpg", i // 2)
    (folder / "groups.json").write_text(json.dumps({"a": ["0.jpg", "1.jpg"]}))
    (folder / "run.toml").write_text(
        'start = "start.safetensors"\nout = "run"\nsize = 48\nqueries = 4\npool = 5\nnegatives = 2'
        "\nbatch = 2\ntogether = 2\nrate = 1e-3\nepochs = 1\nworkers = 0\nin_parts = true\n"
        f'[data]\nkind = "unlabelled"\nroot = "{packed}"\n'
        '[loss]\nname = "triplet"\nmargin = 0.5\n'
        '[validation]\nphotos = "valid"\ngroups = "groups.json"\n'
    )
    return folder


def test_fine_tuning_from_packs_by_the_command(tuning, capsys):
    assert main(["train", str(tuning / "run.toml"), 'out="stopped"', "--seconds", "0.001"]) == 0
    stopped = training.FineTuning(read_config(tuning / "run.toml", TrainConfig, ['out="stopped"']))
    assert (stopped.state.epoch, stopped.state.step) == (0, 0), "saved where its time was over"
    assert main(["train", str(tuning / "run.toml"), 'out="stopped"']) == 0
    said = capsys.readouterr().out
    assert "5 photos, 5 pairs" in said and (tuning / "stopped" / "weights").is_dir()
    with pytest.raises(SystemExit):
        main(["train", str(tuning / "run.toml"), "--seconds", "0"])


def test_views_for_fine_tuning_depend_on_their_key_only(tuning, packed):
    run = training.FineTuning(read_config(tuning / "run.toml", TrainConfig, ['out="views"']))
    keys = [(0, PLAIN, 0), (1, QUERY, 2), (1, POSITIVE, 2), (3, PLAIN, 1)]
    together = next(run.feed([keys]))
    apart = [next(run.feed([[key]]))[0] for key in keys]
    for one, other in zip(together, apart):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert not torch.equal(together[1], together[2])
    pool = Pool([packed], 48, 1.0)
    height, width = pool.sizes[3]
    pixels = plain_view(pool.pixels[3, :height, :width].numpy(), 48) / 255
    expected = (pixels - np.array(run.provenance.mean)) / np.array(run.provenance.std)
    np.testing.assert_allclose(together[3].permute(1, 2, 0).numpy(), expected, atol=0.02)


def test_the_gpus_configuration_is_sound():
    config = read_config(Path("model/configs/resnet101-gpu.toml"), DistillConfig)
    assert config.in_parts and config.teacher.model.is_file() and config.start.is_file()
    teacher = DeviceTeacher(config.teacher, CPU)
    maps, _ = teacher(torch.zeros((1, 3, 192, 192), dtype=torch.uint8))
    assert [m.shape[2] for m in maps] == [24, 12, 6]
