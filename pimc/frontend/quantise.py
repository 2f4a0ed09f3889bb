"""Float models to 8 bits: clean-up, rewrites, then onnxruntime's own static quantiser on calibration data.

The result is in QOperator form with u8 activations and s8 weights per channel: onnxruntime computes it with the same
integers at every optimisation level and whichever tensors are outputs, so all of it can be compared bit for bit.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from pimc.epitomes.scales import Precision
from pimc.frontend.adapt import after_quantiser, before_quantiser, kept_in_float, out_of_range, widen_averages
from pimc.frontend.calibration import batches, calibration_arrays, image_count
from pimc.frontend.epitomes.floats import Held, hold, still_held
from pimc.frontend.epitomes.structure import OFF, Choice
from pimc.frontend.errors import FrontendError
from pimc.frontend.joins import join
from pimc.frontend.moving import MOVING
from pimc.frontend.names import kept
from pimc.frontend.options import QuantiserOptions, WeightScales
from pimc.frontend.precisions import precisions_of
from pimc.frontend.read import convert_opset, opset_of
from pimc.frontend.rewrites import rewrite
from pimc.frontend.rules import ELEMENTWISE, RULES
from pimc.frontend.shapes import free_batch, model_inputs

__all__ = ["Prepared", "is_float", "prepare", "quantise"]

UNWANTED = ["FusionGemm"]
"""Fusions of onnxslim that are left out: it reshapes the images of a batch into one; `join` does it without."""

OPSET = 17
"""Float models of older operator sets are converted: the quantiser needs 13, newer ones have fewer special cases."""

SILENT, WARNINGS = 4, 2
"""Levels of onnxruntime's logger: fatal errors only, and its default."""

ENTROPY_BINS = 1024
"""Bins of a histogram; as many as levels, which is onnxruntime's default, could cut nothing."""

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
    """A float model as the quantiser takes it, the images it is calibrated on, and what comes back afterwards.

    ``keep`` names its nodes that stay in float whatever happens; ``held`` are layers with epitomes, by their weights;
    ``precisions`` of weights are not onnxruntime's, by the layer's node; ``ranges`` are of its tensors, by what is
    quantised.
    """

    model: onnx.ModelProto
    arrays: dict[str, np.ndarray]
    inputs: list[onnx.ValueInfoProto]
    unread: dict[str, onnx.ValueInfoProto]
    options: QuantiserOptions
    keep: frozenset[str]
    held: Mapping[str, Held] = field(default_factory=dict)
    precisions: Mapping[str, Precision] = field(default_factory=dict)
    ranges: dict[str, Any] = field(default_factory=dict)

    @property
    def per_channel(self) -> bool:
        """Whether every output channel has a scale for its weights."""
        return self.options.weight_scales == WeightScales.CHANNEL

    @property
    def asks_the_host(self) -> bool:
        """Whether some operator is surely the host's: one that has no rule, or a product of activations."""
        known = {*RULES, *ELEMENTWISE, *MOVING, "Constant"}
        constants = {t.name for t in self.model.graph.initializer}
        nodes = self.model.graph.node
        products = (n.input[1] for n in nodes if n.op_type == "MatMul")
        return any(n.op_type not in known for n in nodes) or any(name not in constants for name in products)

    @property
    def read(self) -> dict[str, np.ndarray]:
        """The images of inputs that some node reads."""
        return {name: array for name, array in self.arrays.items() if name not in self.unread}

    def feeds(self, images: int | None = None) -> Iterator[dict[str, np.ndarray]]:
        """These images, or the first of them, as many at a time as the model takes."""
        several = all(v.type.tensor_type.shape.dim[0].dim_param for v in model_inputs(self.model))
        arrays = {name: array[:images] for name, array in self.read.items()}
        return batches(arrays, None if several else 1)


def prepare(
    model: onnx.ModelProto,
    calibration: Any,
    say: Callable[[str], None],
    *,
    batch: bool = True,
    options: QuantiserOptions | None = None,
    choice: Choice | None = None,
) -> Prepared:
    """Clean a float model up. ``calibration`` as for `load_model`; ``say`` is told what is being done.

    ``batch``: the model has an axis of images, which is opened where its operators allow it. ``choice``: layers whose
    epitomes are held. Raises FrontendError.
    """
    options = options or QuantiserOptions()
    arrays = calibration_arrays(model, calibration)
    say("cleaning up the float model")
    with _quiet():
        clean, held = _clean(model, choice or Choice.read(OFF), batch=batch)
    keep = kept(options.keep_float, model, clean)
    unread = _take_unread(model, clean)
    precisions = precisions_of(options, model, clean)
    return Prepared(clean, arrays, list(model_inputs(model)), unread, options, keep, held, precisions)


def quantise(
    prepared: Prepared, say: Callable[[str], None], keep: Collection[str] = (), *, draft: bool = False
) -> onnx.ModelProto:
    """Return the int8 model; ``keep`` names nodes that stay in float.

    A ``draft`` has one scale for all channels of a layer's weights: made in a fraction of the time, and enough to find
    out which operators the chip takes.
    """
    say("quantising")
    with _quiet():
        result = onnx.ModelProto()
        quantiser = _Quantiser(prepared, say, per_channel=not draft and prepared.per_channel)
        result.CopyFrom(quantiser.tried({*keep, *prepared.keep}))
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


def _clean(model: onnx.ModelProto, choice: Choice, *, batch: bool) -> tuple[onnx.ModelProto, dict[str, Held]]:
    """Constant folding, batch normalisation folded into convolutions, our rewrites, an open batch.

    Epitomes are looked for first, because folding hides them; those are returned that are still there afterwards.
    """
    work = onnx.ModelProto()
    work.CopyFrom(model)
    for value in model_inputs(work):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    if opset_of(work) < OPSET:
        convert_opset(work, OPSET)
    held = hold(work, choice)
    slim = _slim(work)
    join(slim)
    rewrite(slim)
    again = _slim(slim)
    if batch:
        free_batch(again)
    return _sorted(again), still_held(again, held)


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


@dataclass(frozen=True)
class _Quantiser:
    """Onnxruntime's static quantiser on one model."""

    prepared: Prepared
    say: Callable[[str], None]
    per_channel: bool = True

    def tried(self, keep: Collection[str]) -> onnx.ModelProto:
        """Quantise all that can be; where the quantiser fails, only layers with weights; without such, nothing."""
        model = self.prepared.model
        layers = any(node.op_type in LAYERS for node in model.graph.node)
        if not self.prepared.read:
            return model
        try:
            made = self.run(QUANTISED_OPS, keep)
            broken = out_of_range(made)
            return self.run(QUANTISED_OPS, {*keep, *broken}) if broken else made
        except _QuantiserError:
            if not layers:
                return model
        return self.run(list(LAYERS), keep)

    def run(self, kinds: list[str], keep: Collection[str]) -> onnx.ModelProto:
        """Quantise operators of ``kinds`` but for those to ``keep`` in float. Raises FrontendError."""
        shaped = onnx.shape_inference.infer_shapes(self.prepared.model, data_prop=True)
        before_quantiser(shaped)
        kept = [*kept_in_float(self.prepared.model), *sorted(keep)]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            onnx.save(shaped, path)
            ranges = self.prepared.ranges
            if (key := ",".join(kinds)) not in ranges:
                with _quantisers_errors():
                    ranges[key] = self._ranges(path, kinds)
                widen_averages(shaped, ranges[key])
            with _quantisers_errors():
                result = self._run(path, kinds, kept, ranges[key])
        after_quantiser(result, shaped)
        return _without_unused_domains(result)

    def _run(self, path: Path, kinds: list[str], kept: list[str], ranges: Any) -> onnx.ModelProto:
        """As onnxruntime's ``quantize_static`` does it, but calibrated once, however often it is quantised anew."""
        from onnxruntime.quantization import QuantizationMode, QuantType
        from onnxruntime.quantization.onnx_quantizer import ONNXQuantizer
        from onnxruntime.quantization.quant_utils import load_model_with_shape_infer

        self.say("quantising")
        quantizer = ONNXQuantizer(
            load_model_with_shape_infer(path),
            per_channel=self.per_channel,
            reduce_range=False,
            mode=QuantizationMode.QLinearOps,
            static=True,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QUInt8,
            tensors_range=ranges,
            nodes_to_quantize=[],
            nodes_to_exclude=kept,
            op_types_to_quantize=kinds,
            extra_options={"WeightSymmetric": True},
        )
        quantizer.quantize_model()
        quantizer.model.topological_sort()
        result: onnx.ModelProto = quantizer.model.model
        return result

    def _ranges(self, path: Path, kinds: list[str]) -> Any:
        """Ranges of all tensors next to operators of ``kinds``."""
        from onnxruntime.quantization import CalibrationMethod as Method
        from onnxruntime.quantization import create_calibrator

        options = self.prepared.options
        methods = {"minmax": Method.MinMax, "entropy": Method.Entropy, "percentile": Method.Percentile}
        settings = {
            "minmax": {},
            "entropy": {"num_bins": ENTROPY_BINS},
            "percentile": {"percentile": options.percentile, "symmetric": False},
        }
        arrays = self.prepared.read
        reader = _Reader(self.prepared.feeds(), image_count(arrays), self.say)
        calibrator = create_calibrator(
            path,
            kinds,
            augmented_model_path=str(path.with_name("augmented.onnx")),
            calibrate_method=methods[options.method],
            extra_options=settings[options.method],
        )
        while reader.go_on():  # a feed at a time: histograms would hold all tensors of all images
            calibrator.collect_data(reader)
        return calibrator.compute_data()


class _QuantiserError(FrontendError):
    """Onnxruntime's quantiser fails on the model."""


@contextlib.contextmanager
def _quantisers_errors() -> Iterator[None]:
    """Turn whatever onnxruntime's quantiser raises into one error: it has no classes of its own."""
    try:
        yield
    except Exception as error:
        first = next(iter(str(error).splitlines()), type(error).__name__)[:300]
        raise _QuantiserError(f"onnxruntime's quantiser failed: {first}") from error


class _Reader:
    """onnxruntime's protocol of calibration data: what it reads ends after each feed, until one is to `go_on`."""

    def __init__(self, feeds: Iterator[dict[str, np.ndarray]], images: int, say: Callable[[str], None]) -> None:
        self._feeds, self._images, self._say = feeds, images, say
        self._next: dict[str, np.ndarray] | None = None
        self._done = 0

    def go_on(self) -> bool:
        """Let the next feed be read, if there is one."""
        self._next = next(self._feeds, None)
        return self._next is not None

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next feed, None at the end."""
        feed, self._next = self._next, None
        if feed is not None:
            self._done += image_count(feed)
            self._say(f"calibrating: image {self._done} of {self._images}")
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
