"""Any ONNX image model as a teacher: its maps at several strides and its pooled descriptor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

from extractor import available_cores


class BadTeacher(Exception):
    """The ONNX file cannot teach; the message is one sentence."""


class Teacher:
    """maps: names of tensors (B, C, h, w) inside the graph, need not be its outputs. pooled: name of one (B, D) or
    (B, D, 1, 1), or "" for the mean over positions of the last map. mean, std: of its normalisation, RGB in 0 to 1.

    Raises BadTeacher for an unreadable file or a name that is not in it.
    """

    def __init__(
        self,
        path: Path,
        maps: list[str],
        pooled: str,
        mean: tuple[float, ...],
        std: tuple[float, ...],
    ):
        try:
            model = onnx.load(str(path), load_external_data=False)
        except Exception as error:  # protobuf raises its own DecodeError
            raise BadTeacher(f"{path.name} is damaged or no ONNX model") from error
        made = {name for node in model.graph.node for name in node.output}
        self._wanted = [*maps, *([pooled] if pooled else [])]
        if missing := [name for name in self._wanted if name not in made]:
            raise BadTeacher(f"{path.name} has no tensor {missing[0]!r}")
        outputs = {output.name for output in model.graph.output}
        model.graph.output.extend(
            onnx.ValueInfoProto(name=name) for name in self._wanted if name not in outputs
        )
        options = ort.SessionOptions()
        options.intra_op_num_threads = available_cores()
        options.log_severity_level = 3
        self._session = ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name
        self._pooled = bool(pooled)
        self._mean, self._std = np.float32(mean), np.float32(std)

    def __call__(self, photos: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        """uint8 RGB (B, H, W, 3) -> maps float32 [(B, C, h, w)], pooled float32 (B, D)."""
        batch = ((photos.astype(np.float32) / 255 - self._mean) / self._std).transpose(0, 3, 1, 2)
        found = self._session.run(self._wanted, {self._input: np.ascontiguousarray(batch)})
        maps = found[:-1] if self._pooled else found
        pooled = found[-1].reshape(len(photos), -1) if self._pooled else maps[-1].mean(axis=(2, 3))
        return maps, pooled
