"""int8 models, and the choice of engine and precision."""

from __future__ import annotations

import json
import os
import shutil
import threading
from contextlib import suppress

import numpy as np
import onnx
import pytest
import torch

from export import Recipe, quantise, to_onnx
from export.__main__ import main
from extractor import (
    DEFAULT_MODEL,
    BadModel,
    Extractor,
    int8_beside,
    read_photo,
    seal,
)
from extractor.__main__ import main as extractor_command
from extractor.descriptor import choice
from index_store import Store, engine_choice, engine_of
from model import GeMResNet, Provenance
from tests.conftest import GALLERY
from tests.support.networks import SMALL, narrow, traced_once

__all__ = ["narrow", "traced_once"]  # fixtures

PHOTOS = sorted(GALLERY.iterdir())[::7][:44]


@pytest.fixture(scope="module")
def float_model(tmp_path_factory):
    """A small random net whose BatchNorms fit its activations, as a trained one's do."""
    torch.manual_seed(7)
    network = GeMResNet(SMALL, 32)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        network.train()
        for _ in range(3):
            network(torch.randn(4, 3, 96, 96))
    path = tmp_path_factory.mktemp("int8") / "net.onnx"
    path.write_bytes(seal(to_onnx(network.eval(), Provenance(96), Recipe(96)).SerializeToString()))
    return path


def kinds(model: bytes) -> list[str]:
    return [node.op_type for node in onnx.load_from_string(model).graph.node]


def test_int8_model_is_near_the_float_one_and_known_as_its_kin(float_model, monkeypatch, capsys):
    monkeypatch.setattr(quantise, "TARGET", 0.9)
    monkeypatch.setattr("export.__main__.SAMPLE_PHOTOS", GALLERY)
    assert main(["--int8", str(float_model)]) == 0
    printed = capsys.readouterr().out
    path = int8_beside(float_model)
    assert "features." in printed and str(path) in printed
    small, whole = Extractor(path), Extractor(float_model)
    assert small.card.precision == "int8" and small.fingerprint == whole.fingerprint
    assert small.model_sha256 != whole.model_sha256
    assert kinds(path.read_bytes()).count("QuantizeLinear") > 10
    assert path.stat().st_size < 0.75 * float_model.stat().st_size
    photos = [read_photo(p) for p in PHOTOS[:6]]
    assert np.median((small.describe(photos) * whole.describe(photos)).sum(1)) > 0.9
    path.unlink()


def test_sensitivity_pass_keeps_the_most_sensitive_blocks_in_float(float_model, monkeypatch):
    """Judged against a target that only the float model can reach: everything is kept; against
    none, nothing is.
    """
    monkeypatch.setattr(quantise, "TARGET", 1.1)
    result = quantise.quantise_int8(float_model, PHOTOS)
    assert (
        result.kept_float == list(result.sensitivity)
        and len(result.sensitivity) == 5
        and result.cosine > 0.999
    )
    assert list(result.sensitivity.values()) == sorted(result.sensitivity.values(), reverse=True)
    assert "QuantizeLinear" not in kinds(result.model)
    monkeypatch.setattr(quantise, "TARGET", -1.0)
    everything = quantise.quantise_int8(float_model, PHOTOS)
    assert everything.kept_float == [] and everything.cosine < 1


def test_int8_says_what_it_needs(float_model, tmp_path, capsys):
    with pytest.raises(ValueError, match="needs at least 40 photos"):
        quantise.quantise_int8(float_model, PHOTOS[:10])
    (tmp_path / "x.onnx").write_bytes(b"x")
    assert main(["--int8", str(tmp_path / "x.onnx")]) == 1
    assert "x.onnx is damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    "engine, calls", [("onnxruntime", 2), ("openvino", 1), ("openvino", 2), ("openvino-bf16", 1)]
)
def test_every_engine_gives_the_same_descriptors(extractor, engines_as_they_are, engine, calls):
    other = Extractor(engine=engine, calls=calls)
    photos = [read_photo(GALLERY / name) for name in ("petra.jpg", "wine.jpg")]
    assert (other.describe(photos) * extractor.describe(photos)).sum(1).min() > 0.999
    assert other.fingerprint == extractor.fingerprint and other.card == extractor.card


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino", "openvino-bf16"])
def test_a_thread_that_describes_is_tied_to_no_core(engines_as_they_are, engine):
    """Several processes of one thread each would all be tied to the first."""
    quick = Extractor(engine=engine, threads=1)
    photos = [read_photo(GALLERY / "petra.jpg")] * 8
    thread = threading.Thread(target=quick.describe, args=(photos,))
    thread.start()
    seen = []
    while thread.is_alive():
        with suppress(ProcessLookupError):  # it has just ended
            seen.append(os.sched_getaffinity(thread.native_id))
    assert len(seen) > 10 and all(cores == os.sched_getaffinity(0) for cores in seen)


class Candidate:
    """Stands for an int8 model: turns the true descriptors and takes its time."""

    def __init__(self, reference: Extractor, noise: float, fingerprint: str | None = None):
        self._reference, self._noise = reference, noise
        self.fingerprint = fingerprint or reference.fingerprint

    def describe(self, photos):
        x = self._reference.describe(photos) + self._noise * np.random.default_rng(0).normal(
            size=(len(photos), 512)
        )
        return x / np.linalg.norm(x, axis=1, keepdims=True)


INT8 = choice.Choice("test", "int8")


def stand_in(monkeypatch, extractor: Extractor, candidate: Candidate, speed: float) -> None:
    """Let a candidate be found beside the reference, which takes 100 ms a photo."""

    def start(model, engine="onnxruntime", calls=1):
        return candidate if engine == "test" else extractor

    def timed(which, photos):
        return 100 * speed if which is candidate else 100.0

    monkeypatch.setattr(choice, "Extractor", start)
    monkeypatch.setattr(choice, "ENGINES", ("onnxruntime", "test"))
    monkeypatch.setattr(choice, "milliseconds", timed)
    monkeypatch.setattr(choice, "candidates", lambda model: [INT8])


@pytest.mark.parametrize(
    "noise, speed, fingerprint, taken, opened",
    [
        (0.001, 0.2, None, True, True),
        (0.1, 0.2, None, False, False),  # fast and wrong
        (0.001, 0.95, None, False, True),  # right and hardly faster
        (0.001, 0.2, "another", False, False),  # made from another model
    ],
)
def test_a_candidate_is_chosen_if_it_is_right_and_faster_and_opened_if_it_is_right(
    extractor, monkeypatch, noise, speed, fingerprint, taken, opened
):
    candidate = Candidate(extractor, noise, fingerprint)
    stand_in(monkeypatch, extractor, candidate, speed)
    chosen, sentence = choice.choose_extractor()
    assert (chosen is candidate) == taken
    assert sentence.startswith("int8 on test (" if taken else "float32 on onnxruntime (")
    monkeypatch.setattr(choice, "milliseconds", None)  # nothing is timed
    found, sentence = choice.open_extractor(DEFAULT_MODEL, {"engine": "test", "precision": "int8"})
    assert (found is candidate) == opened
    whole = "int8 on test, as chosen before"
    assert sentence == whole if opened else "instead of int8 on test: " in sentence


def test_a_candidate_that_does_not_run_drops_out(extractor, monkeypatch):
    def start(model, engine="onnxruntime", calls=1):
        if engine == "test":
            raise BadModel("no such instruction")
        return extractor

    stand_in(monkeypatch, extractor, None, 1.0)
    monkeypatch.setattr(choice, "Extractor", start)
    chosen, sentence = choice.choose_extractor()
    assert chosen is extractor and "int8 on test: no such instruction" in sentence


def test_without_candidates_nothing_is_tried(monkeypatch):
    monkeypatch.setattr(choice, "candidates", lambda model: [])
    chosen, sentence = choice.choose_extractor(DEFAULT_MODEL)
    assert chosen.card.precision == "float32" and "nothing else" in sentence


@pytest.mark.parametrize("written", [None, {"engine": "onnxruntime", "precision": "float32"}])
def test_the_reference_is_opened_without_a_proof(extractor, monkeypatch, written):
    stand_in(monkeypatch, extractor, Candidate(extractor, 0.0), 0.1)
    monkeypatch.setattr(choice, "probes", None)
    opened, sentence = choice.open_extractor(DEFAULT_MODEL, written)
    assert opened is extractor and sentence == "float32 on onnxruntime"


def test_an_engine_that_is_none_is_refused_with_a_sentence(extractor, monkeypatch):
    stand_in(monkeypatch, extractor, Candidate(extractor, 0.0), 0.1)
    strange = {"engine": "../evil", "precision": "float32"}
    opened, sentence = choice.open_extractor(DEFAULT_MODEL, strange)
    assert opened is extractor and sentence.endswith("there is no such engine")


def test_the_command_measures_and_writes_the_choice_into_a_store(
    extractor, small_built, tmp_path, monkeypatch, capsys
):
    store = tmp_path / "store"
    shutil.copytree(small_built / "store", store)
    assert engine_of(store) == {"engine": "onnxruntime", "precision": "float32"}
    stand_in(monkeypatch, extractor, Candidate(extractor, 0.001), 0.2)
    monkeypatch.setattr(engine_choice, "ENGINES", ("onnxruntime", "test"))
    assert extractor_command(["benchmark"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "float32 on onnxruntime 100 ms, cosine 1.0000"
    assert said[1].startswith("int8 on test 20 ms, cosine 0.99")
    assert said[2] == "chosen: int8 on test" and not (store / "engine.json").exists()
    monkeypatch.setattr(choice, "candidates", lambda model: [])
    assert extractor_command(["benchmark", "--store", str(store)]) == 0
    text = (store / "engine.json").read_text()
    assert json.loads(text) == {"engine": "onnxruntime", "precision": "float32"}
    engine_choice.write_engine(store, "openvino", "int8")
    assert engine_of(store) == {"engine": "openvino", "precision": "int8"}
    Store(store, extractor).close()
    for damage in ("{", '{"engine": "none", "precision": "int8"}', "x" * 20_000):
        (store / "engine.json").write_text(damage)
        assert engine_of(store) == {"engine": "onnxruntime", "precision": "float32"}
    assert extractor_command(["benchmark", "--store", str(tmp_path / "none")]) == 1
    assert capsys.readouterr().err.startswith("error: ")
