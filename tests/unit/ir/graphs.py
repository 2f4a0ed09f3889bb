"""Small graphs for the tests of the IR."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pimc.ir.graph import Graph
from pimc.ir.ops import (
    Add,
    AvgPool,
    CellPlan,
    Concat,
    Conv,
    Gap,
    HostCall,
    Lut,
    Mapping,
    MaxPool,
    Op,
    Part,
    Schedule,
    TensorType,
)
from pimc_isa.operands import View
from pimc_isa.program import Port


def block() -> Graph:
    """Head, convolution, grouped convolution, pool, table, addition, concat, average, tail: one of everything."""
    rng = np.random.default_rng(0)
    g = Graph("block", "quantised")
    g.inputs = (Port("x", "float32", (3, 8, 8)),)
    g.outputs = (Port("y", "float32", (8,)),)
    g.meta = {"format": "qoperator", "ort_config": '{"session.x64quantprecision": "1"}'}
    g.reference = b"not a model"
    g.constants = {
        "head": np.frombuffer(b"head", np.uint8),
        "tail": np.frombuffer(b"tail", np.uint8),
        "w1": rng.integers(-128, 128, (4, 3, 3, 3)).astype(np.int8),
        "m1": rng.random(4).astype(np.float32),
        "b1": rng.integers(-99, 99, 4).astype(np.int32),
        "w 2/x": rng.integers(-128, 128, (4, 3, 3, 2)).astype(np.int8),
        "m2": rng.random(1).astype(np.float32),
        "table": rng.integers(0, 256, 256).astype(np.uint8),
    }
    feature = TensorType("u8", (8, 8, 4))
    g.add(
        HostCall(
            name="x_q",
            inputs=(),
            type=TensorType("u8", (8, 8, 3)),
            model="head",
            feeds=(("x", "$x"),),
            fetches=(("x_q", "x_q"),),
            why='quantises "x"',
            views=(View("x_q", "CHW", (3, 8, 8)),),
        )
    )
    g.add(
        Conv(
            name="a",
            inputs=("x_q",),
            type=feature,
            weights="w1",
            multiplier="m1",
            bias="b1",
            kernel=(3, 3),
            pads=(1, 1, 1, 1),
        )
    )
    g.add(
        Conv(
            name="b:1/é",
            inputs=("a",),
            type=feature,
            weights="w 2/x",
            multiplier="m2",
            bias="b1",
            kernel=(3, 3),
            pads=(2, 2, 2, 2),
            dilation=(2, 2),
            groups=2,
            x_zero=7,
            node="Conv_2",
            views=(View("b", "CHW", (4, 8, 8)), View("b_flat", "HWC", (256,), 128)),
        )
    )
    g.add(MaxPool(name="p", inputs=("b:1/é",), type=feature, kernel=(3, 3), pads=(1, 1, 1, 1)))
    g.add(Lut(name="l", inputs=("p",), type=feature, table="table"))
    third = float(np.float32(0.3))
    g.add(
        Add(
            name="s",
            inputs=("l", "a"),
            type=feature,
            a_scale=0.1,
            a_zero=3,
            b_scale=third,
            b_zero=4,
            y_scale=1e-5,
            y_zero=5,
        )
    )
    g.add(Concat(name="c", inputs=("s", "p"), type=TensorType("u8", (8, 8, 8))))
    g.add(
        AvgPool(
            name="v",
            inputs=("c",),
            type=TensorType("u8", (4, 4, 8)),
            kernel=(2, 2),
            stride=(2, 2),
            x_scale=0.5,
            x_zero=1,
            y_scale=0.25,
            y_zero=2,
        )
    )
    g.add(Gap(name="g", inputs=("v",), type=TensorType("u8", (1, 1, 8)), multiplier="m2", bias="gb", y_zero=9))
    g.constants["gb"] = np.array([-16], np.int32)
    g.add(HostCall(name="out", inputs=("g",), type=None, model="tail", feeds=(("g", "g"),), fetches=(("y", "$y"),)))
    return g


def decided() -> Graph:
    """Return `block` at the last stage, with decisions made by hand."""
    g = block()
    g.stage = "scheduled"
    for n, op in enumerate(list(g.ops()), start=1):
        if not isinstance(op, HostCall | Concat):
            g.update(_placed(_mapped(g, op), n))
    return g


def _mapped(g: Graph, op: Op) -> Op:
    channels = op.shape[2]
    mapping = Mapping(strips=((0, 4), (4, 8)), parts=((0, channels),), chain=((0, 1),), copies=1, arrays=0)
    if not isinstance(op, Conv):
        return replace(op, mapping=replace(mapping, strips=((0, op.shape[1]),)))
    outputs, kh, kw, depth = g.constants[op.weights].shape
    k, n = kh * kw * depth, outputs // op.groups
    g.constants[f"{op.name}.codes"] = np.zeros((op.groups, k, n), np.uint8)
    g.constants[f"{op.name}.polarity"] = np.zeros((op.groups, 1, n), np.uint8)
    g.constants[f"{op.name}.centre"] = np.full((op.groups, 1, n), -128, np.int32)
    cells = CellPlan(f"{op.name}.codes", f"{op.name}.polarity", f"{op.name}.centre", (2, 2, 2, 2), 128)
    return replace(op, mapping=replace(mapping, chain=((0, k),), copies=2, arrays=4), cells=cells)


def _placed(op: Op, n: int) -> Op:
    assert op.mapping
    (chans,) = op.mapping.parts
    (rows,) = op.mapping.chain if isinstance(op, Conv) else ((0, 0),)
    parts = tuple(Part(100 * y + n, 0, n, y, cols, chans, rows) for y, cols in enumerate(op.mapping.strips))
    slots = (3,) * len(op.inputs)
    schedule = Schedule(slots, (2,) * len(op.inputs), 2)
    op = replace(op, placement=parts, schedule=schedule)
    return replace(op, flow="isaac8") if isinstance(op, Conv) else op
