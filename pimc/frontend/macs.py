"""Multiply-accumulates of one image: on crossbars, and of layers with weights that are left to the host."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import onnx

from pimc.frontend.batch import zeros
from pimc.frontend.build import Built
from pimc.frontend.session import run
from pimc.frontend.source import Source
from pimc.ir.ops import Conv

__all__ = ["HostLayersWarning", "chip_macs", "host_macs", "note_macs"]

WEIGHTED = (
    *("Conv", "ConvTranspose", "Gemm", "MatMul", "QLinearConv", "QGemm", "QLinearMatMul"),
    *("ConvInteger", "MatMulInteger"),
)


#: Operators of models whose ranges are found at run time.
_DYNAMIC = frozenset({"DynamicQuantizeLinear", "ConvInteger", "MatMulInteger", "DynamicQuantizeMatMul"})


class HostLayersWarning(UserWarning):
    """Layers with weights run on the host."""


def note_macs(built: Built) -> None:
    """Note the share of multiply-accumulates on crossbars in the graph, and warn of layers that the host computes."""
    on_chip = sum(chip_macs(built, op.name) for op in built.graph.ops())
    left = {n: count for n, count in host_macs(built).items() if count}
    share = on_chip / max(1, on_chip + sum(left.values()))
    built.graph.meta["crossbar_macs_share"] = f"{share:.6g}"
    if left or all(op.is_host for op in built.graph.ops()):
        warnings.warn(_said(built, left, share), HostLayersWarning, stacklevel=5)


def _said(built: Built, left: Mapping[int, int], share: float) -> str:
    """What the host computes, and what would change that."""
    dynamic = [n for n in built.source.nodes if n.op_type in _DYNAMIC]
    nodes = [built.source.nodes[n] for n in sorted(left, key=lambda n: -left[n])]
    named = ", ".join(f"{node.name or node.output[0]} ({node.op_type})" for node in nodes[:3])
    more = f" and {len(nodes) - 3} more" if len(nodes) > 3 else ""
    part = f"{named}{more}: {100 * (1 - share):.2g} % of the multiplications" if left else "the whole model"
    if not dynamic:
        return f"The host computes {part}. 'pimc check' says why."
    first = dynamic[0]
    return (
        f"The host computes {part}: {first.name or first.output[0]} ({first.op_type}) is quantised anew for each "
        "image. Give the float model, or quantise it statically."
    )


def chip_macs(built: Built, value: str) -> int:
    """Multiply-accumulates of a value that crossbars make; 0 for any other."""
    if value not in built.graph:
        return 0
    op = built.graph[value]
    return math.prod(op.shape[:2]) * int(built.graph.constants[op.weights].size) if isinstance(op, Conv) else 0


def host_macs(built: Built) -> dict[int, int]:
    """Multiply-accumulates of nodes with weights that are not on the chip, from the shapes onnxruntime finds."""
    source = built.source
    left = [n for n, node in enumerate(source.nodes) if node.op_type in WEIGHTED and n not in built.taken]
    shapes = _shapes(source, [name for n in left for name in (*source.nodes[n].input, source.nodes[n].output[0])])
    constants: dict[str, Sequence[int]] = {t.name: tuple(t.dims) for t in source.initialisers.values()}
    return {n: _node_macs(source.nodes[n], constants | shapes) for n in left}


def _shapes(source: Source, tensors: Sequence[str]) -> dict[str, Sequence[int]]:
    """Shapes of tensors for one image; empty where onnxruntime cannot run the model."""
    if not tensors:
        return {}
    trial = onnx.ModelProto()
    trial.CopyFrom(source.model)
    del trial.graph.output[:]
    wanted = [name for name in dict.fromkeys(tensors) if name in source.producer]
    trial.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
    try:
        values = run(trial.SerializeToString(), zeros(trial), {})
    except Exception:  # onnxruntime's errors have no common class; the report then goes without these counts
        return {}
    given = {v.name: (1, *(d.dim_value for d in v.type.tensor_type.shape.dim[1:])) for v in source.inputs}
    return given | {name: np.shape(value) for name, value in zip(wanted, values, strict=True)}


def _node_macs(node: onnx.NodeProto, shapes: Mapping[str, Sequence[int]]) -> int:
    """Multiply-accumulates of one node; 0 where a shape is not known."""
    place = 3 if node.op_type in ("QLinearConv", "QGemm", "QLinearMatMul") else 1
    weights, x, out = (shapes.get(name, ()) for name in (node.input[place], node.input[0], node.output[0]))
    if not weights or not x or not out:
        return 0
    if node.op_type == "ConvTranspose":
        return math.prod(x) * math.prod(weights[1:])
    if "Conv" in node.op_type:
        return math.prod(out) * math.prod(weights[1:])
    return math.prod(x) * out[-1]
