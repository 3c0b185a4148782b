"""Any ONNX image model as a teacher: its maps at several strides and its pooled descriptor."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import torch

from extractor.descriptor.untracked import import_openvino, quiet_session
from model.network import l2n

from ..common.settings import TeacherChoice

CHUNK = 8  # photos per run: the maps of more would not fit into the processor's caches
SMALLEST = 1e-6  # lower clamp of activations before GeM's power, as in the student


class BadTeacher(Exception):
    """The ONNX file cannot be used as a teacher. The message is one sentence."""


class Teacher:
    """A teacher ready to run.

    Args:
        choice: its file, tensors and normalisation.
        threads: number of threads to use.
        quick: whether to use OpenVINO in bfloat16 where it is installed. Otherwise onnxruntime runs
            in float32.

    Raises:
        BadTeacher: the file is unreadable, or lacks a tensor.
    """

    def __init__(self, choice: TeacherChoice, threads: int, quick: bool = True):
        self._maps, self._pooled = tensors_of(choice)
        self._p = choice.p
        self._mean, self._std = np.float32(choice.mean), np.float32(choice.std)
        model, self._input = with_outputs(choice.model, [*self._maps, self._pooled])
        try:
            if quick and importlib.util.find_spec("openvino") is not None:
                self._infer = openvino_session(model, threads)
            else:
                self._infer = onnxruntime_session(model, threads)
        except Exception as error:  # the engines' exceptions share no base class
            raise BadTeacher(f"{choice.model.name} cannot be run: {error}") from error

    def __call__(self, photos: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        """Run the teacher on photos.

        Args:
            photos: uint8 RGB (B, H, W, 3).

        Returns:
            Its maps, float32 (B, C, h, w) each, and its unit descriptors, float32 (B, D).
        """
        parts = [self._run(photos[i : i + CHUNK]) for i in range(0, len(photos), CHUNK)]
        maps, descriptors = zip(*parts)
        return [np.concatenate(map) for map in zip(*maps)], np.concatenate(descriptors)

    def _run(self, photos: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        """Likewise, for at most CHUNK photos."""
        batch = (photos.astype(np.float32) / 255 - self._mean) / self._std
        found = self._infer({self._input: np.ascontiguousarray(batch.transpose(0, 3, 1, 2))})
        pooled = pool(torch.from_numpy(found[self._pooled]), self._p)
        return [found[name] for name in self._maps], pooled.numpy()


def tensors_of(choice: TeacherChoice) -> tuple[list[str], str]:
    """Names of a teacher's maps and of its pooled tensor. Raises BadTeacher if there is no map."""
    stages = (choice.layer1, choice.layer2, choice.layer3, choice.layer4)
    maps = [name for name in stages if name]
    if not maps:
        raise BadTeacher("teacher names no map for any of layer1 to layer4")
    return maps, choice.pooled or maps[-1]


def pool(x: torch.Tensor, p: float) -> torch.Tensor:
    """Unit rows (B, D) of vectors (B, D) or, by GeM with exponent p, of maps (B, D, h, w)."""
    if x.ndim == 4:
        if p == 1 or x.shape[2:] == (1, 1):
            x = x.mean(dim=(2, 3))
        else:
            x = x.clamp(min=SMALLEST).pow(p).mean(dim=(2, 3)).pow(1 / p)
    return l2n(x.flatten(1), SMALLEST)


def with_outputs(path: Path, names: list[str]) -> tuple[bytes, str]:
    """Make inner tensors of an ONNX file its outputs.

    Args:
        path: path of the file.
        names: names of the tensors.

    Returns:
        The changed model, serialised, and the name of its input.

    Raises:
        BadTeacher: the file is unreadable, or lacks a tensor.
    """
    try:
        model = onnx.load(str(path), load_external_data=False)
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf raises its own DecodeError
        raise BadTeacher(f"{path.name} is missing, damaged or no ONNX model") from error
    produced = {name for node in model.graph.node for name in node.output}
    if missing := [name for name in names if name not in produced]:
        raise BadTeacher(f"{path.name} has no tensor {missing[0]!r}")
    stored = {tensor.name for tensor in model.graph.initializer}
    inputs = [value.name for value in model.graph.input if value.name not in stored]
    if len(inputs) != 1:
        raise BadTeacher(f"{path.name} must have one input, a photo, not {len(inputs)}")
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in dict.fromkeys(names))
    return model.SerializeToString(), inputs[0]


def onnxruntime_session(model: bytes, threads: int) -> Callable[[dict], dict]:
    """A function from inputs by name to outputs by name, run by onnxruntime in float32."""
    session = quiet_session(model, threads)
    names = [output.name for output in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(names, inputs)))


def openvino_session(model: bytes, threads: int) -> Callable[[dict], dict]:
    """A function from inputs by name to outputs by name, run by OpenVINO in bfloat16."""
    openvino = import_openvino()

    names = [output.name for output in onnx.load_from_string(model).graph.output]
    settings = {
        "INFERENCE_PRECISION_HINT": "bf16",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,  # with pinning, all processes would share the first core
    }
    core = openvino.Core()
    request = core.compile_model(core.read_model(model), "CPU", settings).create_infer_request()

    def infer(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        request.infer(inputs)
        return {name: np.array(request.get_tensor(name).data, np.float32) for name in names}

    return infer
