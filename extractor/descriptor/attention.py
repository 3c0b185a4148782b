"""Where a GeM descriptor looks: what each place of a photo has contributed to it.

GeM pooling (Radenovic et al. 2018, equation 3) makes one number of each channel of the feature map,
f_c = (mean over places x of a_cx^p)^(1/p). So the place x has given a_cx^p / sum_y a_cy^p of it.
The heat of a place is the mean of these shares over the channels, each weighted by f_c^2, its part
of the descriptor's length before whitening.

The powers a^p are inside the network. onnxruntime gives out what the graph names as an output; a
protobuf message may be continued by appending (see `sealing`), so one more is named at the end of
the model's bytes. The file, its fingerprint and what it computes stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..photo.crop import Region, crop_region
from .extractor import Extractor
from .untracked import ort

# Fields of the ONNX format, onnx/onnx.proto.
GRAPH, NODE, OUTPUT = 7, 1, 12  # of ModelProto, of GraphProto, of GraphProto
NODE_OUTPUT, NODE_TYPE = 2, 4  # of NodeProto
POWER = b"Pow"  # the first one is GeM's: a^p


class Attention:
    """Runs one descriptor model up to its pooling. Thread-safe; holds the weights once more.

    Args:
        extractor: the model is read from its file.
        threads: cores to use.

    Raises:
        ValueError: the model has no GeM pooling.
        OSError: the file is gone.
    """

    def __init__(self, extractor: Extractor, threads: int = 1):
        self._extractor = extractor
        model = Path(extractor.path).read_bytes()
        self._name = first_power(model)
        p = extractor.card.p
        if not self._name or p is None:
            raise ValueError("The model has no GeM pooling.")
        self._p = p
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self._session = ort.InferenceSession(
            model + named_output(self._name), options, providers=["CPUExecutionProvider"]
        )

    def heat(self, photo: np.ndarray, region: Region | None = None) -> np.ndarray:
        """The share of each place in the descriptor.

        Args:
            photo: uint8 RGB (H, W, 3).
            region: the part of it that counts, None for all of it.

        Returns:
            float64 (h, w), sums to 1, in the network's own coarse grid over the region.
        """
        seen = crop_region(photo, region, self._extractor.card.longest_side)
        batch = self._extractor.normalise(seen)[None]
        powers = self._session.run([self._name], {"image": batch})[0][0].astype(np.float64)
        channels, *places = powers.shape
        shape = places if len(places) == 2 else grid(places[0], seen.shape[0] / seen.shape[1])
        return contributions(powers.reshape(channels, -1), self._p).reshape(shape)


def contributions(powers: np.ndarray, p: float) -> np.ndarray:
    """Heat (n,) from the powers a^p of all channels at n places, (C, n), and GeM's exponent."""
    pooled = powers.mean(1) ** (1 / p)
    weights = pooled**2 / (pooled**2).sum()
    return weights @ (powers / powers.sum(1, keepdims=True))


def grid(places: int, ratio: float) -> tuple[int, int]:
    """Height and width of a grid of so many places. ratio: height / width of the photo."""
    heights = [h for h in range(1, places + 1) if places % h == 0]
    height = min(heights, key=lambda h: abs(np.log(h * h / places / ratio)))
    return height, places // height


def first_power(model: bytes) -> str:
    """Name of what the graph's first Pow gives, "" if it has none. model: a serialised ModelProto.

    Weights are stepped over, so this takes no time.
    """
    view = memoryview(model)
    for graph in fields(view, GRAPH):
        for node in fields(graph, NODE):
            if bytes(next(fields(node, NODE_TYPE), b"")) == POWER:
                return bytes(next(fields(node, NODE_OUTPUT))).decode()
    return ""


def named_output(name: str) -> bytes:
    """Bytes that, appended to a ModelProto, name one more output of its graph."""
    output = delimited(OUTPUT, delimited(1, name.encode()))
    return delimited(GRAPH, output)


def delimited(field: int, content: bytes) -> bytes:
    """A length-delimited protobuf field."""
    return varint(field << 3 | 2) + varint(len(content)) + content


def varint(number: int) -> bytes:
    """A protobuf number, seven bits a byte, the lowest first."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def fields(message: memoryview, wanted: int) -> Iterator[memoryview]:
    """The length-delimited fields of one number in a protobuf message.

    The message is one that was parsed before: the model that is being served.
    """
    at = 0
    while at < len(message):
        key, at = read_varint(message, at)
        kind = key & 7
        if kind == 2:
            size, at = read_varint(message, at)
            if key >> 3 == wanted:
                yield message[at : at + size]
            at += size
        elif kind == 0:
            _, at = read_varint(message, at)
        else:
            at += 8 if kind == 1 else 4


def read_varint(message: memoryview, at: int) -> tuple[int, int]:
    """A number at a place, and the place after it."""
    number = shift = 0
    while True:
        byte = message[at]
        number |= (byte & 127) << shift
        shift, at = shift + 7, at + 1
        if byte < 128:
            return number, at
