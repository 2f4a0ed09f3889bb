"""Weights out of a ``.pth`` file in torch's first format, read without torch and without running anything in it.

The file is five pickles (magic number, version, facts of the system, the state dict, names of the storages) and then
the storages: a 64-bit count and as many numbers each. A tensor in the state dict names its storage, an offset, a shape
and strides. Only what such a file needs is resolved; another class in it is an error.
"""

from __future__ import annotations

import io
import pickle  # noqa: TID251  # other people's files, with a reader that resolves three names
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pimc_isa.errors import PimcError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["StateDictError", "read_state_dict"]

MAGIC = 0x1950A86A20F9469CFC6C
DTYPES = {"FloatStorage": np.dtype("<f4"), "DoubleStorage": np.dtype("<f8"), "LongStorage": np.dtype("<i8")}


class StateDictError(PimcError):
    """Not a state dict that can be read."""


@dataclass(frozen=True)
class _Storage:
    """A run of numbers that tensors point into."""

    key: str
    dtype: np.dtype[Any]


@dataclass(frozen=True)
class _Tensor:
    """Where a tensor's numbers lie; offset and strides count numbers."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        raise StateDictError(f"the file needs {module}.{name}, which no state dict does")

    def persistent_load(self, pid: Any) -> _Storage:
        _, dtype, key, *_ = pid
        return _Storage(str(key), dtype)


def _tensor(storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any) -> _Tensor:
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def read_state_dict(data: bytes) -> dict[str, npt.NDArray[Any]]:
    """Return the tensors by name. Raises StateDictError."""
    stream = io.BytesIO(data)
    load: Callable[[], Any] = lambda: _Reader(stream).load()  # noqa: E731  # one reader for each pickle
    try:
        if load() != MAGIC:
            raise StateDictError("not a file of torch's first format")
        load(), load()
        tensors, keys = load(), load()
        dtypes = {t.storage.key: t.storage.dtype for t in tensors.values()}
        storages = {key: _numbers(stream, dtypes.get(key)) for key in keys}
        return {name: _values(t, storages[t.storage.key]) for name, t in tensors.items()}
    except (pickle.UnpicklingError, EOFError, AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise StateDictError(f"the state dict cannot be read: {error}") from error


def _numbers(stream: io.BytesIO, dtype: np.dtype[Any] | None) -> npt.NDArray[Any]:
    if dtype is None:
        raise StateDictError("the file has a storage that no tensor uses")
    count = int.from_bytes(stream.read(8), "little")
    return np.frombuffer(stream.read(count * dtype.itemsize), dtype)


def _values(tensor: _Tensor, numbers: npt.NDArray[Any]) -> npt.NDArray[Any]:
    last = tensor.offset + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.strides, strict=True))
    if last >= numbers.size or min((0, *tensor.strides)) < 0:
        raise StateDictError("a tensor is longer than its storage")
    steps = [s * numbers.itemsize for s in tensor.strides]
    return np.lib.stride_tricks.as_strided(numbers[tensor.offset :], tensor.shape, steps).copy()
