"""Published tables come as pickles, and a pickle may run anything. This reads plain values only.

Python's own unpickler calls what a file names, and numpy's C code trusts the state it is then
given: a file with nothing but numpy's names in it can end the process. So the pickle's instructions
are carried out here, one by one, and numpy's objects are built here, too, from a shape, one of a
few types, and just as many bytes as these two need.
"""

from __future__ import annotations

import io
import math
import pickletools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

# Types of arrays that are read: truth values, integers and floats.
KINDS = ("b1", *(f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)), "f2", "f4", "f8")
MAX_AXES = 8


class BadPickle(Exception):
    """The file is no pickle, a damaged one, or asks for more than plain values."""


class Stateful:
    """What a pickle makes first and describes afterwards."""

    def set_state(self, state: Any) -> None:
        """Take over what the pickle says of the object. Raises BadPickle."""
        raise NotImplementedError


class StoredType(Stateful):
    """Stands for `numpy.dtype` in a pickle."""

    def __init__(self, name: str, align: object = False, copy: object = False):
        if name not in KINDS:
            raise BadPickle(f"it holds an array of the type {str(name)[:20]!r}, which is not read")
        self.dtype = np.dtype(name)

    def set_state(self, state: Any) -> None:
        """Only the byte order counts: everything else follows from the name."""
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        if order not in ("<", ">", "|", "="):
            raise BadPickle("it holds a damaged type of array")
        self.dtype = self.dtype.newbyteorder(order)


class StoredArray(Stateful):
    """Stands for `numpy.ndarray` in a pickle. `numpy.asarray` makes the array of it."""

    def __init__(self) -> None:
        self.values: np.ndarray = np.empty(0)

    def set_state(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise BadPickle("it holds a damaged array")
        _, shape, kind, is_fortran, data = state
        self.values = array(data, kind, shape, "F" if is_fortran else "C")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.values, dtype, copy=copy)

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.values)


def array(data: object, kind: object, shape: object, order: object = "C") -> np.ndarray:
    """A fresh array.

    Args:
        data: the values, as bytes, or as text of one character a byte where Python 2 has written
            it.
        kind: a StoredType.
        shape: lengths of the axes.
        order: "C", or "F" for an array stored by columns.

    Raises:
        BadPickle: the bytes are not just as many as shape and kind need.
    """
    if not isinstance(kind, StoredType):
        raise BadPickle("it holds an array without a type")
    if (
        not isinstance(shape, tuple)
        or len(shape) > MAX_AXES
        or not all(type(length) is int and 0 <= length < 2**40 for length in shape)
        or order not in ("C", "F")
    ):
        raise BadPickle("it holds an array of no usable shape")
    if isinstance(data, str):
        data = encoded(data)
    if not isinstance(data, bytes | bytearray):
        raise BadPickle("it holds an array without values")
    if math.prod(shape) * kind.dtype.itemsize != len(data):
        raise BadPickle(
            f"it holds an array of {math.prod(shape)} values of {kind.dtype.itemsize} bytes in "
            f"{len(data)} bytes"
        )
    flat = np.frombuffer(bytearray(data), kind.dtype)
    return flat.reshape(shape, order=order).astype(kind.dtype.newbyteorder("="))


def encoded(text: str = "", encoding: str = "latin1") -> bytes:
    """Bytes as protocols 0 to 2 hold them.

    Args:
        text: one character a byte.
        encoding: how Python 3 writes them there, always "latin1".

    Raises:
        BadPickle: they are damaged.
    """
    if not isinstance(text, str) or encoding != "latin1":
        raise BadPickle("it holds damaged bytes")
    return text.encode("latin1")


def reconstructed(kind: object, shape: object, code: object) -> StoredArray:
    """Stands for `_reconstruct`. numpy asks for an empty array, then says what is in it."""
    if kind is not StoredArray or shape != (0,):
        raise BadPickle("it asks for an array before it says what is in it")
    return StoredArray()


def scalar(kind: object, data: object) -> Any:
    """Stands for `scalar`: one number, as Python's own."""
    return array(data, kind, ()).item()


def frombuffer(data: object, kind: object, shape: object, order: object) -> StoredArray:
    """Stands for `_frombuffer`, with which protocol 5 makes arrays."""
    found = StoredArray()
    found.values = array(data, kind, shape, order)
    return found


PLAIN: dict[str, Callable[..., Any]] = {
    "numpy.ndarray": StoredArray,
    "numpy.dtype": StoredType,
    "_codecs.encode": encoded,
    "__builtin__.bytes": encoded,
    "builtins.bytes": encoded,
}
for _core in ("numpy.core", "numpy._core"):  # before and since numpy 2
    PLAIN[f"{_core}.multiarray._reconstruct"] = reconstructed
    PLAIN[f"{_core}.multiarray.scalar"] = scalar
    PLAIN[f"{_core}.numeric._frombuffer"] = frombuffer

MARK = object()
CONSTANTS = {
    "NONE": None,
    "NEWTRUE": True,
    "NEWFALSE": False,
    "EMPTY_TUPLE": (),
}
# Instructions that push the value they carry.
VALUES = frozenset(
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING "
    "UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 "
    "BYTEARRAY8".split()
)
PUTS = frozenset("PUT BINPUT LONG_BINPUT".split())
GETS = frozenset("GET BINGET LONG_BINGET".split())
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class Machine:
    """Carries out a pickle's instructions on plain values.

    Args:
        known: what the file may name, as "module.name", and the stand-in for it.
        load: makes the object that a persistent id stands for; None if there are none.
    """

    def __init__(self, known: Mapping[str, Any], load: Callable[[Any], Any] | None = None):
        self._known = known
        self._load = load
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self, file: io.BytesIO) -> Any:
        """The value of the pickle that begins where `file` stands. Raises BadPickle."""
        try:
            for opcode, value, _ in pickletools.genops(file):
                if opcode.name == "STOP":
                    return self._stack.pop()
                self._step(opcode.name, value)
        except (ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
            raise BadPickle(f"it is damaged ({str(error)[:100]})") from error
        raise BadPickle("it is cut short")

    def _step(self, name: str, value: Any) -> None:
        stack = self._stack
        if name in VALUES:
            stack.append(value)
        elif name in PUTS:
            self._memo[value] = stack[-1]
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = stack[-1]
        elif name in GETS:
            stack.append(self._memo[value])
        elif name in CONSTANTS:
            stack.append(CONSTANTS[name])
        elif name == "MARK":
            stack.append(MARK)
        elif name in TUPLES:
            stack[-TUPLES[name] :] = [tuple(stack[-TUPLES[name] :])]
        elif name in ("TUPLE", "LIST", "DICT"):
            items = self._to_mark()
            stack.append({"TUPLE": tuple, "LIST": list, "DICT": pairs_to_dict}[name](items))
        elif name == "EMPTY_LIST":
            stack.append([])
        elif name == "EMPTY_DICT":
            stack.append({})
        elif name in ("APPEND", "APPENDS"):
            items = [stack.pop()] if name == "APPEND" else self._to_mark()
            of_type(stack[-1], list).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = [stack.pop() for _ in range(2)][::-1] if name == "SETITEM" else self._to_mark()
            of_type(stack[-1], dict).update(pairs_to_dict(items))
        elif name == "GLOBAL":
            stack.append(self._find(".".join(value.split(" "))))
        elif name == "STACK_GLOBAL":
            attribute, module = stack.pop(), stack.pop()
            stack.append(self._find(f"{of_type(module, str)}.{of_type(attribute, str)}"))
        elif name == "REDUCE":
            arguments, function = of_type(stack.pop(), tuple), stack.pop()
            if not any(function is known for known in self._known.values()):
                raise BadPickle("it calls what cannot be called")
            stack.append(function(*arguments))
        elif name == "BUILD":
            state = stack.pop()
            # The state of other objects, such as a module's flags, says nothing that is needed.
            if isinstance(stack[-1], Stateful):
                stack[-1].set_state(state)
        elif name == "BINPERSID" and self._load is not None:
            stack.append(self._load(stack.pop()))
        elif name not in ("PROTO", "FRAME"):
            raise BadPickle(f"it holds more than plain values (the instruction {name})")

    def _find(self, name: str) -> Any:
        if name not in self._known:
            raise BadPickle(f"it asks for {name[:100]}, and only plain values and arrays are read")
        return self._known[name]

    def _to_mark(self) -> list[Any]:
        """What was pushed since the last mark, which goes, too."""
        at = len(self._stack) - 1
        while self._stack[at] is not MARK:
            at -= 1
            if at < 0:
                raise BadPickle("it is damaged (no mark)")
        items = self._stack[at + 1 :]
        del self._stack[at:]
        return items


def of_type(value: Any, kind: type) -> Any:
    """The value itself. Raises BadPickle if it is of another type."""
    if not isinstance(value, kind):
        raise BadPickle(f"it holds a {type(value).__name__} in the place of a {kind.__name__}")
    return value


def pairs_to_dict(items: list[Any]) -> dict[Any, Any]:
    """Keys and values in turn. Keys are plain, because hashing nested ones can end the process."""
    keys = items[::2]
    if len(items) % 2 or not all(isinstance(key, str | bytes | int | float) for key in keys):
        raise BadPickle("it holds a dictionary with keys other than text and numbers")
    return dict(zip(keys, items[1::2]))


def read_plain_pickle(path: Path) -> Any:
    """The value in a pickle file.

    Returns:
        Lists, tuples, dictionaries, text, bytes and numbers. An array is a StoredArray, which
        `numpy.asarray` takes.

    Raises:
        OSError: the file cannot be read.
        BadPickle: it is damaged, or holds anything else.
    """
    return Machine(PLAIN).run(io.BytesIO(path.read_bytes()))
