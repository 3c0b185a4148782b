"""A backbone's pooled vectors, computed independently of the exported file.

Uses the original file, torch's resampling and numpy's GeM. Whitening and exponent are learned on
these vectors, and the exported file is verified against them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import torch
from torch.nn import functional as F

from extractor import resize
from model.whitening import EPS

from .backbone import MAP, VECTOR, Backbone, session
from .onnx_graph import GEM_EPS
from .recipe import BadRecipe


class Pooler:
    """Runs the original file, with the tensor among its outputs.

    Args:
        backbone: output of `read_backbone`.
        longest_side: size in pixels to which photos are shrunk.
        exponents: E GeM exponents; for a vector, which is already pooled, E is 1.
    """

    def __init__(self, backbone: Backbone, longest_side: int, exponents: Sequence[float]):
        self.backbone = backbone
        self.longest_side = longest_side
        self.exponents = exponents
        model = onnx.ModelProto()
        model.CopyFrom(backbone.original)
        if backbone.tensor not in {output.name for output in model.graph.output}:
            model.graph.output.append(onnx.ValueInfoProto(name=backbone.tensor))
        self._session = session(model)

    def image(self, photo: np.ndarray) -> np.ndarray:
        """The original's input, float32 and a batch of one, for a photo uint8 RGB (H, W, 3)."""
        normal = (photo / 255 - self.backbone.mean) / self.backbone.std
        image = torch.from_numpy(normal.transpose(2, 0, 1)[None].astype(np.float32))
        multiple = self.backbone.multiple
        target_size = self.backbone.size or tuple(
            max(1, side // multiple) * multiple for side in image.shape[2:]
        )
        if target_size != tuple(image.shape[2:]):
            image = F.interpolate(image, size=target_size, mode="bilinear", align_corners=False)
        return (image.permute(0, 2, 3, 1) if self.backbone.channels_last else image).numpy()

    def preprocess(self, photo: np.ndarray) -> np.ndarray:
        """Unit pooled vectors (E, C) of a photo that is already small enough."""
        inputs = {self.backbone.input: np.ascontiguousarray(self.image(photo))}
        value = self._session.run([self.backbone.tensor], inputs)[0]
        if self.backbone.kind == VECTOR:
            pooled = value.reshape(1, -1)
        else:
            x = value.reshape(value.shape[1], -1) if self.backbone.kind == MAP else value[0].T
            pooled = np.stack([gem(x.astype(np.float64), p) for p in self.exponents])
        norms = np.linalg.norm(pooled, axis=1, keepdims=True)
        return (pooled / (norms + EPS)).astype(np.float32)

    def __call__(self, photo: np.ndarray) -> np.ndarray:
        """`preprocess` for a photo of any size."""
        return self.preprocess(resize(photo, self.longest_side))


def gem(x: np.ndarray, p: float) -> np.ndarray:
    """GeM of activations (C, N) -> (C,); with p = 1 the plain mean, negative values included."""
    return x.mean(1) if p == 1 else (np.maximum(x, GEM_EPS) ** p).mean(1) ** (1 / p)


def check_exponent(backbone: Backbone, p: float | None) -> None:
    """Raise BadRecipe for an exponent that the tensor cannot be pooled with."""
    if p is None:
        return
    if backbone.kind == VECTOR:
        raise BadRecipe(f"{backbone.tensor!r} is pooled already, so --p has no use")
    if not 1 <= p <= 20:
        raise BadRecipe(f"--p must be 1 to 20, not {p:g}")
