"""RAELLA's flows: a guarded conversion for each speculated input slice, its bits one by one behind it.

Paper, section 4.3: three slices of 4, 2 and 2 bits, high bits first; each is converted for all columns, and where a
code is -64 or 63 its bits are converted once more, one in a cycle, and count instead: 3 + 8 cycles. In recovery-only
mode the 8 bits are converted and nothing is guarded. Signed inputs, those whose zero point is not 0, may be driven in
two passes: what is above the zero point, then what is below it, whose codes are subtracted: twice as long.
"""

from __future__ import annotations

from functools import cache

from pimc_isa.flow import Flow, MicroOp, micro_op
from pimc_isa.flow.forms import PARTS

__all__ = [
    "SPECULATED",
    "all_slicings",
    "bits_flow",
    "flow_name",
    "speculated_slices",
    "speculative_flow",
    "usual_slicing",
]

#: Widths of the speculated slices of an input, high bits first.
SPECULATED = (4, 2, 2)
_BITS = 8


@cache
def all_slicings(widest: int = 4, bits: int = _BITS) -> tuple[tuple[int, ...], ...]:
    """Every slicing of a weight into widths of 1 to ``widest``, high bits first: by number of slices, then widths."""
    return tuple(sorted(_cuts(bits, widest), key=lambda widths: (len(widths), [-width for width in widths])))


def _cuts(bits: int, widest: int) -> list[tuple[int, ...]]:
    if not bits:
        return [()]
    return [(width, *rest) for width in range(min(widest, bits), 0, -1) for rest in _cuts(bits - width, widest)]


def usual_slicing(widest: int = 4) -> tuple[int, ...]:
    """4-2-2, with which most layers of the paper end; where cells are narrower, slices as wide as they are."""
    if widest >= max(SPECULATED):
        return SPECULATED
    return _pieces(_BITS, widest)


def speculated_slices(dac_bits: int) -> tuple[int, ...]:
    """Those of the paper, cut where DACs are narrower."""
    return tuple(piece for width in SPECULATED for piece in _pieces(width, dac_bits))


def _pieces(width: int, widest: int) -> tuple[int, ...]:
    return tuple(min(widest, width - at) for at in range(0, width, widest))


def flow_name(slicing: tuple[int, ...], speculates: bool, signed: bool = False) -> str:
    """``raella-4-2-2`` (high bits first); then ``-bits`` without speculation, ``-signed`` with two passes."""
    words = (*(() if speculates else ("bits",)), *(("signed",) if signed else ()))
    return "-".join(("raella", *map(str, slicing), *words))


@cache
def speculative_flow(
    slicing: tuple[int, ...],
    step_cycles: int,
    converter_bits: int = 7,
    signed: bool = False,
    speculated: tuple[int, ...] = SPECULATED,
) -> Flow:
    """Weights in slices (high bits first), inputs in the speculated ones (high bits first) with recovery."""
    ops, step = _load(), 1
    for part in _parts(signed):
        high = _BITS
        for width in speculated:
            low = high - width
            ops += _slice(step, (low, high), part, converter_bits, "guarded")
            ops.append(micro_op(step, "count-inputs", (f"{low}:{high}", *part)))
            for n, bit in enumerate(range(high - 1, low - 1, -1), 1):
                ops += _slice(step + n, (bit, bit + 1), part, converter_bits, "flagged")
            step, high = step + 1 + width, low
    return _finished(flow_name(slicing, True, signed), slicing, step_cycles, step, ops)


@cache
def bits_flow(slicing: tuple[int, ...], step_cycles: int, converter_bits: int = 7, signed: bool = False) -> Flow:
    """The same without speculation: inputs bit by bit, high bits first."""
    ops, step = _load(), 1
    for part in _parts(signed):
        for bit in range(_BITS - 1, -1, -1):
            ops += _slice(step, (bit, bit + 1), part, converter_bits, "")
            ops.append(micro_op(step, "count-inputs", (f"{bit}:{bit + 1}", *part)))
            step += 1
    return _finished(flow_name(slicing, False, signed), slicing, step_cycles, step, ops)


def _parts(signed: bool) -> list[tuple[str, ...]]:
    """The word for each pass."""
    return [(part,) for part in PARTS] if signed else [()]


def _load() -> list[MicroOp]:
    return [micro_op(0, "load")]


def _slice(step: int, bits: tuple[int, int], part: tuple[str, ...], converter_bits: int, guard: str) -> list[MicroOp]:
    """Drive and read in a step, convert in the next, add in the one behind it."""
    low, high = bits
    words = ("signed", str(converter_bits), *((guard,) if guard else ()))
    return [
        micro_op(step, "drive", (f"{low}:{high}", *part)),
        micro_op(step, "read", ("pairs",)),
        micro_op(step + 1, "convert", words),
        micro_op(step + 2, "accumulate", (f"<<{low}",)),
    ]


def _finished(name: str, slicing: tuple[int, ...], step_cycles: int, after: int, ops: list[MicroOp]) -> Flow:
    """``after``: the first step without a read."""
    last = after + 2
    ops += [micro_op(last, "correct"), micro_op(last, "merge"), micro_op(last + 1, "store")]
    ordered = tuple(sorted(ops, key=lambda op: op.step))
    return Flow(name, _BITS, slicing[::-1], step_cycles, after - 1, last + 2, ordered)
