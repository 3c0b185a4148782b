"""Teacher on the student's device: views and maps stay there, without numpy copies."""

from __future__ import annotations

import numpy as np
import torch

from command import print_status
from extractor.descriptor.cuda import NoCuda, cuda_session
from extractor.descriptor.untracked import ort

from ..common.settings import TeacherChoice
from ..distill.teacher import BadTeacher, pool, tensors_of, with_outputs

CHUNK = 64  # views per run: less than 2 GB in an EfficientNet at 192 pixels


class DeviceTeacher:
    """A teacher run by onnxruntime, on the GPU if possible, in float32 (TF32 on a GPU).

    Args:
        choice: its file, tensors and normalisation.
        device: device of the views.

    Raises:
        BadTeacher: the file is unreadable, or lacks a tensor.
    """

    def __init__(self, choice: TeacherChoice, device: torch.device):
        self._maps, self._pooled = tensors_of(choice)
        self._outputs = list(dict.fromkeys([*self._maps, self._pooled]))
        self._p, self._name = choice.p, choice.model.name
        model, self._input = with_outputs(choice.model, self._outputs)
        try:
            self._session, self._device = open_session(model, device)
        except Exception as error:  # onnxruntime's exceptions share no public base class
            raise BadTeacher(f"{self._name} cannot be run: {error}") from error
        self._mean = torch.tensor(choice.mean, device=self._device).view(3, 1, 1)
        self._std = torch.tensor(choice.std, device=self._device).view(3, 1, 1)
        self._shapes: dict[torch.Size, dict[str, tuple[int, ...]]] = {}

    def __call__(self, views: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Run the teacher.

        Args:
            views: uint8 RGB (B, 3, H, W), on the device.

        Returns:
            Its maps, float32 (B, C, h, w) each, and its unit descriptors, float32 (B, D), on the
            device.
        """
        parts = [self._run(chunk) for chunk in views.split(CHUNK)]
        found = {name: torch.cat([part[name] for part in parts]) for name in self._outputs}
        maps = [found[name].to(views.device) for name in self._maps]
        return maps, pool(found[self._pooled], self._p).to(views.device)

    def _run(self, views: torch.Tensor) -> dict[str, torch.Tensor]:
        """Output tensors by name, on the session's device."""
        batch = (views.to(self._device).float() / 255 - self._mean) / self._std
        batch = batch.contiguous()
        outputs = {
            name: torch.empty((len(batch), *shape), device=self._device)
            for name, shape in self._shapes_for(batch).items()
        }
        binding = self._session.io_binding()
        placement = (self._device.type, 0, np.float32)
        binding.bind_input(self._input, *placement, tuple(batch.shape), batch.data_ptr())
        for name, tensor in outputs.items():
            binding.bind_output(name, *placement, tuple(tensor.shape), tensor.data_ptr())
        if self._device.type == "cuda":  # onnxruntime uses its own stream
            torch.cuda.current_stream().synchronize()
        self._session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        return outputs

    def _shapes_for(self, batch: torch.Tensor) -> dict[str, tuple[int, ...]]:
        """Shapes of the outputs for one view of this size, determined by running one."""
        size = batch.shape[1:]
        if size not in self._shapes:
            found = self._session.run(self._outputs, {self._input: batch[:1].cpu().numpy()})
            if any(array.dtype != np.float32 or len(array) != 1 for array in found):
                raise BadTeacher(f"{self._name} must give float32 tensors (B, ...)")
            self._shapes[size] = {
                name: array.shape[1:] for name, array in zip(self._outputs, found, strict=True)
            }
        return self._shapes[size]


def open_session(model: bytes, device: torch.device) -> tuple[ort.InferenceSession, torch.device]:
    """A session and its device; the CPU, with a message, if the GPU is unavailable."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    if device.type == "cuda":
        try:
            return cuda_session(model, options, tf32=True), device
        except NoCuda as error:
            print_status(f"the teacher runs on the processor, much slower: {error}")
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return session, torch.device("cpu")
