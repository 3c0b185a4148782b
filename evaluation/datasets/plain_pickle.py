"""Read pickled tables of plain values, such as published ground truths, safely.

Unpickling a file can run code or crash the process. So a child process reads it, with an unpickler
that only resolves the names in NAMES, and returns the values as JSON.
"""

from __future__ import annotations

import json
import pickle
import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

MEMORY_BYTES = 8 * 2**30  # limit for the child process


class BadPickle(Exception):
    """The file is damaged or contains more than plain values. The message is a clause on "it"."""


class PlainType:
    """Replacement for `numpy.dtype`: booleans, integers and floats."""

    def __init__(self, name: str, align: object = False, copy: object = False):
        if not re.fullmatch("b1|[iu][1248]|f[248]", name):
            raise pickle.UnpicklingError(f"it holds an array of type {name[:20]!r}")
        self.dtype = np.dtype(name)

    def __setstate__(self, state: Any) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


class PlainArray:
    """Replacement for `numpy.ndarray`, whose `values` are copied from the bytes in the file.

    numpy's own classes trust the state in a pickle, and read from any address in it.
    """

    values: np.ndarray = np.empty(0)

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, is_fortran, data = state
        data = data.encode("latin1") if isinstance(data, str) else data  # str: by Python 2
        flat = np.frombuffer(data, kind.dtype).astype(kind.dtype.newbyteorder("="))
        self.values = flat.reshape(shape, order="F" if is_fortran else "C")
        if self.values.shape != shape:
            raise pickle.UnpicklingError("it holds an array whose shape is not its own")


def _reconstruct(kind: Any, shape: Any, code: Any) -> PlainArray:
    if kind is not PlainArray or shape != (0,):
        raise pickle.UnpicklingError("it asks for an array before it says what is in it")
    return PlainArray()


def _array(data: Any, kind: PlainType, shape: Any, order: str = "C") -> PlainArray:
    array = PlainArray()
    array.__setstate__((1, shape, kind, order == "F", data))
    return array


NAMES: dict[str, Any] = {
    "numpy.ndarray": PlainArray,
    "numpy.dtype": PlainType,
    "_codecs.encode": lambda text, encoding: text.encode("latin1"),  # bytes, in protocols 0 to 2
    "__builtin__.bytes": bytes,
    "builtins.bytes": bytes,
}
"""Every name that a file may contain, and its replacement."""
for _core in ("numpy.core", "numpy._core"):  # before and since numpy 2
    NAMES[f"{_core}.multiarray._reconstruct"] = _reconstruct
    NAMES[f"{_core}.multiarray.scalar"] = lambda kind, data: _array(data, kind, ()).values.item()
    NAMES[f"{_core}.numeric._frombuffer"] = _array


class PlainUnpickler(pickle.Unpickler):
    """Resolves only the names in NAMES."""

    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" not in NAMES:
            raise pickle.UnpicklingError(f"it asks for {module[:50]}.{name[:50]}")
        return NAMES[f"{module}.{name}"]


def read_plain_pickle(path: Path) -> Any:
    """Read the value in a pickle file in JSON form: arrays and tuples become lists.

    Raises:
        OSError: the file cannot be read.
        BadPickle: the file is damaged, or contains more than dictionaries, lists, arrays, text and
            numbers.
    """
    command = [sys.executable, "-P", __file__]
    child = subprocess.run(command, input=path.read_bytes(), capture_output=True)
    if child.returncode:
        reason = child.stderr.decode(errors="replace").strip() if child.returncode == 1 else ""
        raise BadPickle(reason or "it ended the process that read it")
    return json.loads(child.stdout)


def main() -> None:
    """Pickle on stdin -> JSON on stdout."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    try:
        value = PlainUnpickler(sys.stdin.buffer, encoding="latin1").load()
        sys.stdout.write(json.dumps(value, default=lambda array: array.values.tolist()))
    except Exception as error:  # a damaged file can raise any exception
        reason = str(error)[:200]
        sys.exit(
            reason
            if reason.startswith("it ")
            else f"it is damaged or not of plain values ({reason})"
        )


if __name__ == "__main__":
    main()
