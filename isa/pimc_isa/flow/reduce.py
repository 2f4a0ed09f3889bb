"""What a flow computes: its micro-ops reduced to the normal form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from pimc_isa.errors import FlowError
from pimc_isa.flow.forms import Block, Conversion, NormalForm
from pimc_isa.flow.hazards import fail, latest
from pimc_isa.flow.microops import MicroOp, arguments

if TYPE_CHECKING:
    from pimc_isa.flow.flow import Flow

__all__ = ["MAX_BITS", "normal_form"]

#: Bits of an input, and of a weight, that a flow may have.
MAX_BITS = 32

Bits = tuple[int, int]


@dataclass(frozen=True)
class _Sum:
    """What one conversion sees: input bits by input slice, the cell each sample went through, columns added first."""

    kind: str
    bits: tuple[Bits, ...]
    cell: Conversion | None = None


@lru_cache(maxsize=64)
def normal_form(flow: Flow) -> NormalForm:
    """Reduce a flow to what it computes: the grid of (input slice, weight slice) pairs cut into blocks.

    Raises FlowError unless the blocks cover every input bit and weight slice exactly once with the right power of two.
    """
    if not (0 < flow.input_bits <= MAX_BITS and flow.slices and min(flow.slices) > 0 and sum(flow.slices) <= MAX_BITS):
        raise FlowError(f"flow {flow.name}: inputs and the slices of a weight must have 1 to {MAX_BITS} bits")
    for op in flow.ops:
        arguments(op, _at(flow))
    if len({op.args for op in flow.ops if op.op == "read"}) > 1:
        raise FlowError(f"flow {flow.name}: some reads sample pairs of columns, others single ones\nread all alike")
    converts = _added(flow)
    sums = [_sum(flow, convert) for convert in converts]
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
    if any(b.conversion is not None and b.conversion.ranged for b in blocks) != any(o.op == "scale" for o in flow.ops):
        raise FlowError(f"flow {flow.name}: ranged conversions and scale need each other\nuse both or neither")
    sides = any(op.args == ("sides",) for op in flow.ops)
    if sides and any(each.kind != "samples" for each in sums):
        raise FlowError(f"flow {flow.name}: sides are subtracted after conversion, analog sums before\nread pairs")
    return NormalForm(tuple(inputs), shifts, tuple(blocks), units, sides)


def _inputs(sums: list[_Sum]) -> list[Bits]:
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


def _at(flow: Flow) -> str:
    return f"flow {flow.name}: "


def _added(flow: Flow) -> list[MicroOp]:
    """The conversions whose codes count, in order: by ``accumulate``, or the only one, merged as it is."""
    merged = [latest(flow, op, "sums|codes") for op in flow.ops if op.op == "merge"]
    direct = [op for op in merged if op.op == "convert"]
    adders = [op for op in flow.ops if op.op == "accumulate"]
    if direct and adders:
        fail(flow, direct[0], "some codes are accumulated, these are merged", "accumulate all codes, or merge the only")
    found = list(direct)
    for op in adders:
        convert = latest(flow, op, "codes")
        _refuse_shift(flow, op, convert)
        found.append(convert)
    for op in direct:
        if _lowest(flow, op):
            fail(flow, op, "codes of high input bits are merged without a shift", "accumulate them")
    return found


def _sum(flow: Flow, convert: MicroOp) -> _Sum:
    """What a conversion sees: one sample, all folded since the last conversion of folds, or all that is buffered."""
    source = latest(flow, convert, convert.spec.takes)
    if source.op == "read":
        return _Sum("samples", (_driven(flow, source),))
    parts = sorted((o for o in flow.ops if o.op == source.op), key=lambda o: o.step)
    if source.op == "fold":
        since = max((o.step for o in flow.ops if o.op == "convert" and o.step < convert.step), default=-1)
        parts = [o for o in parts if since <= o.step and o.end <= convert.step]
    bits = tuple(_driven(flow, latest(flow, o, "samples")) for o in parts)
    if source.op == "fold":
        _check_folds(flow, parts, bits)
        return _Sum("held", bits)
    cells = {_cell(flow, o) for o in parts}
    if len(cells) > 1:
        fail(flow, parts[-1], "cells of one column differ", "write the same bits and step in all of them")
    for part, (lo, _) in zip(parts, bits, strict=True):
        if int(arguments(part, _at(flow))[0]) != lo - bits[0][0]:
            fail(flow, part, f"the samples are of input bit {lo} onwards", f"write them with <<{lo - bits[0][0]}")
    return _Sum("buffered", bits, cells.pop())


def _places(flow: Flow, each: _Sum) -> list[int]:
    """Weights (powers of two) of the buffer columns of one output, or of the columns of one sample."""
    shifts = [sum(flow.slices[:j]) for j in range(len(flow.slices))]
    return sorted({lo + shift for lo, _ in each.bits for shift in shifts})


def _columns(flow: Flow, convert: MicroOp, each: _Sum) -> list[int]:
    """Weights of the buffer columns that are converted."""
    places = _places(flow, each)
    *_, lo, hi, _ = arguments(convert, _at(flow))
    if not hi:
        return places
    if each.kind != "buffered" or not int(lo) < int(hi) <= len(places):
        fail(flow, convert, f"there are no buffer columns {lo}:{hi}", f"convert columns within 0:{len(places)}")
    return places[int(lo) : int(hi)]


def _lowest(flow: Flow, convert: MicroOp) -> int:
    """The power of two of the lowest code of a conversion."""
    return _columns(flow, convert, _sum(flow, convert))[0]


def _check_folds(flow: Flow, parts: list[MicroOp], bits: tuple[Bits, ...]) -> None:
    """Each fold scales what is held by the distance of the input slices; the first one holds nothing yet."""
    for part, before, here in zip(parts[1:], bits, bits[1:], strict=False):
        direction, text = arguments(part, _at(flow))
        distance = int(text) if direction == ">>" else -int(text)
        if distance != here[0] - before[0]:
            want = here[0] - before[0]
            remedy = f"fold {'>>' if want >= 0 else '<<'}{abs(want)}"
            fail(flow, part, f"input bits {before[0]} and {here[0]} onwards differ by {want}", remedy)


def _cell(flow: Flow, op: MicroOp) -> Conversion:
    _, bits, step = arguments(op, _at(flow))
    scale = int(step or 1)
    return Conversion(0, (2 ** int(bits) - 1) * scale, scale)


def _blocks(
    flow: Flow, convert: MicroOp, each: _Sum, number: dict[Bits, int], shifts: tuple[int, ...]
) -> Iterable[Block]:
    conversion = _conversion(flow, convert)
    together = each.kind == "held" or bool(arguments(convert, _at(flow))[-1])
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


def _driven(flow: Flow, read: MicroOp) -> Bits:
    """The input bits on the word lines during a read."""
    drives = [o for o in flow.ops if o.op == "drive" and o.step == read.step]
    if not drives:
        fail(flow, read, "no input bits are driven in this step", "add a drive at the same step")
    return _bits(flow, drives[0])


def _bits(flow: Flow, op: MicroOp) -> Bits:
    lo, hi = (int(bit) for bit in arguments(op, _at(flow)))
    if not lo < hi <= flow.input_bits:
        fail(flow, op, "these are not input bits", f"{op.op.split('-')[0]} bits within 0:{flow.input_bits}")
    return lo, hi


def _conversion(flow: Flow, op: MicroOp) -> Conversion:
    sign, bits, step, ranged, *_ = arguments(op, _at(flow))
    scale, codes = int(step or 1), 2 ** int(bits)
    if sign == "unsigned":
        return Conversion(0, (codes - 1) * scale, scale, bool(ranged))
    return Conversion(-codes // 2 * scale, (codes // 2 - 1) * scale, scale, bool(ranged))


def _refuse_shift(flow: Flow, op: MicroOp, convert: MicroOp) -> None:
    lowest = _lowest(flow, convert)
    if int(arguments(op, _at(flow))[0]) != lowest:
        bits = _sum(flow, convert).bits
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
        if op.op == "count-inputs":
            summed.append((_bits(flow, op), None))
        if op.op == "sum-inputs":
            convert = latest(flow, op, "codes")
            bits = _sum(flow, convert).bits
            _refuse_shift(flow, op, convert)
            summed.append((bits[0], _conversion(flow, convert)))
    if any(op.op == "correct" for op in flow.ops) != bool(summed):
        raise FlowError(f"flow {flow.name}: sum-inputs and correct need each other\nuse both or neither")
    if not summed:
        return ()
    _refuse_gaps(flow, [bits for bits, _ in summed], "sums")
    if {bits for bits, _ in summed} != set(slices):
        raise FlowError(f"flow {flow.name}: inputs are summed in other slices than dot products\nsum every conversion")
    return tuple(dict(summed)[bits] for bits in slices)
