"""Int8 forms of the Fashion-MNIST network, made by onnxruntime's own quantiser (MinMax calibration)."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pimc_isa.errors import PimcError
from pimc_models import fashion

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import onnx

CALIBRATION_BATCH = 64


class UnknownKindError(PimcError):
    """A quantisation that is not in KINDS."""


@dataclass(frozen=True)
class Kind:
    """One way to quantise: file format, sign of the activations, granularity of the weight scales."""

    qoperator: bool
    signed_activations: bool
    per_channel: bool


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "qoperator-u8s8-per-channel": Kind(qoperator=True, signed_activations=False, per_channel=True),
        "qoperator-u8s8-per-tensor": Kind(qoperator=True, signed_activations=False, per_channel=False),
        "qdq-u8s8": Kind(qoperator=False, signed_activations=False, per_channel=True),
        "qdq-s8s8": Kind(qoperator=False, signed_activations=True, per_channel=True),
    }
)


def quantise(kind: str, calibration: npt.NDArray[np.float32] | None = None) -> onnx.ModelProto:
    """Return the float32 network quantised as `kind` on `calibration` (default: the 128 committed images).

    Raises UnknownKindError for any other name.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    if kind not in KINDS:
        raise UnknownKindError(f"unknown quantisation {kind!r}; known: {', '.join(KINDS)}")
    want = KINDS[kind]
    images = fashion.load_calibration() if calibration is None else calibration
    with tempfile.TemporaryDirectory() as folder:
        prepared, output = Path(folder, "prepared.onnx"), Path(folder, "int8.onnx")
        quant_pre_process(fashion.fp32_path(), prepared, skip_symbolic_shape=True)
        quantize_static(
            prepared,
            output,
            _reader(images),
            quant_format=QuantFormat.QOperator if want.qoperator else QuantFormat.QDQ,
            activation_type=QuantType.QInt8 if want.signed_activations else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=want.per_channel,
            calibrate_method=CalibrationMethod.MinMax,
        )
        return _without_unused_domains(onnx.load(output))


def _without_unused_domains(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drop the operator-set imports that onnxruntime's optimiser adds for all the domains it knows."""
    used = {node.domain for node in model.graph.node} | {""}
    kept = [entry for entry in model.opset_import if entry.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    return model


def _reader(images: npt.NDArray[np.float32]) -> Any:
    """Return onnxruntime's kind of iterator (`get_next` gives a feed, or None at the end)."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        feeds: Iterator[dict[str, npt.NDArray[np.float32]]] = iter(
            {"image": images[at : at + CALIBRATION_BATCH]} for at in range(0, len(images), CALIBRATION_BATCH)
        )

        def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:
            return next(self.feeds, None)

    return Reader()
