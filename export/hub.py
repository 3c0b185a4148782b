"""Convert published networks of other libraries to ONNX files for `backbone.read_backbone`.

TorchScript files run without their project's code; timm downloads and builds its networks itself.
Both are traced, and the file is compared with the network at sizes other than the traced one.
"""

from __future__ import annotations

import importlib.util
import logging
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from download import DownloadFailed
from extractor.descriptor.untracked import ort
from model.provenance import IMAGENET_MEAN, IMAGENET_STD

from .cut import BadBackbone
from .parity import MIN_COSINE, ParityError

OPSET = 17
MAP, TOKENS, VECTOR = "map", "tokens", "vector"  # names of the exported tensor
TRACED, CHECKED = (256, 192), ((256, 192), (160, 224))  # height, width in pixels


@dataclass(frozen=True)
class HubNetwork:
    """A network of another library, and the preprocessing of its photos.

    Attributes:
        module: normalised photos (B, 3, H, W) -> map (B, C, h, w), tokens (B, T, C) or vectors
            (B, C).
        mean, std: normalisation, for RGB in 0 to 1.
        side: longest side in pixels.
        fixed: whether it only takes square photos of `side`.
        licence: licence of the weights.
    """

    module: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]
    side: int
    fixed: bool
    licence: str


class Features(nn.Module):
    """Output of a timm network before its head: channels first, without class tokens."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network
        self.first = int(getattr(network, "num_prefix_tokens", 0))
        self.channels_last = getattr(network, "output_fmt", "NCHW") == "NHWC"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.network.forward_features(x)
        if y.ndim == 3:
            return y[:, self.first :]
        return y.permute(0, 3, 1, 2) if self.channels_last else y


def read_torchscript(path: Path, side: int, licence: str) -> HubNetwork:
    """Load a TorchScript file whose network returns vectors.

    Loading it runs the operators it contains, so its SHA-256 must be known (`fetch_network`
    ensures that), or the user must have placed the file.

    Raises:
        BadBackbone: the file is damaged or not TorchScript.
    """
    try:
        module = torch.jit.load(str(path), map_location="cpu").eval()
    except (RuntimeError, ValueError) as error:
        raise BadBackbone(f"{path.name} is damaged or no TorchScript file") from error
    return HubNetwork(module, IMAGENET_MEAN, IMAGENET_STD, side, False, licence)


def read_timm(name: str, side: int | None, pretrained: bool = True) -> HubNetwork:
    """Load a network of timm with the mean, deviation and size of its configuration.

    Args:
        name: timm's name of the network.
        side: longest side in pixels; None for that of the configuration.
        pretrained: False for random weights without a download.

    Raises:
        BadBackbone: timm is not installed, or has no such network.
        DownloadFailed: its weights cannot be fetched.
    """
    if importlib.util.find_spec("timm") is None:
        raise BadBackbone("timm is not installed; run: pip install timm")
    import timm

    if not timm.is_model(name.partition(".")[0]):
        raise BadBackbone(f"timm {timm.__version__} has no network {name}")
    config: dict[str, Any] = timm.get_pretrained_cfg(name).to_dict()
    fixed = bool(config.get("fixed_input_size"))
    options = {"img_size": side} if fixed and side else {}
    try:
        network = timm.create_model(
            name, pretrained=pretrained, num_classes=0, global_pool="", **options
        )
    except Exception as error:  # hubs, requests and timm each raise their own exceptions
        raise DownloadFailed(f"timm cannot make {name}: {str(error)[:200]}") from error
    return HubNetwork(
        Features(network).eval(),
        tuple(config["mean"]),
        tuple(config["std"]),
        side or int(config["input_size"][-1]),
        fixed,
        str(config.get("license") or "unknown"),
    )


def write_backbone(hub: HubNetwork, path: Path) -> str:
    """Trace a network into an ONNX file.

    Args:
        hub: the network.
        path: path of the file.

    Returns:
        Name of the tensor to pool: "map", "tokens" or "vector".

    Raises:
        BadBackbone: the network's output is something else, or it cannot be traced.
        ParityError: the file's output differs from the network's.
    """
    height, width = (hub.side, hub.side) if hub.fixed else TRACED
    photo = torch.zeros(1, 3, height, width)
    free = {0: "batch"} if hub.fixed else {0: "batch", 2: "height", 3: "width"}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dims = hub.module(photo).ndim
            if dims not in (2, 3, 4):
                raise BadBackbone(f"the network gives {dims} dimensions, neither map nor vector")
            name = {2: VECTOR, 3: TOKENS, 4: MAP}[dims]
            torch.onnx.export(
                hub.module,
                (photo,),
                str(path),
                input_names=["image"],
                output_names=[name],
                dynamic_axes={"image": free},
                opset_version=OPSET,
                dynamo=False,  # the only exporter that supports TorchScript
            )
    except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
        raise BadBackbone(f"the network cannot be traced: {str(error)[:200]}") from error
    compare(hub, path, ((height, width),) if hub.fixed else CHECKED)
    return name


def compare(hub: HubNetwork, path: Path, sizes: tuple[tuple[int, int], ...]) -> None:
    """Raise ParityError unless file and network agree on noise of these sizes (height, width)."""
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    for height, width in sizes:
        noise = rng.normal(size=(1, 3, height, width)).astype(np.float32)
        with torch.inference_mode():
            expected = hub.module(torch.from_numpy(noise)).numpy().ravel()
        actual = session.run(None, {"image": noise})[0].ravel()
        cosine = expected @ actual / (np.linalg.norm(expected) * np.linalg.norm(actual))
        if not cosine >= MIN_COSINE:
            raise ParityError(
                f"the traced file and the network disagree: cosine {cosine:.6f}, at least "
                f"{MIN_COSINE} is needed"
            )
