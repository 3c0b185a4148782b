"""onnxruntime's CUDA provider as one more engine, by a stand-in: no GPU is needed."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import numpy as np
import pytest

from extractor import BadModel, Extractor
from extractor.descriptor import choice, cuda
from extractor.descriptor.batched import Batched
from extractor.descriptor.registry import MODELS
from extractor.descriptor.untracked import ort
from tests.conftest import unit_rows

ROOT = Path(__file__).resolve().parents[2]
MODEL = MODELS["efficientnet-lite2"].path  # the one that loads quickly


class FakeSession:
    """A session of the CPU that says it is on a GPU, and turns what it finds by some noise."""

    noise = 0.0
    loaded = True
    broken = False
    asked: list = []

    def __init__(self, model, options, providers, enable_fallback):
        assert enable_fallback == 0, "a GPU that fails is no reason for other digits"
        if self.broken:
            raise RuntimeError("CUDA failure 35: driver too old\nmore")
        FakeSession.asked.append(providers)
        self._session = REAL(model, options, providers=["CPUExecutionProvider"])

    def get_providers(self):
        return [cuda.PROVIDER] * self.loaded + ["CPUExecutionProvider"]

    def get_modelmeta(self):
        return self._session.get_modelmeta()

    def run(self, names, inputs):
        rows = self._session.run(names, inputs)[0]
        rows = rows + self.noise * np.random.default_rng(0).normal(size=rows.shape)
        return [(rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)]


REAL = ort.InferenceSession


class FakeRuntime:
    """The parts of onnxruntime that `cuda_session` uses, as on a machine with a GPU."""

    InferenceSession = FakeSession

    def __init__(self, providers=(cuda.PROVIDER, "CPUExecutionProvider")):
        self._providers = list(providers)

    def get_available_providers(self):
        return self._providers

    def preload_dlls(self):
        pass


@pytest.fixture
def gpu(monkeypatch):
    """A machine with a GPU, on which the reference takes 100 ms and CUDA 5."""
    monkeypatch.setattr(cuda, "ort", FakeRuntime())
    monkeypatch.setattr(FakeSession, "noise", 0.0)
    monkeypatch.setattr(FakeSession, "loaded", True)
    monkeypatch.setattr(FakeSession, "asked", [])
    monkeypatch.setattr(choice, "milliseconds", timed)
    monkeypatch.setattr(choice, "PROBES", choice.PROBES[:2])
    monkeypatch.setattr(
        choice, "candidates", lambda model, all=choice.candidates: only_cuda(all(model))
    )


def only_cuda(options):
    return [option for option in options if option.engine == "onnxruntime-cuda"]


def timed(which, photos):
    return 5.0 if which.engine == "onnxruntime-cuda" else 100.0


def test_a_gpu_that_agrees_is_chosen(gpu):
    chosen, sentence = choice.choose_extractor(MODEL)
    assert chosen.engine == "onnxruntime-cuda" and isinstance(chosen._runtime, Batched)
    assert sentence == (
        "float32 on onnxruntime-cuda (float32 on onnxruntime 100 ms, cosine 1.0000; "
        "float32 on onnxruntime-cuda 5 ms, cosine 1.0000)"
    )
    (provider, settings), last = FakeSession.asked[0]
    assert provider == cuda.PROVIDER and last == "CPUExecutionProvider"
    assert settings["use_tf32"] == "0", "float32 is computed in all of its digits"


def test_a_gpu_that_disagrees_is_not(gpu, monkeypatch):
    monkeypatch.setattr(FakeSession, "noise", 0.1)
    chosen, sentence = choice.choose_extractor(MODEL)
    assert chosen.engine == "onnxruntime"
    assert re.fullmatch(
        r"float32 on onnxruntime \(float32 on onnxruntime 100 ms, cosine 1\.0000; "
        r"float32 on onnxruntime-cuda: cosine 0\.[0-8]\d+ is below 0\.99\)",
        sentence,
    )


@pytest.mark.parametrize(
    "providers, loaded, why",
    [
        (["CPUExecutionProvider"], True, "onnxruntime has no CUDA provider; install requirements-"),
        ([cuda.PROVIDER], False, "onnxruntime found no GPU"),
    ],
    ids=["not installed", "no driver"],
)
def test_without_the_provider_the_processor_is_used_and_that_is_said(
    gpu, monkeypatch, tmp_path, providers, loaded, why
):
    monkeypatch.setattr(cuda, "ort", FakeRuntime(providers))
    monkeypatch.setattr(FakeSession, "loaded", loaded)
    driver = tmp_path / "version"
    driver.touch()
    monkeypatch.setattr(cuda, "DRIVER", driver)
    chosen, sentence = choice.choose_extractor(MODEL)
    assert chosen.engine == "onnxruntime" and why in sentence
    with pytest.raises(BadModel, match=why):
        Extractor(MODEL, engine="onnxruntime-cuda")
    written = {"engine": "onnxruntime-cuda", "precision": "float32"}
    opened, sentence = choice.open_extractor(MODEL, written)
    assert opened.engine == "onnxruntime" and why in sentence
    assert sentence.startswith("float32 on onnxruntime, instead of float32 on onnxruntime-cuda: ")


def test_a_driver_that_fails_is_said(gpu, monkeypatch):
    monkeypatch.setattr(FakeSession, "broken", True)
    chosen, sentence = choice.choose_extractor(MODEL)
    assert chosen.engine == "onnxruntime"
    assert "onnxruntime cannot use the GPU: CUDA failure 35: driver too old)" in sentence


def test_without_a_gpu_nothing_is_tried(monkeypatch, tmp_path):
    monkeypatch.setattr(cuda, "ort", FakeRuntime(["CPUExecutionProvider"]))
    monkeypatch.setattr(cuda, "DRIVER", tmp_path / "nothing")
    assert only_cuda(choice.candidates(MODEL)) == []


class Gathering:
    """A runtime that holds its first batch until others wait, and keeps the sizes of all."""

    metadata: dict[str, str] = {}

    def __init__(self):
        self.sizes, self.may_go = [], threading.Event()

    def run(self, batch):
        self.may_go.wait(30)
        self.sizes.append(len(batch))
        if (batch == 99).any():
            raise RuntimeError("out of memory")
        return batch.reshape(len(batch), -1)[:, :2] * 2


def answers(batched: Batched, batches: list[np.ndarray], runtime: Gathering) -> list:
    """What each of several threads gets, the first of which begins alone."""
    found: list = [None] * len(batches)

    def ask(place):
        try:
            found[place] = batched.run(batches[place])
        except RuntimeError as error:
            found[place] = error

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(batches))]
    threads[0].start()
    while not batched._run_lock.locked() or batched._waiting:
        threading.Event().wait(0.001)
    for count, thread in enumerate(threads[1:], 1):
        thread.start()
        while len(batched._waiting) < count:
            threading.Event().wait(0.001)
    runtime.may_go.set()
    for thread in threads:
        thread.join()
    return found


def test_photos_of_one_size_run_together(rng):
    runtime = Gathering()
    wide = [unit_rows(rng, 1, 12, 4).reshape(1, 3, 2, 2) for _ in range(5)]
    tall = [unit_rows(rng, 1, 18, 4).reshape(1, 3, 3, 2) for _ in range(2)]
    batches = [wide[0], *tall, *wide[1:]]
    found = answers(Batched(runtime, max_batch=3), batches, runtime)
    for batch, rows in zip(batches, found):
        np.testing.assert_array_equal(rows, batch.reshape(len(batch), -1)[:, :2] * 2)
    assert sorted(runtime.sizes) == [1, 1, 2, 3], "both tall ones, and three of the wide ones"


def test_an_engines_error_is_everybodys_and_the_next_call_runs(rng):
    runtime = Gathering()
    fine, bad = np.ones((1, 3, 2, 2), np.float32), np.full((1, 3, 2, 2), 99, np.float32)
    batched = Batched(runtime)
    found = answers(batched, [fine, bad, fine], runtime)
    assert not isinstance(found[0], Exception)
    assert [str(error) for error in found[1:]] == ["out of memory"] * 2
    np.testing.assert_array_equal(batched.run(fine), np.full((1, 2), 2))


def pins(name: str) -> dict[str, str]:
    """Versions by package of a file of requirements, without its comments and includes."""
    lines = [line.split("#")[0].strip() for line in (ROOT / name).read_text().splitlines()]
    return dict(line.split("==") for line in lines if line and not line.startswith("-r"))


def test_the_gpus_requirements_are_those_of_serving():
    plain, gpu = pins("requirements.txt"), pins("requirements-gpu.txt")
    runtime = gpu.pop("onnxruntime-gpu[cuda,cudnn]")
    major, minor, _ = plain.pop("onnxruntime").split(".")
    assert gpu == plain
    assert runtime.split(".")[0] == major
    assert 0 <= int(minor) - int(runtime.split(".")[1]) <= 1, "at most one release behind"
