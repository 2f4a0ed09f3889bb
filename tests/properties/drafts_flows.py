"""Random flows: every way in which column sums become digital, with converters wide enough or far too narrow."""

from __future__ import annotations

from random import Random

import numpy as np

from pimc_isa.crossbar.cells import Cells, encode, encode_differential
from pimc_isa.flow import Flow, MicroOp, micro_op

__all__ = ["GUARDED", "KINDS", "SIGNED", "make_cells", "make_flow", "make_guarded", "make_signed"]

Array = np.ndarray

#: offset: flipped columns and a unit column; pairs, sides: W+ and W-; folded: NNS+A; buffered, summed: analog buffers.
KINDS = ("offset", "pairs", "sides", "ranged", "folded", "folded-ranged", "buffered", "summed")

#: Samples of unipolar cells, of differences, or of W+ and W- apart, folds and buffers, guarded and refined.
GUARDED = ("offset", "pairs", "sides", "folded", "buffered")

#: Two passes: centred pairs with a digital sum of inputs, and the others whose passes can be converted apart.
SIGNED = ("centred", "offset", "pairs", "sides", "folded", "folded-ranged")


def make_cells(kind: str, values: Array, slices: tuple[int, ...], block_rows: int) -> Cells:
    """Cells as the flow reads them."""
    if kind == "offset":
        return encode(values, slices, block_rows)
    return encode_differential(values, slices, block_rows, centred=kind == "centred")


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
    ops = [micro_op(0, "load"), *_samples(rng, kind, 1)]
    step = max(op.step for op in ops) - 1
    ops += [micro_op(step + 2, "correct")] if kind == "offset" else []
    ops += [micro_op(step + 2, "merge"), micro_op(step + 3, "store")]
    return Flow(name, 8, slices, rng.randint(1, 3), step + 4 + rng.randint(0, 2), step + 4, tuple(ops))


def make_signed(rng: Random, name: str, kind: str, slices: tuple[int, ...]) -> Flow:
    """Both parts of 8-bit inputs in passes, in any order, each in slices of its own, some of them guarded."""
    ops, step, parts = [micro_op(0, "load")], 1, ["positive", "negative"]
    rng.shuffle(parts)
    exact = rng.random() < 0.4
    for part in parts:
        ops += _folds(rng, kind, step, part, exact) if "folded" in kind else _samples(rng, kind, step, part, exact)
        step = max(op.step for op in ops) - 1
    ops += [micro_op(step + 2, "correct")] if kind in ("centred", "offset") else []
    ops += [micro_op(step + 2, "merge"), *([micro_op(step + 3, "scale")] if "ranged" in kind else [])]
    ops += [micro_op(step + 4, "store")]
    return Flow(name, 8, slices, rng.randint(1, 3), step + 5 + rng.randint(0, 2), step + 5, tuple(ops))


def _samples(rng: Random, kind: str, step: int, part: str = "", exact: bool = False) -> list[MicroOp]:
    """Slices of all inputs, or of a part of them: converted sample by sample, most of them guarded and refined."""
    read = {"offset": (), "centred": ("pairs",)}.get(kind, (kind,))
    sign, words = ("signed" if read == ("pairs",) else "unsigned"), ((part,) if part else ())
    ops: list[MicroOp] = []
    for lo, hi in _cut(rng, 0, 8, 4):
        guarded = rng.random() < 0.8
        finer = _cut(rng, lo, hi, hi - lo) if guarded else []
        for n, (first, last) in enumerate([(lo, hi), *finer]):
            word = ("flagged" if n else "guarded") if guarded else ""
            width = str(rng.randint(3, 16) if n or not guarded else rng.randint(3, 7))
            extra = (*rng.choice([(), (), ("step=2",)]), *([word] if word else []))
            width, extra = ("16", extra[-1:] if word else ()) if exact else (width, extra)
            ops += [micro_op(step, "drive", (f"{first}:{last}", *words)), micro_op(step, "read", read)]
            ops += [micro_op(step + 1, "convert", (sign, width, *extra))]
            ops += [micro_op(step + 2, "accumulate", (f"<<{first}",))]
            ops += [micro_op(step + 2, "sum-inputs", (f"<<{first}",))] if kind == "offset" and not n else []
            ops += [micro_op(step, "count-inputs", (f"{lo}:{hi}", *words))] if kind == "centred" and not n else []
            step += 1
    return ops


def _folds(rng: Random, kind: str, step: int, part: str, exact: bool) -> list[MicroOp]:
    """Slices of a part of the inputs, folded and converted once."""
    bits = rng.choice([2, 4])
    ops: list[MicroOp] = []
    for lo in range(0, 8, bits):
        ops += [micro_op(step, "drive", (f"{lo}:{lo + bits}", part)), micro_op(step, "read", ("pairs",))]
        ops += [micro_op(step + 1, "fold", (f">>{bits}",))]
        step += 1
    return [
        *ops,
        micro_op(step + 1, "convert", _converter(rng, kind, exact)),
        micro_op(step + 2, "accumulate", ("<<0",)),
    ]


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
