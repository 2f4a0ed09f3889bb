"""Random convolutional networks over every operator that has a place: layers, movements, tables, the host."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

__all__ = ["any_net"]

Array = np.ndarray
Shape = tuple[int, int, int]
LARGEST = 18


class Draft:
    """A float model under construction; ``shape`` is that of the tensor worked on (channels, rows, columns)."""

    def __init__(self, seed: int) -> None:
        self.pick, self.rng = Random(seed), np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.shape: Shape = (self.pick.randint(1, 4), self.pick.randint(4, 10), self.pick.randint(4, 10))
        self.x = "x"
        self.given = self.shape
        self.branches: list[tuple[str, Shape]] = []

    def const(self, array: Any) -> str:
        name = f"k{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def ints(self, *values: int) -> str:
        return self.const(np.array(values, np.int64))

    def normal(self, *shape: int, scale: float = 0.4) -> str:
        return self.const(self.rng.normal(0, scale, shape).astype(np.float32))

    def node(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        stem = f"t{len(self.nodes)}"
        names = [stem] if outputs == 1 else [f"{stem}.{n}" for n in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, f"n{len(self.nodes)}", **attributes))
        return names[0] if outputs == 1 else stem

    def set(self, name: str, *shape: int) -> None:
        c, h, w = shape
        self.x, self.shape = name, (c, h, w)

    # ---- layers ----

    def conv(self) -> None:
        c, h, w = self.shape
        k = self.pick.choice([n for n in (1, 2, 3) if n <= min(h, w)])
        groups = self.pick.choice([g for g in (1, 1, 2, c) if c % g == 0])
        o = groups * self.pick.randint(1, 4)
        pads = [self.pick.randint(0, k - 1) for _ in range(4)]
        s = self.pick.choice((1, 1, 2))
        y = self.node(
            "Conv", self.x, self.normal(o, c // groups, k, k), self.normal(o), kernel_shape=[k, k], pads=pads,
            strides=[s, s], group=groups,
        )  # fmt: skip
        self.set(y, o, (h + pads[0] + pads[2] - k) // s + 1, (w + pads[1] + pads[3] - k) // s + 1)

    def transposed(self) -> None:
        c, h, w = self.shape
        if max(h, w) > LARGEST // 2:
            return
        k, s = self.pick.randint(1, 4), self.pick.randint(1, 2)
        extra = self.pick.randint(0, s - 1)
        o = self.pick.randint(1, 4)
        y = self.node(
            "ConvTranspose", self.x, self.normal(c, o, k, k), self.normal(o), strides=[s, s], output_padding=[extra] * 2
        )
        self.set(y, o, s * (h - 1) + k + extra, s * (w - 1) + k + extra)

    def rows_of_tokens(self) -> None:
        c, h, w = self.shape
        o = self.pick.randint(1, 6)
        t = self.node("Transpose", self.x, perm=[0, 2, 3, 1])
        y = self.node("MatMul", t, self.normal(c, o))
        y = self.node("Add", y, self.normal(o)) if self.pick.random() < 0.5 else y
        self.set(self.node("Transpose", y, perm=[0, 3, 1, 2]), o, h, w)

    def one_axis(self) -> None:
        c, h, w = self.shape
        o = self.pick.randint(1, 4)
        t = self.node("Reshape", self.x, self.ints(0, c, h * w))
        y = self.node("Conv", t, self.normal(o, c, 3), self.normal(o), pads=[1, 1])
        self.set(self.node("Reshape", y, self.ints(0, o, h, w)), o, h, w)

    # ---- movements ----

    def sliced(self) -> None:
        c, h, w = self.shape
        axis = self.pick.randint(1, 3)
        size = (1, c, h, w)[axis]
        first = self.pick.randint(0, size - 1)
        last, step = self.pick.randint(first + 1, size), self.pick.randint(1, 2)
        new = [c, h, w]
        new[axis - 1] = len(range(first, last, step))
        limits = (self.ints(v) for v in (first, last, axis, step))
        self.set(self.node("Slice", self.x, *limits), *new)

    def split(self) -> None:
        c, h, w = self.shape
        if c < 2:
            return
        first = self.pick.randint(1, c - 1)
        stem = self.node("Split", self.x, self.ints(first, c - first), outputs=2, axis=1)
        self.branches.append((f"{stem}.1", (c - first, h, w)))
        self.set(f"{stem}.0", first, h, w)

    def gathered(self) -> None:
        c, h, w = self.shape
        chosen = [self.pick.randrange(c) for _ in range(self.pick.randint(1, 6))]
        self.set(self.node("Gather", self.x, self.ints(*chosen), axis=1), len(chosen), h, w)

    def shuffled(self) -> None:
        c, h, w = self.shape
        groups = self.pick.choice([g for g in range(1, c + 1) if c % g == 0])
        y = self.node("Reshape", self.x, self.ints(0, groups, c // groups, h, w))
        y = self.node("Transpose", y, perm=[0, 2, 1, 3, 4])
        self.set(self.node("Reshape", y, self.ints(0, c, h, w)), c, h, w)

    def padded(self) -> None:
        c, h, w = self.shape
        mode = self.pick.choice(("constant", "reflect", "edge"))
        most = min(h, w) - 1 if mode == "reflect" else 2
        p = [self.pick.randint(0, min(2, most)) for _ in range(4)]
        if max(h, w) + 4 > LARGEST:
            return
        fill = [self.const(np.float32(self.pick.choice((0.0, 0.5, -1.0))))] if mode == "constant" else []
        y = self.node("Pad", self.x, self.ints(0, 0, p[0], p[1], 0, 0, p[2], p[3]), *fill, mode=mode)
        self.set(y, c, h + p[0] + p[2], w + p[1] + p[3])

    def resized(self) -> None:
        c, h, w = self.shape
        factor = self.pick.choice((0.5, 2.0, 1.5))
        if max(h, w) * factor > LARGEST or min(h, w) * factor < 1:
            return
        mode = self.pick.choice(("nearest", "nearest", "linear"))
        scales = self.const(np.array([1, 1, factor, factor], np.float32))
        y = self.node("Resize", self.x, "", scales, mode=mode)
        self.set(y, c, int(h * factor), int(w * factor))

    def to_space(self) -> None:
        c, h, w = self.shape
        if c % 4 or max(h, w) > LARGEST // 2:
            return
        mode = self.pick.choice(("DCR", "CRD"))
        self.set(self.node("DepthToSpace", self.x, blocksize=2, mode=mode), c // 4, 2 * h, 2 * w)

    def to_depth(self) -> None:
        c, h, w = self.shape
        if h % 2 or w % 2:
            return
        self.set(self.node("SpaceToDepth", self.x, blocksize=2), 4 * c, h // 2, w // 2)

    def turned(self) -> None:
        c, h, w = self.shape
        self.set(self.node("Transpose", self.x, perm=[0, 1, 3, 2]), c, w, h)

    def joined(self) -> None:
        """Another branch along channels, or itself along rows or columns."""
        c, h, w = self.shape
        others = [(name, shape) for name, shape in self.branches if shape[1:] == (h, w)]
        if others and self.pick.random() < 0.7:
            name, shape = self.pick.choice(others)
            self.set(self.node("Concat", self.x, name, axis=1), c + shape[0], h, w)
            return
        if max(h, w) > LARGEST // 2:
            return
        axis = self.pick.choice((2, 3))
        y = self.node("Concat", self.x, self.x, axis=axis)
        self.set(y, c, h * (2 if axis == 2 else 1), w * (2 if axis == 3 else 1))

    # ---- element by element ----

    def unary(self) -> None:
        kind = self.pick.choice(("Relu", "Sigmoid", "Tanh", "HardSwish", "LeakyRelu", "Elu", "Abs", "Softplus"))
        self.set(self.node(kind, self.x), *self.shape)

    def slopes(self) -> None:
        self.set(self.node("PRelu", self.x, self.normal(self.shape[0], 1, 1)), *self.shape)

    def binary(self) -> None:
        others = [name for name, shape in self.branches if shape == self.shape]
        if not others:
            return
        kind = self.pick.choice(("Add", "Add", "Mul", "Sub", "Max", "Min"))
        self.set(self.node(kind, self.x, self.pick.choice(others)), *self.shape)

    def constant(self) -> None:
        kind = self.pick.choice(("Add", "Mul", "Sub"))
        shape = self.pick.choice(((1,), (1, self.shape[0], 1, 1)))
        self.set(self.node(kind, self.x, self.normal(*shape)), *self.shape)

    def gate(self) -> None:
        y = self.node("Sigmoid", self.node("GlobalAveragePool", self.x))
        self.set(self.node("Mul", self.x, y), *self.shape)

    # ---- pools and the host ----

    def pool(self) -> None:
        c, h, w = self.shape
        k = self.pick.choice([n for n in (2, 3) if n <= min(h, w)] or [1])
        s = self.pick.randint(1, 2)
        kind = self.pick.choice(("MaxPool", "AveragePool"))
        self.set(self.node(kind, self.x, kernel_shape=[k, k], strides=[s, s]), c, (h - k) // s + 1, (w - k) // s + 1)

    def normalised(self) -> None:
        c, h, w = self.shape
        kind = self.pick.choice(("Softmax", "InstanceNormalization", "LRN", "BatchNormalization"))
        positive = self.const(self.rng.uniform(0.5, 1.5, c).astype(np.float32))
        if kind == "Softmax":
            y = self.node(kind, self.x, axis=self.pick.choice((1, 2, 3)))
        elif kind == "LRN":
            y = self.node(kind, self.x, size=3)
        elif kind == "InstanceNormalization":
            y = self.node(kind, self.x, positive, self.normal(c))
        else:
            y = self.node(kind, self.x, positive, self.normal(c), self.normal(c), positive)
        self.set(y, c, h, w)

    def reduced(self) -> None:
        c, h, w = self.shape
        kind = self.pick.choice(("ReduceMean", "ReduceMax", "ReduceSum"))
        y = self.node("Sub", self.x, self._reduction(kind))
        self.set(y, c, h, w)

    def _reduction(self, kind: str) -> str:
        axis = self.pick.randint(1, 3)
        if kind == "ReduceSum":
            return self.node(kind, self.x, self.ints(axis), keepdims=1)
        return self.node(kind, self.x, axes=[axis], keepdims=1)


LAYERS: tuple[Callable[[Draft], None], ...] = (
    *(Draft.conv, Draft.conv, Draft.transposed, Draft.rows_of_tokens, Draft.one_axis),
)
OTHERS: tuple[Callable[[Draft], None], ...] = (
    *(Draft.sliced, Draft.split, Draft.gathered, Draft.shuffled, Draft.padded, Draft.resized, Draft.to_space),
    *(Draft.to_depth, Draft.turned, Draft.joined, Draft.unary, Draft.slopes, Draft.binary, Draft.constant, Draft.gate),
    *(Draft.pool, Draft.normalised, Draft.reduced),
)


def any_net(seed: int) -> tuple[onnx.ModelProto, Array]:
    """A random network (float, batch open) and images for it."""
    draft = Draft(seed)
    draft.conv()
    for _ in range(draft.pick.randint(1, 5)):
        draft.branches.append((draft.x, draft.shape))
        draft.pick.choice(OTHERS)(draft)
        if draft.pick.random() < 0.5:
            draft.pick.choice(LAYERS)(draft)
    draft.conv()
    images = draft.rng.normal(0, 1, (3, *draft.given)).astype(np.float32)
    graph = helper.make_graph(
        draft.nodes,
        f"net{seed}",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *draft.given])],
        [onnx.ValueInfoProto(name=draft.x)],
        draft.constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    onnx.checker.check_model(inferred)
    return inferred, images
