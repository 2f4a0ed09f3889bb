"""Column sums, and what analog parts do with them before a conversion."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from pimc_isa.flow.define import MicroOp
from pimc_isa.flow.fields import bits, choice, scaling, shift, step
from pimc_isa.flow.forms import Bits, Conversion, Seen
from pimc_isa.flow.latches import fail, gathered, latest
from pimc_isa.flow.microops.inputs import Drive, input_bits
from pimc_isa.flow.use import LEVELS, ONES

if TYPE_CHECKING:
    from pimc_isa.flow.flow import Flow
    from pimc_isa.flow.use import Use
    from pimc_isa.machine import Array, Machine

__all__ = ["Buffer", "Fold", "Read", "buffer_columns", "buffer_places", "outputs_of"]


class Read(MicroOp, op="read", resource="array", makes="samples"):
    """Sample the column sums of what is driven in the same step.

    pairs: of each W+ and W- column the difference; sides: each on its own, their codes are subtracted.
    """

    sampled: str = choice("pairs", "sides", optional=True)

    def seen(self, flow: Flow, taker: MicroOp) -> Seen:
        """Single samples of what is driven."""
        return Seen("samples", (self.driven(flow),))

    def driven(self, flow: Flow) -> Bits:
        """The input bits on the word lines."""
        drives = [o for o in flow.ops if isinstance(o, Drive) and o.step == self.step]
        if not drives:
            fail(flow, self, "no input bits are driven in this step", "add a drive at the same step")
        return input_bits(flow, drives[0], drives[0].bits)

    def measures(self, flow: Flow, machine: Machine) -> frozenset[str]:
        """Cells conduct as long as pulses last, and as well as their level says."""
        pulses, levels = machine.array.dac_pulses > 0, machine.prices("cell_charge")
        return frozenset({ONES} if pulses else ()) | frozenset({LEVELS} if levels else ())

    def actions(self, flow: Flow, use: Use) -> dict[str, float]:
        """Cells between driven word lines and columns in use are read, and these columns sampled."""
        held = use.positions * (use.columns + use.unit_columns)
        found = {"cell_read": use.cells_read(self.driven(flow)), "sample_hold": held}
        return found if use.levels is None else found | {"cell_charge": use.charge(self.driven(flow))}


class Fold(
    MicroOp,
    op="fold",
    resource="folder",
    takes="samples",
    makes="held sums",
    gradual=True,
    divisible=True,
    gathers="since",
    noun="analog additions",
):
    """Add all weight slices' samples and the held sum, scaled by 2**-N (or 2**N), and hold it (NNS+A).

    The first one of a conversion starts from zero.
    """

    right: int = scaling()

    def problems(self, flow: Flow, machine: Machine) -> Iterator[tuple[str, str]]:
        """Not every machine has NNS+A."""
        if not machine.array.folds_per_step:
            yield "the machine has no analog shift-and-add", "convert and accumulate the samples"

    def powers(self) -> Iterator[int]:
        """The shift."""
        yield abs(self.right)

    def copies(self, flow: Flow, array: Array) -> int:
        """Sums that are held side by side."""
        return array.held_copies

    def rate(self, array: Array) -> float | None:
        """Additions."""
        return array.folds_per_step

    def work(self, flow: Flow, machine: Machine) -> int:
        """One for each output."""
        return outputs_of(flow, machine.array)

    def seen(self, flow: Flow, taker: MicroOp) -> Seen:
        """All that was folded since the last conversion of folds."""
        parts = [o for o in gathered(flow, taker, self) if isinstance(o, Fold)]
        found = tuple(_driven(flow, o) for o in parts)
        for part, before, here in zip(parts[1:], found, found[1:], strict=False):
            want = here[0] - before[0]
            if part.right != want:
                remedy = f"fold {'>>' if want >= 0 else '<<'}{abs(want)}"
                fail(flow, part, f"input bits {before[0]} and {here[0]} onwards differ by {want}", remedy)
        return Seen("held", found)

    def actions(self, flow: Flow, use: Use) -> dict[str, float]:
        """An addition and a hold for each sum."""
        return {"fold": use.positions * use.sums, "sample_hold": use.positions * use.sums}


class Buffer(
    MicroOp,
    op="buffer",
    resource="buffer-writer",
    takes="samples",
    makes="buffered sums",
    gradual=True,
    divisible=True,
    gathers="all",
    noun="buffer writes",
):
    """Write each sample to an analog cell of BITS bits, N columns higher: cells of equal weight share a column."""

    left: int = shift()
    bits: int = bits()
    cell_step: int | None = step()

    def problems(self, flow: Flow, machine: Machine) -> Iterator[tuple[str, str]]:
        """Buffer cells have so many bits."""
        if self.bits > machine.array.buffer_bits:
            yield "the buffer cells are narrower", f"write at most {machine.array.buffer_bits} bits"

    def powers(self) -> Iterator[int]:
        """Shift and bits."""
        yield from (self.left, self.bits)

    def copies(self, flow: Flow, array: Array) -> int:
        """Positions whose columns fit the buffer arrays."""
        return max(1, array.buffer_arrays * array.columns // buffer_columns(flow, array))

    def rate(self, array: Array) -> float | None:
        """Writes."""
        return array.buffer_writes_per_step

    def work(self, flow: Flow, machine: Machine) -> int:
        """One for each column."""
        return machine.array.columns

    @property
    def cell(self) -> Conversion:
        """What a sample goes through."""
        scale = self.cell_step or 1
        return Conversion(0, (2**self.bits - 1) * scale, scale)

    def seen(self, flow: Flow, taker: MicroOp) -> Seen:
        """All that is buffered."""
        parts = [o for o in gathered(flow, taker, self) if isinstance(o, Buffer)]
        found = tuple(_driven(flow, o) for o in parts)
        cells = {o.cell for o in parts}
        if len(cells) > 1:
            fail(flow, parts[-1], "cells of one column differ", "write the same bits and step in all of them")
        for part, (lo, _) in zip(parts, found, strict=True):
            if part.left != lo - found[0][0]:
                fail(flow, part, f"the samples are of input bit {lo} onwards", f"write them with <<{lo - found[0][0]}")
        return Seen("buffered", found, cells.pop())

    def actions(self, flow: Flow, use: Use) -> dict[str, float]:
        """A write for each column."""
        return {"buffer_write": use.positions * use.columns}


def _driven(flow: Flow, op: MicroOp) -> Bits:
    """The input bits of the samples that ``op`` takes."""
    seen = latest(flow, op, "samples").seen(flow, op)
    if seen.cell is not None:
        fail(flow, op, "the samples have been through a cell", "take them as they were read")
    return seen.bits[0]


def outputs_of(flow: Flow, array: Array) -> int:
    """Outputs that fit one crossbar side by side."""
    return array.columns // flow.columns


def buffer_columns(flow: Flow, array: Array) -> int:
    """Buffer columns that the outputs of one crossbar take."""
    return outputs_of(flow, array) * buffer_places(flow) * (2 if flow.pairs else 1)


def buffer_places(flow: Flow) -> int:
    """Buffer columns of one output: distinct weights of pairs of buffered input slice and weight slice."""
    return len(_places(flow, [_driven(flow, op) for op in flow.ops if isinstance(op, Buffer)]))


def _places(flow: Flow, slices: Iterable[Bits]) -> set[int]:
    shifts = [sum(flow.slices[:j]) for j in range(len(flow.slices))]
    return {lo + shift for lo, _ in slices for shift in shifts}
