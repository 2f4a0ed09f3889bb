"""The end of a model on the host: one call that makes all outputs from values of the chip."""

from __future__ import annotations

import onnx

from pimc.frontend.batch import batched, demand_runs, inferred, typed
from pimc.frontend.host import described, why
from pimc.frontend.lowering import Lowering
from pimc.frontend.subgraph import Typed, as_constant, cut, nodes_between
from pimc.ir.ops import HostCall
from pimc_isa.program import Port

__all__ = ["make_tail"]


def make_tail(lw: Lowering) -> tuple[Port, ...]:
    """Add the host's call that makes all outputs from values of the chip; returns the outputs' ports."""
    source = lw.source
    nodes, read = nodes_between(source, source.outputs, lw.refs)
    tensors = sorted(read & lw.refs.keys())
    direct = [v for v in source.inputs if v.name in read and v.name not in lw.refs]
    values = [described(name, lw.refs[name]) for name in tensors] + direct
    declared = {v.name: v.type.tensor_type.elem_type for v in source.model.graph.output}
    fixed = cut(source, nodes, [typed(v, 1) for v in values], [Typed(n, declared[n], None) for n in source.outputs])
    found = {n: inferred(fixed, o.name) for n, o in zip(source.outputs, fixed.graph.output, strict=True)}
    outputs = [Typed(n, elem, dims) for n, (elem, dims) in found.items()]
    model = batched(source, nodes, values, outputs, "out")
    demand_runs(model, "the model's outputs")
    name = lw.unique("tail")
    lw.graph.add(
        HostCall(
            name=name,
            inputs=tuple(dict.fromkeys(lw.refs[t].value for t in tensors)),
            type=None,
            model=lw.constant(f"{name}.onnx", as_constant(model)),
            feeds=(*((t, lw.refs[t].value) for t in tensors), *((v.name, f"${v.name}") for v in direct)),
            fetches=tuple((o.name, f"${n}") for n, o in zip(source.outputs, fixed.graph.output, strict=True)),
            why=why(source, nodes) or "the model's output",
        )
    )
    return tuple(_output_port(t) for t in outputs)


def _output_port(typed: Typed) -> Port:
    dims = tuple(int(d) for d in (typed.shape or ())[1:] if isinstance(d, int))
    return Port(typed.name, onnx.helper.tensor_dtype_to_np_dtype(typed.elem).name, dims)
