"""Attention map of a GeM descriptor: the contribution of each location of a photo.

GeM pooling (Radenovic et al. 2018, equation 3) reduces each channel of the feature map to one
number, f_c = (mean over locations x of a_cx^p)^(1/p). Location x therefore contributes the share
a_cx^p / sum_y a_cy^p. The heat of a location is the mean of these shares over channels, weighted
by f_c^2, the channel's part of the descriptor's squared length before whitening.

The powers a^p are inside the network, and onnxruntime returns only tensors that the graph names as
outputs. Appending to a serialised protobuf message extends it (see `sealing`), so another output is
named at the end of the model's bytes. The file, its fingerprint and its results do not change.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..photo.crop import Region, crop_region
from .extractor import Extractor
from .untracked import quiet_session

# Fields of the ONNX format, onnx/onnx.proto.
GRAPH, NODE, OUTPUT = 7, 1, 12  # in ModelProto, GraphProto, GraphProto
NODE_OUTPUT, NODE_TYPE = 2, 4  # in NodeProto
POWER = b"Pow"  # the first one in the graph is GeM's a^p


class Attention:
    """Runs one descriptor model up to its pooling. Thread-safe; holds a second copy of the weights.

    Args:
        extractor: extractor whose model file is loaded.

    Raises:
        ValueError: the model has no GeM pooling.
        OSError: the model file no longer exists or cannot be read.
    """

    def __init__(self, extractor: Extractor):
        self._extractor = extractor
        model = Path(extractor.path).read_bytes()
        self._name = first_power(model)
        p = extractor.card.p
        if not self._name or p is None:
            raise ValueError("The model has no GeM pooling.")
        self._p = p
        self._session = quiet_session(model + named_output(self._name), threads=1)

    def heat(self, photo: np.ndarray, region: Region | None = None) -> np.ndarray:
        """Share of each location in the descriptor.

        Args:
            photo: uint8 RGB (H, W, 3).
            region: part of the photo to describe; None for the whole photo.

        Returns:
            float64 (h, w), sums to 1, on the network's coarse grid over the region.
        """
        pixels = crop_region(photo, region, self._extractor.card.longest_side)
        batch = self._extractor.normalise(pixels)[None]
        powers = self._session.run([self._name], {"image": batch})[0][0].astype(np.float64)
        channels, *places = powers.shape
        shape = places if len(places) == 2 else grid(places[0], pixels.shape[0] / pixels.shape[1])
        return contributions(powers.reshape(channels, -1), self._p).reshape(shape)


def contributions(powers: np.ndarray, p: float) -> np.ndarray:
    """Heat (n,) from the powers a^p of all channels at n locations, (C, n), and GeM's exponent."""
    pooled = powers.mean(1) ** (1 / p)
    weights = pooled**2 / (pooled**2).sum()
    return weights @ (powers / powers.sum(1, keepdims=True))


def grid(places: int, ratio: float) -> tuple[int, int]:
    """Height and width of a grid with `places` cells. ratio: height / width of the photo."""
    heights = [h for h in range(1, places + 1) if places % h == 0]
    height = min(heights, key=lambda h: abs(np.log(h * h / places / ratio)))
    return height, places // height


def first_power(model: bytes) -> str:
    """Output name of the graph's first Pow node, "" if there is none. model: serialised ModelProto.

    Weights are skipped by their length, so this is fast.
    """
    view = memoryview(model)
    for graph in fields(view, GRAPH):
        for node in fields(graph, NODE):
            if bytes(next(fields(node, NODE_TYPE), b"")) == POWER:
                return bytes(next(fields(node, NODE_OUTPUT))).decode()
    return ""


def named_output(name: str) -> bytes:
    """Bytes that add one output to the graph when they are appended to a ModelProto."""
    output = delimited(OUTPUT, delimited(1, name.encode()))
    return delimited(GRAPH, output)


def delimited(field: int, content: bytes) -> bytes:
    """A length-delimited protobuf field."""
    return varint(field << 3 | 2) + varint(len(content)) + content


def varint(number: int) -> bytes:
    """A protobuf varint: seven bits a byte, least significant first."""
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    return bytes([*encoded, number])


def fields(message: memoryview, number: int) -> Iterator[memoryview]:
    """The length-delimited fields with a given number in a protobuf message.

    Does not validate: onnxruntime has already parsed the message.
    """
    at = 0
    while at < len(message):
        key, at = read_varint(message, at)
        kind = key & 7
        if kind == 2:
            size, at = read_varint(message, at)
            if key >> 3 == number:
                yield message[at : at + size]
            at += size
        elif kind == 0:
            _, at = read_varint(message, at)
        else:
            at += 8 if kind == 1 else 4


def read_varint(message: memoryview, at: int) -> tuple[int, int]:
    """The varint at an offset, and the offset after it."""
    number = shift = 0
    while True:
        byte = message[at]
        number |= (byte & 127) << shift
        shift, at = shift + 7, at + 1
        if byte < 128:
            return number, at
