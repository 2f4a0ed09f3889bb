"""Small seeded 8-bit models in both ONNX formats, to hold the front end against onnxruntime."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from pimc.frontend import load_model
from pimc.frontend.expose import with_all_outputs
from pimc.ir.evaluate import evaluate, to_onnx
from pimc.ir.graph import Graph
from pimc.ir.verify import verify

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Tensor:
    """An 8-bit tensor of the model: name, scale, zero point and shape with batch."""

    name: str
    scale: float
    zero: int
    shape: tuple[int, ...]


class Net:
    """Builds one model. ``qdq`` chooses the format, ``signed`` int8 activations, ``wide`` uint8 weights (zero 128)."""

    def __init__(self, seed: int, *, qdq: bool, signed: bool = False, wide: bool = False) -> None:
        self.rng = np.random.default_rng(seed)
        self.qdq, self.signed, self.wide = qdq, signed, wide
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self._made: set[str] = set()
        self._count = 0

    # -- pieces

    def name(self, stem: str) -> str:
        self._count += 1
        return f"{stem}{self._count}"

    def const(self, array: Array, stem: str = "c") -> str:
        name = self.name(stem)
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def node(self, op: str, inputs: Sequence[str], **attributes: Any) -> str:
        ms = op in ("QGemm", "QLinearAdd", "QLinearMul", "QLinearConcat", "QLinearSigmoid", "QLinearLeakyRelu") or (
            op.startswith("QLinear") and op.endswith("Pool")
        )
        name = self.name(op.lower())
        made = helper.make_node(op, inputs, [name], f"n_{name}", domain="com.microsoft" if ms else "", **attributes)
        self.nodes.append(made)
        return name

    @property
    def act(self) -> Any:
        return np.int8 if self.signed else np.uint8

    def random_zero(self) -> int:
        return int(self.rng.integers(-128, 128) if self.signed else self.rng.integers(0, 256))

    def scale_of(self, x: Tensor) -> tuple[str, str]:
        """Constants with scale and zero point of a tensor."""
        names = (f"{x.name}.s", f"{x.name}.z")
        if x.name not in self._made:
            self._made.add(x.name)
            self.constants.append(numpy_helper.from_array(np.asarray(x.scale, np.float32), names[0]))
            self.constants.append(numpy_helper.from_array(np.asarray(x.zero, self.act), names[1]))
        return names

    def dq(self, x: Tensor) -> str:
        return self.node("DequantizeLinear", [x.name, *self.scale_of(x)])

    def result(self, shape: Sequence[int], scale: float | None = None, zero: int | None = None) -> Tensor:
        return Tensor(
            self.name("t"),
            float(np.float32(self.rng.uniform(0.01, 0.1) if scale is None else scale)),
            self.random_zero() if zero is None else zero,
            tuple(shape),
        )

    def quantise(self, value: str, y: Tensor) -> Tensor:
        self.nodes.append(helper.make_node("QuantizeLinear", [value, *self.scale_of(y)], [y.name], f"q_{y.name}"))
        return y

    def _rename(self, y: Tensor) -> Tensor:
        """Give the last node's result the tensor's name."""
        self.nodes[-1].output[0] = y.name
        return y

    # -- model

    def input(self, *shape: int) -> Tensor:
        name = self.name("x")
        self.inputs.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ("n", *shape)))
        return self.quantise(name, self.result((1, *shape), 0.05))

    def output(self, x: Tensor) -> None:
        name = self.dq(x)
        self.outputs.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))

    def model(self) -> onnx.ModelProto:
        graph = helper.make_graph(self.nodes, "random", self.inputs, self.outputs, self.constants)
        opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=9)

    # -- operators

    def weights(self, shape: Sequence[int], axis: int, per_channel: bool) -> tuple[list[str], Array, Array]:
        """Names of weights, scale, zero point; and the real scale and centred weights."""
        centred = self.rng.integers(-128, 128, shape)
        n = shape[axis]
        scale = self.rng.uniform(0.001, 0.02, n if per_channel else 1).astype(np.float32)
        if not per_channel:
            scale = scale.reshape(())
        dtype, zero = (np.uint8, 128) if self.wide else (np.int8, 0)
        stored = (centred + zero).astype(dtype)
        zeros = np.full(scale.shape, zero, dtype)
        return [self.const(stored, "w"), self.const(scale, "ws"), self.const(zeros, "wz")], scale, centred

    def _spread(self, x: Tensor, scale: Array, k: int, zero: int | None, shape: Sequence[int]) -> Tensor:
        """A result tensor whose scale uses most of its 256 steps, with some saturation."""
        return self.result(shape, x.scale * float(scale.mean()) * 75 * 75 * np.sqrt(k) / 90, zero)

    def conv(
        self,
        x: Tensor,
        outputs: int,
        kernel: tuple[int, int],
        *,
        per_channel: bool = True,
        bias: bool = True,
        after: str = "",
        zero: int | None = None,
        groups: int = 1,
        **attributes: Any,
    ) -> Tensor:
        shape = (outputs, x.shape[1] // groups, *kernel)
        names, scale, _ = self.weights(shape, 0, per_channel)
        attributes = {"kernel_shape": list(kernel), "group": groups, **attributes}
        y = self._spread(x, scale, int(np.prod(shape[1:])), zero, (1, outputs, *self._sizes(x, kernel, attributes)))
        b = self.const(self.rng.integers(-20000, 20000, outputs).astype(np.int32), "b") if bias else ""
        if not self.qdq:
            inputs = [x.name, *self.scale_of(x), *names, *self.scale_of(y)] + ([b] if bias else [])
            self.node("QLinearConv", inputs, **attributes)
            return self._rename(y)
        parts = [self.dq(x), self.node("DequantizeLinear", names, axis=0)]
        if bias:
            parts.append(self._dq_bias(b, x, scale))
        return self._finish(self.node("Conv", parts, **attributes), after, y)

    def _dq_bias(self, bias: str, x: Tensor, scale: Array) -> str:
        s = self.const((np.float32(x.scale) * scale).astype(np.float32), "bs")
        z = self.const(np.zeros(scale.shape, np.int32), "bz")
        return self.node("DequantizeLinear", [bias, s, z], axis=0)

    def _finish(self, value: str, after: str, y: Tensor) -> Tensor:
        if after == "Relu":
            value = self.node("Relu", [value])
        if after == "Clip":
            value = self.node(
                "Clip", [value, self.const(np.asarray(0, np.float32)), self.const(np.asarray(6, np.float32))]
            )
        return self.quantise(value, y)

    def _sizes(self, x: Tensor, kernel: tuple[int, int], attributes: dict[str, Any]) -> tuple[int, int]:
        pads = attributes.get("pads", [0, 0, 0, 0])
        strides, dilations = attributes.get("strides", [1, 1]), attributes.get("dilations", [1, 1])
        mode = attributes.get("auto_pad", "NOTSET")
        sizes = []
        for n in (0, 1):
            length, reach = x.shape[2 + n], (kernel[n] - 1) * dilations[n] + 1
            if mode.startswith("SAME"):
                sizes.append(-(-length // strides[n]))
                continue
            span = length + pads[n] + pads[n + 2] - reach
            up = attributes.get("ceil_mode", 0)
            steps = -(-span // strides[n]) if up else span // strides[n]
            sizes.append(steps + 1)
        return sizes[0], sizes[1]

    def gemm(self, x: Tensor, outputs: int, *, per_channel: bool = True, transposed: bool = True) -> Tensor:
        k = x.shape[1]
        shape, axis = ((outputs, k), 0) if transposed else ((k, outputs), 1)
        names, scale, _ = self.weights(shape, axis, per_channel)
        y = self._spread(x, scale, k, None, (1, outputs))
        b = self.const(self.rng.integers(-20000, 20000, outputs).astype(np.int32), "b")
        if not self.qdq:
            self.node("QGemm", [x.name, *self.scale_of(x), *names, b, *self.scale_of(y)], transB=int(transposed))
            return self._rename(y)
        parts = [self.dq(x), self.node("DequantizeLinear", names, axis=axis), self._dq_bias(b, x, scale)]
        return self.quantise(self.node("Gemm", parts, transB=int(transposed)), y)

    def matmul(self, x: Tensor, outputs: int) -> Tensor:
        names, scale, _ = self.weights((x.shape[-1], outputs), 1, False)
        y = self._spread(x, scale, x.shape[-1], None, (*x.shape[:-1], outputs))
        if not self.qdq:
            self.node("QLinearMatMul", [x.name, *self.scale_of(x), *names, *self.scale_of(y)])
            return self._rename(y)
        return self.quantise(self.node("MatMul", [self.dq(x), self.node("DequantizeLinear", names)]), y)

    def binary(self, op: str, a: Tensor, b: Tensor, after: str = "", zero: int | None = None) -> Tensor:
        big = a if np.prod(a.shape) >= np.prod(b.shape) else b
        reach = (a.scale + b.scale) * 0.7 if op == "Add" else a.scale * b.scale * 40
        y = self.result(big.shape, reach, zero)
        if not self.qdq:
            self.node(f"QLinear{op}", [a.name, *self.scale_of(a), b.name, *self.scale_of(b), *self.scale_of(y)])
            return self._rename(y)
        return self._finish(self.node(op, [self.dq(a), self.dq(b)]), after, y)

    def concat(self, *parts: Tensor, same: bool = False) -> Tensor:
        shape = (1, sum(p.shape[1] for p in parts), *parts[0].shape[2:])
        y = self.result(shape, parts[0].scale if same else None, parts[0].zero if same else None)
        if not self.qdq:
            triples = [name for p in parts for name in (p.name, *self.scale_of(p))]
            self.node("QLinearConcat", [*self.scale_of(y), *triples], axis=1)
            return self._rename(y)
        return self.quantise(self.node("Concat", [self.dq(p) for p in parts], axis=1), y)

    def unary(self, op: str, x: Tensor, **attributes: Any) -> Tensor:
        """An element-wise operator of its own: QOperator where there is one, else a float island."""
        y = self.result(x.shape, x.scale * 1.3 if op != "Sigmoid" else 1 / 256)
        if not self.qdq and op in ("Sigmoid", "LeakyRelu"):
            self.node(f"QLinear{op}", [x.name, *self.scale_of(x), *self.scale_of(y)], **attributes)
            return self._rename(y)
        return self.quantise(self.node(op, [self.dq(x)], **attributes), y)

    def max_pool(self, x: Tensor, kernel: tuple[int, int], *, rescale: bool = False, **attributes: Any) -> Tensor:
        attributes = {"kernel_shape": list(kernel), **attributes}
        shape = (1, x.shape[1], *self._sizes(x, kernel, attributes))
        if not self.qdq:
            return Tensor(self.node("MaxPool", [x.name], **attributes), x.scale, x.zero, shape)
        y = self.result(shape, None if rescale else x.scale, None if rescale else x.zero)
        return self.quantise(self.node("MaxPool", [self.dq(x)], **attributes), y)

    def average_pool(self, x: Tensor, kernel: tuple[int, int], **attributes: Any) -> Tensor:
        attributes = {"kernel_shape": list(kernel), **attributes}
        y = self.result((1, x.shape[1], *self._sizes(x, kernel, attributes)), x.scale * 0.6)
        if not self.qdq:
            self.node("QLinearAveragePool", [x.name, *self.scale_of(x), *self.scale_of(y)], **attributes)
            return self._rename(y)
        return self.quantise(self.node("AveragePool", [self.dq(x)], **attributes), y)

    def global_average(self, x: Tensor) -> Tensor:
        y = self.result((1, x.shape[1], 1, 1), x.scale * 0.3)
        if not self.qdq:
            self.node("QLinearGlobalAveragePool", [x.name, *self.scale_of(x), *self.scale_of(y)], channels_last=0)
            return self._rename(y)
        return self.quantise(self.node("GlobalAveragePool", [self.dq(x)]), y)

    def relabel(self, op: str, x: Tensor, shape: Sequence[int], *inputs: Array, **attributes: Any) -> Tensor:
        more = [self.const(i) for i in inputs]
        if not self.qdq:
            return Tensor(self.node(op, [x.name, *more], **attributes), x.scale, x.zero, tuple(shape))
        return self.quantise(self.node(op, [self.dq(x), *more], **attributes), self.result(shape, x.scale, x.zero))


def session_run(model: bytes, feeds: dict[str, Array], config: dict[str, str]) -> list[Array]:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    for key, value in config.items():
        options.add_session_config_entry(key, value)
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return list(session.run(None, feeds))


@dataclass(frozen=True)
class Difference:
    """How one tensor differs from onnxruntime's."""

    tensor: str
    elements: int
    of: int
    largest: int


def differences(graph: Graph, feeds: dict[str, Array]) -> tuple[list[Difference], int]:
    """Compare every exposed tensor and the outputs; also counts the tensors compared."""
    verify(graph)
    config = json.loads(graph.meta["ort_config"])
    plain = session_run(graph.reference, feeds, config)
    model, names = with_all_outputs(graph.reference)
    exposed = session_run(model, feeds, config)
    for port, a, b in zip(graph.outputs, plain, exposed, strict=False):
        np.testing.assert_array_equal(a, b, err_msg=f"exposing tensors changes {port.name}")
    reference = dict(zip(names, exposed[len(plain) :], strict=True))
    values = evaluate(graph, feeds)
    found, compared = [], 0
    for op in graph.ops():
        for view in op.views:
            if view.tensor not in reference:
                continue
            compared += 1
            got, want = to_onnx(values[op.name], view), reference[view.tensor]
            assert (got.shape, got.dtype) == (want.shape, want.dtype), view.tensor
            wrong = got != want
            if wrong.any():
                largest = np.abs(got.astype(int) - want.astype(int)).max()
                found.append(Difference(view.tensor, int(wrong.sum()), got.size, int(largest)))
    for port, want in zip(graph.outputs, plain, strict=True):
        assert port.shape == want.shape[1:]
        if not found:
            np.testing.assert_array_equal(values[f"${port.name}"], want)
    return found, compared


def check(net: Net, images: int = 3) -> Graph:
    """Load the net and demand equality on every tensor."""
    graph = load_model(net.model().SerializeToString())
    rng = np.random.default_rng(99)
    feeds = {p.name: rng.normal(0, 4, (images, *p.shape)).astype(np.float32) for p in graph.inputs}
    found, compared = differences(graph, feeds)
    assert compared
    assert found == []
    return graph
