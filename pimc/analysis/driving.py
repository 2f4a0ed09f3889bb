"""Ways to drive a layer's inputs, tried on calibration windows: in wide slices or bit by bit, in one pass or in two.

Flows that read the same slices of weights differ in what their conversions see, and so in which of them clip, how many
are flagged and made again, and how many pulses are sent. Here all of that is computed for a sample of windows, whose
column sums are made once, bit by bit of the inputs: a wider slice is a sum of bits. The actions are those that the
flow's micro-operations declare.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, log2
from typing import Any

import numpy as np
import numpy.typing as npt

from pimc.analysis.slicing import SlicedLayer, bit_sums, flat, parts_of
from pimc_isa.crossbar.cells import row_blocks, slice_shifts
from pimc_isa.crossbar.footprint import Footprint, footprint
from pimc_isa.element import I32, U8
from pimc_isa.flow import Flow, normal_form
from pimc_isa.flow.forms import PARTS, Block, NormalForm, Takes
from pimc_isa.flow.use import Tally, Use
from pimc_isa.machine import Machine

__all__ = ["Outcome", "can_try", "least_energy", "outcomes"]

Array = npt.NDArray[Any]
TAKES = Takes.of("refinement", "unit_conversions", "input_parts", grids=("singles",))
_BITS = 8


@dataclass(frozen=True)
class Outcome:
    """What a flow makes of a sample of windows: its mean error in codes, and actions and energy of all of them."""

    error: float
    actions: Mapping[str, float]
    energy_pj: float


def can_try(flow: Flow) -> bool:
    """Whether every column sum of the flow is converted by itself, to units, and inputs are counted in digital."""
    form = normal_form(flow)
    return TAKES(form) and all(unit is None for unit in form.unit_conversions)


def least_energy(found: Mapping[str, Outcome], budget: float) -> str:
    """Of those that stay below the budget (of all, if none does) the one that takes the least energy."""
    fits = {name: each for name, each in found.items() if each.error < budget} or found
    return min(fits, key=lambda name: (fits[name].energy_pj, fits[name].error, name))


def outcomes(layer: SlicedLayer, flows: Sequence[Flow], zero: int, machine: Machine) -> list[Outcome]:
    """Of flows that read the same slices of weights, for inputs with this zero point."""
    slices = flows[0].slices
    groups, k, n = layer.weights.shape
    place = footprint(groups, k, n, flows[0].columns, machine.array, layer.block_rows)
    trials = [_Trial(flow, layer, zero, place) for flow in flows]
    centres = layer.centres(slices).astype(np.int64)
    for block, rows in row_blocks(k, layer.block_rows):
        own = layer.weights[:, rows].astype(np.int64) - centres[:, block, None]
        for part, x in _parts(layer.vectors[:, :, rows].transpose(1, 0, 2), zero, trials):
            driven = [trial for trial in trials if part in trial.parts]
            for trial in driven:
                trial.meet(part, x, own, centres[:, block])
            for j, width in enumerate(slices):
                sums = bit_sums(x, own, (slice_shifts(slices)[j], width))
                for trial in driven:
                    trial.convert(part, j, sums)
    return [trial.outcome(machine) for trial in trials]


def _parts(x: Array, zero: int, trials: Sequence[_Trial]) -> list[tuple[str, Array]]:
    """The inputs, or their parts, that some of the flows drive."""
    named = [("", x), *zip(PARTS, (part for _, part in parts_of(x, zero)), strict=True)]
    return [(name, np.ascontiguousarray(part)) for name, part in named if any(name in t.parts for t in trials)]


class _Trial:
    """One flow at work on a sample of windows."""

    def __init__(self, flow: Flow, layer: SlicedLayer, zero: int, place: Footprint) -> None:
        self.flow, self.layer, self.place = flow, layer, place
        self.form = normal_form(flow)
        self.parts = dict.fromkeys(self.form.part(i) for i in range(len(self.form.input_slices)))
        self.sums = np.zeros((len(layer.weights), len(layer.vectors), layer.weights.shape[2]), np.int64)
        self.sums += (zero if flow.signed else 0) * layer.weights.sum(axis=1, dtype=np.int64)[:, None]
        self.flags = [0] * len(self.form.blocks)
        self.met = {part: np.zeros((3, _BITS), np.int64) for part in self.parts}

    def meet(self, part: str, x: Array, own: Array, centre: Array) -> None:
        """Drive inputs [groups, windows, rows] onto a row block: what they meet there, and the centres' part."""
        ones = np.stack([(x >> bit & 1).sum(axis=1, dtype=np.int64) for bit in range(_BITS)])
        held = sum((np.abs(own) >> shift & (1 << width) - 1).sum(axis=2) for shift, width in self._places())
        units = self.place.unit_columns // (len(own) * -(-self.layer.weights.shape[1] // self.layer.block_rows))
        every = ones.sum(axis=2)
        found = self.place.drives * every.sum(axis=1), every @ np.array(self.place.crossed), ones * (held + units)
        self.met[part] += np.stack([*found[:2], found[2].sum(axis=(1, 2))])
        if self.form.unit_conversions:
            inputs = x.sum(axis=2, dtype=np.int64)
            self.sums += PARTS.get(part, 1) * inputs[:, :, None] * centre[:, None]

    def _places(self) -> list[tuple[int, int]]:
        return list(zip(slice_shifts(self.flow.slices), self.flow.slices, strict=True))

    def convert(self, part: str, j: int, sums: Array) -> None:
        """Convert what weight slice ``j`` makes of each bit of inputs, f32 [bits, groups, windows, n]."""
        for number, block in enumerate(self.form.blocks):
            ((i, slice_),) = block.pairs
            if slice_ == j and self.form.part(i) == part:
                counts, flags = _counted(block, self.form, sums)
                self.sums += self.form.sign(i) * counts
                self.flags[number] += flags

    def outcome(self, machine: Machine) -> Outcome:
        """What it came to."""
        actions: Counter[str] = Counter()
        for op in self.flow.ops:
            actions.update(op.actions(self.flow, self._use(machine)))
        prices = {each.action: each.energy_pj for each in machine.energies}
        energy = sum(number * prices.get(action, 0.0) for action, number in actions.items())
        return Outcome(self.layer.error_of(flat(self.sums)), dict(actions), energy)

    def _use(self, machine: Machine) -> Use:
        """The crossbars in use, and what the data decided, over all windows."""
        place, array, (groups, k, n) = self.place, machine.array, self.layer.weights.shape
        positions, outputs = len(self.layer.vectors), groups * n
        lines, cells, levels = (tuple(map(int, np.concatenate(each))) for each in zip(*self.met.values(), strict=True))
        priced = machine.prices("cell_charge")
        tally = Tally(positions, lines, cells, levels if priced else (), tuple(self.flags))
        return Use(
            positions,
            *(place.rows, place.cells, place.columns, place.unit_columns, place.sums, outputs),
            positions * U8.nbytes(groups * k),
            positions * I32.nbytes(outputs),
            ceil((self.flow.input_bits + sum(self.flow.slices) + log2(array.rows)) / 8),
            array.dac_pulses,
            0 if priced else None,
            tally,
        )


def _counted(block: Block, form: NormalForm, sums: Array) -> tuple[Array, int]:
    """What a block counts, int64 [groups, windows, n], and how many of its conversions were flagged."""
    code = _code(block, form, sums)
    counts = code << block.shift
    if not block.refinement or block.conversion is None:
        return counts, 0
    flagged = np.isin(code, block.conversion.ends)
    finer = [_code(each, form, sums) << each.shift for each in block.refinement]
    return np.where(flagged, np.sum(finer, axis=0), counts), int(flagged.sum())


def _code(block: Block, form: NormalForm, sums: Array) -> Array:
    """The code of one column's sum in one input slice."""
    lo, hi = form.input_slices[block.pairs[0][0]]
    value = np.tensordot(2.0 ** np.arange(hi - lo), sums[lo:hi], 1).astype(np.int64)
    return value if block.conversion is None else np.clip(value, block.conversion.lo, block.conversion.hi)
