"""Choose how the weights of every layer are sliced, among the flows that the target offers it.

    %y: u8[28x28x128] = q.conv(%x) {..., flow = "raella-4-2-2"}
    ->                                 {..., flow = "raella-4-4"}

The flows to choose from are those offered to the layer that are guarded as its own is (all, or none), and drive inputs
in as many passes, one for each slicing. What a slicing costs in accuracy is in `pimc.analysis.slicing`; it is tried on
calibration images, whose inputs to a layer are those of an ideal chip. The last layer takes the slicing with most
slices, as the paper has it. A target that offers one slicing leaves nothing to choose, and so does a plan file that
forces a layer's flow, here or in choose-flows; where nothing is left to search, no images are needed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from pimc.analysis.calibrate import gemm_matrix, watched
from pimc.analysis.facts import facts_of
from pimc.analysis.slicing import BUDGET, SlicedLayer, choose_slicing
from pimc.ir.graph import Graph
from pimc.ir.ops import Conv
from pimc.passes.base import NOT_AN_OPTION, Decisions, Pass, PassError
from pimc.passes.choose_flows import ChooseFlows, flow_of
from pimc.passes.slice_weights import centres_of
from pimc.passes.target import Target
from pimc.progress import tell
from pimc_isa import numerics
from pimc_isa.flow import Flow, normal_form

__all__ = ["ChooseSlices", "refuse_inputs", "sampled_layer", "sampled_layers"]

Array = npt.NDArray[Any]
#: Multiply-accumulates of one slice of one layer, which limits how many windows are looked at.
_MACS = 2e9
_MOST, _LEAST = 256, 16


@dataclass(frozen=True)
class ChooseSlices(Pass):
    """Choose the slices of every layer's weights by the error they make."""

    name = "choose-slices"
    from_stage = "flowed"
    to_stage = "flowed"
    decides = ("flow",)

    budget: float = BUDGET
    inputs: str = "images"  # or "gaussian": no calibration is needed
    noise: float = 0.0  # of column sums, as in `pimc run --noise-model column=`
    forced: frozenset[str] = field(default=frozenset(), metadata=NOT_AN_OPTION)  # layers whose flow a plan names

    def told(self, forced: Mapping[str, Decisions]) -> ChooseSlices:
        """Leave alone the layers whose flow a plan names."""
        named = [op for step in (ChooseFlows.name, self.name) for op in forced.get(step, {})]
        return replace(self, forced=frozenset(named))

    def apply(self, graph: Graph, target: Target) -> Graph:
        """Name the chosen flows on the convolutions."""
        graph = graph.copy()
        refuse_inputs(self.name, self.inputs)
        if not self.budget > 0 or not 0 <= self.noise < math.inf:
            raise PassError(
                f"choose-slices has budget={self.budget} and noise={self.noise}\n"
                "the budget is above 0, noise is not below it"
            )
        layers = list(graph.of(Conv))
        known = {op.name: _choices(graph, op, target) for op in layers if op.name not in self.forced}
        open_ = {name: flows for name, flows in known.items() if len(flows) > 1}
        if last := open_.pop(layers[-1].name, None) if layers else None:
            graph.update(replace(layers[-1], flow=last[max(last, key=lambda each: (len(each), each))]))
        otherwise = "give all the same with --passes=-choose-slices"
        sampled = sampled_layers(graph, target, list(open_), self.inputs, ("slices of weights", otherwise))
        for n, (op, layer) in enumerate(sampled, 1):
            tell(f"slices of layer {n} of {len(open_)}")
            flows, noisy = open_[op.name], replace(layer, noise=self.noise)
            graph.update(replace(op, flow=flows[choose_slicing(noisy, flows, self.budget).slices]))
        return graph


def sampled_layers(
    graph: Graph, target: Target, names: Sequence[str], inputs: str, about: tuple[str, str]
) -> Iterator[tuple[Conv, SlicedLayer]]:
    """Layers on samples of their windows, of calibration images or Gaussian. Raises PassError without calibration data.

    ``about``: what is chosen from them, and how to do without a choice.
    """
    seen = _seen_windows(graph, target, *about) if names and inputs == "images" else {}
    for name in names:
        op = graph[name]
        assert isinstance(op, Conv)
        vectors = seen[name] if seen else _gaussian_windows(graph, op)
        yield op, sampled_layer(graph, op, vectors, flow_of(graph, op, target), target)


def _seen_windows(graph: Graph, target: Target, what: str, otherwise: str) -> dict[str, Array]:
    missing = [port.name for port in graph.inputs if port.name not in graph.calibration]
    if missing:
        raise PassError(
            f"target {target.name} chooses {what} from data, and there is none for {', '.join(missing)}\n"
            f"give typical inputs with --calibration X.npz, name the layers' flows in a plan file, or {otherwise}"
        )
    return watched(graph, graph.calibration, target.machine.array.rows)


def refuse_inputs(name: str, inputs: str) -> None:
    """Raise PassError for inputs to try that there are not."""
    if inputs not in ("images", "gaussian"):
        raise PassError(f"{name} has no inputs '{inputs}'\nuse images or gaussian")


def _gaussian_windows(graph: Graph, op: Conv) -> Array:
    """Windows of seeded noise around the zero point, which is four deviations from the codes' further end."""
    groups, k, _ = gemm_matrix(graph.constants[op.weights], op.groups).shape
    noise = np.random.default_rng(0).standard_normal((_MOST, groups, k), np.float32)
    deviation = max(op.x_zero, 255 - op.x_zero) / 4
    codes: Array = np.clip(np.rint(op.x_zero + deviation * noise), 0, 255)
    return codes.astype(np.uint8)


def _choices(graph: Graph, op: Conv, target: Target) -> Mapping[tuple[int, ...], str]:
    """Flows by slices: those that are offered and guarded as the layer's own."""
    own = flow_of(graph, op, target)
    offered = [target.named(name) for name in target.offers(facts_of(graph, replace(op, flow=None)))]
    return {each.slices: each.name for each in offered if _kind(each) == _kind(own)}


def _kind(flow: Flow) -> tuple[bool, bool, bool]:
    return any(op.made() == ("codes", "flags") for op in flow.ops), flow.bipolar, flow.signed


def sampled_layer(graph: Graph, op: Conv, vectors: Array, flow: Flow, target: Target) -> SlicedLayer:
    """The layer on a sample of its windows."""
    matrix, rows = gemm_matrix(graph.constants[op.weights], op.groups), target.machine.array.rows
    wanted = int(max(_LEAST, min(_MOST, _MACS / (8 * matrix.size))))
    some = vectors[:: max(1, len(vectors) // wanted)][:wanted]
    conversion = normal_form(flow).blocks[0].conversion
    assert conversion is not None
    return SlicedLayer(
        some,
        matrix,
        partial(_codes, graph, op, matrix),
        op.y_zero,
        rows,
        conversion.lo,
        conversion.hi,
        lambda slices: centres_of(matrix, slices, rows, target.centre),
        op.x_zero if flow.signed else None,
    )


def _codes(graph: Graph, op: Conv, matrix: Array, sums: Array) -> Array:
    """Codes of dot products with inputs as they are stored."""
    zero = op.x_zero * matrix.sum(axis=1, dtype=np.int64).reshape(-1)
    multiplier, bias = graph.constants[op.multiplier], graph.constants[op.bias].astype(np.int32)
    return numerics.requantise((sums - zero).astype(np.int32), multiplier, bias, op.y_zero, op.lo, op.hi)
