"""Tensor files: the safetensors format, written as a stream and read without copying.

Written here rather than with the library so that the bytes depend on nothing but the content: the library keeps
metadata in no fixed order. Any safetensors reader reads the files.
Format: https://huggingface.co/docs/safetensors (8 bytes header length, JSON header, data).
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from pimc_isa.errors import PimcError, ProgramError

__all__ = ["chunks", "header_of", "open_tensors", "read_bytes", "tensors_in", "write_atomically"]

Array = np.ndarray
Buffer = bytes | memoryview

DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "I64": "int64",
    "U64": "uint64",
    "I32": "int32",
    "U32": "uint32",
    "I16": "int16",
    "U16": "uint16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}
CODES = {name: code for code, name in DTYPES.items()}
MAX_HEADER_BYTES = 100_000_000  # the format's own limit


def header_of(tensors: Mapping[str, Array], metadata: Mapping[str, str]) -> bytes:
    """The file's first bytes: length and JSON header, padded so that the data is aligned."""
    header: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    offset = 0
    for name in _order(tensors):
        array = tensors[name]
        header[name] = {
            "dtype": CODES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [offset, offset + array.nbytes],
        }
        offset += array.nbytes
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER_BYTES:
        raise ProgramError(f"the program's header takes {len(text)} bytes; the format allows {MAX_HEADER_BYTES}")
    return len(text).to_bytes(8, "little") + text


def chunks(tensors: Mapping[str, Array]) -> Iterator[Buffer]:
    """The data of all tensors in file order; no more than one tensor is copied at a time, and only if it must be."""
    for name in _order(tensors):
        array = tensors[name]
        little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        if little.size:
            yield little.reshape(-1).view(np.uint8).data


def _order(tensors: Mapping[str, Array]) -> list[str]:
    """Widest elements first, so that each tensor is aligned; then by name."""
    for name, array in tensors.items():
        if array.dtype.name not in CODES:
            raise ProgramError(f"tensor '{name}' has type {array.dtype}, which a program cannot hold")
    return sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))


def write_atomically(path: Path, parts: Iterable[Buffer]) -> None:
    """Write a file whole or not at all: a full disk leaves an older file as it was. OSError becomes PimcError."""
    temporary: str | None = None
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            for part in parts:
                file.write(part)
        os.chmod(temporary, _default_mode())
        os.replace(temporary, path)
    except OSError as error:
        raise PimcError(f"cannot write {path}: {error.strerror or error}") from error
    else:
        temporary = None
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def _default_mode() -> int:
    """The mode a new file gets (mkstemp makes private ones)."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def read_bytes(path: Path) -> memoryview:
    """The file's bytes, mapped into memory and not copied. OSError becomes PimcError."""
    try:
        if not path.stat().st_size:
            return memoryview(b"")
        return np.memmap(path, np.uint8, "r").data
    except OSError as error:
        raise PimcError(f"cannot read {path}: {error.strerror or error}") from error


def open_tensors(data: memoryview, where: str) -> tuple[dict[str, Array], dict[str, str]]:
    """Tensors (views into ``data``) and metadata; ProgramError if it is no such file or has been cut off."""
    if len(data) < 8:
        raise ProgramError(f"{where}: not a program file (it has only {len(data)} bytes)")
    length = int.from_bytes(data[:8], "little")
    if length > MAX_HEADER_BYTES or bytes(data[8:9]) != b"{":
        raise ProgramError(f"{where}: not a program file (no safetensors header)")
    if 8 + length > len(data):
        raise ProgramError(f"{where}: the file is truncated (its header alone takes {8 + length} bytes)")
    try:
        header = json.loads(bytes(data[8 : 8 + length]))
        metadata = header.pop("__metadata__", {})
        if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
            raise ValueError("its metadata are not texts")
        return tensors_in(header, data[8 + length :]), metadata
    except RecursionError:
        raise ProgramError(f"{where}: the file is damaged (its header is nested too deep)") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ProgramError(f"{where}: the file is damaged or truncated ({error}); get or compile it again") from None


def tensors_in(header: Mapping[str, dict[str, Any]], data: memoryview) -> dict[str, Array]:
    """Views of the tensors that a header describes: one after the other, without holes or overlaps, to the end."""
    tensors, end = {}, 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        start, stop = entry["data_offsets"]
        dtype = np.dtype(DTYPES[entry["dtype"]]).newbyteorder("<")
        shape = entry["shape"]
        if len(shape) > 8 or not all(type(n) is int and 0 <= n < 1 << 63 for n in (start, stop, *shape)):
            raise ValueError(f"the numbers of tensor {name} are no sizes")
        if stop > len(data):
            raise ValueError(f"tensor {name} ends at byte {stop} of {len(data)}")
        if start != end or stop - start != prod(shape) * dtype.itemsize:
            raise ValueError(f"tensor {name} takes bytes {start} to {stop}, which do not fit its shape and place")
        name.encode()  # lone surrogates are no text
        tensors[name] = np.frombuffer(data[start:stop], dtype).reshape(shape)
        end = stop
    if end != len(data):
        raise ValueError(f"there are {len(data) - end} bytes behind the last tensor")
    return tensors
