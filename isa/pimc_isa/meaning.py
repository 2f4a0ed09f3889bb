"""What a flow computes: its micro-ops reduced to the normal form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pimc_isa.errors import FlowError
from pimc_isa.forms import Block, Conversion, NormalForm
from pimc_isa.hazards import fail, latest
from pimc_isa.microops import MicroOp, arguments

if TYPE_CHECKING:
    from pimc_isa.flow import Flow

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
    inputs = [bits for each in sums for bits in each.bits]
    _refuse_gaps(flow, inputs, "adds")
    units = _unit_conversions(flow, inputs)
    shifts = tuple(sum(flow.slices[:j]) for j in range(len(flow.slices)))
    number = {bits: i for i, bits in enumerate(inputs)}
    blocks = [
        block
        for convert, each in zip(converts, sums, strict=True)
        for block in _blocks(flow, convert, each, number, shifts)
    ]
    if any(b.conversion is not None and b.conversion.ranged for b in blocks) != any(o.op == "scale" for o in flow.ops):
        raise FlowError(f"flow {flow.name}: ranged conversions and scale need each other\nuse both or neither")
    return NormalForm(tuple(inputs), shifts, tuple(blocks), units)


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
        _refuse_shift(flow, op, _sum(flow, convert).bits)
        found.append(convert)
    for op in direct:
        if _sum(flow, op).bits[0][0]:
            fail(flow, op, "codes of high input bits are merged without a shift", "accumulate them")
    return found


def _sum(flow: Flow, convert: MicroOp) -> _Sum:
    """What a conversion sees: one sample, or all folded or buffered since the last conversion of that kind."""
    source = latest(flow, convert, convert.spec.takes)
    if source.op == "read":
        return _Sum("samples", (_driven(flow, source),))
    done = [
        o.step for o in flow.ops if o.op == "convert" and o.step < convert.step and _source(flow, o).op == source.op
    ]
    since = max(done, default=-1)
    parts = sorted(
        (o for o in flow.ops if o.op == source.op and since <= o.step < convert.step), key=lambda o: o.step
    )
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


def _source(flow: Flow, convert: MicroOp) -> MicroOp:
    return latest(flow, convert, convert.spec.takes)


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
    summed = int(arguments(convert, _at(flow))[4] or 1)
    if summed > 1 and each.kind != "buffered":
        fail(flow, convert, "only buffer columns can be summed", "drop sum=")
    pairs = [(lo + shift, number[lo, hi], j) for lo, hi in each.bits for j, shift in enumerate(shifts)]
    if each.kind == "samples":
        return [Block(((i, j),), (0,), place, conversion) for place, i, j in pairs]
    places = sorted({place for place, _, _ in pairs})
    groups = [places] if each.kind == "held" else [places[n : n + summed] for n in range(0, len(places), summed)]
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
    sign, bits, step, ranged, _ = arguments(op, _at(flow))
    scale, codes = int(step or 1), 2 ** int(bits)
    if sign == "unsigned":
        return Conversion(0, (codes - 1) * scale, scale, bool(ranged))
    return Conversion(-codes // 2 * scale, (codes // 2 - 1) * scale, scale, bool(ranged))


def _refuse_shift(flow: Flow, op: MicroOp, bits: tuple[Bits, ...]) -> None:
    if int(arguments(op, _at(flow))[0]) != bits[0][0]:
        many = f"{bits[0][0]}:{max(hi for _, hi in bits)}"
        fail(flow, op, f"the codes are of input bits {many}", f"shift them by <<{bits[0][0]}")


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
            _refuse_shift(flow, op, bits)
            summed.append((bits[0], _conversion(flow, convert)))
    if any(op.op == "correct" for op in flow.ops) != bool(summed):
        raise FlowError(f"flow {flow.name}: sum-inputs and correct need each other\nuse both or neither")
    if not summed:
        return ()
    _refuse_gaps(flow, [bits for bits, _ in summed], "sums")
    if {bits for bits, _ in summed} != set(slices):
        raise FlowError(f"flow {flow.name}: inputs are summed in other slices than dot products\nsum every conversion")
    return tuple(dict(summed)[bits] for bits in slices)
