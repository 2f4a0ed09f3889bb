"""Calibration data for scales and converter ranges: arrays, files or folders of them, or seeded random ones."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from pimc.arrayfile import ArrayFileError, one_or_all, read_array_file
from pimc.frontend.errors import FrontendError
from pimc.frontend.shapes import model_inputs
from pimc.frontend.source import Array
from pimc.pictures import FOR_CALIBRATION, PictureFolder

__all__ = ["CalibrationWarning", "batches", "calibration_arrays", "image_count"]

SYNTHETIC_IMAGES = 8
SEED = 20260101
BATCH_ELEMENTS = 4_000_000
"""Input elements per calibration run: keeps memory bounded."""


class CalibrationWarning(UserWarning):
    """Ranges of activations were guessed."""


def calibration_arrays(model: onnx.ModelProto, given: Any, *, warn: bool = True) -> dict[str, Array]:
    """Arrays by input name, each with a batch axis, checked against the model's inputs; random ones if none are given.

    ``warn``: say so then. Raises FrontendError.
    """
    inputs = {v.name: v for v in model_inputs(model)}
    if given is None:
        if warn:
            _warn()
        return {name: _random(value) for name, value in inputs.items()}
    given = _pictures(given, list(inputs.values()))
    arrays = _arrays(given, list(inputs))
    if set(arrays) != set(inputs):
        raise FrontendError(
            f"Calibration data is for {', '.join(map(repr, sorted(arrays)))}; the model's inputs are "
            f"{', '.join(map(repr, inputs))}."
        )
    checked = {name: _checked(arrays[name], value) for name, value in inputs.items()}
    if len({len(a) for a in checked.values()}) != 1:
        raise FrontendError("Calibration arrays have different numbers of images.")
    return checked


def _warn() -> None:
    warnings.warn(
        "No calibration data: what follows from typical inputs (ranges of activations, slices of weights) is guessed "
        "from random ones, so predictions of this program will be poor. Give images with --calibration X.npz.",
        CalibrationWarning,
        stacklevel=6,
    )


def _random(value: onnx.ValueInfoProto) -> Array:
    shape, dtype = _shape(value), _dtype(value)
    rng = np.random.default_rng(SEED)
    images = max(1, min(SYNTHETIC_IMAGES, BATCH_ELEMENTS * 8 // max(1, math.prod(shape))))
    if np.issubdtype(dtype, np.floating):
        return rng.standard_normal((images, *shape)).astype(dtype)
    return rng.integers(0, 127, (images, *shape)).astype(dtype)


def _shape(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    return tuple(d.dim_value for d in value.type.tensor_type.shape.dim)[1:]


def _dtype(value: onnx.ValueInfoProto) -> np.dtype[Any]:
    return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))


def _pictures(given: Any, inputs: list[onnx.ValueInfoProto]) -> Any:
    """The array of a folder's pictures; anything else as it is."""
    if isinstance(given, str | Path) and Path(given).is_dir():
        given = PictureFolder(Path(given), most=FOR_CALIBRATION)
    if not isinstance(given, PictureFolder):
        return given
    if len(inputs) != 1:
        raise FrontendError(f"{given.path}: pictures are for models of one input; this one has {len(inputs)}.")
    try:
        return given.arrays(_shape(inputs[0]), _dtype(inputs[0]))
    except ArrayFileError as error:
        raise FrontendError(f"Calibration data: {error}") from None


def _arrays(given: Any, names: list[str]) -> dict[str, Array]:
    if isinstance(given, str | Path):
        given = _load(Path(given))
    if isinstance(given, Mapping):
        arrays = {str(name): _plain(array) for name, array in given.items()}
        if len(arrays) == len(names) == 1:  # one array for one input: whatever it is called
            return dict(zip(names, arrays.values(), strict=True))
        return arrays
    if len(names) != 1:
        raise FrontendError(f"One calibration array, but the model has inputs {', '.join(map(repr, names))}.")
    return {names[0]: _plain(given)}


def _plain(given: Any) -> Array:
    try:
        return np.asarray(given)
    except ValueError as error:  # lists of different lengths
        raise FrontendError(f"Calibration data is no array: {str(error)[:100]}") from None


def _load(path: Path) -> Any:
    try:
        return one_or_all(read_array_file(path))
    except ArrayFileError as error:
        raise FrontendError(f"Calibration data: {error}") from None


def _checked(array: Array, value: onnx.ValueInfoProto) -> Array:
    shape = _shape(value)
    if array.dtype.kind not in "biuf":
        raise FrontendError(f"Calibration data for {value.name!r} holds {array.dtype}, not numbers.")
    if array.shape == shape:
        array = array[None]
    if array.shape[1:] != shape or not len(array):
        raise FrontendError(
            f"Calibration data for {value.name!r} has shape {list(array.shape)}; needed is images x "
            f"{' x '.join(map(str, shape))}."
        )
    if array.dtype.kind not in "biuf":
        raise FrontendError(f"Calibration data for {value.name!r} is {array.dtype}, not numbers.")
    with np.errstate(all="ignore"):
        made = array.astype(_dtype(value), copy=False)
    if made.dtype.kind == "f" and not np.isfinite(made).all():
        raise FrontendError(f"Calibration data for {value.name!r} holds values that are not finite (NaN or infinity).")
    return made


def image_count(arrays: Mapping[str, Array]) -> int:
    """Images in arrays that have a batch axis first."""
    return len(next(iter(arrays.values()))) if arrays else 0


def batches(arrays: Mapping[str, Array], size: int | None) -> Iterator[dict[str, Array]]:
    """Cut arrays into feeds of at most ``size`` images (None: as memory allows)."""
    images = image_count(arrays)
    elements = sum(a[0].size for a in arrays.values())
    step = size or max(1, min(32, BATCH_ELEMENTS // max(1, elements * 8)))
    for start in range(0, images, step):
        yield {name: array[start : start + step] for name, array in arrays.items()}
