"""Dot products through the peripherals: NNS+A once per input slice (low slice first), then one NNADC conversion.

Three kinds of peripherals:

* ``ideal``: the exact integer sum, rounded to multiples of ``step`` (halves up) and clipped to -128..127 steps;
* ``fitted``: the exact sum with a bias and a Gaussian error that depend on its value, then the ideal converter;
* ``trained``: the networks themselves, one drawn NNS+A and one drawn NNADC.

``step`` is what one code counts, in units of the integer dot product. It fixes the gain from column sums to bit-line
volts: a gain per layer is our addition (the paper's three ranges alone lose accuracy where sums are small).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from pimc_isa.errors import ProgramError
from pimc_isa.jit import compiled
from pimc_isa.peripherals.kernels import fitted_loops, fold_loops, lookup_loops, sum_loops
from pimc_isa.peripherals.nnadc import BUCKETS, ConverterTable, nnadc
from pimc_isa.peripherals.nnsa import BITS, NnsaInstance, nnsa
from pimc_isa.peripherals.randomness import NORMAL_TABLE_BITS, hashes, normal_table

__all__ = ["DAC_BITS", "Chain", "ErrorModel", "Kind", "dot_chain", "dot_chain_reference", "exact_sums"]

Array = np.ndarray
Kind = Literal["ideal", "fitted", "trained"]

DAC_BITS = 4


@dataclass(frozen=True)
class ErrorModel:
    """Errors of a trained chain, referred to the converter's input; float32 [knots] over -v_max..v_max, in volts."""

    bias: Array
    sigma: Array


@dataclass(frozen=True)
class Chain:
    """The peripherals of one group of outputs, drawn and ready to run.

    ``step``: value of one code. ``volts``: bit-line volts of one unit of a column sum. ``v_max``: range of the
    converter. ``key``: random stream of the fitted errors. ``slices``: input slices of four bits.
    """

    kind: Kind
    step: int
    v_max: float
    volts: float
    slices: int = 2
    fold: NnsaInstance | None = None
    converter: ConverterTable | None = None
    errors: ErrorModel | None = None
    key: int = 0

    @property
    def lsb(self) -> float:
        """Volts of one code."""
        return 2 * self.v_max / 256


def exact_sums(p: Array, dac_bits: int = DAC_BITS) -> Array:
    """Integer dot products [positions, outputs] from column sums [positions, slices, 8, outputs], low slice first.

    i32: ``p`` must hold integers whose sums fit, as those of any array of up to 512 rows do.
    """
    kernel = compiled(sum_loops)
    if kernel is None:
        shifts = dac_bits * np.arange(p.shape[1])[:, None] + np.arange(p.shape[2])
        return np.asarray(np.einsum("pijo,ij->po", p.astype(np.int32), np.int32(1) << shifts.astype(np.int32)))
    out = np.empty((p.shape[0], p.shape[3]), np.int32)
    kernel(p, dac_bits, out)
    return out


def dot_chain(p: Array, chain: Chain, first: int = 0) -> Array:
    """Codes i16 [positions, outputs] of column sums ``p`` [positions, slices, 8, outputs] (integers, low slice first).

    A code counts ``chain.step`` each. ``first`` numbers the first element among all that share the chain's random
    stream. Bit for bit equal to ``dot_chain_reference``. Raises ProgramError for the wrong number of slices or lines.
    """
    _check(p, chain)
    loops = compiled(fold_loops), compiled(lookup_loops), compiled(fitted_loops)
    if chain.kind == "ideal" or None in loops:
        return dot_chain_reference(p, chain, first)
    if chain.kind == "fitted":
        sums = exact_sums(p)
        return _fitted_compiled(sums.ravel(), chain, first).reshape(sums.shape)
    fold, table = _parts(chain)
    volts = np.empty((p.shape[0], p.shape[3]), np.float32)
    compiled(fold_loops)(  # type: ignore[misc]
        p, np.float32(chain.volts), fold.full_scale, fold.hidden, fold.bias, fold.output, fold.offset, volts
    )
    codes = np.empty(volts.size, np.int16)
    per_bucket = np.float32(BUCKETS / (2 * table.v_max))
    compiled(lookup_loops)(  # type: ignore[misc]
        volts.ravel(), np.float32(-table.v_max), per_bucket, table.first, table.edges, table.codes, codes
    )
    return codes.reshape(volts.shape)


def dot_chain_reference(p: Array, chain: Chain, first: int = 0) -> Array:
    """``dot_chain`` in numpy."""
    _check(p, chain)
    if chain.kind == "ideal":
        sums = exact_sums(p)
        return np.asarray(np.clip((sums + chain.step // 2) // chain.step, -128, 127).astype(np.int16))
    if chain.kind == "fitted":
        sums = exact_sums(p)
        return _fitted(sums.ravel(), chain, first).reshape(sums.shape)
    fold, table = _parts(chain)
    return nnadc(table, fold_volts(p, chain, fold))


def fold_volts(p: Array, chain: Chain, fold: NnsaInstance) -> Array:
    """float32 volts [positions, outputs] at the converter's input."""
    held = np.zeros((p.shape[0], p.shape[3]), np.float32)
    for i in range(p.shape[1]):
        held = nnsa(fold, np.moveaxis(p[:, i].astype(np.float32), 1, 2) * np.float32(chain.volts), held)
    return held


def _check(p: Array, chain: Chain) -> None:
    if p.ndim != 4 or p.shape[1:3] != (chain.slices, BITS):
        raise ProgramError(
            f"peripherals: column sums of shape {p.shape}\n"
            f"expected [positions, {chain.slices} input slices, {BITS} bit lines, outputs]"
        )


def _parts(chain: Chain) -> tuple[NnsaInstance, ConverterTable]:
    if chain.fold is None or chain.converter is None:
        raise ProgramError("peripherals: a trained chain needs a drawn NNS+A and a drawn NNADC")
    return chain.fold, chain.converter


def _fit_arguments(chain: Chain) -> tuple[np.float32, Array, Array, np.float32, np.float32, np.float32]:
    if chain.errors is None:
        raise ProgramError("peripherals: a fitted chain needs an error model")
    bias, sigma = chain.errors.bias, chain.errors.sigma
    scale, middle = np.float32(chain.lsb / chain.step), np.float32((len(bias) - 1) / 2)
    return scale, bias, sigma, np.float32(middle / chain.v_max), middle, np.float32(1 / chain.lsb)


def _fitted_compiled(y: Array, chain: Chain, first: int) -> Array:
    scale, bias, sigma, per_knot, middle, per_volt = _fit_arguments(chain)
    codes = np.empty(y.size, np.int16)
    key, start = np.uint64(chain.key), np.uint64(first)
    compiled(fitted_loops)(  # type: ignore[misc]
        y, scale, key, start, normal_table(), bias, sigma, per_knot, middle, per_volt, codes
    )
    return codes


def _fitted(y: Array, chain: Chain, first: int) -> Array:
    scale, bias, sigma, per_knot, middle, per_volt = _fit_arguments(chain)
    v = y.astype(np.float32) * scale
    at = np.minimum(np.maximum(v * per_knot + middle, np.float32(0)), np.float32(len(bias) - 1))
    k = np.minimum(at.astype(np.int64), len(bias) - 2)
    part = at - k.astype(np.float32)
    mean = bias[k] + part * (bias[k + 1] - bias[k])
    spread = sigma[k] + part * (sigma[k + 1] - sigma[k])
    draw = normal_table()[hashes(chain.key, first, y.size) >> np.uint64(64 - NORMAL_TABLE_BITS)]
    code = np.floor((v + mean + spread * draw) * per_volt + np.float32(0.5))
    return np.asarray(np.minimum(np.maximum(code, np.float32(-128)), np.float32(127)).astype(np.int16))
