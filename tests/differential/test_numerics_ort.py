"""Our arithmetic against onnxruntime's own operators: not one element may differ, ties and large sums included."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from pimc_isa.engines.kernels.windows import WindowGeometry, taps
from pimc_isa.numerics import average_taps, fma, qadd, qadd_terms, qmul, requantise
from pimc_isa.operands import Elementwise, Window

Array = np.ndarray
F32 = np.float32
CONTRIB = "com.microsoft"
ENOUGH = 100_000

pytestmark = pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64"), reason="kernels of other processors round otherwise"
)


def onnxruntime_says(
    op: str,
    inputs: Mapping[str, Array],
    constants: Mapping[str, Array],
    order: str,
    domain: str = "",
    **attributes: Any,
) -> Array:
    """Run one operator; ``order`` lists its inputs by name."""
    node = helper.make_node(op, order.split(), ["y"], domain=domain, **attributes)
    kinds = {n: TensorProto.INT8 if a.dtype == np.int8 else TensorProto.UINT8 for n, a in inputs.items()}
    feeds = [helper.make_tensor_value_info(n, kinds[n], a.shape) for n, a in inputs.items()]
    held = [numpy_helper.from_array(a, n) for n, a in constants.items()]
    result = helper.make_tensor_value_info("y", next(iter(kinds.values())), None)
    graph = helper.make_graph([node], "one", feeds, [result], held)
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid(CONTRIB, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found: Array = session.run(None, dict(inputs))[0]
    return found


class Tally:
    """Counts elements and mismatches over many cases."""

    def __init__(self) -> None:
        self.elements = self.mismatches = 0

    def compare(self, ours: Array, theirs: Array) -> None:
        assert ours.shape == theirs.shape
        assert ours.dtype == theirs.dtype
        self.elements += ours.size
        self.mismatches += int(np.count_nonzero(ours != theirs))

    def check(self) -> None:
        assert self.elements >= ENOUGH
        assert self.mismatches == 0, f"{self.mismatches} of {self.elements} elements differ"


def byte(value: int) -> Array:
    return np.array(value, np.uint8)


def scale_of(rng: np.random.Generator) -> np.float32:
    """A random scale; every third a power of two, which makes ties frequent."""
    return F32(2.0 ** -int(rng.integers(2, 8))) if rng.integers(3) == 0 else F32(rng.uniform(0.001, 0.1))


# ---- integer sums, then requantisation ----


def conv_case(rng: np.random.Generator, tally: Tally) -> None:
    groups = int(rng.choice([1, 1, 2, 4]))
    channels, outputs = groups * int(rng.integers(1, 9)), groups * int(rng.integers(1, 9))
    kernel, stride, dilation = (tuple(int(v) for v in rng.integers(1, top, 2)) for top in (4, 3, 3))
    pads = tuple(int(v) for v in rng.integers(0, 3, 4))
    height, width = (int(v) for v in rng.integers(9, 16, 2))
    x = rng.integers(0, 256, (2, channels, height, width), dtype=np.uint8)
    w = rng.integers(-128, 128, (outputs, channels // groups, *kernel), dtype=np.int8)
    per_channel = bool(rng.integers(2))
    ws = np.array([scale_of(rng) for _ in range(outputs if per_channel else 1)], F32)
    xs, x_zero, y_zero = scale_of(rng), int(rng.integers(256)), int(rng.integers(256))
    ys = F32(xs * ws.mean() * rng.choice([64, 256, 1000]))
    bias = rng.integers(-5000, 5000, outputs, dtype=np.int32)
    theirs = onnxruntime_says(
        "QLinearConv",
        {"x": x},
        {"xs": np.array(xs), "xz": byte(x_zero), "w": w, "ws": ws if per_channel else ws[0],
         "wz": np.zeros((), np.int8), "ys": np.array(ys), "yz": byte(y_zero), "b": bias},
        "x xs xz w ws wz ys yz b",
        kernel_shape=kernel, strides=stride, pads=pads, dilations=dilation, group=groups,
    )  # fmt: skip
    sums = conv_sums(x, w, stride, pads, dilation, groups, x_zero)
    multiplier = (F32(xs) * ws / ys).astype(F32)
    ours = requantise(sums, multiplier, bias, y_zero, 0, 255)
    tally.compare(ours.transpose(0, 3, 1, 2), theirs)


def conv_sums(
    x: Array,
    w: Array,
    stride: tuple[int, ...],
    pads: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
    zero: int,
) -> Array:
    """i32 [images, rows, columns, outputs], summed in int64 position by position."""
    per_group, each = w.shape[1], w.shape[0] // groups
    padded = np.pad(x.astype(np.int64) - zero, ((0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3])))
    rows = (padded.shape[2] - (w.shape[2] - 1) * dilation[0] - 1) // stride[0] + 1
    cols = (padded.shape[3] - (w.shape[3] - 1) * dilation[1] - 1) // stride[1] + 1
    out = np.zeros((x.shape[0], rows, cols, w.shape[0]), np.int64)
    for ky in range(w.shape[2]):
        for kx in range(w.shape[3]):
            part = padded[:, :, ky * dilation[0] :, kx * dilation[1] :]
            part = part[:, :, : (rows - 1) * stride[0] + 1 : stride[0], : (cols - 1) * stride[1] + 1 : stride[1]]
            for g in range(groups):
                outputs = slice(g * each, (g + 1) * each)
                inputs = part[:, g * per_group : (g + 1) * per_group]
                out[..., outputs] += np.einsum("ncyx,oc->nyxo", inputs, w[outputs, :, ky, kx].astype(np.int64))
    return out.astype(np.int32)


def test_requantise_is_the_epilogue_of_qlinearconv() -> None:
    rng, tally = np.random.default_rng(1), Tally()
    for _ in range(200):
        conv_case(rng, tally)
    tally.check()


def test_sums_above_two_to_the_24_round_like_qlinearmatmul() -> None:
    rng, tally = np.random.default_rng(2), Tally()
    for _ in range(20):
        k, n = int(rng.integers(600, 1200)), 64
        a = rng.integers(128, 256, (100, k), dtype=np.uint8)
        b = rng.integers(64, 128, (k, n), dtype=np.int8)
        sa, sb, y_zero = scale_of(rng), scale_of(rng), int(rng.integers(256))
        sums = a.astype(np.int64) @ b.astype(np.int64)
        assert sums.max() > 1 << 23
        sy = F32(sa * sb * sums.max() / 200)
        constants = {"as": np.array(sa), "az": byte(0), "b": b, "bs": np.array(sb), "bz": np.zeros((), np.int8),
                     "ys": np.array(sy), "yz": byte(y_zero)}  # fmt: skip
        theirs = onnxruntime_says("QLinearMatMul", {"a": a}, constants, "a as az b bs bz ys yz")
        multiplier = np.array([F32(F32(sa * sb) / sy)])
        tally.compare(requantise(sums.astype(np.int32), multiplier, np.zeros(1, np.int32), y_zero, 0, 255), theirs)
    tally.check()


def test_requantise_is_the_epilogue_of_qgemm() -> None:
    rng, tally = np.random.default_rng(3), Tally()
    for _ in range(40):
        m, k, n = 64, int(rng.integers(1, 200)), int(rng.integers(30, 90))
        a = rng.integers(0, 256, (m, k), dtype=np.uint8)
        b = rng.integers(-128, 128, (n, k), dtype=np.int8)
        bias = rng.integers(-5000, 5000, n, dtype=np.int32)
        sa, a_zero, y_zero = scale_of(rng), int(rng.integers(256)), int(rng.integers(256))
        sb = np.array([scale_of(rng) for _ in range(n)], F32)
        sy = F32(sa * sb.mean() * rng.choice([64, 256, 3000]))
        constants = {"as": np.array(sa), "az": byte(a_zero), "b": b, "bs": sb, "bz": np.zeros(n, np.int8), "c": bias,
                     "ys": np.array(sy), "yz": byte(y_zero)}  # fmt: skip
        theirs = onnxruntime_says("QGemm", {"a": a}, constants, "a as az b bs bz c ys yz", CONTRIB, transB=1, alpha=1.0)
        sums = (a.astype(np.int64) - a_zero) @ b.T.astype(np.int64)
        ours = requantise(sums.astype(np.int32), (sa * sb / sy).astype(F32), bias, y_zero, 0, 255)
        tally.compare(ours, theirs)
    tally.check()


@pytest.mark.parametrize("channels_last", [0, 1])
def test_global_average_is_sum_and_requantise(channels_last: int) -> None:
    rng, tally = np.random.default_rng(4 + channels_last), Tally()
    for _ in range(120):
        height, width = (int(v) for v in rng.integers(1, 9, 2))
        x = rng.integers(0, 256, (8, height, width, 128), dtype=np.uint8)
        xs, ys = scale_of(rng), scale_of(rng)
        x_zero, y_zero = (int(v) for v in rng.integers(0, 256, 2))
        constants = {"xs": np.array(xs), "xz": byte(x_zero), "ys": np.array(ys), "yz": byte(y_zero)}
        feed = x if channels_last else np.ascontiguousarray(x.transpose(0, 3, 1, 2))
        theirs = onnxruntime_says(
            "QLinearGlobalAveragePool", {"x": feed}, constants, "x xs xz ys yz", CONTRIB, channels_last=channels_last
        )
        sums = x.sum(axis=(1, 2), dtype=np.int32)
        multiplier = np.array([F32(xs / F32(ys * F32(height * width)))])
        ours = requantise(sums, multiplier, np.array([-x_zero * height * width], np.int32), y_zero, 0, 255)
        tally.compare(ours, theirs.reshape(8, 128))
    tally.check()


# ---- element-wise ----

PAIRS = np.stack(np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8), indexing="ij"))


def pair_constants(rng: np.random.Generator, offset: int = 0) -> tuple[dict[str, Array], Elementwise]:
    """Scales and zero points, for onnxruntime and for us; with offset 128 the tensors are int8."""
    a, b, y = ((scale_of(rng), int(rng.integers(256))) for _ in range(3))
    constants = {}
    for name, (scale, zero) in zip("aby", (a, b, y), strict=True):
        constants[f"{name}s"] = np.array(scale)
        constants[f"{name}z"] = np.array(zero - offset, np.int8 if offset else np.uint8)
    ours = Elementwise("s", (float(a[0]), a[1]), (float(b[0]), b[1]), (float(y[0]), y[1]), offset=offset)
    return constants, ours


def pair_op(op: str, a: Array, b: Array, constants: Mapping[str, Array], offset: int = 0) -> Array:
    """QLinearAdd or QLinearMul on stored bytes."""
    if offset:
        a, b = ((v.astype(np.int16) - offset).astype(np.int8) for v in (a, b))
    y = onnxruntime_says(op, {"a": a, "b": b}, constants, "a as az b bs bz ys yz", CONTRIB)
    return (y.astype(np.int16) + offset).astype(np.uint8)


@pytest.mark.parametrize("offset", [0, 128])
def test_qadd_on_every_pair_of_bytes(offset: int) -> None:
    rng, tally = np.random.default_rng(6 + offset), Tally()
    a, b = PAIRS
    for _ in range(60):
        constants, scales = pair_constants(rng, offset)
        tally.compare(qadd(a, b, scales), pair_op("QLinearAdd", a, b, constants, offset))
    tally.check()


def unfused(a: Array, b: Array, s: Elementwise) -> Array:
    """QLinearAdd with the second operand's product rounded by itself: wrong, but for one pair in a million only."""
    ra, rb, k = qadd_terms(s)
    inner = (k + b.astype(F32) * rb).astype(F32)
    return np.asarray(np.clip(np.rint(fma(a.astype(F32), ra, inner)), 0, 255), np.uint8)


@pytest.mark.parametrize("shape", [(), (1,), (4, 1), (4, 64)])
def test_qadd_rounds_alike_for_scalars_rows_and_tensors(shape: tuple[int, ...]) -> None:
    rng, found = np.random.default_rng(7), 0
    a, b = PAIRS
    for _ in range(600):
        scales = [(float(F32(rng.uniform(0.001, 0.1))), int(rng.integers(256))) for _ in range(3)]
        s = Elementwise("s", scales[0], scales[1], scales[2])
        ours = qadd(a, b, s)
        constants = {f"{n}s": np.array(v[0], F32) for n, v in zip("aby", scales, strict=True)}
        constants |= {f"{n}z": byte(v[1]) for n, v in zip("aby", scales, strict=True)}
        for i, j in np.argwhere(ours != unfused(a, b, s)):
            left, right = np.full((4, 64), a[i, j], np.uint8), np.full(shape, b[i, j], np.uint8)
            theirs = pair_op("QLinearAdd", left, right, constants)
            assert (theirs == ours[i, j]).all()
            found += 1
    assert found >= 20, "too few cases in which the order of rounding shows"


@pytest.mark.parametrize("offset", [0, 128])
def test_qmul_on_every_pair_of_bytes(offset: int) -> None:
    rng, tally = np.random.default_rng(8 + offset), Tally()
    a, b = PAIRS
    for n in range(60):
        constants, scales = pair_constants(rng, offset)
        if n % 2:  # otherwise most products saturate
            y = F32(scales.a[0] * scales.b[0] * 2.0 ** int(rng.integers(5, 9)))
            constants["ys"] = np.array(y)
            scales = replace(scales, y=(float(y), scales.y[1]))
        tally.compare(qmul(a, b, scales), pair_op("QLinearMul", a, b, constants, offset))
    tally.check()


# ---- pooling ----


@pytest.mark.parametrize("channels_last", [0, 1])
def test_average_of_windows(channels_last: int) -> None:
    rng, tally = np.random.default_rng(9 + channels_last), Tally()
    for _ in range(150):
        kernel = tuple(int(v) for v in rng.integers(1, 5, 2))
        stride = tuple(int(v) for v in rng.integers(1, 4, 2))
        pads = tuple(min(int(rng.integers(0, 3)), kernel[n % 2] - 1) for n in range(4))
        height, width = (int(v) for v in rng.integers(6, 14, 2))
        x = rng.integers(0, 256, (2, height, width, 12), dtype=np.uint8)
        xs = scale_of(rng)
        ys = F32(xs * rng.choice([0.5, 1.0, 2.0, rng.uniform(0.5, 2)]))
        x_zero, y_zero = (int(v) for v in rng.integers(0, 256, 2))
        included = int(rng.integers(2))
        constants = {"xs": np.array(xs), "xz": byte(x_zero), "ys": np.array(ys), "yz": byte(y_zero)}
        theirs = onnxruntime_says(
            "QLinearAveragePool",
            {"x": x if channels_last else np.ascontiguousarray(x.transpose(0, 3, 1, 2))},
            constants, "x xs xz ys yz", CONTRIB,
            kernel_shape=kernel, strides=stride, pads=pads, count_include_pad=included, channels_last=channels_last,
        )  # fmt: skip
        window = Window("w", kernel, stride, pads, (1, 1), x_zero)  # type: ignore[arg-type]
        rows = (height + pads[0] + pads[2] - kernel[0]) // stride[0] + 1
        cols = (width + pads[1] + pads[3] - kernel[1]) // stride[1] + 1
        every = taps(x, WindowGeometry.of(window, (0, 1, rows), (0, cols), (0, 0), (0, 12)))
        ones = np.ones((1, height, width, 1), np.uint8)
        inside = Window("i", kernel, stride, pads)  # type: ignore[arg-type]
        counts = taps(ones, WindowGeometry.of(inside, (0, 1, rows), (0, cols), (0, 0), (0, 1))).sum(axis=3, dtype=F32)
        scales = Elementwise("s", (float(xs), x_zero), (1.0, included), (float(ys), y_zero))
        ours = average_taps(every, counts, scales)
        tally.compare(ours, theirs if channels_last else theirs.transpose(0, 2, 3, 1))
    tally.check()
