"""Published tables come as pickles, and a pickle may run anything. This reads plain values only.

A file of its own, in no room: training data (`model`) and ground truth (`evaluation`) both come this way, neither of these
rooms may import the other, and serving, which imports the rooms below them, has no business with pickles.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

ALLOWED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.numeric", "_frombuffer"),
    ("numpy._core.numeric", "_frombuffer"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("_codecs", "encode"),
}


class BadPickle(Exception):
    """The file is no pickle, a damaged one, or asks for more than plain values."""


class PlainUnpickler(pickle.Unpickler):
    """Reads lists, dictionaries, strings and numbers, numpy's included, and nothing that could run."""

    def find_class(self, module: str, name: str):
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module, name)


def read_plain_pickle(path: Path) -> Any:
    """The value in a pickle file. Raises OSError, BadPickle."""
    with open(path, "rb") as file:
        try:
            # Files written by Python 2 keep the bytes of numpy arrays in strings; latin-1 leaves them as they are.
            return PlainUnpickler(file, encoding="latin1").load()
        except Exception as error:  # a damaged pickle can raise nearly anything
            raise BadPickle(str(error) or type(error).__name__) from error
