"""Trained peripherals: every output's NNS+A once for each input slice, then its NNADC; float32 all the way.

What a chip's devices are (weights drawn, trimmed and calibrated) comes from ``pimc_isa.peripherals`` as data: a
least-squares calibration cannot be written down to the last bit. What they do with voltages is restated here.
"""

from __future__ import annotations

from typing import cast

import numpy as np

from pimc_isa.engines.step.analog import Hardware, Swings, converter_range
from pimc_isa.engines.step.cells import HeldBlock
from pimc_isa.engines.step.draws import SUMS, key_of, normal
from pimc_isa.peripherals import ConverterTable, NnsaInstance, Peripherals, from_tensors

__all__ = ["trained_codes"]

Array = np.ndarray
F32 = np.float32

#: Which NNS+A and which NNADC make each range, the largest first.
PARTS = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2))


def trained_codes(
    hardware: Hardware, block: HeldBlock, slices: list[Array], step: float, swings: Swings, which: Array
) -> Array:
    """i64 codes [positions, n] of one row block."""
    fold, table, volts = _devices(hardware, swings, step)
    held = np.zeros(which.shape, F32)
    noise = hardware.noise
    for i, x in enumerate(slices):
        lines = []
        for j in range(len(block.columns[0])):
            column = block.columns[0][j] - block.columns[1][j] if len(block.columns) == 2 else block.columns[0][j]
            p = (x.astype(np.float64) @ column).astype(F32)
            sigma = F32(np.sqrt(2 * (noise.read**2 + noise.hold**2)) * swings.column(i, j))
            if sigma:
                key = key_of(hardware.seed, SUMS, swings.weights.name, block.number, i, j, *swings.stream)
                p = p + sigma * normal(key, which).astype(F32)
            lines.append(p * F32(volts))
        held = _nnsa(fold, lines, held)
    return table.codes[np.searchsorted(table.edges, held, side="right")].astype(np.int64)


def _devices(hardware: Hardware, swings: Swings, step: float) -> tuple[NnsaInstance, ConverterTable, float]:
    """The layer's NNS+A and NNADC, and bit-line volts of one unit of a column sum."""
    number = converter_range(swings.v_max)
    if "all" not in hardware.drawn:
        hardware.drawn["all"] = from_tensors(hardware.program.tensors, "peripherals.")
    every = cast(Peripherals, hardware.drawn["all"])
    fold, converter = every.nnsa[PARTS[number][0]], every.nnadc[PARTS[number][1]]
    key = number, swings.weights.name
    if key not in hardware.drawn:
        if hardware.noise.peripherals:
            seed = key_of(hardware.seed, 0, swings.weights.name)
            hardware.drawn[key] = fold.draw(seed), converter.draw(seed)
        else:
            hardware.drawn[key] = fold.nominal(), converter.nominal()
    instance, table = cast(tuple[NnsaInstance, ConverterTable], hardware.drawn[key])
    lsb = 2 * converter.v_max / 256
    slices = len(swings.reading.slices)
    return instance, table, lsb * fold.fold ** -(slices - 1) / fold.line / step


def _nnsa(fold: NnsaInstance, lines: list[Array], held: Array) -> Array:
    """One operation: lines clipped at the full scale, neuron by neuron, inputs in order, all in float32."""
    x = [np.minimum(np.maximum(line, -fold.full_scale), fold.full_scale) for line in lines]
    total = np.full(held.shape, fold.offset, F32)
    for neuron in range(len(fold.bias)):
        z = np.full(held.shape, fold.bias[neuron], F32)
        for weight, line in zip(fold.hidden[neuron], [*x, held], strict=True):
            z = z + weight * line
        total = total + fold.output[neuron] * _curve(z)
    return total


def _curve(z: Array) -> Array:
    """An inverter: ``z (15 - 10 z^2 + 3 z^4) / 8`` between -1 and 1, flat beyond."""
    z = np.minimum(np.maximum(z, F32(-1)), F32(1))
    s = z * z
    return np.asarray(z * (F32(1.875) + s * (F32(-1.25) + s * F32(0.375))))
