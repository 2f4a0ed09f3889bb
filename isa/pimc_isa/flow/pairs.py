"""The pairs of input and weight slices that one conversion sees, as blocks of the normal form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pimc_isa.flow.forms import Block, InputSlice, Seen
from pimc_isa.flow.latches import fail

if TYPE_CHECKING:
    from pimc_isa.flow.flow import Flow
    from pimc_isa.flow.microops import Convert

__all__ = ["blocks_of", "lowest_place"]


def blocks_of(flow: Flow, convert: Convert, number: Mapping[InputSlice, int]) -> list[Block]:
    """The blocks of a conversion; ``number``: of each input slice. Raises FlowError for columns that are not there."""
    seen, conversion, shifts = convert.sees(flow), convert.conversion, _shifts(flow)
    pairs = [(each[0] + shift, number[each], j) for each in seen.slices for j, shift in enumerate(shifts)]
    if seen.kind == "samples":
        return [Block(((i, j),), (0,), place, conversion, seen.cell) for place, i, j in pairs]
    places = _columns(flow, convert, seen)
    together = seen.kind == "held" or bool(convert.columns and convert.columns.summed)
    blocks = []
    for group in [places] if together else [[place] for place in places]:
        inside = [(place, i, j) for place, i, j in pairs if place in group]
        exponents = tuple(place - group[0] for place, _, _ in inside)
        blocks.append(Block(tuple((i, j) for _, i, j in inside), exponents, group[0], conversion, seen.cell))
    return blocks


def lowest_place(flow: Flow, convert: Convert) -> int:
    """The power of two of the lowest code of a conversion."""
    return _columns(flow, convert, convert.sees(flow))[0]


def _shifts(flow: Flow) -> list[int]:
    return [sum(flow.slices[:j]) for j in range(len(flow.slices))]


def _columns(flow: Flow, convert: Convert, seen: Seen) -> list[int]:
    """Weights (powers of two) of the buffer columns that are converted, or of the columns of one sample."""
    places = sorted({lo + shift for lo, _ in seen.bits for shift in _shifts(flow)})
    chosen = convert.columns
    if chosen is None:
        return places
    if seen.kind != "buffered" or not chosen.lo < chosen.hi <= len(places):
        what = f"there are no buffer columns {chosen.lo}:{chosen.hi}"
        fail(flow, convert, what, f"convert columns within 0:{len(places)}")
    return places[chosen.lo : chosen.hi]
