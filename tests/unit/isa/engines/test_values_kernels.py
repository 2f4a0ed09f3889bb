"""Kernels: the compiled and the numpy form against each other and against plain sums."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pimc_isa import jit
from pimc_isa.engines.kernels import gemm, pointwise, windows
from pimc_isa.engines.kernels.epilogue import requantise_into
from pimc_isa.numerics import entries_of, qadd, qmul, requantise
from pimc_isa.operands import Elementwise, Window

Array = np.ndarray
SEEDS = st.integers(0, 2**32 - 1)


@pytest.fixture(params=["compiled", "numpy"])
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Both forms of every kernel."""
    if request.param == "numpy":
        monkeypatch.setenv("PIMC_NUMBA", "0")
        jit.compiled.cache_clear()
    yield request.param
    jit.compiled.cache_clear()


def random_geometry(rng: np.random.Generator) -> tuple[Array, windows.WindowGeometry, Window]:
    """An array that may be a part of a tensor, and windows over it."""
    height, width, channels = (int(v) for v in rng.integers(5, 12, 3))
    kernel, stride, dilation = (tuple(int(v) for v in rng.integers(1, top, 2)) for top in (5, 4, 3))
    pads = tuple(int(v) for v in rng.integers(0, 3, 4))
    window = Window("w", kernel, stride, pads, dilation, int(rng.integers(256)))  # type: ignore[arg-type]
    rows, cols = (
        max(1, (size + pads[n] + pads[n + 2] - (kernel[n] - 1) * dilation[n] - 1) // stride[n] + 1)
        for n, size in ((0, height), (1, width))
    )
    c0 = int(rng.integers(0, channels))
    chans = (c0, int(rng.integers(c0 + 1, channels + 1)))
    x = rng.integers(0, 256, (2, height, width, channels), dtype=np.uint8)
    return x, windows.WindowGeometry.of(window, (0, 1, rows), (0, cols), (0, 0), chans), window


def plain_taps(x: Array, g: windows.WindowGeometry, w: Window) -> Array:
    """Windows, element by element."""
    out = np.full((len(x), *g.out, w.kernel[0] * w.kernel[1], g.chans[1] - g.chans[0]), w.pad_value, np.uint8)
    for row, col, t in np.ndindex(out.shape[1:4]):
        ky, kx = divmod(t, w.kernel[1])
        y, at = row * w.stride[0] - w.pads[0] + ky * w.dilation[0], col * w.stride[1] - w.pads[1] + kx * w.dilation[1]
        if 0 <= y < x.shape[1] and 0 <= at < x.shape[2]:
            out[:, row, col, t] = x[:, y, at, g.chans[0] : g.chans[1]]
    return out


@pytest.mark.parametrize("seed", range(60))
def test_windows(seed: int, form: str) -> None:
    rng = np.random.default_rng(seed)
    x, g, w = random_geometry(rng)
    expected = plain_taps(x, g, w)
    np.testing.assert_array_equal(windows.taps(x, g), expected)
    first = int(rng.integers(0, 2 * g.out[0]))
    count = int(rng.integers(1, 2 * g.out[0] - first + 1))
    out = np.empty((count * g.out[1], g.depth), np.uint8)
    windows.gather(x, g, first, count, out)
    every = expected.reshape(2 * g.out[0], g.out[1], g.depth)
    np.testing.assert_array_equal(out.reshape(count, g.out[1], g.depth), every[first : first + count])
    np.testing.assert_array_equal(pointwise.window_max(x, g), expected.max(axis=3))
    np.testing.assert_array_equal(pointwise.window_sum(x, g), expected.sum(axis=3, dtype=np.int32))


@pytest.mark.parametrize("kernel", [(3, 3), (5, 3), (2, 2), (1, 5), (2, 4), (3, 7)])
@pytest.mark.parametrize("largest", [127, 30000])
def test_depthwise(kernel: tuple[int, int], largest: int, form: str) -> None:
    rng = np.random.default_rng(kernel[0] * 7 + largest)
    window = Window("w", kernel, (2, 1), (1, 1, 0, 2), (1, 2), 255)
    x = rng.integers(0, 256, (2, 9, 11, 7), dtype=np.uint8)
    g = windows.WindowGeometry.of(window, (0, 1, 4), (0, 6), (0, 0), (1, 6))
    w = rng.integers(-largest - 1, largest + 1, (kernel[0] * kernel[1], 5)).astype(np.int32)
    w[0] = -128  # with 255 the largest product that 16 bits must hold
    expected = (plain_taps(x, g, window).astype(np.int64) * w).sum(axis=3)
    np.testing.assert_array_equal(pointwise.depthwise(x, g, w), expected)


def test_plain_windows_are_the_array() -> None:
    x = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    one = windows.WindowGeometry.of(Window("w", (1, 1)), (0, 1, 4), (0, 5), (0, 0), (0, 3))
    whole = windows.WindowGeometry.of(Window("w", (4, 5)), (0, 1, 1), (0, 1), (0, 0), (0, 3))
    strided = windows.WindowGeometry.of(Window("w", (1, 1), (2, 2)), (0, 1, 2), (0, 3), (0, 0), (0, 3))
    padded = windows.WindowGeometry.of(Window("w", (4, 5), pads=(0, 0, 1, 0)), (0, 1, 2), (0, 1), (0, 0), (0, 3))
    assert [windows.is_plain(g, x.shape) for g in (one, whole, strided, padded)] == [True, True, False, False]


@pytest.mark.parametrize("zero", [0, 3, 128, 255])
def test_requantise_into_is_requantise(zero: int, form: str) -> None:
    rng = np.random.default_rng(zero)
    acc = rng.integers(-(2**31), 2**31, (300, 40)).astype(np.int32)
    acc[:100] = rng.integers(-4000, 4000, (100, 40))
    multiplier = rng.uniform(1e-9, 1, 40).astype(np.float32)
    multiplier[:10] = 2.0**-4  # ties
    bias = rng.integers(-(2**31), 2**31, 40).astype(np.int32)
    bias[:20] = 8
    for lo, hi in ((0, 255), (zero, 255), (0, zero)):
        out = np.empty(acc.shape, np.uint8)
        requantise_into(acc, multiplier, bias, zero, lo, hi, out)
        np.testing.assert_array_equal(out, requantise(acc, multiplier, bias, zero, lo, hi))


@pytest.mark.parametrize("offset", [0, 128])
def test_add_into_is_qadd(offset: int, form: str) -> None:
    rng = np.random.default_rng(offset)
    a, b = (v.astype(np.uint8) for v in np.meshgrid(np.arange(256), np.arange(256)))
    for n in range(40):
        scales = rng.uniform(0.001, 0.1, 3) if n % 2 else 2.0 ** -rng.integers(2, 8, 3)
        zeros = rng.integers(0, 256, 3)
        pairs = [(float(np.float32(s)), int(z)) for s, z in zip(scales, zeros, strict=True)]
        s = Elementwise("s", pairs[0], pairs[1], pairs[2], int(rng.integers(0, 20)), 255, offset=offset)
        out = np.empty(a.shape, np.uint8)
        pointwise.add_into(a, b, s, out)
        np.testing.assert_array_equal(out, qadd(a, b, s))


@pytest.mark.parametrize("offset", [0, 128])
def test_multiply_is_qmul(offset: int, form: str) -> None:
    rng = np.random.default_rng(offset)
    a = rng.integers(0, 256, (2, 4, 64, 64)).astype(np.uint8)
    for n in range(40):
        b = rng.integers(0, 256, (2, 1, 1, 64) if n % 2 else a.shape).astype(np.uint8)
        scales = 2.0 ** -rng.integers(2, 8, 3) if n % 4 > 1 else rng.uniform(0.001, 0.1, 3)
        zeros = rng.integers(0, 256, 3)
        pairs = [(float(np.float32(s)), int(z)) for s, z in zip(scales, zeros, strict=True)]
        s = Elementwise("s", pairs[0], pairs[1], pairs[2], int(rng.integers(0, 20)), 250, offset=offset)
        np.testing.assert_array_equal(pointwise.multiply(a, b, s), qmul(a, b, s))


def test_look_up_is_the_table(form: str) -> None:
    rng = np.random.default_rng(1)
    x = rng.integers(0, 256, (2, 3, 5, 4)).astype(np.uint8)[:, ::2]
    for shape in ((256,), (9, 256)):
        table = rng.integers(0, 256, shape).astype(np.uint8)
        np.testing.assert_array_equal(pointwise.look_up(table, x, (3, 7)), entries_of(table, x, (3, 7)))


# ---- products ----


def extreme(rng: np.random.Generator, shape: tuple[int, ...], low: int, high: int) -> Array:
    """Values of which many are the largest or smallest possible."""
    values = rng.integers(low, high + 1, shape)
    return np.asarray(np.where(rng.random(shape) < 0.5, np.where(rng.random(shape) < 0.5, low, high), values))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(seed=SEEDS, m=st.integers(1, 40), k=st.integers(1, 3000), n=st.integers(1, 40))
def test_products_are_exact(seed: int, m: int, k: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    a = extreme(rng, (m, k), 0, 255).astype(np.uint8)
    w = extreme(rng, (k, n), -128, 127).astype(np.int8)
    expected = a.astype(np.int64) @ w.astype(np.int64)
    for product in (gemm.OrtProduct(w, True), gemm.FloatProduct(w), gemm.product(w)):
        np.testing.assert_array_equal(product(a), expected)


def test_products_of_convolution_groups() -> None:
    rng = np.random.default_rng(0)
    a = rng.integers(0, 256, (3, 20, 50), dtype=np.uint8)
    w = rng.integers(-128, 128, (3, 50, 7), dtype=np.int8)
    expected = np.matmul(a.astype(np.int64), w.astype(np.int64))
    products: list[gemm.Product] = [gemm.OrtProduct(w, True), gemm.FloatProduct(w), gemm.product(w)]
    if not gemm.signed_products_saturate():  # x86-64 without VNNI does
        products.append(gemm.OrtProduct(w, False))
    for product in products:
        np.testing.assert_array_equal(product(a), expected)


def test_weights_above_8_bits_use_wide_floats() -> None:
    rng = np.random.default_rng(1)
    a = rng.integers(0, 256, (9, 300), dtype=np.uint8)
    w = rng.integers(-32768, 32768, (300, 5))
    np.testing.assert_array_equal(gemm.product(w)(a), a.astype(np.int64) @ w)


def test_the_self_test_sees_16_bit_saturation(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that adds pairs of products in 16 bits, as on processors without VNNI."""

    def saturating(a: Array, w: Array) -> Array:
        pairs = a.astype(np.int64).reshape(len(a), -1, 2)[..., None] * w.astype(np.int64).reshape(1, -1, 2, w.shape[1])
        return np.asarray(np.clip(pairs.sum(axis=2), -(2**15), 2**15 - 1).sum(axis=1))

    class Saturating:
        def __init__(self, w: Array, unsigned: bool) -> None:
            self.w = w

        def __call__(self, a: Array) -> Array:
            return saturating(a, self.w)

    gemm.signed_products_saturate.cache_clear()
    monkeypatch.setattr(gemm, "OrtProduct", Saturating)
    assert gemm.signed_products_saturate()
    gemm.signed_products_saturate.cache_clear()


def test_without_onnxruntime_products_are_floats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIMC_ORT", "0")
    gemm._onnxruntime.cache_clear()
    try:
        assert isinstance(gemm.product(np.ones((3, 2), np.int8)), gemm.FloatProduct)
    finally:
        gemm._onnxruntime.cache_clear()


def test_compiled_kernels_are_cached_in_the_user_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(pytest.importorskip("numba").config, "CACHE_DIR", "")
    assert str(jit.cache_directory()).startswith(str(tmp_path))
    jit.compiled.cache_clear()
    x = np.zeros((1, 3, 3, 2), np.uint8)
    g = windows.WindowGeometry.of(Window("w", (2, 2)), (0, 1, 2), (0, 2), (0, 0), (0, 2))
    pointwise.window_max(x, g)
    jit.compiled.cache_clear()
    assert any(jit.cache_directory().rglob("*.nbi"))
