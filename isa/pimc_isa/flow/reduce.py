"""What a flow computes: what its micro-ops add, reduced to the normal form."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

from pimc_isa.errors import FlowError
from pimc_isa.flow.adds import Codes, Corrected, InputSum, Scaled
from pimc_isa.flow.forms import PARTS, Block, Conversion, InputSlice, NormalForm, Seen
from pimc_isa.flow.guards import by_guard, covers, refined, refuse_guards
from pimc_isa.flow.latches import fail, guard_of
from pimc_isa.flow.pairs import blocks_of, lowest_place

if TYPE_CHECKING:
    from pimc_isa.flow.flow import Flow
    from pimc_isa.flow.microops import Convert

__all__ = ["MAX_BITS", "normal_form", "numbers", "refinements"]

#: Bits of an input, and of a weight, that a flow may have.
MAX_BITS = 32

_Kind = TypeVar("_Kind", Codes, InputSum, Corrected, Scaled)


@lru_cache(maxsize=64)
def normal_form(flow: Flow) -> NormalForm:
    """Reduce a flow to what it computes: the grid of (input slice, weight slice) pairs cut into blocks.

    Raises FlowError unless the blocks cover every input bit (of both parts of the inputs, where these are driven) and
    weight slice exactly once with the right power of two, and every refinement covers its block exactly once.
    """
    if not (0 < flow.input_bits <= MAX_BITS and flow.slices and min(flow.slices) > 0 and sum(flow.slices) <= MAX_BITS):
        raise FlowError(f"flow {flow.name}: inputs and the slices of a weight must have 1 to {MAX_BITS} bits")
    if len(flow.sampled) > 1:
        raise FlowError(f"flow {flow.name}: some reads sample pairs of columns, others single ones\nread all alike")
    cut = _cut(flow)
    _refuse_columns(flow, [block for _, block in cut.primary])
    _refuse_ranges(flow, [block for _, block in cut.primary])
    refuse_guards(flow, [*dict(cut.primary), *dict(cut.finer)])
    _refuse_sides(flow, [each for each, _ in (*cut.primary, *cut.finer)])
    finer = by_guard(flow, cut.finer)
    blocks = tuple(refined(flow, each, block, cut.slices, finer.get(each.convert, ())) for each, block in cut.primary)
    units = _unit_conversions(flow, cut.slices[: cut.inputs])
    shifts = tuple(sum(flow.slices[:j]) for j in range(len(flow.slices)))
    parts = tuple(part for _, _, part in cut.slices)
    driven = tuple((lo, hi) for lo, hi, _ in cut.slices)
    return NormalForm(driven, shifts, blocks, units, flow.sampled == {"sides"}, parts if any(parts) else ())


def numbers(flow: Flow, convert: Convert) -> tuple[int, ...]:
    """Which blocks of the normal form a conversion makes that is not flagged."""
    return tuple(n for n, (each, _) in enumerate(_cut(flow).primary) if each.convert == convert)


@lru_cache(maxsize=256)
def refinements(flow: Flow, convert: Convert) -> dict[int, int]:
    """By block of the normal form that a flagged conversion refines: in how many of its own blocks."""
    cut = _cut(flow)
    own = [block for each, block in cut.finer if each.convert == convert]
    inside = {n: sum(covers(b, f, cut.slices) for f in own) for n, (_, b) in enumerate(cut.primary)}
    guard = guard_of(flow, convert)
    return {n: times for n, times in inside.items() if times and cut.primary[n][0].convert == guard}


@dataclass(frozen=True)
class _Cut:
    """A flow's blocks with whoever adds them: those that count at first, and those of flagged conversions.

    ``slices``: input slices by number, the first ``inputs`` of them those of the first.
    """

    slices: tuple[InputSlice, ...]
    inputs: int
    primary: tuple[tuple[Codes, Block], ...]
    finer: tuple[tuple[Codes, Block], ...]


@lru_cache(maxsize=64)
def _cut(flow: Flow) -> _Cut:
    codes = _added(flow)
    own = [each for each in codes if each.convert.guard != "flagged"]
    inputs = _inputs(flow, own)
    _refuse_gaps(flow, inputs, "adds")
    number = {each: i for i, each in enumerate(inputs)}
    for each in codes:
        for seen in each.convert.sees(flow).slices:
            number.setdefault(seen, len(number))
    made = [(each, block) for each in codes for block in blocks_of(flow, each.convert, number)]
    primary = tuple((each, block) for each, block in made if each in own)
    return _Cut(tuple(number), len(inputs), primary, tuple(pair for pair in made if pair[0] not in own))


def _additions(flow: Flow, kind: type[_Kind]) -> list[_Kind]:
    """What the micro-operations add of one kind, in order."""
    return [added for op in flow.ops for added in op.adds(flow) if isinstance(added, kind)]


def _inputs(flow: Flow, codes: list[Codes]) -> list[InputSlice]:
    """Input slices in the order they are added; several conversions may share what is buffered."""
    sums: list[Seen] = []
    inputs: list[InputSlice] = []
    for each in codes:
        seen = each.convert.sees(flow)
        if seen.kind != "buffered" or seen not in sums:
            inputs += seen.slices
        sums.append(seen)
    return inputs


def _refuse_columns(flow: Flow, blocks: list[Block]) -> None:
    """Every pair of slices must be in one block; ranged conversions, whose codes are added, must be alike."""
    twice = [pair for pair, times in Counter(pair for b in blocks for pair in b.pairs).items() if times > 1]
    if twice or sum(len(b.pairs) for b in blocks) != len({i for b in blocks for i, _ in b.pairs}) * len(flow.slices):
        what = "twice" if twice else "not at all"
        raise FlowError(f"flow {flow.name}: a buffer column is converted {what}\nconvert every column once")
    if len({b.conversion for b in blocks if b.conversion is not None and b.conversion.ranged}) > 1:
        raise FlowError(f"flow {flow.name}: ranged conversions differ, their codes cannot be added\nmake them alike")


def _refuse_ranges(flow: Flow, blocks: list[Block]) -> None:
    ranged = any(b.conversion is not None and b.conversion.ranged for b in blocks)
    if ranged != bool(_additions(flow, Scaled)):
        raise FlowError(f"flow {flow.name}: ranged conversions and scale need each other\nuse both or neither")


def _refuse_sides(flow: Flow, codes: list[Codes]) -> None:
    if flow.sampled == {"sides"} and any(each.convert.sees(flow).kind != "samples" for each in codes):
        raise FlowError(f"flow {flow.name}: sides are subtracted after conversion, analog sums before\nread pairs")


def _added(flow: Flow) -> list[Codes]:
    """The codes that count: those accumulated, or those of the only conversion, merged as they are."""
    found = _additions(flow, Codes)
    direct = [each for each in found if each.op.takes != "codes"]
    if direct and len(direct) < len(found):
        what = "some codes are accumulated, these are merged"
        fail(flow, direct[0].convert, what, "accumulate all codes, or merge the only")
    for each in direct:
        if each.convert.sees(flow).part:
            fail(flow, each.convert, "codes of a part of the inputs are merged without a sign", "accumulate them")
        if lowest_place(flow, each.convert):
            fail(flow, each.convert, "codes of high input bits are merged without a shift", "accumulate them")
    for each in found:
        _refuse_shift(flow, each)
    return found


def _refuse_shift(flow: Flow, added: Codes | InputSum) -> None:
    assert added.convert is not None
    lowest = lowest_place(flow, added.convert)
    if added.left != lowest:
        bits = added.convert.sees(flow).bits
        many = f"{bits[0][0]}:{max(hi for _, hi in bits)}"
        fail(flow, added.op, f"the codes are of input bits {many}", f"shift them by <<{lowest}")


def _refuse_gaps(flow: Flow, slices: list[InputSlice], what: str) -> None:
    """Input slices must cover every input bit exactly once, those of parts every bit of both."""
    parts = {part for _, _, part in slices}
    if "" in parts and len(parts) > 1:
        hint = "drive both parts, or the inputs as they are"
        raise FlowError(f"flow {flow.name}: {what} bits of the inputs and bits of a part of them\n{hint}")
    covered = Counter((bit, part) for lo, hi, part in slices for bit in range(lo, hi))
    for part in PARTS if any(parts) else ("",):
        for bit in range(flow.input_bits):
            if covered[bit, part] != 1:
                raise FlowError(_gap(flow, what, (bit, part), covered[bit, part]))


def _gap(flow: Flow, what: str, where: tuple[int, str], times: int) -> str:
    bit, part = where
    bits = f"input bit {bit} of the {part} part" if part else f"input bit {bit}"
    every = "every input bit of both parts" if part else "every input bit"
    hint = f"drive, read, convert and add {every} exactly once"
    return f"flow {flow.name}: {what} {bits} {times} times instead of once\n{hint}"


def _unit_conversions(flow: Flow, slices: tuple[InputSlice, ...]) -> tuple[Conversion | None, ...]:
    """How the sum of each input slice is converted (counted in digital: not at all), in the order of ``slices``."""
    summed = _additions(flow, InputSum)
    for each in summed:
        if each.convert is not None:
            _refuse_shift(flow, each)
            seen = each.convert.sees(flow)
            if seen.kind != "samples" or seen.cell is not None:
                fail(flow, each.op, "unit columns go through no cells", "sum samples as they are read, or count-inputs")
    if bool(_additions(flow, Corrected)) != bool(summed):
        raise FlowError(f"flow {flow.name}: sum-inputs and correct need each other\nuse both or neither")
    if not summed:
        return ()
    _refuse_gaps(flow, [each.slice for each in summed], "sums")
    if {each.slice for each in summed} != set(slices):
        raise FlowError(f"flow {flow.name}: inputs are summed in other slices than dot products\nsum every conversion")
    found = {each.slice: each.conversion for each in summed}
    return tuple(found[each] for each in slices)
