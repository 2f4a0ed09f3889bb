"""Inputs and labels as users give them: arrays, dictionaries, .npy and .npz files, checked against a program."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pimc.arrayfile import read_array_file
from pimc_isa.errors import RunError
from pimc_isa.files import write_file
from pimc_isa.program import Port

__all__ = ["Inputs", "batches", "bind", "image_count", "load_arrays", "load_labels", "save_arrays"]

Array = np.ndarray
Inputs = Mapping[str, Array]


def load_arrays(path: str | Path) -> dict[str, Array]:
    """Read a .npz (arrays by name) or .npy file (one array, named '').

    Raises RunError if it is neither, or claims far more than it holds.
    """
    return read_array_file(path)


def load_labels(path: str | Path) -> Array:
    """Read class numbers: a .npy file, or the array 'labels' (or the only one) of a .npz file."""
    arrays = load_arrays(path)
    if "labels" not in arrays and len(arrays) != 1:
        raise RunError(f"{path} holds {_names(arrays)}; labels are the array 'labels', or the only one")
    labels = arrays.get("labels", next(iter(arrays.values())))
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise RunError(f"{path}: labels are {labels.dtype}{list(labels.shape)}, not one whole number for each image")
    return labels


def save_arrays(path: str | Path, arrays: Inputs) -> None:
    """Write a .npz file, or .npy if the name ends so and there is one array. The file appears whole or not at all."""
    import io

    path = Path(path)
    buffer = io.BytesIO()
    if path.suffix == ".npy":
        if len(arrays) != 1:
            raise RunError(f"{path}: {len(arrays)} outputs ({_names(arrays)}) need a .npz file")
        np.save(buffer, next(iter(arrays.values())))
    else:
        np.savez(buffer, **arrays)  # type: ignore[arg-type]  # names are tensors, never 'allow_pickle'
    write_file(path, [buffer.getbuffer()])


def bind(ports: Sequence[Port], data: Inputs | Array, where: str = "inputs") -> dict[str, Array]:
    """Return each port's array with the batch first; raise RunError for what is missing or of another shape or type.

    A single array stands for the only port; so does the only array of a dictionary. Arrays that no port asks for are
    ignored (labels often lie in the same file). An array without a batch is one image.
    """
    arrays = {"": data} if isinstance(data, np.ndarray) else dict(data)
    if len(ports) == 1 and len(arrays) == 1:
        arrays = {ports[0].name: next(iter(arrays.values()))}
    bound = {port.name: _bind(port, arrays, where) for port in ports}
    counts = {name: len(array) for name, array in bound.items()}
    if len(set(counts.values())) > 1:
        raise RunError(f"{where}: inputs have different numbers of images: {counts}")
    if bound and not next(iter(counts.values())):
        raise RunError(f"{where}: no images")
    return bound


def _bind(port: Port, arrays: Mapping[str, Any], where: str) -> Array:
    if port.name not in arrays:
        raise RunError(
            f"{where}: no array {port.name!r}; found {_names(arrays)}\nname it {port.name!r}: {_wanted(port)}"
        )
    array = np.asarray(arrays[port.name])
    if array.dtype == np.float16 and port.dtype == "float32":  # no value changes
        array = array.astype(np.float32)
    if array.dtype != np.dtype(port.dtype):
        raise RunError(
            f"{where}: {port.name!r} is {array.dtype}, the program takes {port.dtype}\n"
            f"convert it with .astype({port.dtype!r})"
        )
    if array.shape == port.shape:
        array = array[None]
    if array.ndim == 0 or array.shape[1:] != port.shape:
        raise RunError(f"{where}: {port.name!r} has shape {list(array.shape)}, the program takes {_wanted(port)}")
    _refuse_no_numbers(array, port.name, where)
    return np.ascontiguousarray(array)


def _refuse_no_numbers(array: Array, name: str, where: str) -> None:
    """No quantiser has a code for NaN, and infinities are mistakes; looked for in pieces, so nothing large is held."""
    if array.dtype.kind != "f":
        return
    for image, values in enumerate(array):
        if not np.isfinite(values).all():
            kind = "NaN" if np.isnan(values).any() else "infinity"
            raise RunError(f"{where}: image {image} of {name!r} holds {kind}; give finite numbers")


def _wanted(port: Port) -> str:
    return f"{port.dtype} [N, {', '.join(map(str, port.shape))}]" if port.shape else f"{port.dtype} [N]"


def _names(arrays: Mapping[str, Any]) -> str:
    return ", ".join(repr(name) if name else "an array without a name" for name in arrays) or "nothing"


def image_count(inputs: Inputs) -> int:
    """Return the number of images of bound inputs; a program without inputs runs once."""
    return len(next(iter(inputs.values()))) if inputs else 1


def batches(inputs: Inputs, size: int) -> Iterator[dict[str, Array]]:
    """Yield bound inputs in pieces of at most ``size`` images."""
    for first in range(0, image_count(inputs), size):
        yield {name: array[first : first + size] for name, array in inputs.items()}
