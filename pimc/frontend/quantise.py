"""Float models to 8 bits: clean-up, rewrites, then onnxruntime's own static quantiser on calibration data.

The result is in QOperator form with u8 activations and s8 weights per channel: onnxruntime computes it with the same
integers at every optimisation level and whichever tensors are outputs, so all of it can be compared bit for bit.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from pimc.frontend.adapt import after_quantiser, before_quantiser, kept_in_float, out_of_range
from pimc.frontend.calibration import batches, calibration_arrays, image_count
from pimc.frontend.errors import FrontendError
from pimc.frontend.joins import join
from pimc.frontend.read import convert_opset, opset_of
from pimc.frontend.rewrites import rewrite
from pimc.frontend.shapes import free_batch, model_inputs

__all__ = ["Prepared", "is_float", "prepare", "quantise"]

UNWANTED = ["FusionGemm"]
"""Fusions of onnxslim that are left out: it reshapes the images of a batch into one; `join` does it without."""

OPSET = 17
"""Float models of older operator sets are converted: the quantiser needs 13, newer ones have fewer special cases."""

SILENT, WARNINGS = 4, 2
"""Levels of onnxruntime's logger: fatal errors only, and its default."""

LAYERS = ("Conv", "Gemm", "MatMul")
"""Operators with weights."""

QUANTISED_OPS = [  # not Softmax: at the end of a classifier 8 bits would cost accuracy for nothing
    *LAYERS,
    *("Add", "Mul", "Concat", "MaxPool", "AveragePool", "GlobalAveragePool"),
    *("Relu", "Clip", "LeakyRelu", "Sigmoid"),
    *("Flatten", "Reshape", "Squeeze", "Unsqueeze", "Transpose"),
]

_QUANTISED_MARKS = frozenset(
    {
        "QuantizeLinear",
        "DequantizeLinear",
        "DynamicQuantizeLinear",
        "ConvInteger",
        "MatMulInteger",
        "DynamicQuantizeMatMul",
    }
)


def is_float(model: onnx.ModelProto) -> bool:
    """Whether no part of the model is quantised yet."""
    kinds = {node.op_type for node in model.graph.node}
    return not kinds & _QUANTISED_MARKS and not any(k.startswith(("QLinear", "QGemm")) for k in kinds)


@dataclass(frozen=True)
class Prepared:
    """A float model as the quantiser takes it, the images it is calibrated on, and what comes back afterwards."""

    model: onnx.ModelProto
    arrays: dict[str, np.ndarray]
    inputs: list[onnx.ValueInfoProto]
    unread: dict[str, onnx.ValueInfoProto]


def prepare(model: onnx.ModelProto, calibration: Any, say: Callable[[str], None], *, batch: bool = True) -> Prepared:
    """Clean a float model up. ``calibration`` as for `load_model`; ``say`` is told what is being done.

    ``batch``: the model has an axis of images, which is opened where its operators allow it.
    """
    arrays = calibration_arrays(model, calibration)
    say("cleaning up the float model")
    with _quiet():
        clean = _clean(model, batch=batch)
    unread = _take_unread(model, clean)
    return Prepared(clean, arrays, list(model_inputs(model)), unread)


def quantise(prepared: Prepared, say: Callable[[str], None], keep: Collection[str] = ()) -> onnx.ModelProto:
    """Return the int8 model; ``keep`` names nodes that stay in float."""
    say("quantising")
    clean = onnx.ModelProto()
    clean.CopyFrom(prepared.model)
    read = {name: array for name, array in prepared.arrays.items() if name not in prepared.unread}
    with _quiet(), tempfile.TemporaryDirectory() as folder:
        result = _tried(clean, read, Path(folder), say, keep)
    inputs = {v.name: v for v in result.graph.input} | prepared.unread
    del result.graph.input[:]
    result.graph.input.extend(inputs[v.name] for v in prepared.inputs)
    return result


def _take_unread(model: onnx.ModelProto, clean: onnx.ModelProto) -> dict[str, onnx.ValueInfoProto]:
    """Take the inputs that no node reads out of ``clean``: the quantiser cannot feed them. They come back after it."""
    read = {name for node in clean.graph.node for name in node.input} | {v.name for v in clean.graph.output}
    for value in [v for v in clean.graph.input if v.name not in read]:
        clean.graph.input.remove(value)
    return {v.name: v for v in model_inputs(model) if v.name not in read}


def _clean(model: onnx.ModelProto, *, batch: bool) -> onnx.ModelProto:
    """Constant folding, batch normalisation folded into convolutions, our rewrites, an open batch."""
    work = onnx.ModelProto()
    work.CopyFrom(model)
    for value in model_inputs(work):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    if opset_of(work) < OPSET:
        convert_opset(work, OPSET)
    slim = _slim(work)
    join(slim)
    rewrite(slim)
    again = _slim(slim)
    if batch:
        free_batch(again)
    return _sorted(again)


def _slim(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with constants folded; as it is where onnxslim cannot work on it."""
    import onnxslim

    try:
        slim: onnx.ModelProto | None = onnxslim.slim(model, model_check=False, skip_fusion_patterns=UNWANTED)
    except Exception:  # onnxslim passes on what its own indexing and numpy raise
        return model
    return model if slim is None else slim


def _sorted(model: onnx.ModelProto) -> onnx.ModelProto:
    """Name nodes that have no name: the quantiser names things after nodes."""
    for n, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{n}"
    return model


def _tried(
    model: onnx.ModelProto,
    arrays: dict[str, np.ndarray],
    folder: Path,
    say: Callable[[str], None],
    keep: Collection[str],
) -> onnx.ModelProto:
    """Quantise all that can be; where the quantiser fails, only layers with weights; without such, nothing."""
    layers = any(node.op_type in LAYERS for node in model.graph.node)
    if not arrays:
        return model
    try:
        made = _quantise(model, arrays, folder, say, QUANTISED_OPS, keep)
        broken = out_of_range(made)
        return _quantise(model, arrays, folder, say, QUANTISED_OPS, {*keep, *broken}) if broken else made
    except FrontendError:
        if not layers:
            return model
    return _quantise(model, arrays, folder, say, list(LAYERS), keep)


def _quantise(
    model: onnx.ModelProto,
    arrays: dict[str, np.ndarray],
    folder: Path,
    say: Callable[[str], None],
    kinds: list[str],
    keep: Collection[str],
) -> onnx.ModelProto:
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    open_batch = all(v.type.tensor_type.shape.dim[0].dim_param for v in model_inputs(model))
    output = folder / "int8.onnx"
    shaped = onnx.shape_inference.infer_shapes(model, data_prop=True)
    before_quantiser(shaped)
    try:
        quantize_static(
            shaped,
            output,
            _Reader(batches(arrays, None if open_batch else 1), image_count(arrays), say),
            quant_format=QuantFormat.QOperator,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            op_types_to_quantize=kinds,
            nodes_to_exclude=[*kept_in_float(model), *sorted(keep)],
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={"WeightSymmetric": True},
        )
    except Exception as error:
        first = next(iter(str(error).splitlines()), type(error).__name__)[:300]
        raise FrontendError(f"onnxruntime's quantiser failed: {first}") from error
    result = onnx.load(output)
    after_quantiser(result, shaped)
    return _without_unused_domains(result)


class _Reader:
    """onnxruntime's protocol of calibration data."""

    def __init__(self, feeds: Iterator[dict[str, np.ndarray]], images: int, say: Callable[[str], None]) -> None:
        self._feeds, self._images, self._say = feeds, images, say
        self._done = 0

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next feed, None at the end."""
        feed = next(self._feeds, None)
        if feed is not None:
            self._done += image_count(feed)
            self._say(f"quantising: calibration image {self._done} of {self._images}")
        return feed


def _without_unused_domains(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drop operator sets that the optimiser lists for all domains it knows."""
    used = {node.domain for node in model.graph.node} | {""}
    kept = [entry for entry in model.opset_import if entry.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    return model


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence loggers and prints of the libraries for a while; onnxruntime writes to stderr itself."""
    import onnxruntime as ort

    ort.set_default_logger_severity(SILENT)
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)
        ort.set_default_logger_severity(WARNINGS)
