"""Mining against brute force, steps against a slow loop over tuples, runs that stop and resume."""

from __future__ import annotations

import dataclasses
import json
import math
import pickle
from pathlib import Path
from typing import Annotated, get_args, get_origin, get_type_hints

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from extractor import read_photo, resize
from model import GeMResNet, Provenance, load_checkpoint
from model.__main__ import main
from model.training.common.config import BadConfig, read_config
from model.training.common.describe import validate
from model.training.common.pairs import (
    BadTrainingData,
    TrainingSet,
    read_folders,
    read_landmarks_csv,
    read_sfm,
    read_unlabelled,
)
from model.training.common.photos import PLAIN, QUERY, Feed, PhotoMemory, Photos
from model.training.common.settings import DistillConfig, TrainConfig
from model.training.common.views import photometric, plain_view, random_view
from model.training.finetune import train as training
from model.training.finetune.mining import hard_negatives
from tests.conftest import GALLERY, unit_rows
from tests.support.networks import SMALL, narrow

__all__ = ["narrow"]  # a fixture


def test_mining_equals_brute_force(rng):
    queries, pool = unit_rows(rng, 20, 8, 5), unit_rows(rng, 60, 8, 5)
    query_clusters, pool_clusters = rng.integers(0, 12, 20), rng.integers(0, 12, 60)
    found = hard_negatives(queries, query_clusters, pool, pool_clusters, 4, batch=7)
    for i in range(20):
        best = {}  # of each other cluster the nearest photo
        for j in range(60):
            if pool_clusters[j] != query_clusters[i]:
                score = float(queries[i] @ pool[j])
                best[pool_clusters[j]] = max(best.get(pool_clusters[j], (-2, 0)), (score, j))
        assert list(found[i]) == [j for _, j in sorted(best.values(), reverse=True)[:4]]


def test_mining_says_when_the_pool_has_too_few_clusters(rng):
    rows = unit_rows(rng, 6, 8, 2)
    found = hard_negatives(rows[:1], np.array([0]), rows, np.array([0, 0, 1, 1, 2, 2]), 5)
    assert (found[0, :2] >= 0).all() and (found[0, 2:] == -1).all()


def test_views_are_square_different_and_repeatable():
    photo = read_photo(GALLERY / "petra.jpg")
    one, same, other = (random_view(photo, 96, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one.shape == (96, 96, 3) and one.dtype == np.uint8
    np.testing.assert_array_equal(one, same)
    assert np.abs(one.astype(int) - other).mean() > 5
    assert plain_view(photo, 64).shape == (64, 64, 3)
    for seed in range(40):  # odd shapes, too
        assert random_view(photo[:40, :300], 64, np.random.default_rng(seed)).shape == (64, 64, 3)


def test_light_is_changed_by_the_formula():
    """Of views that are neither grey, blurred, noisy, compressed nor have a part hidden."""
    view = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    plain = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        x = (view / 255) ** np.exp(rng.uniform(-0.5, 0.5))
        x = (x - x.mean()) * rng.uniform(0.6, 1.4) + x.mean() * rng.uniform(0.6, 1.4)
        x = x * rng.uniform(0.85, 1.15, 3)
        if (rng.random(5) < (0.1, 0.2, 0.2, 0.3, 0.3)).any():
            continue
        plain += 1
        found = photometric(view, np.random.default_rng(seed))
        assert np.abs(found - np.clip(x, 0, 1) * 255).max() <= 1
    assert plain >= 3


def small_photo(path: Path, colour: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(colour).integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(pixels).resize((80, 64), Image.Resampling.BICUBIC).save(path)


def test_data_from_folders_csv_sfm_and_unlabelled(tmp_path):
    for name in ("a/1.jpg", "a/2.jpg", "a/deep/3.png", "b/1.jpg", "c/1.jpg", "c/2.jpg"):
        small_photo(tmp_path / "photos" / name, len(name))
    folders = read_folders(tmp_path / "photos")
    assert (
        len(folders.paths) == 6
        and list(folders.clusters) == [0, 0, 0, 1, 2, 2]
        and len(folders.pairs) == 5
    )
    assert (folders.pairs[:, 0] != folders.pairs[:, 1]).all() and 3 not in folders.pairs
    unlabelled = read_unlabelled(tmp_path / "photos")
    assert (unlabelled.pairs[:, 0] == unlabelled.pairs[:, 1]).all() and len(
        set(unlabelled.clusters)
    ) == 6

    (tmp_path / "clean.csv").write_text("landmark_id,images\n7,abcd efgh\n9,ijkl\n")
    table = read_landmarks_csv(tmp_path / "clean.csv", tmp_path)
    assert table.paths[0] == tmp_path / "a" / "b" / "c" / "abcd.jpg" and table.pairs.tolist() == [
        [0, 1],
        [1, 0],
    ]

    cids = ["0123456789abcdef01", "0123456789abcdef02", "0123456789abcdef03"]
    content = {
        "train": {
            "cids": cids,
            "cluster": [1, 1, 2],
            "qidxs": np.array([0, 1]),
            "pidxs": [1, 0],
            "bbxs": None,
        }
    }
    (tmp_path / "sfm.pkl").write_bytes(pickle.dumps(content, protocol=2))
    sfm = read_sfm(tmp_path / "sfm.pkl", tmp_path)
    assert sfm.paths[0] == tmp_path / "01" / "ef" / "cd" / cids[0] and sfm.pairs.tolist() == [
        [0, 1],
        [1, 0],
    ]
    (tmp_path / "sfm.pkl").write_bytes(pickle.dumps({"train": Path("x")}))
    with pytest.raises(BadTrainingData, match="asks for pathlib"):
        read_sfm(tmp_path / "sfm.pkl", tmp_path)
    with pytest.raises(BadTrainingData, match="two clusters"):
        TrainingSet([Path("a"), Path("b")], np.array([0, 1]), np.array([[0, 1]]))


def write_start(path: Path, architecture: str) -> Path:
    """A random net to begin with."""
    torch.manual_seed(0)
    network = GeMResNet(architecture, 16)
    state = {k: v for k, v in network.state_dict().items() if not k.endswith("tracked")}
    save_file(state, path, metadata={"image_size": "64", "licence": "CC0-1.0"})
    return path


@pytest.fixture(scope="module")
def course(tmp_path_factory) -> Path:
    """A folder with a small random net, photos to train on, photos to validate on, and a
    configuration.
    """
    folder = tmp_path_factory.mktemp("course")
    write_start(folder / "start.safetensors", SMALL)
    for i in range(8):
        small_photo(folder / "photos" / f"{i}.jpg", i)
    groups = {}
    for i in range(3):
        groups[f"thing {i}"] = [f"{i}a.jpg", f"{i}b.jpg"]
        for name in groups[f"thing {i}"]:
            small_photo(folder / "valid" / name, i)
    (folder / "groups.json").write_text(json.dumps(groups))
    (folder / "run.toml").write_text(
        'start = "start.safetensors"\nout = "run"\nsize = 48\nqueries = 8\npool = 8\nnegatives = '
        "2\nbatch = 2\n"
        "together = 2\nrate = 1e-3\nepochs = 2\nsave_every = 1\nworkers = 0\n"
        '[data]\nkind = "unlabelled"\nroot = "photos"\n'
        '[loss]\nname = "triplet"\nmargin = 0.5\nsecond_order = 1.0\n'
        '[validation]\nphotos = "valid"\ngroups = "groups.json"\n'
    )
    return folder


def configured(course: Path, out: str) -> TrainConfig:
    text = (course / "run.toml").read_text().replace('out = "run"', f'out = "{out}"')
    (course / f"{out}.toml").write_text(text)
    return read_config(course / f"{out}.toml", TrainConfig)


def one_step(run: training.FineTuning, tuples: np.ndarray) -> float:
    """A step of the optimiser on tuples, `together` of them at a time."""
    together = run.config.together
    parts = [tuples[start : start + together] for start in range(0, len(tuples), together)]
    views = run.feed([run.views(part) for part in parts])
    return run.step([(part.shape, next(views)) for part in parts])


def gradient(network: torch.nn.Module) -> torch.Tensor:
    """The gradients of all parameters in one row."""
    return torch.cat([parameter.grad.flatten() for parameter in network.parameters()])


def test_interrupted_run_ends_as_the_uninterrupted(course, monkeypatch):
    torch.use_deterministic_algorithms(True)
    whole = training.FineTuning(configured(course, "whole"))
    whole.train()

    step, count = training.FineTuning.step, 0

    def stop_at_third(self, parts):
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt
        return step(self, parts)

    monkeypatch.setattr(training.FineTuning, "step", stop_at_third)
    config = configured(course, "parts")
    with pytest.raises(KeyboardInterrupt):
        training.FineTuning(config).train()
    monkeypatch.undo()
    resumed = training.FineTuning(config)
    assert (resumed.state.epoch, resumed.state.step) == (0, 2) and resumed.state.tuples is not None
    resumed.train()
    for name, value in whole.network.state_dict().items():
        torch.testing.assert_close(
            resumed.network.state_dict()[name], value, rtol=1e-4, atol=1e-6, msg=name
        )
    torch.use_deterministic_algorithms(False)


def test_a_changed_rate_takes_effect_when_a_run_resumes(course):
    config = dataclasses.replace(configured(course, "rates"), epochs=1, decay=0.5)
    begun = training.FineTuning(config)
    begun.train()
    config = dataclasses.replace(config, epochs=2, rate=5e-4, p_rate=3.0, weight_decay=0.2)
    run = training.FineTuning(config)
    moments = [state["exp_avg"] for state in begun.optimiser.state.values()]
    for state, moment in zip(run.optimiser.state.values(), moments, strict=True):
        assert torch.equal(state["exp_avg"], moment)
    groups, seen = run.optimiser.param_groups, []
    run.optimiser.step = lambda: seen.append([(g["lr"], g["weight_decay"]) for g in groups])
    run.train()
    rate = 5e-4 * math.exp(-0.5)  # of the second epoch
    assert len(seen) == 4
    for others, p in seen:
        assert others == pytest.approx((rate, 0.2)) and p == pytest.approx((3 * rate, 0.0))


def truncate(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def set_value(path: Path, *keys: str, value: object = None) -> None:
    """Replace a value of a state file, or remove its key."""
    content = table = torch.load(path, weights_only=True)
    for key in keys[:-1]:
        table = table[key]
    if value is None:
        del table[keys[-1]]
    else:
        table[keys[-1]] = value
    torch.save(content, path)


def widened(path: Path, *keys: str) -> None:
    """Give a tensor of a state file a row more."""
    table = torch.load(path, weights_only=True)
    for key in keys:
        table = table[key]
    set_value(path, *keys, value=torch.cat([table, table[:1]]))


DAMAGED = "last.pt is damaged or the state of another run"


@pytest.mark.parametrize(
    "damage",
    [
        truncate,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"no state"),
        lambda path: set_value(path, "optimiser"),
        lambda path: set_value(path, "state", "step"),
        lambda path: set_value(path, "state", "pace", value=1),
        lambda path: widened(path, "network", "whiten.weight"),
        lambda path: set_value(path, "state", "tuples", value=torch.zeros(8, 5, dtype=torch.int64)),
        lambda path: set_value(path, "state", "tuples", value=torch.full((8, 4), 8)),
    ],
    ids="truncated empty foreign keys state unknown shapes negatives photos".split(),
)
def test_a_damaged_state_is_a_sentence(course, tmp_path, capsys, damage):
    run = training.FineTuning(dataclasses.replace(configured(course, "sound"), out=tmp_path))
    run.save()
    damage(tmp_path / "last.pt")
    assert main(["train", str(course / "run.toml"), f'out="{tmp_path}"']) == 1
    said = capsys.readouterr().err
    assert DAMAGED in said and said.count("\n") == 1


def test_run_leaves_log_curve_and_best_weights(course, capsys):
    configured(course, "logged")
    assert main(["train", str(course / "logged.toml")]) == 0
    assert "best validation mAP" in capsys.readouterr().out
    out = course / "logged"
    entries = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [entry["epoch"] for entry in entries] == [0, 1, 2] and all(
        0 < e["validation"] <= 1 for e in entries
    )
    assert entries[1]["loss"] > 0 and entries[2]["p"] != entries[0]["p"]
    assert (out / "curve.png").read_bytes()[:4] == b"\x89PNG"
    network, provenance = load_checkpoint(out / "best.safetensors")
    start, _ = load_checkpoint(course / "start.safetensors")
    assert (
        provenance.longest_side == 64
        and "triplet, margin 0.5, second order x 1.0" in provenance.training
    )
    for name, value in start.state_dict().items():
        if name.endswith(("running_mean", "running_var")):
            assert torch.equal(network.state_dict()[name], value), (
                "BatchNorm statistics stay frozen"
            )
    assert main(["train", str(course / "logged.toml")]) == 0
    assert "resuming at epoch 2" in capsys.readouterr().out, "a finished run has nothing more to do"


def test_values_on_the_command_line_replace_the_files(course):
    changes = ['out="elsewhere"', "loss.margin=0.25", "rate=1e-6"]
    config, plain = (
        read_config(course / "run.toml", TrainConfig, changes),
        read_config(course / "run.toml", TrainConfig),
    )
    loss = dataclasses.replace(plain.loss, margin=0.25)
    assert config == dataclasses.replace(plain, out=course / "elsewhere", loss=loss, rate=1e-6)
    for change, sentence in (
        ("rat=1", "unknown key rat"),
        ("rate", "Expected '='"),
        ("loss=1", "loss must be"),
    ):
        with pytest.raises(BadConfig, match=sentence):
            read_config(course / "run.toml", TrainConfig, [change])


def test_compare_lists_checkpoints_with_their_map(course, capsys):
    where = ["--photos", str(course / "valid"), "--groups", str(course / "groups.json")]
    assert main(["compare", str(course / "start.safetensors"), *where]) == 0
    network, provenance = load_checkpoint(course / "start.safetensors")
    expected = validate(
        network.eval(), provenance, read_config(course / "run.toml", TrainConfig).validation
    )
    assert (
        f"/start.safetensors | {network.pool.p.item():.3f} | {expected:.4f} |"
        in capsys.readouterr().out
    )


def test_an_epochs_tuples_are_two_views_of_a_photo_and_other_photos(course):
    config = configured(course, "tuples")
    run = training.FineTuning(config)
    tuples = training.mine_tuples(run.network, run.training, run.feed, config, 0)
    assert tuples.shape == (8, 4)
    assert (tuples[:, 0] == tuples[:, 1]).all() and not (tuples[:, :1] == tuples[:, 2:]).any()


TUPLES = np.array([[0, 0, 1, 2], [3, 3, 4, 5], [6, 6, 7, 0]])


def slow_step(run: training.FineTuning, tuples: np.ndarray) -> tuple[float, torch.Tensor]:
    """Mean loss and summed gradient, one photo and one tuple at a time, in double precision."""
    network = load_checkpoint(run.config.start)[0].double()
    margin, weight = run.config.loss.margin, run.config.loss.second_order
    total = 0.0
    for images in run.feed([run.views(tuples[[i]]) for i in range(len(tuples))]):
        q, p, *negatives = (network(image[None].double())[0] for image in images)
        near = (q - p).square().sum()
        far = [(q - n).square().sum() for n in negatives]
        first = sum((near - x + margin).clamp(min=0) for x in far)
        pairs = [(x - (p - n).square().sum()).square() for x, n in zip(far, negatives)]
        loss = first + weight * sum(pairs).sqrt()
        loss.backward()
        total += loss.item()
    return total / len(tuples), gradient(network)


def test_a_step_has_the_gradient_of_a_loop_over_tuples(course, in_float32):
    """However many tuples go through the network together, and whoever prepares the views."""
    config = configured(course, "accumulate")
    assert config.loss.name == "triplet" and config.loss.second_order > 0
    for together, workers in ((1, 0), (2, 1), (3, 0), (8, 0)):
        run = training.FineTuning(dataclasses.replace(config, together=together, workers=workers))
        run.optimiser.step = lambda: None
        loss, expected = slow_step(run, TUPLES)
        assert one_step(run, TUPLES) == pytest.approx(loss, rel=1e-4)
        found = gradient(run.network)
        assert (found - expected).norm() < 1e-3 * expected.norm(), (together, workers)


def test_a_step_is_adamws_with_a_faster_rate_for_p(course):
    config = dataclasses.replace(configured(course, "adamw"), weight_decay=0.1)
    run = training.FineTuning(config)
    p = run.network.pool.p
    copies = {x: x.detach().clone().requires_grad_() for x in run.network.parameters()}
    others = [copy for x, copy in copies.items() if x is not p]
    fast = {"params": [copies[p]], "lr": config.p_rate * config.rate, "weight_decay": 0.0}
    reference = torch.optim.AdamW([{"params": others}, fast], config.rate, weight_decay=0.1)
    one_step(run, TUPLES)
    for x, copy in copies.items():
        copy.grad = x.grad
    reference.step()
    for x, copy in copies.items():
        torch.testing.assert_close(x, copy)


def test_an_epoch_that_the_budget_cuts_short_is_not_finished(course):
    config = configured(course, "cut")
    cut = training.FineTuning(dataclasses.replace(config, minutes=1e-9))
    cut.train()
    assert (cut.state.epoch, cut.state.step) == (0, 1) and len(cut.state.tuples) == 8
    again = training.FineTuning(config)
    assert (again.state.epoch, again.state.step) == (0, 1)
    again.train()
    whole = training.FineTuning(configured(course, "uncut"))
    whole.train()
    assert (again.state.epoch, again.state.step) == (2, 0)
    for name, value in whole.network.state_dict().items():
        torch.testing.assert_close(
            again.network.state_dict()[name], value, rtol=1e-4, atol=1e-6, msg=name
        )
    logs = [
        [json.loads(line) for line in (course / name / "log.jsonl").read_text().splitlines()]
        for name in ("cut", "uncut")
    ]
    assert [(entry["epoch"], entry.get("step")) for entry in logs[0]] == [
        *((0, None), (0, 1), (1, 0), (2, 0))
    ]
    assert logs[0][2]["loss"] == pytest.approx(logs[1][1]["loss"], rel=1e-3)


def test_views_made_in_the_background_are_the_same(course):
    files = sorted((course / "photos").iterdir())
    photos = Photos(files, Provenance(64), 48, with_views=True, seed=3, budget=1e6)
    batches = [[(i, view, 5) for i in range(4) for view in (PLAIN, QUERY)] for _ in range(3)]
    here, there = Feed(photos), Feed(photos, workers=1)
    next(there(batches))  # ended early: what it prepared must not come later
    for expected, found in zip(here(batches[:2]), there(batches[:2]), strict=True):
        assert len(found) == 8
        for a, b in zip(expected, found):
            assert torch.equal(a, b)


def test_photos_are_read_once_within_the_budget(tmp_path):
    for i in range(3):
        small_photo(tmp_path / f"{i}.jpg", i)
    files = sorted(tmp_path.iterdir())
    kept, exact = PhotoMemory(files, 64, 1e6), PhotoMemory(files, 64)
    first = [kept[i].copy() for i in range(3)]
    np.testing.assert_array_equal(exact[0], resize(read_photo(files[0]), 64))
    none, tight = PhotoMemory(files, 64, 0), PhotoMemory(files, 64, 2000)
    for i in range(3):  # a limit of memory does not change what is learned
        np.testing.assert_array_equal(none[i], first[i])
        np.testing.assert_array_equal(tight[i], first[i])
    for file in files:
        file.unlink()
    for i in range(3):
        np.testing.assert_array_equal(kept[i], first[i])
    unread = []
    for photos in (exact, none, tight):
        for i in range(3):
            try:
                photos[i]
            except FileNotFoundError:
                unread.append(photos)
    assert unread.count(exact) == unread.count(none) == 3 and unread.count(tight) > 0


@pytest.mark.parametrize(
    "change, sentence",
    [
        (("rate = 1e-3", "rat = 1e-3"), "unknown key rat"),
        (("size = 48", 'size = "large"'), "size must be a valid integer"),
        (('name = "triplet"\n', ""), "loss.name is missing"),
        (('name = "triplet"', 'name = "quadruplet"'), "loss.name: 'quadruplet' is unknown"),
        (('kind = "unlabelled"', 'kind = "films"'), "data.kind must be"),
        (('kind = "unlabelled"', 'kind = "sfm"'), "data.table is missing"),
        (("size = 48", "size ="), "Invalid value"),
    ],
)
def test_bad_configurations_are_named(course, capsys, change, sentence):
    (course / "bad.toml").write_text((course / "run.toml").read_text().replace(*change))
    assert main(["train", str(course / "bad.toml")]) == 1
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    "change, sentence",
    [
        ("batch=0", "batch must be greater than or equal to 1"),
        ("rate=-1e-3", "rate must be greater than 0"),
        ("size=5", "size must be greater than or equal to 32"),
        ("rate=nan", "rate must be"),
        ("rate=inf", "rate must be less than or equal to 10"),
        ("epochs=0", "epochs must be greater than or equal to 1"),
        ("minutes=0", "minutes must be greater than 0"),
        ("negatives=0", "negatives must be greater than or equal to 1"),
        ("seed=-1", "seed must be"),
        ("batch=true", "batch must be a valid integer"),
        ("rate=true", "rate must be a valid number"),
        ("rate=1" + 400 * "0", "rate must be a valid number"),
        ("batch=1" + 5000 * "0", "Exceeds the limit"),
        ("data=" + 100_000 * "[", "it is nested too deeply"),
        ("loss.margin=0", "loss.margin must be greater than 0"),
        ("loss.second_order=-1.0", "loss.second_order must be greater than or equal to 0"),
        ('validation.groups="nowhere.json"', "validation cannot be read"),
        ('validation.groups="start.safetensors"', "validation cannot be read"),
    ],
)
def test_numbers_out_of_range_are_a_sentence(course, capsys, change, sentence):
    assert main(["train", str(course / "run.toml"), change]) == 1
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1


def ranges_of(kind: type) -> dict[str, tuple[type, dict[str, float]]]:
    """Every number that a configuration has, with its type and range; tables by their dots."""
    found: dict[str, tuple[type, dict[str, float]]] = {}
    for name, hint in get_type_hints(kind, include_extras=True).items():
        plain = [part for part in get_args(hint) or (hint,) if dataclasses.is_dataclass(part)]
        if get_origin(hint) is Annotated:
            number, field = get_args(hint)[:2]
            if number in (int, float):
                found[name] = number, {k: v for one in field.metadata for k, v in vars_of(one)}
        elif plain:
            found |= {f"{name}.{key}": value for key, value in ranges_of(plain[0]).items()}
        elif hint in (int, float):
            found[name] = hint, {}
    return found


def vars_of(constraint) -> list[tuple[str, float]]:
    return [(k, getattr(constraint, k)) for k in ("ge", "gt", "le") if hasattr(constraint, k)]


LEAST = {
    TrainConfig: 'start = "a"\nout = "b"\n[data]\nkind = "folders"\nroot = "c"\n'
    '[loss]\nname = "triplet"\nmargin = 1\n[validation]\nphotos = "d"\ngroups = "e"\n',
    DistillConfig: 'architecture = "resnet50"\nout = "b"\nphotos = "c"\n[teacher]\nmodel = "d"\n'
    '[instances]\nname = "triplet"\nmargin = 1\n',
}


@pytest.mark.parametrize("kind", [TrainConfig, DistillConfig])
def test_every_number_has_a_range_and_is_held_to_it(kind, tmp_path):
    (tmp_path / "c.toml").write_text(LEAST[kind])
    read_config(tmp_path / "c.toml", kind)
    ranges = ranges_of(kind)
    assert {"batch", "size", "rate", "seed", "minutes"} < ranges.keys()
    for key, (number, allowed) in ranges.items():
        assert "le" in allowed and {"ge", "gt"} & allowed.keys(), f"{key} has no range"
        outside = [allowed.get("ge", allowed.get("gt")) - 1]
        if allowed["le"] < math.inf:
            outside.append(2 * allowed["le"])
        if number is float:
            outside.append(math.nan)
        for value in outside:
            change = f"{key} = {number(value) if value == value else 'nan'}"
            with pytest.raises(BadConfig, match=f"{key} must be (greater|less) than"):
                read_config(tmp_path / "c.toml", kind, [change])
