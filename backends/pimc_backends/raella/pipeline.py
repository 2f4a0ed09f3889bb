"""The raella target: its machine, its flows for every slicing of weights, its passes."""

from __future__ import annotations

from pimc.passes.base import Pass
from pimc.passes.choose_inputs import ChooseInputs
from pimc.passes.choose_slices import ChooseSlices
from pimc.passes.target import Target, TargetError
from pimc_backends.kit.emit import emit
from pimc_backends.kit.target import analog_pipeline, packaged_machine
from pimc_backends.raella.flows import (
    all_slicings,
    bits_flow,
    flow_name,
    speculated_slices,
    speculative_flow,
    usual_slicing,
)
from pimc_isa.flow import Flow
from pimc_isa.machine import Machine

__all__ = ["emit", "flow", "machine", "passes", "target"]


def machine() -> Machine:
    """RAELLA at 32 nm."""
    return packaged_machine(__package__)


published = machine


def flow(slicing: tuple[int, ...] = usual_slicing(), speculates: bool = True, signed: bool = False) -> Flow:
    """The flow of a slicing of the weights (high bits first); ``signed``: inputs in two passes."""
    return _flow(machine(), slicing, speculates, signed)


def _flow(chip: Machine, slicing: tuple[int, ...], speculates: bool, signed: bool) -> Flow:
    array = chip.array
    if not speculates:
        return bits_flow(slicing, array.step_cycles, array.converter_bits, signed)
    widths = speculated_slices(array.dac_bits)
    return speculative_flow(slicing, array.step_cycles, array.converter_bits, signed, widths)


def target(
    *,
    chips: int | None = None,
    replication: str = "balanced",
    speculation: str = "on",
    centre: str = "best",
    signed: str = "best",
    machine: Machine | None = None,
) -> Target:
    """RAELLA with 8-bit inputs and weights. Raises TargetError.

    ``speculation='off'``: inputs bit by bit, the paper's throughput mode; so do DACs of one bit.
    ``centre``: 'best' (equation 2), 'mean' of the column, or 'zero' (the paper's Zero+Offset). ``signed``: 'on', inputs
    in two passes, their positive and their negative parts; 'off', in one; 'best': for each layer what takes the least
    energy within the error budget, speculation or not, one pass or two.
    """
    chip = machine or published()
    if speculation not in ("on", "off"):
        raise TargetError(f"speculation {speculation!r} does not exist; choose on or off")
    speculates = speculation == "on" and chip.array.dac_bits > 1
    flows = [
        _flow(chip, slicing, each, passes)
        for each in ((True, False) if speculates else (False,))
        for passes in (False, True)
        for slicing in all_slicings(chip.array.cell_bits)
    ]
    usual = flow_name(usual_slicing(chip.array.cell_bits), speculates, signed == "on")
    return Target("raella", chip, tuple(flows), usual, chips, replication, centre=centre, signed=signed)


def passes() -> tuple[Pass, ...]:
    """The passes, in order."""
    first, *others = analog_pipeline()
    return (first, ChooseSlices(), ChooseInputs(), *others)
