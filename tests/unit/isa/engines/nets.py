"""Hand-written programs for the values engine, and a flow to go with them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import TensorProto, helper

from pimc_isa.crossbar.cells import encode
from pimc_isa.define import Instr
from pimc_isa.flow import Flow, micro_op
from pimc_isa.instructions import CallHost, End, Halt, Loop, Recv, Send
from pimc_isa.operands import Buffer, Call, Channel, Range, RowExpr, Slab, View, Weights
from pimc_isa.program import Port, Program, Tile
from tests.unit.isa.engines.tiny import machine

Array = np.ndarray
I = RowExpr(1)  # noqa: E741
ALL = RowExpr(0, 1 << 12)
NEXT = RowExpr(1, 1)


def flow(converter_bits: int) -> Flow:
    """8 input bits one by one against four 2-bit slices, each sum converted; 9 bits suffice for 128 rows."""
    ops = [micro_op(0, "load")]
    for bit in range(8):
        ops += [micro_op(bit + 1, "drive", (f"{bit}:{bit + 1}",)), micro_op(bit + 1, "read")]
        ops += [micro_op(bit + 2, "convert", ("unsigned", str(converter_bits)))]
        ops += [micro_op(bit + 3, "accumulate", (f"<<{bit}",)), micro_op(bit + 3, "sum-inputs", (f"<<{bit}",))]
    ops += [micro_op(11, "correct"), micro_op(11, "merge"), micro_op(12, "store")]
    return Flow("bits", 8, (2, 2, 2, 2), 1, 13, 13, tuple(ops))


def identity(*shape: int) -> Array:
    """A subgraph y = x on u8 tensors [n, ...] of one shape, as bytes."""
    dims: list[str | int | None] = ["n", *shape]
    x = helper.make_tensor_value_info("x", TensorProto.UINT8, dims)
    y = helper.make_tensor_value_info("y", TensorProto.UINT8, dims)
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "identity", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return np.frombuffer(model.SerializeToString(), np.uint8)


def ring(
    name: str, shape: tuple[int, int, int], cols: Range | None = None, dtype: str = "u8", view: str = ""
) -> Buffer:
    """All channels of a tensor rows x width x channels, some columns, one ONNX tensor in HWC order."""
    views = (View(view, "HWC", shape),) if view else ()
    return Buffer(name, dtype, *shape, cols or (0, shape[1]), (0, shape[2]), shape[0], views)


def each_row(rows: int, *body: Instr) -> tuple[Instr, ...]:
    """A stream that runs its body for every row."""
    return (Loop(times=rows), *body, End(), Halt())


def host(
    shape: tuple[int, int, int], out: tuple[int, int, int], sends: Sequence[tuple[str, Range | None]], back: str
) -> Tile:
    """Sends rows of the input to channels (all columns or a strip), takes the rows of the output from ``back``."""
    code = (
        CallHost(call="head"),
        Loop(times=shape[0]),
        *(Send(channel=c, src=Slab("x", I, cols)) for c, cols in sends),
        End(),
        Recv(dst=Slab("y", RowExpr()), channel=back, until=ALL),
        CallHost(call="tail"),
        Halt(),
    )
    calls = (Call("head", "in", (("x", "$x"),), (("y", "x"),)), Call("tail", "out", (("x", "y"),), (("y", "$y"),)))
    return Tile(
        0, "host", "host", 0, 0, 0, (ring("x", shape, view="x"), ring("y", out, view="y")), calls=calls, code=code
    )


def tile(number: int, buffers: Sequence[Buffer], code: Sequence[Instr], **parts: object) -> Tile:
    """A tile; its place does not matter."""
    return Tile(number, f"t{number}", "tile", 0, number, 0, tuple(buffers), code=tuple(code), **parts)  # type: ignore[arg-type]


def program(
    tiles: Sequence[Tile],
    channels: Sequence[Channel],
    tensors: dict[str, Array] | None = None,
    weights: Sequence[Weights] = (),
    converter_bits: int = 9,
) -> Program:
    """A program whose input and output are the host's x and y."""
    x, y = tiles[0].buffer["x"], tiles[0].buffer["y"]
    shapes = [(b.rows, b.width, b.channels) for b in (x, y)]
    held = {"in": identity(*shapes[0]), "out": identity(*shapes[1]), **(tensors or {})}
    ports = [(Port(n, "uint8", s),) for n, s in zip("xy", shapes, strict=True)]
    return Program(
        machine(columns=8),
        tuple(tiles),
        tuple(channels),
        (flow(converter_bits),),
        tuple(weights),
        ports[0],
        ports[1],
        held,
    )


def layer(name: str, w: Array, block_rows: int = 128) -> tuple[Weights, dict[str, Array]]:
    """Weights [groups, k, n] in ISAAC's encoding and their tensors."""
    cells = encode(w, (2, 2, 2, 2), block_rows)
    held = {f"{name}.codes": cells.codes, f"{name}.polarity": cells.polarity, f"{name}.centre": cells.centre}
    groups, k, n = w.shape
    return Weights(name, groups, k, n, block_rows, (2, 2, 2, 2)), held
