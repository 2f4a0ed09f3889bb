"""Which layers of a model have epitomes: looked for before constants are folded, kept through quantisation.

Source: EPIM notes 8.1: exporters fold chains, batch normalisation scales output channels, quantisation of reconstructed
weights breaks what was equal. So structure is found first, and it is the stored cells that are quantised.
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx

from pimc.epitomes.found import Found
from pimc.epitomes.values import recognise
from pimc.frontend.epitomes.chain import WeightChains
from pimc.frontend.errors import FrontendError
from pimc.frontend.names import meant
from pimc.frontend.source import Array, attributes, input_at
from pimc.ir.graph import Graph
from pimc.ir.ops import Conv

__all__ = ["EXACT", "OFF", "Choice", "Layer", "Structure", "found_in", "layers_of", "note_epitomes"]

EXACT, OFF = "exact", "off"

_PLACES = {"Conv": 1, "Gemm": 1, "MatMul": 1, "QLinearConv": 3, "QGemm": 3, "QLinearMatMul": 3}
"""Of weights among the inputs of layers."""


@dataclass(frozen=True, eq=False)
class Structure:
    """The ``index`` of a layer's stored weights: their shape and order in the model, cells row * q + column or -1.

    ``shape`` (p, q) of the stored matrix. ``snr_db``: of weights that were quantised so, and ``lost_db`` by how much
    less that is than by channels; None where nothing was quantised, or without loss.
    """

    index: Array
    shape: tuple[int, int]
    snr_db: float | None = None
    lost_db: float | None = None


@dataclass(frozen=True)
class Layer:
    """A layer with constant weights: its node, the place of the weights among the inputs, their output channel axis."""

    node: onnx.NodeProto
    place: int
    outputs: int

    @property
    def name(self) -> str:
        """What the layer is called."""
        return str(self.node.name or self.node.output[0])

    @property
    def weights(self) -> str:
        """The tensor of its weights."""
        return str(self.node.input[self.place])


def layers_of(model: onnx.ModelProto) -> Iterator[Layer]:
    """The layers of a model, float or 8-bit, whose weights may be constant."""
    for node in model.graph.node:
        place = _PLACES.get(node.op_type)
        if place is not None and input_at(node, place):
            yield Layer(node, place, _axis_of_outputs(node))


def _axis_of_outputs(node: onnx.NodeProto) -> int:
    if node.op_type in ("Conv", "QLinearConv"):
        return 0
    return 0 if node.op_type in ("Gemm", "QGemm") and attributes(node).get("transB", 0) else 1


@dataclass
class Choice:
    """Whose epitomes are used: of all layers (``exact``), of none (``off``), or of those that a file names.

    The file has a layer's name, or a pattern with ``*``, on each line; ``#`` begins a comment.
    """

    given: str | Path = EXACT
    names: tuple[str, ...] = ("*",)
    met: dict[str, bool] = field(default_factory=dict)

    @classmethod
    def read(cls, given: str | Path) -> Choice:
        """Read what was given. Raises FrontendError for a file that cannot be read or names nothing."""
        if str(given) in (EXACT, OFF):
            return cls(given, ("*",) if str(given) == EXACT else ())
        try:
            text = Path(given).read_text(encoding="utf-8")
        except OSError as error:
            raise FrontendError(
                f"{given}: cannot be read ({error.strerror}). --epitome takes {EXACT}, {OFF} or such a file."
            ) from None
        except UnicodeDecodeError:
            raise FrontendError(f"{given}: not a text of layers' names, one on each line.") from None
        names = tuple(name for line in text.splitlines() if (name := line.partition("#")[0].strip()))
        if not names:
            raise FrontendError(f"{given}: names no layer. Write one on each line, or give --epitome {OFF}.")
        return cls(given, names)

    @property
    def is_off(self) -> bool:
        """Whether nothing is to be looked for."""
        return not self.names

    def wants(self, layer: Layer) -> bool:
        """Whether a layer is among those chosen."""
        return any(fnmatch.fnmatchcase(layer.name, name) for name in self.names)

    def note(self, layer: Layer, *, found: bool) -> None:
        """Remember of a layer whether it has an epitome."""
        self.met[layer.name] = found or self.met.get(layer.name, False)

    def judge(self) -> None:
        """Raise FrontendError for a name in the file that no layer has, or whose layer has no epitome."""
        for name in self.names if str(self.given) not in (EXACT, OFF) else ():
            met = fnmatch.filter(self.met, name)
            if not met:
                raise FrontendError(f"{self.given}: the model has no layer {name!r}{meant(name, self.met)}")
            if name in self.met and not self.met[name]:
                raise FrontendError(f"{self.given}: layer {name!r} has no epitome: its weights do not repeat.")


def note_epitomes(graph: Graph, recognised: Mapping[str, Structure]) -> None:
    """Note the epitomes of a graph's ops for whoever reports: their shape, weights per cell, and what 8 bits cost."""
    noted = {}
    for op in graph.of(Conv):
        structure = recognised.get(op.name)
        if structure is not None and op.epitome is not None:
            p, q = graph.constants[op.epitome].shape
            noted[op.name] = {
                "stored": [p, q],
                "weights": graph.constants[op.weights].size,
                "snr_db": structure.snr_db,
                "lost_db": structure.lost_db,
            }
    if noted:
        graph.meta["epitomes"] = json.dumps(noted, sort_keys=True)


def found_in(layer: Layer, chains: WeightChains) -> tuple[Found, Array] | None:
    """The epitome of a layer's weights and these, output channels first; by their chain, else by their values."""
    weights = chains.value(layer.weights)
    if weights is None or not 2 <= weights.ndim <= 4 or weights.dtype not in (np.float32, np.int8, np.uint8, np.int16):
        return None
    turned = np.moveaxis(weights, layer.outputs, 0)
    found = chains.found(layer.weights, layer.outputs) or recognise(turned)
    return None if found is None else (found, turned)
