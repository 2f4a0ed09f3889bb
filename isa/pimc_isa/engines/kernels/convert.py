"""Converters in one pass over integer sums: code, clip, add; bit for bit what ``exactness`` defines in float64."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from pimc_isa.flow.forms import Conversion
from pimc_isa.jit import compiled

__all__ = ["Converter", "add_codes", "converter", "scaled"]

Array = np.ndarray


@dataclass(frozen=True)
class Converter:
    """``code = clip(floor(v / step + 1/2), lo, hi)``. ``inverse`` of the step, where multiplying gives the same codes.

    ``inverse`` is 0 where it does not; then the kernel divides.
    """

    step: float
    lo: int
    hi: int
    inverse: float

    def codes(self, v: Array) -> Array:
        """float64 codes of ``v`` (integers, or real values where the hardware is noisy)."""
        return np.asarray(np.clip(np.floor(v / self.step + 0.5), self.lo, self.hi))


@lru_cache(maxsize=1 << 10)
def converter(conversion: Conversion, scale: float) -> Converter:
    """The converter of sums in units of the dot product; ``scale`` is the full scale of ranged conversions."""
    if conversion.ranged:
        step, lo, hi = scale / conversion.hi, conversion.lo, conversion.hi
    else:
        step, lo, hi = float(conversion.step), conversion.lo // conversion.step, conversion.hi // conversion.step
    inverse = 1.0 / step
    return Converter(step, lo, hi, inverse if _same_codes(step, inverse, lo, hi) else 0.0)


#: Codes of a converter above which nobody looks at each.
_MOST_CODES = 1 << 16


def _same_codes(step: float, inverse: float, lo: int, hi: int) -> bool:
    """Whether product and quotient give the same code for every integer.

    Both grow with the integer, so it is enough that they agree around each of the places where the code changes. Wide
    converters, which have too many of them to look at, divide.
    """
    if step == 1.0 or hi - lo > _MOST_CODES:
        return step == 1.0
    places = np.ceil((np.arange(lo + 1, hi + 1) - 0.5) * step)
    near = (places[:, None] + np.arange(-2, 3)).ravel()
    return bool(np.array_equal(np.floor(near / step + 0.5), np.floor(near * inverse + 0.5)))


def add_codes(sums: Array, c: Converter, codes: Array) -> None:
    """Add the codes of i32 ``sums`` [m, n] to i32 ``codes`` [m, n]; both contiguous."""
    kernel = compiled(_multiply_loops if c.inverse else _divide_loops)
    if kernel is None:
        codes += c.codes(sums).astype(np.int32)
        return
    kernel(sums.reshape(-1), c.inverse or c.step, float(c.lo), float(c.hi), codes.reshape(-1))


def _multiply_loops(sums, inverse, lo, hi, codes):  # type: ignore[no-untyped-def]
    for i in range(sums.size):
        codes[i] += np.int32(min(max(np.floor(np.float64(sums[i]) * inverse + 0.5), lo), hi))


def _divide_loops(sums, step, lo, hi, codes):  # type: ignore[no-untyped-def]
    for i in range(sums.size):
        codes[i] += np.int32(min(max(np.floor(np.float64(sums[i]) / step + 0.5), lo), hi))


def scaled(codes: Array, step: float) -> Array:
    """``floor(step * codes + 1/2)`` in float64, as i32."""
    if step == 1.0:
        return codes
    kernel = compiled(_scale_loops)
    if kernel is None:
        return np.asarray(np.floor(codes * step + 0.5).astype(np.int64).astype(np.int32))
    out = np.empty(codes.shape, np.int32)
    kernel(codes.reshape(-1), step, out.reshape(-1))
    return out


def _scale_loops(codes, step, out):  # type: ignore[no-untyped-def]
    for i in range(codes.size):
        out[i] = np.int32(np.floor(np.float64(codes[i]) * step + 0.5))
