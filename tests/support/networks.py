"""A ResNet for tests: one block a stage, an eighth of the channels, a hundredth of the parameters.

Importing this makes its name known. A file of tests that imports `narrow` has the channels, and one
that imports `traced_once` waits for each export once. Parts and names of parameters are those of
the real ones, and the tests of the shipped model and of `test_model` run on those.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import onnx
import pytest

import model.__main__
from export import to_onnx  # noqa: F401 - its module is patched
from model.checkpoints import foreign, state
from model.network import BLOCKS, EXPANSION, PLANES, GeMResNet
from model.training.distill import losses, train

SMALL = "resnet14"
BLOCKS[SMALL] = (1, 1, 1, 1)
DEEPER = "resnet17"  # SMALL with one block more
BLOCKS[DEEPER] = (1, 2, 1, 1)
NARROW = tuple(planes // 8 for planes in PLANES)
TRUNK_DIM = NARROW[-1] * EXPANSION  # channels of the last map of a narrow network


@contextmanager
def width(planes: tuple[int, ...]) -> Iterator[None]:
    """All networks have these channels in the convolutions of their four stages."""
    trunk = planes[-1] * EXPANSION
    with pytest.MonkeyPatch.context() as patch:
        for module in (model.network, losses):
            patch.setattr(module, "PLANES", planes)
        for module in (model.network, model.__main__, foreign, state, train):
            patch.setattr(module, "TRUNK_DIM", trunk)
        patch.setattr(model.__main__, "DIMS", (trunk, trunk // 2, trunk // 4))
        yield


@pytest.fixture(scope="module", autouse=True)
def narrow() -> Iterator[None]:
    with width(NARROW):
        yield


@pytest.fixture
def published_width() -> Iterator[None]:
    with width(PLANES):
        yield


traced: dict[str, bytes] = {}


@pytest.fixture(scope="module", autouse=True)
def traced_once() -> Iterator[None]:
    """Tracing a network takes seconds; the same one is traced once in a process."""
    exporter = sys.modules["export.to_onnx"]

    def remembered(network: GeMResNet, trace=exporter.trace) -> onnx.ModelProto:
        digest = hashlib.sha256(network.architecture.encode())
        for name, value in network.state_dict().items():
            digest.update(f"{name} {tuple(value.shape)}".encode() + value.numpy().tobytes())
        if digest.hexdigest() not in traced:
            traced[digest.hexdigest()] = trace(network).SerializeToString()
        return onnx.load_from_string(traced[digest.hexdigest()])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporter, "trace", remembered)
        yield
