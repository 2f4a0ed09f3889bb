"""`load_model`: an ONNX file to the graph of quantised ops."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pimc.frontend.admit import admit_model, admit_quantised
from pimc.frontend.build import build, refusals
from pimc.frontend.calibration import calibration_arrays
from pimc.frontend.explicit import explicit_windows
from pimc.frontend.mend import mend
from pimc.frontend.pairs import join_pairs
from pimc.frontend.quantise import is_float, quantise
from pimc.frontend.read import read_model
from pimc.frontend.shapes import fix_input_shapes, model_inputs
from pimc.frontend.unshare import unshare_weights
from pimc.ir.graph import Graph

if TYPE_CHECKING:
    import onnx

__all__ = ["Progress", "load_model", "quantised_model"]

Progress = Callable[[str], None]


def load_model(
    source: str | Path | bytes | onnx.ModelProto,
    *,
    calibration: Any = None,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    progress: Progress | None = None,
    calibrate: bool = False,
) -> Graph:
    """Read a model and return its graph at stage 'quantised'.

    ``calibration``: a .npz path, arrays by input name, or one array, each with a batch axis; used to quantise float
    models, and kept in the graph for passes that choose converter ranges. ``calibrate``: the graph must have such data;
    without any given it is random, with a warning. ``input_shapes`` fixes dynamic shapes. ``progress`` is told what is
    being done. Raises FrontendError.
    """
    say = progress or (lambda text: None)
    model, data, was_float = quantised_model(source, calibration, input_shapes, say)
    say("lowering")
    built = build(model)
    error = refusals(built)
    if error:
        raise error
    if calibrate or calibration is not None:
        built.graph.calibration = calibration_arrays(model, calibration, warn=not was_float)
    built.graph.reference = data
    built.graph.meta["model_sha256"] = hashlib.sha256(data).hexdigest()
    return built.graph


def quantised_model(
    source: str | Path | bytes | onnx.ModelProto,
    calibration: Any,
    input_shapes: Mapping[str, Sequence[int]] | None,
    say: Progress,
) -> tuple[onnx.ModelProto, bytes, bool]:
    """Read a model, fix its shapes, and quantise it if it is float; returns it, its bytes, and whether it was float."""
    say("reading the model")
    model, data = read_model(source)
    if fix_input_shapes(model, input_shapes):
        data = None
    if mend(model):
        data = None
    was_float = is_float(model)
    admit_model(model, [v.name for v in model_inputs(model)], is_float=was_float)
    if explicit_windows(model):
        data = None
    if was_float:
        model, data = quantise(model, calibration, say), None
        admit_quantised(model)
    elif join_pairs(model):
        data = None
    if unshare_weights(model):
        data = None
    return model, data or model.SerializeToString(deterministic=True), was_float
