"""ICC profiles of well-known RGB spaces, built from their primaries (ICC.1:2001-04, matrix/TRC).

For photos that name a colour space by number instead of a profile.
"""

from __future__ import annotations

import struct

import numpy as np

D50 = (0.9642, 1.0, 0.8249)
D65 = (0.3127, 0.3290)
# Red, green and blue (x, y), white (x, y), and the gamma of the curve; 0 for the curve of sRGB.
SPACES: dict[str, tuple[tuple[tuple[float, float], ...], tuple[float, float], float]] = {
    "Display P3": (((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)), D65, 0.0),
    "Adobe RGB": (((0.64, 0.33), (0.21, 0.71), (0.15, 0.06)), D65, 563 / 256),
    "ProPhoto RGB": (((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001)), (0.3457, 0.3585), 1.8),
    "BT.2020": (((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)), D65, 0.0),
}
BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)


def xyz(point: tuple[float, float]) -> np.ndarray:
    """XYZ tristimulus values of a chromaticity (x, y), with Y = 1."""
    x, y = point
    return np.array([x / y, 1.0, (1 - x - y) / y])


def to_d50(space: str) -> np.ndarray:
    """Linear RGB -> XYZ under D50, float64 (3, 3), one column per primary (Bradford adaptation)."""
    primaries, white, _ = SPACES[space]
    columns = np.stack([xyz(point) for point in primaries], 1)
    matrix = columns * np.linalg.solve(columns, xyz(white))
    cones = (BRADFORD @ np.array(D50)) / (BRADFORD @ xyz(white))
    return np.linalg.inv(BRADFORD) @ np.diag(cones) @ BRADFORD @ matrix


def decoded(values: np.ndarray, gamma: float) -> np.ndarray:
    """Encoded values, 0 to 1 -> linear light. gamma: 0 for the curve of sRGB."""
    if gamma:
        return values**gamma
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def matrix_profile(space: str) -> bytes:
    """The ICC profile, version 2, of a space in SPACES."""
    matrix, gamma = to_d50(space), SPACES[space][2]
    if gamma:
        curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))
    else:
        steps = np.rint(decoded(np.linspace(0, 1, 1024), 0.0) * 65535).astype(">u2")
        curve = b"curv" + bytes(4) + struct.pack(">I", len(steps)) + steps.tobytes()
    name = space.encode() + b"\0"
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", len(name)) + name + bytes(78),
        b"cprt": b"text" + bytes(4) + b"No copyright\0",
        b"wtpt": point_tag(D50),
        **{f"{colour}XYZ".encode(): point_tag(matrix[:, n]) for n, colour in enumerate("rgb")},
        **{f"{colour}TRC".encode(): curve for colour in "rgb"},
    }
    at, table, body = 128 + 4 + 12 * len(tags), b"", b""
    for tag, content in tags.items():
        content += bytes(-len(content) % 4)
        table += tag + struct.pack(">II", at + len(body), len(content))
        body += content
    head = struct.pack(
        ">I4sI4s4s4s6H4s4sIIIQI3i4s",
        at + len(body),
        bytes(4),
        0x02100000,
        b"mntr",
        b"RGB ",
        b"XYZ ",
        *(2026, 1, 1, 0, 0, 0),
        b"acsp",
        bytes(4),
        *(0, 0, 0, 0, 0),
        *(round(value * 65536) for value in D50),
        bytes(4),
    )
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def point_tag(point: np.ndarray | tuple[float, ...]) -> bytes:
    """A tag with one XYZ value."""
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(float(v) * 65536) for v in point))
