"""What a flow computes: its micro-ops reduced to the normal form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

from pimc_isa.errors import FlowError
from pimc_isa.flow.define import MicroOp
from pimc_isa.flow.forms import Bits, Block, Conversion, NormalForm, Seen
from pimc_isa.flow.latches import fail, latest
from pimc_isa.flow.microops import (
    Accumulate,
    Convert,
    Correct,
    CountInputs,
    Merge,
    Read,
    Scale,
    SumInputs,
    input_bits,
)

if TYPE_CHECKING:
    from pimc_isa.flow.flow import Flow

__all__ = ["MAX_BITS", "normal_form"]

#: Bits of an input, and of a weight, that a flow may have.
MAX_BITS = 32


@lru_cache(maxsize=64)
def normal_form(flow: Flow) -> NormalForm:
    """Reduce a flow to what it computes: the grid of (input slice, weight slice) pairs cut into blocks.

    Raises FlowError unless the blocks cover every input bit and weight slice exactly once with the right power of two.
    """
    if not (0 < flow.input_bits <= MAX_BITS and flow.slices and min(flow.slices) > 0 and sum(flow.slices) <= MAX_BITS):
        raise FlowError(f"flow {flow.name}: inputs and the slices of a weight must have 1 to {MAX_BITS} bits")
    reads = {op.sampled for op in flow.ops if isinstance(op, Read)}
    if len(reads) > 1:
        raise FlowError(f"flow {flow.name}: some reads sample pairs of columns, others single ones\nread all alike")
    converts = _added(flow)
    sums = [convert.seen(flow) for convert in converts]
    inputs = _inputs(sums)
    _refuse_gaps(flow, inputs, "adds")
    units = _unit_conversions(flow, inputs)
    shifts = tuple(sum(flow.slices[:j]) for j in range(len(flow.slices)))
    number = {bits: i for i, bits in enumerate(inputs)}
    blocks = [
        block
        for convert, each in zip(converts, sums, strict=True)
        for block in _blocks(flow, convert, each, number, shifts)
    ]
    _refuse_columns(flow, blocks)
    if any(b.conversion is not None and b.conversion.ranged for b in blocks) != any(
        isinstance(o, Scale) for o in flow.ops
    ):
        raise FlowError(f"flow {flow.name}: ranged conversions and scale need each other\nuse both or neither")
    sides = reads == {"sides"}
    if sides and any(each.kind != "samples" for each in sums):
        raise FlowError(f"flow {flow.name}: sides are subtracted after conversion, analog sums before\nread pairs")
    return NormalForm(tuple(inputs), shifts, tuple(blocks), units, sides)


def _inputs(sums: list[Seen]) -> list[Bits]:
    """Input slices in the order they are added; several conversions may share what is buffered."""
    inputs: list[Bits] = []
    for n, each in enumerate(sums):
        if each.kind != "buffered" or each not in sums[:n]:
            inputs += each.bits
    return inputs


def _refuse_columns(flow: Flow, blocks: list[Block]) -> None:
    """Every pair of slices must be in one block; ranged conversions, whose codes are added, must be alike."""
    twice = [pair for pair, times in Counter(pair for b in blocks for pair in b.pairs).items() if times > 1]
    if twice or sum(len(b.pairs) for b in blocks) != len({i for b in blocks for i, _ in b.pairs}) * len(flow.slices):
        what = "twice" if twice else "not at all"
        raise FlowError(f"flow {flow.name}: a buffer column is converted {what}\nconvert every column once")
    if len({b.conversion for b in blocks if b.conversion is not None and b.conversion.ranged}) > 1:
        raise FlowError(f"flow {flow.name}: ranged conversions differ, their codes cannot be added\nmake them alike")


def _added(flow: Flow) -> list[Convert]:
    """The conversions whose codes count, in order: by ``accumulate``, or the only one, merged as it is."""
    merged = [latest(flow, op, op.takes) for op in flow.ops if isinstance(op, Merge)]
    direct = [op for op in merged if isinstance(op, Convert)]
    adders = [op for op in flow.ops if isinstance(op, Accumulate)]
    if direct and adders:
        fail(flow, direct[0], "some codes are accumulated, these are merged", "accumulate all codes, or merge the only")
    found = list(direct)
    for op in adders:
        convert = _converted(flow, op)
        _refuse_shift(flow, op, convert)
        found.append(convert)
    for convert in direct:
        if _lowest(flow, convert):
            fail(flow, convert, "codes of high input bits are merged without a shift", "accumulate them")
    return found


def _converted(flow: Flow, op: MicroOp) -> Convert:
    """The conversion whose codes ``op`` takes."""
    convert = latest(flow, op, "codes")
    assert isinstance(convert, Convert)
    return convert


def _places(flow: Flow, each: Seen) -> list[int]:
    """Weights (powers of two) of the buffer columns of one output, or of the columns of one sample."""
    shifts = [sum(flow.slices[:j]) for j in range(len(flow.slices))]
    return sorted({lo + shift for lo, _ in each.bits for shift in shifts})


def _columns(flow: Flow, convert: Convert, each: Seen) -> list[int]:
    """Weights of the buffer columns that are converted."""
    places, chosen = _places(flow, each), convert.columns
    if chosen is None:
        return places
    if each.kind != "buffered" or not chosen.lo < chosen.hi <= len(places):
        what = f"there are no buffer columns {chosen.lo}:{chosen.hi}"
        fail(flow, convert, what, f"convert columns within 0:{len(places)}")
    return places[chosen.lo : chosen.hi]


def _lowest(flow: Flow, convert: Convert) -> int:
    """The power of two of the lowest code of a conversion."""
    return _columns(flow, convert, convert.seen(flow))[0]


def _blocks(
    flow: Flow, convert: Convert, each: Seen, number: dict[Bits, int], shifts: tuple[int, ...]
) -> Iterable[Block]:
    conversion = convert.conversion
    together = each.kind == "held" or bool(convert.columns and convert.columns.summed)
    pairs = [(lo + shift, number[lo, hi], j) for lo, hi in each.bits for j, shift in enumerate(shifts)]
    if each.kind == "samples":
        return [Block(((i, j),), (0,), place, conversion) for place, i, j in pairs]
    places = _columns(flow, convert, each)
    groups = [places] if together else [[place] for place in places]
    blocks = []
    for group in groups:
        inside = [(place, i, j) for place, i, j in pairs if place in group]
        exponents = tuple(place - group[0] for place, _, _ in inside)
        blocks.append(Block(tuple((i, j) for _, i, j in inside), exponents, group[0], conversion, each.cell))
    return blocks


def _refuse_shift(flow: Flow, op: Accumulate | SumInputs, convert: Convert) -> None:
    lowest = _lowest(flow, convert)
    if op.left != lowest:
        bits = convert.seen(flow).bits
        many = f"{bits[0][0]}:{max(hi for _, hi in bits)}"
        fail(flow, op, f"the codes are of input bits {many}", f"shift them by <<{lowest}")


def _refuse_gaps(flow: Flow, bits: list[Bits], what: str) -> None:
    """Input slices must cover every input bit exactly once."""
    covered = Counter(bit for lo, hi in bits for bit in range(lo, hi))
    for bit in range(flow.input_bits):
        if covered[bit] != 1:
            raise FlowError(
                f"flow {flow.name}: {what} input bit {bit} {covered[bit]} times instead of once\n"
                "drive, read, convert and add every input bit exactly once"
            )


def _unit_conversions(flow: Flow, slices: list[Bits]) -> tuple[Conversion | None, ...]:
    """How the sum of each input slice is converted (counted in digital: not at all), in the order of ``slices``."""
    summed: list[tuple[Bits, Conversion | None]] = []
    for op in flow.ops:
        if isinstance(op, CountInputs):
            summed.append((input_bits(flow, op, op.bits), None))
        if isinstance(op, SumInputs):
            convert = _converted(flow, op)
            _refuse_shift(flow, op, convert)
            summed.append((convert.seen(flow).bits[0], convert.conversion))
    if any(isinstance(op, Correct) for op in flow.ops) != bool(summed):
        raise FlowError(f"flow {flow.name}: sum-inputs and correct need each other\nuse both or neither")
    if not summed:
        return ()
    _refuse_gaps(flow, [bits for bits, _ in summed], "sums")
    if {bits for bits, _ in summed} != set(slices):
        raise FlowError(f"flow {flow.name}: inputs are summed in other slices than dot products\nsum every conversion")
    return tuple(dict(summed)[bits] for bits in slices)
