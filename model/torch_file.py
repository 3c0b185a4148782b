"""Files of `torch.save`, both layouts, read without torch's own unpickler.

What the file describes is not made until it is wanted, and then from bytes that are really there: a
tensor is a view of its storage, checked against the storage's length. So a hostile size is an error
that can name the tensor, and nothing in the file reaches numpy's or torch's C code unchecked.

    zip     an archive of data.pkl and one entry for each storage; its checksums are compared
    legacy  five pickles (a number, a version, the machine, the content, the storages' keys), then
    the storages
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from datasets.plain_pickle import PLAIN, BadPickle, Machine, pairs_to_dict

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_VERSION = 1001
STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexDoubleStorage": torch.complex128,
    "ComplexFloatStorage": torch.complex64,
    "QInt8Storage": torch.qint8,
    "QUInt8Storage": torch.quint8,
    "QInt32Storage": torch.qint32,
}


@dataclass(frozen=True)
class Named:
    """A name that stands for itself: a type of storage, a dtype, a layout."""

    name: str

    @property
    def dtype(self) -> torch.dtype:
        return STORAGES.get(self.name, torch.uint8)


@dataclass
class Storage:
    """Values as the file says it holds them.

    Attributes:
        kind: their type.
        count: how many the file says there are.
        data: the bytes that it really holds, None if there are none.
    """

    kind: Named
    count: Any
    data: bytearray | memoryview | None = None


@dataclass(frozen=True)
class Foreign:
    """A value of a kind that no checkpoint of a descriptor network needs. kind: its words."""

    kind: str


@dataclass(frozen=True)
class StoredTensor:
    """A tensor as the file describes it: a view of a storage. None of it is checked yet.

    Attributes:
        storage: a Storage.
        offset: of its first value.
        size: its shape.
        stride: values from one step along each axis to the next.
    """

    storage: Any
    offset: Any
    size: Any
    stride: Any

    def tensor(self) -> torch.Tensor:
        """A view of the storage. Raises BadPickle; its message follows the tensor's name."""
        storage = self.storage
        if not isinstance(storage, Storage) or storage.data is None:
            raise BadPickle("has no storage in the file")
        dtype = storage.kind.dtype
        if not is_count(storage.count) or len(storage.data) != storage.count * dtype.itemsize:
            raise BadPickle("has a storage of another length than the file says")
        size, stride = self.size, self.stride
        if (
            not all(isinstance(axes, tuple) and all(map(is_count, axes)) for axes in (size, stride))
            or len(size) != len(stride)
            or not is_count(self.offset)
        ):
            raise BadPickle("has no usable shape")
        shape = torch.Size(size)
        last = self.offset + sum((n - 1) * step for n, step in zip(size, stride))
        if shape.numel() > storage.count or (shape.numel() and last >= storage.count):
            raise BadPickle("reaches beyond its storage")
        if not shape.numel():
            return torch.empty(shape, dtype=dtype)
        return torch.frombuffer(storage.data, dtype=dtype).as_strided(size, stride, self.offset)


def is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**48


def foreign(kind: str) -> Callable[..., Foreign]:
    """A call that makes a value of a kind that is not read."""
    return lambda *arguments: Foreign(kind)


def rebuilt(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> StoredTensor:
    return StoredTensor(storage, offset, size, stride)


def rebuilt_of_type(*arguments: Any) -> Foreign:
    """Tensors of types that came late, such as float8."""
    dtype = next((value.name for value in arguments[4:] if isinstance(value, Named)), "unknown")
    return Foreign(f"a tensor of {dtype}")


def dictionary(items: Any = ()) -> dict[Any, Any]:
    """Stands for OrderedDict, empty or, by Python 2, of a list of pairs."""
    return pairs_to_dict([part for key, value in items for part in (key, value)])


KNOWN: dict[str, Any] = {
    **PLAIN,
    "collections.OrderedDict": dictionary,
    "torch._utils._rebuild_tensor": rebuilt,
    "torch._utils._rebuild_tensor_v2": rebuilt,
    "torch._utils._rebuild_tensor_v3": rebuilt_of_type,
    "torch._utils._rebuild_parameter": lambda data, *flags: data,
    "torch.nn.parameter.Parameter": lambda data, *flags: data,
    "torch._utils._rebuild_sparse_tensor": foreign("a sparse tensor"),
    "torch._utils._rebuild_qtensor": foreign("a quantised tensor"),
    "torch._utils._rebuild_meta_tensor_no_storage": foreign("a meta tensor, without values"),
    "torch._utils._rebuild_nested_tensor": foreign("a nested tensor"),
    "torch.serialization._get_layout": foreign("a layout"),
    "torch.Size": lambda axes=(): tuple(axes),
    "torch.device": foreign("a device"),
    "torch.storage.UntypedStorage": Named("UntypedStorage"),
    **{f"torch.{name}": Named(name) for name in STORAGES},
    **{
        f"torch.{name}": Named(str(value))
        for name, value in vars(torch).items()
        if isinstance(value, torch.dtype | torch.qscheme)
    },
}


def read_torch_file(path: Path) -> Any:
    """The value in a file of `torch.save`.

    Returns:
        What `read_plain_pickle` returns, and a StoredTensor for each tensor.

    Raises:
        OSError: the file cannot be read.
        BadPickle: it is damaged, or asks for more than tensors and plain values.
    """
    data = path.read_bytes()
    return read_zip(data) if data.startswith(b"PK") else read_legacy(data)


def storage_id(saved: Any) -> tuple[Named, str, Any, Any]:
    """Kind, key, length and view of a persistent id. Raises BadPickle."""
    match saved:
        case ("storage", Named() as kind, str() as key, _, count, *view):
            return kind, key, count, view[0] if view else None
    raise BadPickle("it holds more than tensors and plain values (a persistent id)")


def read_zip(data: bytes) -> Any:
    """The content of a zip archive of torch. Raises BadPickle."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = {entry.filename.partition("/")[2]: entry for entry in archive.infolist()}
            if any(e.compress_type != zipfile.ZIP_STORED for e in entries.values()):
                raise BadPickle("it is damaged (its entries are compressed, as torch's never are)")
            if sum(entry.file_size for entry in entries.values()) > len(data):
                raise BadPickle("it is damaged (its entries overlap)")
            if damaged := archive.testzip():
                raise BadPickle(f"it is damaged (the checksum of {damaged[:60]} is another one)")
            if "data.pkl" not in entries:
                raise BadPickle("it is a zip archive, but not one of torch")
            if "byteorder" in entries and archive.read(entries["byteorder"]) != b"little":
                raise BadPickle("it was written by a big-endian machine")
            storages: dict[str, Storage] = {}

            def load(saved: Any) -> Storage:
                kind, key, count, _ = storage_id(saved)
                if key not in storages:
                    entry = entries.get(f"data/{key}")
                    values = bytearray(archive.read(entry)) if entry else None
                    storages[key] = Storage(kind, count, values)
                return storages[key]

            return Machine(KNOWN, load).run(io.BytesIO(archive.read(entries["data.pkl"])))
    except (
        zipfile.BadZipFile,
        NotImplementedError,
        RuntimeError,
        ValueError,
        EOFError,
        struct.error,
    ) as error:
        raise BadPickle(f"it is damaged ({str(error)[:100]})") from error


def read_legacy(data: bytes) -> Any:
    """The content of a file of torch before 1.6. Raises BadPickle."""
    file = io.BytesIO(data)
    if Machine({}).run(file) != LEGACY_MAGIC or Machine({}).run(file) != LEGACY_VERSION:
        raise BadPickle("it is no file of torch")
    machine = Machine({}).run(file)
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise BadPickle("it was written by a big-endian machine")
    storages: dict[str, Storage] = {}
    views: list[tuple[Storage, Storage, Any]] = []

    def load(saved: Any) -> Storage:
        kind, key, count, view = storage_id(saved)
        root = storages.setdefault(key, Storage(kind, count))
        if view is None:
            return root
        part = Storage(kind, view[2])
        views.append((part, root, view[1]))
        return part

    content = Machine(KNOWN, load).run(file)
    keys = Machine({}).run(file)
    if not isinstance(keys, list):
        raise BadPickle("it is damaged (no list of storages)")
    for key in keys:
        storage = storages.get(key) if isinstance(key, str) else None
        length = file.read(8)
        if storage is None or len(length) < 8 or struct.unpack("<q", length)[0] != storage.count:
            raise BadPickle("it is damaged (its storages are others than its tensors need)")
        if not is_count(storage.count):
            raise BadPickle(f"it is damaged (a storage of size {storage.count})")
        storage.data = bytearray(file.read(storage.count * storage.kind.dtype.itemsize))
    for part, root, offset in views:
        if root.data is not None and is_count(offset) and is_count(part.count):
            size = part.kind.dtype.itemsize
            part.data = memoryview(root.data)[offset * size : (offset + part.count) * size]
    return content
