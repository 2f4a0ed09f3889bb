"""Random flows: every way in which column sums become digital, with converters wide enough or far too narrow."""

from __future__ import annotations

from random import Random

import numpy as np

from pimc_isa.crossbar.cells import Cells, encode, encode_differential
from pimc_isa.flow import Flow, MicroOp, micro_op

__all__ = ["GUARDED", "KINDS", "make_cells", "make_flow", "make_guarded"]

Array = np.ndarray

#: offset: flipped columns and a unit column; pairs, sides: W+ and W-; folded: NNS+A; buffered, summed: analog buffers.
KINDS = ("offset", "pairs", "sides", "ranged", "folded", "folded-ranged", "buffered", "summed")

#: Samples of unipolar cells, of differences, or of W+ and W- apart, folds and buffers, guarded and refined.
GUARDED = ("offset", "pairs", "sides", "folded", "buffered")


def make_cells(kind: str, values: Array, slices: tuple[int, ...], block_rows: int) -> Cells:
    """Cells as the flow reads them."""
    return encode(values, slices, block_rows) if kind == "offset" else encode_differential(values, slices, block_rows)


def make_flow(rng: Random, name: str, kind: str, slices: tuple[int, ...], exact: bool) -> Flow:
    """8-bit inputs in equal slices."""
    bits = rng.choice([1, 2, 4])
    starts = range(0, 8, bits)
    read = () if kind == "offset" else ("sides",) if kind == "sides" else ("pairs",)
    ops = [micro_op(0, "load")]
    for n, lo in enumerate(starts):
        ops += [micro_op(n + 1, "drive", (f"{lo}:{lo + bits}",)), micro_op(n + 1, "read", read)]
        ops += _of_slice(rng, kind, n, lo, bits, exact)
    last = len(starts) + 2
    if kind.startswith("folded"):
        ops += [micro_op(last, "convert", _converter(rng, kind, exact))]
    elif kind in ("buffered", "summed"):
        places = {lo + sum(slices[:j]) for lo in starts for j in range(len(slices))}
        columns = (f"columns=0:{len(places)}", "summed") if kind == "summed" else ()
        ops += [micro_op(last, "convert", (*_converter(rng, kind, exact), *columns))]
        ops += [micro_op(last + 1, "accumulate", ("<<0",))]
    ops += [micro_op(last + 2, "correct")] if kind == "offset" else []
    ops += [micro_op(last + 2, "merge")]
    ops += [micro_op(last + 3, "scale")] if "ranged" in kind else []
    ops += [micro_op(last + 4, "store")]
    return Flow(name, 8, slices, rng.randint(1, 3), last + 5 + rng.randint(0, 2), last + 5, tuple(ops))


def _of_slice(rng: Random, kind: str, n: int, lo: int, bits: int, exact: bool) -> list[MicroOp]:
    """What is done with the samples of one input slice."""
    if kind.startswith("folded"):
        return [micro_op(n + 2, "fold", (f">>{bits}",))]
    if kind in ("buffered", "summed"):
        cell = (f"<<{lo}", "16") if exact else (f"<<{lo}", "5", "step=2")
        return [micro_op(n + 2, "buffer", cell)]
    ops = [micro_op(n + 2, "convert", _converter(rng, kind, exact)), micro_op(n + 3, "accumulate", (f"<<{lo}",))]
    return [*ops, micro_op(n + 3, "sum-inputs", (f"<<{lo}",))] if kind == "offset" else ops


def _converter(rng: Random, kind: str, exact: bool) -> tuple[str, ...]:
    sign = "unsigned" if kind in ("offset", "sides") else "signed"
    if "ranged" in kind:
        return sign, "8", "ranged"
    if exact:
        return sign, "16"
    return sign, str(rng.randint(3, 6)), *rng.choice([(), ("step=2",)])


def make_guarded(rng: Random, name: str, kind: str, slices: tuple[int, ...]) -> Flow:
    """8-bit inputs in slices of which some are guarded, each refined by slices of its own bits."""
    if kind in ("folded", "buffered"):
        return _guarded_whole(rng, name, kind, slices)
    read = () if kind == "offset" else (kind,)
    sign = "signed" if kind == "pairs" else "unsigned"
    ops, step = [micro_op(0, "load")], 1
    for lo, hi in _cut(rng, 0, 8, 4):
        guarded = rng.random() < 0.8
        finer = _cut(rng, lo, hi, hi - lo) if guarded else []
        for n, (first, last) in enumerate([(lo, hi), *finer]):
            word = ("flagged" if n else "guarded") if guarded else ""
            width = str(rng.randint(3, 16) if n or not guarded else rng.randint(3, 7))
            extra = (*rng.choice([(), (), ("step=2",)]), *([word] if word else []))
            ops += [micro_op(step, "drive", (f"{first}:{last}",)), micro_op(step, "read", read)]
            ops += [micro_op(step + 1, "convert", (sign, width, *extra))]
            ops += [micro_op(step + 2, "accumulate", (f"<<{first}",))]
            ops += [micro_op(step + 2, "sum-inputs", (f"<<{first}",))] if kind == "offset" and not n else []
            step += 1
    ops += [micro_op(step + 2, "correct")] if kind == "offset" else []
    ops += [micro_op(step + 2, "merge"), micro_op(step + 3, "store")]
    return Flow(name, 8, slices, rng.randint(1, 3), step + 4 + rng.randint(0, 2), step + 4, tuple(ops))


def _guarded_whole(rng: Random, name: str, kind: str, slices: tuple[int, ...]) -> Flow:
    """All input slices are folded, or buffered, and converted; then, where that is flagged, sample by sample."""
    bits, cell = rng.choice([2, 4]), str(rng.randint(4, 12))
    starts = range(0, 8, bits)
    ops = [micro_op(0, "load")]
    for n, lo in enumerate(starts):
        taken = ("fold", (f">>{bits}",)) if kind == "folded" else ("buffer", (f"<<{lo}", cell))
        ops += [micro_op(n + 1, "drive", (f"{lo}:{lo + bits}",)), micro_op(n + 1, "read", ("pairs",))]
        ops += [micro_op(n + 2, *taken)]
    step = len(starts) + 2
    ops += [micro_op(step, "convert", ("signed", str(rng.randint(4, 10)), "guarded"))]
    ops += [micro_op(step + 1, "accumulate", ("<<0",))]
    for lo, hi in [part for first in starts for part in _cut(rng, first, first + bits, bits)]:
        ops += [micro_op(step, "drive", (f"{lo}:{hi}",)), micro_op(step, "read", ("pairs",))]
        ops += [micro_op(step + 1, "convert", ("signed", str(rng.randint(3, 16)), "flagged"))]
        ops += [micro_op(step + 2, "accumulate", (f"<<{lo}",))]
        step += 1
    ops += [micro_op(step + 2, "merge"), micro_op(step + 3, "store")]
    return Flow(name, 8, slices, 1, step + 4, step + 4, tuple(ops))


def _cut(rng: Random, lo: int, hi: int, widest: int) -> list[tuple[int, int]]:
    """Bits in slices of up to so many, in any order."""
    found = []
    while lo < hi:
        last = min(hi, lo + rng.randint(1, widest))
        found.append((lo, last))
        lo = last
    rng.shuffle(found)
    return found
