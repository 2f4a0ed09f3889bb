"""Small quantised graphs built by hand: seeded weights, u8 in, u8 out."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from pimc.frontend.by_row import row_model
from pimc.ir.graph import Graph
from pimc.ir.ops import Add, Concat, Conv, Gap, HostCall, Lut, MaxPool, Move, Pick, TensorType
from pimc_isa.operands import View
from pimc_isa.program import Port

__all__ = ["Net"]


def _identity(source: str, result: str, shape: tuple[int, ...]) -> bytes:
    info = [helper.make_tensor_value_info(n, TensorProto.UINT8, ("N", *shape)) for n in (source, result)]
    graph = helper.make_graph([helper.make_node("Identity", [source], [result])], "identity", info[:1], info[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _float_operator(source: str, result: str, operator: str, shape: tuple[int, int, int]) -> onnx.ModelProto:
    """DequantizeLinear, the operator, QuantizeLinear."""
    scales = [
        helper.make_tensor("s", TensorProto.FLOAT, [], [0.03]),
        helper.make_tensor("z", TensorProto.UINT8, [], [7]),
        helper.make_tensor("t", TensorProto.FLOAT, [], [1 / 255 if operator == "softmax" else 0.03]),
        helper.make_tensor("u", TensorProto.UINT8, [], [0 if operator == "softmax" else 7]),
        *([helper.make_tensor("twice", TensorProto.FLOAT, [4], [1, 1, 2, 2])] if operator == "resize" else []),
    ]
    middle = (
        helper.make_node("Softmax", ["f"], ["g"], axis=1)
        if operator == "softmax"
        else helper.make_node("Resize", ["f", "", "twice"], ["g"], mode="linear")
    )
    nodes = [
        helper.make_node("DequantizeLinear", [source, "s", "z"], ["f"]),
        middle,
        helper.make_node("QuantizeLinear", ["g", "t", "u"], [result]),
    ]
    c, h, w = shape
    after = (c, 2 * h, 2 * w) if operator == "resize" else shape
    ports = [
        helper.make_tensor_value_info(n, TensorProto.UINT8, (1, *dims))
        for n, dims in ((source, shape), (result, after))
    ]
    graph = helper.make_graph(nodes, operator, ports[:1], ports[1:], scales)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model


class Net:
    """Builds a graph op by op; each method returns the new value's name."""

    def __init__(self, shape: tuple[int, int, int], seed: int = 0) -> None:
        h, w, c = shape
        self.rng = np.random.default_rng(seed)
        self.graph = Graph("net", "quantised", (Port("input", "uint8", (c, h, w)),), ())
        self._constant("m.head", np.frombuffer(_identity("input", "x", (c, h, w)), np.uint8))
        self.x = self.graph.add(
            HostCall(
                name="x",
                inputs=(),
                type=TensorType("u8", shape),
                views=(View("x", "CHW", (c, h, w)),),
                model="m.head",
                feeds=(("input", "$input"),),
                fetches=(("x", "x"),),
            )
        )

    def _constant(self, name: str, value: np.ndarray) -> str:
        self.graph.constants[name] = value
        return name

    def _name(self) -> str:
        return f"v{len(self.graph)}"

    def _views(self, name: str, shape: tuple[int, int, int]) -> tuple[View, ...]:
        return (View(name, "CHW", (shape[2], shape[0], shape[1])),)

    def conv(self, x: str, outputs: int, kernel: int = 3, stride: int = 1, pad: int = 1, groups: int = 1) -> str:
        h, w, c = self.graph[x].shape
        name = self._name()
        shape = ((h + 2 * pad - kernel) // stride + 1, (w + 2 * pad - kernel) // stride + 1, outputs)
        k = kernel * kernel * c // groups
        weights = self.rng.integers(-127, 128, (outputs, kernel, kernel, c // groups), dtype=np.int8)
        scale = (self.rng.uniform(0.5, 2, outputs) / (100 * np.sqrt(k))).astype(np.float32)
        return self.graph.add(
            Conv(
                name=name,
                inputs=(x,),
                type=TensorType("u8", shape),
                node=name,
                views=self._views(name, shape),
                weights=self._constant(f"{name}.w", weights),
                multiplier=self._constant(f"{name}.m", scale),
                bias=self._constant(f"{name}.b", self.rng.integers(-999, 999, outputs, dtype=np.int32)),
                kernel=(kernel, kernel),
                stride=(stride, stride),
                pads=(pad, pad, pad, pad),
                groups=groups,
                x_zero=128 if x == "x" else 7,
                y_zero=7,
            )
        )

    def add(self, a: str, b: str) -> str:
        name, shape = self._name(), self.graph[a].shape
        return self.graph.add(
            Add(
                name=name,
                inputs=(a, b),
                type=TensorType("u8", shape),
                node=name,
                views=self._views(name, shape),
                a_scale=0.5,
                a_zero=7,
                b_scale=0.25,
                b_zero=7,
                y_scale=0.625,
                y_zero=7,
            )
        )

    def maxpool(self, x: str, kernel: int = 3, stride: int = 2, pad: int = 1) -> str:
        h, w, c = self.graph[x].shape
        name = self._name()
        shape = ((h + 2 * pad - kernel) // stride + 1, (w + 2 * pad - kernel) // stride + 1, c)
        return self.graph.add(
            MaxPool(
                name=name,
                inputs=(x,),
                type=TensorType("u8", shape),
                node=name,
                views=self._views(name, shape),
                kernel=(kernel, kernel),
                stride=(stride, stride),
                pads=(pad, pad, pad, pad),
            )
        )

    def lut(self, x: str) -> str:
        name, shape = self._name(), self.graph[x].shape
        table = self._constant(f"{name}.t", self.rng.permutation(256).astype(np.uint8))
        return self.graph.add(
            Lut(
                name=name,
                inputs=(x,),
                type=TensorType("u8", shape),
                node=name,
                views=self._views(name, shape),
                table=table,
            )
        )

    def island(self, x: str, operator: str, by_row: bool = False) -> str:
        """A float operator between layers, on the host: 'softmax' over channels or a bilinear 'resize' by 2."""
        h, w, c = self.graph[x].shape
        name = self._name()
        shape = (2 * h, 2 * w, c) if operator == "resize" else (h, w, c)
        model = _float_operator(x, name, operator, (c, h, w))
        row = row_model(model, h, {x: 2}, name, 2) if by_row else None
        return self.graph.add(
            HostCall(
                name=name,
                inputs=(x,),
                type=TensorType("u8", shape),
                node=name,
                views=self._views(name, shape),
                model=self._constant(f"{name}.model", np.frombuffer(row or model.SerializeToString(), np.uint8)),
                feeds=((x, x),),
                fetches=((name, name),),
                why=operator,
                operations=9 * h * w * c if operator == "softmax" else 37 * h * w * c,
                by_row=row is not None,
            )
        )

    def gap(self, x: str) -> str:
        h, w, c = self.graph[x].shape
        name = self._name()
        return self.graph.add(
            Gap(
                name=name,
                inputs=(x,),
                type=TensorType("u8", (1, 1, c)),
                node=name,
                views=self._views(name, (1, 1, c)),
                multiplier=self._constant(f"{name}.m", np.array([1 / (h * w)], np.float32)),
                bias=self._constant(f"{name}.b", np.array([-7 * h * w], np.int32)),
                y_zero=7,
            )
        )

    def move(self, index: np.ndarray, *values: str, fill: int = 0) -> str:
        """Any movement of the values' elements (see `pimc.ir.ops.Move`)."""
        name = self._name()
        shape = tuple(int(n) for n in index.shape)
        assert len(shape) == 3
        return self.graph.add(
            Move(
                name=name,
                inputs=values,
                type=TensorType("u8", shape),
                node=name,
                views=self._views(name, shape),
                index=self._constant(f"{name}.index", index.astype(np.int32)),
                fill=fill,
            )
        )

    def pick(self, ranges: tuple[tuple[int, int, int], ...], *values: str) -> str:
        """Ranges of the values' channels."""
        name = self._name()
        shape = (*self.graph[values[0]].shape[:2], sum(last - first for _, first, last in ranges))
        views = self._views(name, shape)
        return self.graph.add(
            Pick(name=name, inputs=values, type=TensorType("u8", shape), node=name, views=views, ranges=ranges)
        )

    def concat(self, *values: str) -> str:
        h, w, _ = self.graph[values[0]].shape
        shape = (h, w, sum(self.graph[v].shape[2] for v in values))
        name = self._name()
        return self.graph.add(
            Concat(name=name, inputs=values, type=TensorType("u8", shape), node=name, views=self._views(name, shape))
        )

    def finish(self, y: str) -> Graph:
        h, w, c = self.graph[y].shape
        self._constant("m.tail", np.frombuffer(_identity(y, "output", (c, h, w)), np.uint8))
        self.graph.add(
            HostCall(
                name="tail", inputs=(y,), type=None, model="m.tail", feeds=((y, y),), fetches=(("output", "$output"),)
            )
        )
        self.graph.outputs = (Port("output", "uint8", (c, h, w)),)
        return self.graph
