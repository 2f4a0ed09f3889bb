"""The graph as text, and back: one generic form for all ops, derived from their fields.

    graph "net" quantised {
      input "image" = float32[1x28x28],
      output "logits" = float32[10],
      meta "format" = "qoperator",
      reference "sha256:..." = 123456
    }
    @w1: s8[64x3x3x16] = "sha256:0123456789abcdef"

    %y: u8[14x14x64] = q.conv(%x) {weights = @w1, kernel = [3, 3], node = "conv1"}

Constants are named, never inlined; a reader supplies them, and their type, shape and hash are compared. Reading back
gives an equal graph, and printing that gives the same text.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping

import numpy as np

from pimc.ir._fields_text import fields_to_text, node_to_fields
from pimc.ir._scan import GraphScanner, IrTextError, quote
from pimc.ir.graph import Graph
from pimc.ir.ops import OPS, Op, TensorType
from pimc.ir.stages import STAGES
from pimc_isa.extensions import load_extensions
from pimc_isa.program import Port

__all__ = ["IrTextError", "parse_graph", "print_graph"]

Array = np.ndarray
_HEAD = frozenset({"name", "inputs", "type"})
_LAST = (
    "node",
    "views",
    "rounds",
    "mapping",
    "cells",
    "placement",
    "schedule",
)  # where from, then decisions in their order
_SHORT = {
    "uint8": "u8",
    "int8": "s8",
    "int16": "i16",
    "uint16": "u16",
    "int32": "i32",
    "int64": "i64",
    "float32": "f32",
}
_LONG = {short: long for long, short in _SHORT.items()}


def print_graph(graph: Graph) -> str:
    """Return the text of a graph; the same graph always gives the same text."""
    return "\n".join(_lines(graph)) + "\n"


def _lines(graph: Graph) -> Iterator[str]:
    head = [f"  input {_string(p.name)} = {p.dtype}{_dims(p.shape)}" for p in graph.inputs]
    head += [f"  output {_string(p.name)} = {p.dtype}{_dims(p.shape)}" for p in graph.outputs]
    head += [f"  meta {_string(key)} = {_string(value)}" for key, value in sorted(graph.meta.items())]
    if graph.reference:
        head.append(f"  reference {_string(_hash(graph.reference))} = {len(graph.reference)}")
    yield f"graph {_string(graph.name)} {graph.stage} {{"
    if head:
        yield ",\n".join(head)
    yield "}"
    for name in sorted(graph.constants):
        array = graph.constants[name]
        yield f"{quote('@', name)}: {_dtype(array)}{_dims(array.shape)} = {_string(_hash(array.tobytes()))}"
    yield ""
    for op in graph.ops():
        yield _op_line(op)


def _op_line(op: Op) -> str:
    inputs = ", ".join(quote("%", value) for value in op.inputs)
    kind = f": {op.type.dtype}{_dims(op.type.shape)}" if op.type else ""
    fields = fields_to_text(op, _HEAD, 0, _LAST)
    return f"{quote('%', op.name)}{kind} = {op.kind}({inputs})" + ("" if fields == "{}" else f" {fields}")


def _string(text: str) -> str:
    return json.dumps(text)


def _dims(shape: tuple[int, ...]) -> str:
    return f"[{'x'.join(map(str, shape))}]"


def _dtype(array: Array) -> str:
    return _SHORT.get(array.dtype.name, array.dtype.name)


def _hash(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()[:16]


def parse_graph(text: str, constants: Mapping[str, Array] | None = None, reference: bytes = b"") -> Graph:
    """Read the text of a graph.

    ``constants`` supplies the arrays and ``reference`` the model's bytes; what the text says of them must be true (a
    constant without a hash is not compared). Raises IrTextError with the place; verify the result.
    """
    load_extensions()
    scan = GraphScanner(text)
    graph = _head(scan, reference)
    while scan.kind == "const":
        name, array = _constant(scan, constants or {})
        graph.constants[name] = array
    while scan.kind != "end":
        _op(scan, graph)
    return graph


def _head(scan: GraphScanner, reference: bytes) -> Graph:
    scan.expect("graph")
    name = scan.take("string", "the graph's name")
    at = scan.at
    stage = scan.take("word", "a stage")
    if stage not in STAGES:
        scan.fail(at, f"no stage {stage!r}; stages are {', '.join(STAGES)}")
    graph = Graph(name, stage)
    scan.expect("{")
    while not scan.accept("}"):
        _head_entry(scan, graph, reference)
        if not scan.peek("}"):
            scan.expect(",")
    return graph


def _head_entry(scan: GraphScanner, graph: Graph, reference: bytes) -> None:
    at = scan.at
    entry = scan.take("word", "input, output, meta or reference")
    name = scan.take("string", "a name in quotes")
    scan.expect("=")
    if entry == "input":
        graph.inputs += (Port(name, scan.take("word", "an element type"), _shape(scan)),)
    elif entry == "output":
        graph.outputs += (Port(name, scan.take("word", "an element type"), _shape(scan)),)
    elif entry == "meta":
        graph.meta[name] = scan.take("string", "a string")
    elif entry == "reference":
        size = scan.take("number", "a number of bytes")
        if (name, size) != (_hash(reference), str(len(reference))):
            scan.fail(at, "the reference model given is not the one of this graph")
        graph.reference = reference
    else:
        scan.fail(at, f"no entry {entry!r}; entries are input, output, meta, reference")


def _shape(scan: GraphScanner) -> tuple[int, ...]:
    scan.expect("[")
    if scan.accept("]"):
        return ()
    kind, at = scan.kind, scan.at
    text = scan.take(kind if kind in {"word", "number"} else "word", "dimensions such as 3x3")
    if not re.fullmatch(r"\d+(x\d+)*", text):
        scan.fail(at, f"dimensions {text!r} are not of the form 3x3")
    scan.expect("]")
    return tuple(int(n) for n in text.split("x"))


def _constant(scan: GraphScanner, constants: Mapping[str, Array]) -> tuple[str, Array]:
    at = scan.at
    name = scan.take("const", "a constant")
    scan.expect(":")
    dtype, shape = scan.take("word", "an element type"), _shape(scan)
    if name not in constants:
        scan.fail(at, f"constant {name} is not supplied")
    array = constants[name]
    if array.dtype.name != _LONG.get(dtype, dtype) or array.shape != shape:
        scan.fail(at, f"constant {name} is {_dtype(array)}{_dims(array.shape)}")
    if scan.accept("=") and scan.take("string", "a hash") != _hash(array.tobytes()):
        scan.fail(at, f"constant {name} has another hash: {_hash(array.tobytes())}")
    return name, array


def _op(scan: GraphScanner, graph: Graph) -> None:
    at = scan.at
    name = scan.take("value", "an operation (%name: type = kind(...))")
    kind = None
    if scan.accept(":"):
        kind = TensorType(scan.take("word", "an element type"), _three(scan))
    scan.expect("=")
    kind_at = scan.at
    op = scan.take("word", "an operation's name")
    if op not in OPS:
        scan.fail(kind_at, f"no operation {op!r}; operations are {', '.join(OPS)}")
    scan.expect("(")
    inputs: list[str] = []
    while not scan.accept(")"):
        value_at = scan.at
        inputs.append(scan.take("value", "a value"))
        if inputs[-1] not in graph:
            scan.fail(value_at, f"value %{inputs[-1]} is not made before it is used")
        if not scan.peek(")"):
            scan.expect(",")
    record = scan.record() if scan.accept("{") else {}
    if name in graph:
        scan.fail(at, f"value %{name} is made twice")
    given = {"name": name, "inputs": tuple(inputs), "type": kind}
    graph.add(node_to_fields(scan, OPS[op], record, at, given))


def _three(scan: GraphScanner) -> tuple[int, int, int]:
    at = scan.at
    shape = _shape(scan)
    if len(shape) != 3:
        scan.fail(at, f"a tensor has rows x columns x channels, not {len(shape)} dimensions")
    return shape[0], shape[1], shape[2]
