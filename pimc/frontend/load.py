"""`load_model`: an ONNX file to the graph of quantised ops."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pimc.epitomes.scales import Precision
from pimc.frontend.admit import admit_model, admit_quantised
from pimc.frontend.build import Built, build, quantised_on_host
from pimc.frontend.calibration import calibration_arrays
from pimc.frontend.epitomes.integers import fold_chains, structures
from pimc.frontend.epitomes.structure import EXACT, Choice
from pimc.frontend.errors import FrontendError
from pimc.frontend.explicit import explicit_windows
from pimc.frontend.fidelity import QuantisationFidelity, compare_with_float
from pimc.frontend.forms import settle_batch
from pimc.frontend.halves import widen
from pimc.frontend.macs import note_macs
from pimc.frontend.mend import mend
from pimc.frontend.options import QuantiserOptions
from pimc.frontend.pairs import join_pairs
from pimc.frontend.quantise import Prepared, is_float, prepare, quantise
from pimc.frontend.read import read_model
from pimc.frontend.requantise import Known, requantise
from pimc.frontend.shapes import fix_input_shapes, model_inputs
from pimc.frontend.splits import split_to_slices
from pimc.frontend.transposed import untranspose
from pimc.frontend.unshare import unshare_weights
from pimc.ir.graph import Graph

if TYPE_CHECKING:
    import onnx

__all__ = ["Progress", "load_model", "lowered", "opened", "quantised_graph", "settle"]

Progress = Callable[[str], None]


def load_model(
    source: str | Path | bytes | onnx.ModelProto,
    *,
    calibration: Any = None,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    progress: Progress | None = None,
    calibrate: bool = False,
    quantiser: QuantiserOptions | None = None,
    epitome: str | Path = EXACT,
) -> Graph:
    """Read a model and return its graph at stage 'quantised'.

    ``calibration``: a path of a .npz file or a folder of pictures, arrays by input name, or one array, each with a
    batch axis, or a `PictureFolder`; used to quantise float models, and kept in the graph for passes that choose
    converter ranges. ``quantiser``: what a user decides of a float model's quantisation. ``calibrate``: the graph must
    have such data; without any given it is random, with a warning. ``input_shapes`` fixes dynamic shapes. ``epitome``:
    whose epitomes are looked for, 'exact' (all layers'), 'off', or a file with names of layers. ``progress`` is told
    what is being done. Raises FrontendError.
    """
    say = progress or (lambda text: None)
    read, built = quantised_graph(
        source, calibration, input_shapes, say, compare=True, quantiser=quantiser, epitome=epitome
    )
    if calibrate or calibration is not None:
        built.graph.calibration = calibration_arrays(read.model, calibration, warn=not read.was_float)
    for port in built.graph.outputs:
        if 0 in port.shape:
            raise FrontendError(f"Output {port.name!r} has shape {list(port.shape)}: it holds nothing. Leave it out.")
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


#: Times that a float model is quantised anew because operators turned out to be the host's.
ROUNDS = 3


def quantised_graph(
    source: str | Path | bytes | onnx.ModelProto,
    calibration: Any,
    input_shapes: Mapping[str, Sequence[int]] | None,
    say: Progress,
    *,
    compare: bool = False,
    quantiser: QuantiserOptions | None = None,
    epitome: str | Path = EXACT,
) -> tuple[Quantised, Built]:
    """Read a model, quantise it if it is float, and lower it; ``compare`` the quantised model with the float one.

    Of a float model only what the chip computes is quantised: the rest is found out by lowering.
    """
    choice = Choice.read(epitome)
    say("reading the model")
    model, data, unbatched = opened(source, input_shapes)
    if not is_float(model):
        if quantiser is not None and quantiser != QuantiserOptions():
            raise FrontendError("The model is quantised already: no method and no nodes to keep in float apply to it.")
        if join_pairs(model):
            data = None
        say("looking for epitomes")
        folded = fold_chains(model, choice)
        read = _finished(model, None if folded else data, unbatched=unbatched)
        found = structures(read.model, choice, folded)
        say("lowering")
        return read, build(read.model, found)
    prepared = prepare(model, calibration, say, batch=not unbatched, options=quantiser, choice=choice)
    settled = settle(prepared, say, unbatched=unbatched)
    read, built = settled.read, settled.built
    if settled.known.bits:
        built.graph.meta["weight_bits"] = json.dumps(settled.known.widths, sort_keys=True)
    fidelity = None
    if compare and not is_float(read.model):
        fidelity = compare_with_float(model, read.model, prepared.arrays, say)
    return replace(read, was_float=True, fidelity=fidelity), built


@dataclass(frozen=True)
class Settled:
    """A float model, quantised, and its graph; ``base`` is what it was before weights were quantised anew."""

    base: onnx.ModelProto
    read: Quantised
    built: Built
    known: Known


def settle(prepared: Prepared, say: Progress, *, unbatched: bool) -> Settled:
    """Quantise a float model; anew as long as operators turn out to be the host's, which stay in float then."""
    keep = _kept_on_host(prepared, say) if prepared.asks_the_host else set[str]()
    for _ in range(ROUNDS):
        made = quantise(prepared, say, keep)
        settled = Settled(made, *lowered(prepared, made, prepared.precisions, say, unbatched=unbatched))
        fresh = quantised_on_host(settled.built) - keep
        if not fresh:
            break
        keep |= fresh
    return settled


def lowered(
    prepared: Prepared, made: onnx.ModelProto, precisions: Mapping[str, Precision], say: Progress, *, unbatched: bool
) -> tuple[Quantised, Built, Known]:
    """The quantised model ``made`` with these precisions of weights, and its graph; ``made`` stays as it is."""
    import onnx

    model = onnx.ModelProto()
    model.CopyFrom(made)
    known = requantise(model, prepared.model, prepared.held, precisions)
    return *_lowered(model, say, known, unbatched=unbatched), known


def _kept_on_host(prepared: Prepared, say: Progress) -> set[str]:
    """Nodes that the host computes, found on a draft of the quantised model."""
    return quantised_on_host(_lowered(quantise(prepared, say, draft=True), say, Known(), unbatched=False)[1])


def _lowered(made: onnx.ModelProto, say: Progress, known: Known, *, unbatched: bool) -> tuple[Quantised, Built]:
    admit_quantised(made)
    read = _finished(made, None, unbatched=unbatched)
    say("lowering")
    return read, build(read.model, *known.by_weights(read.model))


def opened(
    source: str | Path | bytes | onnx.ModelProto, input_shapes: Mapping[str, Sequence[int]] | None
) -> tuple[onnx.ModelProto, bytes | None, bool]:
    """The model in forms that the rest can work on, its bytes if they are those given, and whether it has no images."""
    model, data = read_model(source)
    changed = [fix_input_shapes(model, input_shapes), widen(model), mend(model)]
    admit_model(model, [v.name for v in model_inputs(model)], is_float=is_float(model))
    settled, unbatched = settle_batch(model)
    changed += [settled, split_to_slices(model), untranspose(model), explicit_windows(model)]
    return model, None if any(changed) else data, unbatched


def _finished(model: onnx.ModelProto, data: bytes | None, *, unbatched: bool) -> Quantised:
    if unshare_weights(model):
        data = None
    return Quantised(model, data or model.SerializeToString(deterministic=True), False, None, unbatched)
