"""Guarded conversions: which flagged ones refine which block, and whether they cover it exactly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pimc_isa.flow.adds import Codes
from pimc_isa.flow.forms import Block, InputSlice
from pimc_isa.flow.latches import fail, guard_of

if TYPE_CHECKING:
    from pimc_isa.flow.flow import Flow
    from pimc_isa.flow.microops import Convert

__all__ = ["by_guard", "covers", "refined", "refuse_guards"]

Cell = tuple[int, int, str]  # input bit, weight slice, part of the inputs


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
    flow: Flow, added: Codes, block: Block, slices: tuple[InputSlice, ...], refinements: Sequence[tuple[Codes, Block]]
) -> Block:
    """A block with its refinement, if it is guarded. Raises FlowError unless that covers it exactly once.

    ``slices``: input slices by number; ``refinements``: blocks of its flagged conversions, with whoever adds them.
    """
    if added.convert.guard != "guarded":
        return block
    own = _cells(block, slices)
    _refuse_strays(flow, added, slices, refinements)
    inside = [b for _, b in refinements if set(_cells(b, slices)) & set(own)]
    for by, b in refinements:
        if set(_cells(b, slices)) & set(own) and not set(_cells(b, slices)) <= set(own):
            fail(flow, by.convert, "it sees pairs of several guarded sums", "refine each guarded sum by itself")
    covered = Counter(cell for b in inside for cell in _cells(b, slices))
    for cell in own:
        if covered[cell] != 1:
            what = f"{_bit(cell)} of weight slice {cell[1]} is refined {covered[cell]} times instead of once"
            fail(flow, added.convert, what, "convert every bit of a guarded sum once more, flagged, and accumulate it")
    return replace(block, refinement=tuple(inside))


def by_guard(flow: Flow, finer: Sequence[tuple[Codes, Block]]) -> dict[Convert, list[tuple[Codes, Block]]]:
    """Blocks of flagged conversions, with whoever adds them, by the guarded one whose flags they take."""
    guards = {convert: guard_of(flow, convert) for convert in {by.convert for by, _ in finer}}
    found: dict[Convert, list[tuple[Codes, Block]]] = {}
    for by, block in finer:
        found.setdefault(guards[by.convert], []).append((by, block))
    return found


def covers(block: Block, part: Block, slices: tuple[InputSlice, ...]) -> bool:
    """Whether a block sees all that a part sees."""
    return set(_cells(part, slices)) <= set(_cells(block, slices))


def _refuse_strays(
    flow: Flow, added: Codes, slices: tuple[InputSlice, ...], mine: Sequence[tuple[Codes, Block]]
) -> None:
    """Flagged conversions of bits that the guarded one has not seen."""
    seen = {(bit, part) for lo, hi, part in added.convert.sees(flow).slices for bit in range(lo, hi)}
    for by, b in mine:
        stray = sorted(cell for cell in _cells(b, slices) if (cell[0], cell[2]) not in seen)
        if stray:
            what = f"{_bit(stray[0])} is not in the sums whose flags it takes"
            fail(flow, by.convert, what, f"refine what '{added.convert.text()}' converts")


def _bit(cell: Cell) -> str:
    return f"input bit {cell[0]}" + (f" of the {cell[2]} part" if cell[2] else "")


def _cells(block: Block, slices: tuple[InputSlice, ...]) -> list[Cell]:
    """The input bits and weight slices that a block sees."""
    return [(bit, j, slices[i][2]) for i, j in block.pairs for bit in range(*slices[i][:2])]
