"""Guarded conversions: which flagged ones refine which block, and whether they cover it exactly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pimc_isa.flow.adds import Codes
from pimc_isa.flow.forms import Bits, Block
from pimc_isa.flow.latches import fail, guard_of

if TYPE_CHECKING:
    from pimc_isa.flow.flow import Flow

__all__ = ["covers", "refined", "refuse_guards"]

Cell = tuple[int, int]  # input bit, weight slice


def refuse_guards(flow: Flow, codes: Sequence[Codes]) -> None:
    """Refuse guarded codes that are merged, and refinements of nothing. Raises FlowError.

    Codes are added by their own flags: what makes other flags makes other codes at the same time.
    """
    guards = [each.convert for each in codes if each.convert.guard == "guarded"]
    for each in codes:
        convert = each.convert
        if not convert.guard:
            continue
        if each.op.takes != "codes":
            fail(flow, each.op, "codes whose flags decide are merged", "accumulate them")
        guard = guard_of(flow, convert) if convert.guard == "flagged" else convert
        if guard not in guards:
            fail(flow, guard, "its codes are not added, but others refine them", "accumulate its codes")


def refined(
    flow: Flow, added: Codes, block: Block, slices: tuple[Bits, ...], refinements: Sequence[tuple[Codes, Block]]
) -> Block:
    """A block with its refinement, if it is guarded. Raises FlowError unless that covers it exactly once.

    ``slices``: input slices by number; ``refinements``: blocks of all flagged conversions, with whoever adds them.
    """
    if added.convert.guard != "guarded":
        return block
    own = _cells(block, slices)
    mine = [(by, b) for by, b in refinements if guard_of(flow, by.convert) == added.convert]
    _refuse_strays(flow, added, slices, mine)
    inside = [b for _, b in mine if set(_cells(b, slices)) & set(own)]
    for by, b in mine:
        if set(_cells(b, slices)) & set(own) and not set(_cells(b, slices)) <= set(own):
            fail(flow, by.convert, "it sees pairs of several guarded sums", "refine each guarded sum by itself")
    covered = Counter(cell for b in inside for cell in _cells(b, slices))
    for bit, j in own:
        if covered[bit, j] != 1:
            what = f"input bit {bit} of weight slice {j} is refined {covered[bit, j]} times instead of once"
            fail(flow, added.convert, what, "convert every bit of a guarded sum once more, flagged, and accumulate it")
    return replace(block, refinement=tuple(inside))


def covers(block: Block, part: Block, slices: tuple[Bits, ...]) -> bool:
    """Whether a block sees all that a part sees."""
    return set(_cells(part, slices)) <= set(_cells(block, slices))


def _refuse_strays(flow: Flow, added: Codes, slices: tuple[Bits, ...], mine: Sequence[tuple[Codes, Block]]) -> None:
    """Flagged conversions of bits that the guarded one has not seen."""
    seen = {bit for lo, hi in added.convert.sees(flow).bits for bit in range(lo, hi)}
    for by, b in mine:
        stray = sorted({bit for bit, _ in _cells(b, slices)} - seen)
        if stray:
            what = f"input bit {stray[0]} is not in the sums whose flags it takes"
            fail(flow, by.convert, what, f"refine what '{added.convert.text()}' converts")


def _cells(block: Block, slices: tuple[Bits, ...]) -> list[Cell]:
    """The input bits and weight slices that a block sees."""
    return [(bit, j) for i, j in block.pairs for bit in range(*slices[i])]
