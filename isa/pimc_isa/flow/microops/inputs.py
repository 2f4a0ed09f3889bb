"""Inputs: from the tile's memory to the word lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pimc_isa.flow.define import MicroOp
from pimc_isa.flow.fields import bit_range, choice
from pimc_isa.flow.forms import PARTS, Bits
from pimc_isa.flow.latches import fail
from pimc_isa.flow.use import ONES

if TYPE_CHECKING:
    from pimc_isa.flow.flow import Flow
    from pimc_isa.flow.use import Use
    from pimc_isa.machine import Machine

__all__ = ["Drive", "Load", "input_bits"]


class Load(MicroOp, op="load", resource="memory", makes="inputs"):
    """Copy the position's inputs from the tile's memory to the input registers."""

    def actions(self, flow: Flow, use: Use) -> dict[str, float]:
        """Bytes read once and broadcast, and the registers they go to."""
        registers = use.positions * use.rows * flow.input_bits / 8
        return {"memory_byte": use.input_bytes, "bus_byte": use.input_bytes, "input_register_byte": registers}


class Drive(MicroOp, op="drive", resource="dac", takes="inputs"):
    """Put bits LO..HI-1 of every input onto the word lines.

    positive, negative: of what the input is above, or below, the group's zero point; codes of the negative part are
    subtracted.
    """

    bits: Bits = bit_range()
    part: str = choice(*PARTS, optional=True)

    def problems(self, flow: Flow, machine: Machine) -> Iterator[tuple[str, str]]:
        """DACs have so many bits."""
        most = machine.array.dac_bits
        if not 0 < self.bits[1] - self.bits[0] <= most:
            yield "the slice does not fit the DACs", f"drive 1 to {most} bits at a time"

    def measures(self, flow: Flow, machine: Machine) -> frozenset[str]:
        """Pulse trains are as long as the inputs are large."""
        return frozenset({ONES} if machine.array.dac_pulses else ())

    def actions(self, flow: Flow, use: Use) -> dict[str, float]:
        """Every word line is driven, and the bits read from its register; the pulses, where it is driven by pulses."""
        lines = use.positions * use.rows
        driven = {"dac_drive": lines, "input_register_byte": lines * (self.bits[1] - self.bits[0]) / 8}
        return driven | ({"dac_pulse": use.pulses_sent(self.bits, self.part)} if use.pulses else {})


def input_bits(flow: Flow, op: MicroOp, found: Bits) -> Bits:
    """The bits if the flow's inputs have them. Raises FlowError."""
    if not found[0] < found[1] <= flow.input_bits:
        fail(flow, op, "these are not input bits", f"{op.name.split('-')[0]} bits within 0:{flow.input_bits}")
    return found
