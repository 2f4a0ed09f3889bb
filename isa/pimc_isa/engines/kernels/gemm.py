"""Exact integer matrix products: activations u8 times constant weights, sums in i32.

onnxruntime's MatMulInteger where it is installed, otherwise exact floating-point blocks in numpy.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Protocol

import numpy as np

__all__ = ["FloatProduct", "OrtProduct", "Product", "block_products", "product", "signed_products_saturate"]

Array = np.ndarray


class Product(Protocol):
    """A product with fixed weights."""

    def __call__(self, a: Array) -> Array:
        """i32 ``a @ w`` for u8 ``a`` [..., m, k]."""
        ...


class OrtProduct:
    """MatMulInteger in a one-node onnxruntime session; the weights are an initialiser, so packed once.

    ``w`` is s8 [k, n] or [groups, k, n]. With ``unsigned`` the weights are stored plus 128 with that zero point.
    """

    def __init__(self, w: Array, unsigned: bool) -> None:
        self._run = _session(w, unsigned).run
        self._outputs = ["y"]

    def __call__(self, a: Array) -> Array:
        """i32 product."""
        result: Array = self._run(self._outputs, {"a": a})[0]
        return result


class FloatProduct:
    """Row blocks so small that every partial sum is exact in floating point (float32 to 2**24, float64 to 2**53)."""

    def __init__(self, w: Array) -> None:
        largest = max(1, int(np.abs(w.astype(np.int64)).max(initial=0)))
        self._block = (1 << 24) // (255 * largest)
        dtype = np.float32 if self._block >= 32 else np.float64
        if dtype is np.float64:
            self._block = max(1, (1 << 53) // (255 * largest))
        self._w = w.astype(dtype)

    def __call__(self, a: Array) -> Array:
        """i32 product."""
        k = self._w.shape[-2]
        total = np.zeros((*a.shape[:-1], self._w.shape[-1]), np.int32)
        for first in range(0, k, self._block):
            rows = slice(first, min(k, first + self._block))
            part = a[..., rows].astype(self._w.dtype) @ self._w[..., rows, :]
            total += part.astype(np.int64).astype(np.int32)
        return total


def product(w: Array) -> Product:
    """The fastest exact product for weights ``w`` [k, n] or [groups, k, n] on this machine."""
    fits = w.size == 0 or (int(w.min()) >= -128 and int(w.max()) <= 127)
    if not fits or _onnxruntime() is None or w.size == 0:
        return FloatProduct(w)
    return OrtProduct(w.astype(np.int8), signed_products_saturate())


def block_products(w: Array, rows: Sequence[slice]) -> Callable[[Array], list[Array]]:
    """A function of u8 ``a`` [m, k] that gives the i32 products of each of the row blocks of ``w`` [k, n]."""
    fits = w.size > 0 and int(w.min()) >= -128 and int(w.max()) <= 127
    if fits and _onnxruntime() is not None and len(rows) > 1:
        return _OrtBlocks(w.astype(np.int8), rows, signed_products_saturate())
    products = [product(np.ascontiguousarray(w[r])) for r in rows]
    return lambda a: [p(np.ascontiguousarray(a[:, r])) for p, r in zip(products, rows, strict=True)]


class _OrtBlocks:
    """All row blocks in one onnxruntime session: split, then a product each."""

    def __init__(self, w: Array, rows: Sequence[slice], unsigned: bool) -> None:
        self._run = _session(w, unsigned, rows).run

    def __call__(self, a: Array) -> list[Array]:
        results: list[Array] = self._run(None, {"a": a})
        return results


@lru_cache(maxsize=1)
def signed_products_saturate() -> bool:
    """Self test: does u8 x s8 saturate in 16 bits here, as on x86-64 without VNNI? Then weights go in as u8."""
    k = 1024
    w = np.full((k, 16), 127, np.int8)
    a = np.full((8, k), 255, np.uint8)
    return bool((OrtProduct(w, unsigned=False)(a) != 255 * 127 * k).any())


@lru_cache(maxsize=1)
def _onnxruntime() -> Any:
    """The module, or None (also with ``PIMC_ORT=0``, which tests the fallback)."""
    if os.environ.get("PIMC_ORT") == "0":
        return None
    try:
        import onnxruntime
    except ImportError:
        return None
    return onnxruntime


def _session(w: Array, unsigned: bool, rows: Sequence[slice] = ()) -> Any:
    """A session of MatMulInteger with ``w``; with ``rows`` one product ``y0``, ``y1``, ... for each row block."""
    from onnx import TensorProto, helper, numpy_helper

    ort = _onnxruntime()
    weights = (w.astype(np.int16) + 128).astype(np.uint8) if unsigned else w
    zeros = ["za", "zb"] if unsigned else []
    constants = [numpy_helper.from_array(np.zeros((), np.uint8), "za")] if unsigned else []
    constants += [numpy_helper.from_array(np.full((), 128, np.uint8), "zb")] if unsigned else []
    lead = [w.shape[0]] if w.ndim == 3 else []
    parts = [weights[..., r, :] for r in rows] or [weights]
    for n, part in enumerate(parts):
        constants.append(numpy_helper.from_array(np.ascontiguousarray(part), f"b{n}"))
    a_parts, nodes = ["a"], []
    if rows:
        a_parts = [f"a{n}" for n in range(len(rows))]
        constants.append(numpy_helper.from_array(np.array([r.stop - r.start for r in rows], np.int64), "sizes"))
        nodes.append(helper.make_node("Split", ["a", "sizes"], a_parts, axis=-1))
    names = [f"y{n}" for n in range(len(parts))] if rows else ["y"]
    for n, (source, result) in enumerate(zip(a_parts, names, strict=True)):
        nodes.append(helper.make_node("MatMulInteger", [source, f"b{n}", *zeros], [result]))
    a = helper.make_tensor_value_info("a", TensorProto.UINT8, [*lead, "m", w.shape[-2]])
    made = [helper.make_tensor_value_info(n, TensorProto.INT32, [*lead, "m", w.shape[-1]]) for n in names]
    graph = helper.make_graph(nodes, "product", [a], made, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
