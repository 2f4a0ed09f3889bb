"""`load_model`: an ONNX file to the graph of quantised ops."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pimc.frontend.admit import admit_model, admit_quantised
from pimc.frontend.build import build
from pimc.frontend.calibration import calibration_arrays
from pimc.frontend.explicit import explicit_windows
from pimc.frontend.fidelity import QuantisationFidelity, compare_with_float
from pimc.frontend.forms import settle_batch
from pimc.frontend.macs import note_macs
from pimc.frontend.mend import mend
from pimc.frontend.pairs import join_pairs
from pimc.frontend.quantise import is_float, quantise
from pimc.frontend.read import read_model
from pimc.frontend.shapes import fix_input_shapes, model_inputs
from pimc.frontend.splits import split_to_slices
from pimc.frontend.transposed import untranspose
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
    read = quantised_model(source, calibration, input_shapes, say, compare=True)
    say("lowering")
    built = build(read.model)
    if calibrate or calibration is not None:
        built.graph.calibration = calibration_arrays(read.model, calibration, warn=not read.was_float)
    note_macs(built)
    built.graph.reference = read.data
    if read.unbatched:
        built.graph.meta["unbatched"] = "1"
    built.graph.meta["model_sha256"] = hashlib.sha256(read.data).hexdigest()
    if read.fidelity is not None:
        built.graph.meta["quantisation"] = read.fidelity.to_json()
        if calibration is not None:
            read.fidelity.warn()
    return built.graph


@dataclass(frozen=True)
class Quantised:
    """A quantised model, its bytes, whether it came as a float one, and how well it then does what that did.

    ``unbatched``: the model as it was given has no axis of images.
    """

    model: onnx.ModelProto
    data: bytes
    was_float: bool
    fidelity: QuantisationFidelity | None = None
    unbatched: bool = False


def quantised_model(
    source: str | Path | bytes | onnx.ModelProto,
    calibration: Any,
    input_shapes: Mapping[str, Sequence[int]] | None,
    say: Progress,
    *,
    compare: bool = False,
) -> Quantised:
    """Read a model, fix its shapes, and quantise it if it is float; ``compare`` it with the float one then."""
    say("reading the model")
    model, data = read_model(source)
    if fix_input_shapes(model, input_shapes):
        data = None
    if mend(model):
        data = None
    changed, unbatched = settle_batch(model)
    if changed:
        data = None
    if split_to_slices(model):
        data = None
    if untranspose(model):
        data = None
    was_float, fidelity = is_float(model), None
    admit_model(model, [v.name for v in model_inputs(model)], is_float=was_float)
    if explicit_windows(model):
        data = None
    if was_float:
        given = model
        model, arrays = quantise(given, calibration, say)
        data = None
        admit_quantised(model)
        if compare:
            fidelity = compare_with_float(given, model, arrays, say)
    elif join_pairs(model):
        data = None
    if unshare_weights(model):
        data = None
    return Quantised(model, data or model.SerializeToString(deterministic=True), was_float, fidelity, unbatched)
