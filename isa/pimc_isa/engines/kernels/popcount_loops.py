"""The compiled loops that count bits. Imports numba, so it is imported only where a kernel is wanted.

Columns come sixteen at a time, positions some at a time, so that the cells of a column and the inputs of the positions
stay in the first-level cache. Helpers are globals here: what a compiled closure captures becomes part of its key in the
on-disk cache, and functions have another identity in every process.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numba
import numpy as np

from pimc_isa.engines.kernels.lanes import (
    bits_put,
    capped,
    clipped,
    count_more,
    count_ones,
    count_own,
    doubled,
    either,
    ends,
    folded,
    load,
    load_bytes,
    lowered,
    minus,
    multiples,
    negative,
    none,
    plus,
    put,
    rounded,
    same,
    shifted,
    store,
    times,
)
from pimc_isa.jit import cached

__all__ = ["block_kernel", "corrected_kernel", "grouped_kernel", "kernel"]

SOME = 64
_inlined: Any = numba.njit(forceinline=True, boundscheck=False, error_model="numpy")


@_inlined
def _nearest(v, step):  # type: ignore[no-untyped-def]
    """The nearest multiple of a step, halves up."""
    if step == 1:
        return v
    return multiples(v, step) if step & (step - 1) == 0 else rounded(v, step)


@_inlined
def _value(p, row):  # type: ignore[no-untyped-def]
    """What a conversion gives: ``row`` first and last bit, lowest and highest value, step."""
    v = load(p, row[0] * 16)
    for bit in range(row[0] + 1, row[1]):
        v = plus(v, shifted(load(p, bit * 16), np.int32(bit - row[0])))
    return clipped(_nearest(v, row[4]), row[2], row[3])


@_inlined
def _raise(hit, flags, at):  # type: ignore[no-untyped-def]
    """Count what is hit."""
    store(plus(load(flags, at), minus(hit, same(np.int32(-1)))), flags, at)


@_inlined
def _added(p, coarse, fine, flags, at, each):  # type: ignore[no-untyped-def]
    """Blocks of one weight slice: ``coarse`` conversions as above, then shift, lower end, and their finer ones."""
    total = same(np.int32(0))
    for e in range(coarse.shape[0]):
        row = coarse[e]
        v = _value(p, row)
        code = shifted(v, row[5])
        if row[8] > row[7]:
            hit = ends(v, row[6], row[3])
            if flags.size:
                _raise(hit, flags, at + row[9] * each)
            better = same(np.int32(0))
            for f in range(row[7], row[8]):
                better = plus(better, shifted(_value(p, fine[f]), fine[f, 5]))
            code = either(hit, better, code)
        total = plus(total, code)
    return total


@_inlined
def _speculated(p, cuts, low, high, end, own, flags, at, each):  # type: ignore[no-untyped-def]
    """As ``_added`` where all is alike: slices begin at bits in ``cuts``, and are made of bits if they are flagged."""
    coarse = fine = total = same(np.int32(0))
    for n in range(8):
        bit = 7 - n
        one = load(p, bit * 16)
        coarse = plus(plus(coarse, coarse), one)
        fine = plus(plus(fine, fine), clipped(one, low, high))
        total = plus(total, total)
        if cuts >> bit & 1:
            code = clipped(coarse, low, high)
            hit = ends(code, end, high)
            for e in range(own.shape[0] if flags.size else 0):
                if own[e, 0] == bit:
                    _raise(hit, flags, at + own[e, 9] * each)
            total = plus(total, either(hit, fine, code))
            coarse = fine = same(np.int32(0))
    return total


@_inlined
def _alike(counts, p, coarse, j, highest, cuts, flags, at, each):  # type: ignore[no-untyped-def]
    """What weight slice j adds where all conversions are alike; ``highest``: and nothing is too low."""
    low, high, end = coarse[0, 0, 2], coarse[0, 0, 3], coarse[0, 0, 6]
    if highest:
        t = capped(counts, high)
    elif cuts:
        put(counts, p, 0, 16)
        t = _speculated(p, cuts, low, high, end, coarse[j], flags, at, each)
    else:
        t = folded(counts, low, high)
    return shifted(t, np.int32(coarse[j, 0, 5] - coarse[j, 0, 0]))


@_inlined
def _inputs(counts, units, even, p):  # type: ignore[no-untyped-def]
    """The sum of inputs as unit columns have it: ``units`` as ``_value`` wants them; ``even``: each bit, all alike."""
    if even:
        return folded(counts, units[0, 2], units[0, 3])
    put(counts, p, 0, 16)
    total = same(np.int32(0))
    for e in range(units.shape[0]):
        total = plus(total, shifted(_value(p, units[e]), units[e, 0]))
    return total


@_inlined
def _counts(cells, at, planes, below, words, where, first, last, step):  # type: ignore[no-untyped-def]
    """Column sums of every input bit: planes from the highest on, which counts negative with ``below``."""
    q = none()
    for s in range(planes):
        u = none()
        for w in range(first, last):
            u = count_ones(u, load(cells, at), words, where + w, step)
            at += 16
        if s:
            q = doubled(q, u)
        elif below:
            q = negative(u)
        else:
            q = u
    return q


@_inlined
def _own_counts(cells, at, planes, below, words, first, last, step):  # type: ignore[no-untyped-def]
    """The same where every column has words of its own."""
    q = none()
    for s in range(planes):
        u = none()
        for w in range(first, last):
            u = count_own(u, load(cells, at), words, w * 16, step)
            at += 16
        if s:
            q = doubled(q, u)
        elif below:
            q = negative(u)
        else:
            q = u
    return q


@cache
def kernel(kind: str, cuts: int) -> Callable[..., None]:
    """Sums of windows, whose words all columns share.

    ``kind``: 'any' form. 'plain': every input bit goes through the same conversion, which does not round; 'capped': and
    nothing is too low for it. 'speculated': so do slices that begin at the bits in ``cuts``, and where one is flagged
    its bits.
    """
    any_form, highest = kind == "any", kind == "capped"

    def loops(x, where, cells, jobs, spans, mask, coarse, fine, units, even, centre, sums, flags):  # type: ignore[no-untyped-def]
        count, outputs = sums.shape
        bits, words = where.shape
        blocks, out = spans.shape[0], sums.reshape(-1)
        held = np.empty(SOME * bits * words, np.uint32)
        inputs, p = np.empty(SOME * blocks * 16, np.int32), np.empty(bits * 16, np.int32)
        index, each = where.reshape(-1), blocks * count * outputs
        for start in range(0, count, SOME):
            some = min(SOME, count - start)
            for m in range(some):
                for v in range(bits * words):
                    held[m * bits * words + v] = x[start + m, index[v]]
                for r in range(blocks if units.shape[0] else 0):
                    u = none()
                    for w in range(spans[r, 0], spans[r, 1]):
                        u = count_ones(u, same(np.int32(-1)), held, m * bits * words + w, words)
                    store(_inputs(u, units, even, p), inputs, (m * blocks + r) * 16)
            for c in range(jobs.shape[0]):
                for m in range(some if units.shape[0] else 0):
                    t = load(out, (start + m) * outputs + c * 16)
                    for r in range(blocks):
                        t = plus(t, times(load(inputs, (m * blocks + r) * 16), load(centre, r * outputs + c * 16)))
                    store(t, out, (start + m) * outputs + c * 16)
                for e in range(jobs.shape[1]):
                    offset, planes, below, r, j, side = jobs[c, e]
                    sign = load(mask, ((r * coarse.shape[0] + j) * 2 + side) * outputs + c * 16)
                    first, last = spans[r]
                    for m in range(some):
                        q = _counts(cells, offset, planes, below, held, m * bits * words, first, last, words)
                        place = (r * count + start + m) * outputs + c * 16
                        if any_form:
                            put(q, p, 0, 16)
                            t = _added(p, coarse[j], fine, flags, place, each)
                        else:
                            t = _alike(q, p, coarse, j, highest, cuts, flags, place, each)
                        to = (start + m) * outputs + c * 16
                        store(plus(load(out, to), minus(t, sign)), out, to)

    return cached(loops)


@cache
def grouped_kernel(kind: str, cuts: int) -> Callable[..., None]:
    """Sums of windows of many convolution groups: ``x`` bytes, element ``rows[k] + lanes[n]`` is row k of column n.

    ``beside``: neighbouring columns have neighbouring elements.
    """
    any_form, highest = kind == "any", kind == "capped"

    def loops(x, rows, lanes, beside, cells, jobs, spans, mask, coarse, fine, units, even, centre, sums, flags):  # type: ignore[no-untyped-def]
        count, outputs = sums.shape
        blocks, out, data = spans.shape[0], sums.reshape(-1), x.reshape(-1)
        words = spans[blocks - 1, 1]
        held, p = np.empty(8 * words * 16, np.uint32), np.empty(8 * 16, np.int32)
        some, each = np.zeros(16, np.uint8), blocks * count * outputs
        for m in range(count):
            base = m * x.shape[1]
            for c in range(jobs.shape[0]):
                own, width = lanes[c * 16], min(16, lanes.size - c * 16)
                near = width == 16 and beside
                total = load(out, m * outputs + c * 16)
                for r in range(blocks):
                    u = none()
                    for w in range(spans[r, 0], spans[r, 1]):
                        h = none()
                        for k in range(32):
                            row = rows[w * 32 + k]
                            if row < 0:
                                break
                            if near:
                                v = load_bytes(data, base + row + own)
                            else:
                                for n in range(width):
                                    some[n] = data[base + row + lanes[c * 16 + n]]
                                v = load_bytes(some, 0)
                            h = bits_put(h, v, np.int32(k))
                        put(h, held, w * 16, words * 16)
                        u = count_own(u, same(np.int32(-1)), held, w * 16, words * 16)
                    if units.shape[0]:
                        total = plus(total, times(_inputs(u, units, even, p), load(centre, r * outputs + c * 16)))
                for e in range(jobs.shape[1]):
                    offset, planes, below, r, j, side = jobs[c, e]
                    q = _own_counts(cells, offset, planes, below, held, spans[r, 0], spans[r, 1], words * 16)
                    place = (r * count + m) * outputs + c * 16
                    if any_form:
                        put(q, p, 0, 16)
                        t = _added(p, coarse[j], fine, flags, place, each)
                    else:
                        t = _alike(q, p, coarse, j, highest, cuts, flags, place, each)
                    total = plus(total, minus(t, load(mask, ((r * coarse.shape[0] + j) * 2 + side) * outputs + c * 16)))
                store(total, out, m * outputs + c * 16)

    return cached(loops)


@cache
def block_kernel() -> Callable[..., None]:
    """Blocks of several pairs: ``grid`` [slices, inputs, 8] as ``_value``, then block, exponent, is the sign first."""

    def loops(x, where, cells, jobs, spans, mask, grid, blocks, units, even, centre, sums):  # type: ignore[no-untyped-def]
        count, outputs = sums.shape
        bits, words = where.shape
        rounds, out, index = spans.shape[0], sums.reshape(-1), where.reshape(-1)
        each = jobs.shape[1] // rounds
        held, p = np.empty(SOME * bits * words, np.uint32), np.empty(bits * 16, np.int32)
        gathered = np.empty(blocks.shape[0] * 16, np.int32)
        for start in range(0, count, SOME):
            some = min(SOME, count - start)
            for m in range(some):
                for v in range(bits * words):
                    held[m * bits * words + v] = x[start + m, index[v]]
            for c in range(jobs.shape[0]):
                for r in range(rounds):
                    first, last = spans[r]
                    middle = load(centre, r * outputs + c * 16)
                    for m in range(some):
                        to = (start + m) * outputs + c * 16
                        total = load(out, to)
                        if units.shape[0]:
                            u = none()
                            for w in range(first, last):
                                u = count_ones(u, same(np.int32(-1)), held, m * bits * words + w, words)
                            total = plus(total, times(_inputs(u, units, even, p), middle))
                        for b in range(blocks.shape[0]):
                            store(same(np.int32(0)), gathered, b * 16)
                        for e in range(r * each, (r + 1) * each):
                            offset, planes, below, _, j, side = jobs[c, e]
                            sign = load(mask, ((r * grid.shape[0] + j) * 2 + side) * outputs + c * 16)
                            q = _counts(cells, offset, planes, below, held, m * bits * words, first, last, words)
                            put(q, p, 0, 16)
                            for i in range(grid.shape[1]):
                                row = grid[j, i]
                                v = minus(_value(p, row), sign if row[7] else same(np.int32(-side)))
                                b = row[5] * 16
                                store(plus(load(gathered, b), shifted(v, row[6])), gathered, b)
                        for b in range(blocks.shape[0]):
                            row = blocks[b]
                            v = _nearest(load(gathered, b * 16), row[2])
                            v = shifted(clipped(v, row[0], row[1]), row[3])
                            if row[4] >= 0:
                                v = minus(v, load(mask, (r * grid.shape[0] + row[4]) * 2 * outputs + c * 16))
                            total = plus(total, v)
                        store(total, out, to)

    return cached(loops)


@_inlined
def _pair(cells, at, planes, words, where, count):  # type: ignore[no-untyped-def]
    """Column sums of one input bit, of unsigned cells."""
    q = same(np.int32(0))
    for _ in range(planes):
        u = same(np.int32(0))
        for w in range(count):
            u = count_more(u, load(cells, at), np.int32(words[where + w]))
            at += 16
        q = plus(plus(q, q), u)
    return q


@cache
def corrected_kernel(words: int) -> Callable[..., None]:
    """One row block ``r`` of so many words, whose ``products`` with the weights are known: what is not exact counts.

    ``pairs`` [n, 5], those that are counted apart first: input bit, weight slice, shift, the most that its cell holds,
    is it counted apart. ``most``: how many are, and the least that a cell holds. ``low``: limits, step and shift of the
    conversion that sees the others. ``full`` [sixteens]: weight slices, as bits, in which a cell can overflow.
    """

    def loops(x, where, cells, jobs, first, r, mask, pairs, most, low, full, top, units, even, centre, products, sums):  # type: ignore[no-untyped-def]
        count, outputs = sums.shape
        bits, slices = where.shape[0], mask.shape[1]
        out, known, masks = sums.reshape(-1), products.reshape(-1), mask.reshape(-1)
        held, crowded = np.empty(SOME * bits * words, np.uint32), np.empty(SOME, np.int64)
        inputs, exact = np.empty(SOME * 16, np.int32), np.empty(SOME * 16, np.int32)
        high, lost, low_lost = (
            np.empty(SOME * 16, np.int32),
            np.empty(SOME * 16, np.int32),
            np.empty(SOME * 16, np.int32),
        )
        p = np.empty(bits * 16, np.int32)
        for start in range(0, count, SOME):
            some, anywhere = min(SOME, count - start), 0
            for m in range(some):
                for b in range(bits):
                    for w in range(words):
                        held[(m * bits + b) * words + w] = x[start + m, where[b, first + w]]
                u = none()
                for w in range(words):
                    u = count_ones(u, same(np.int32(-1)), held, m * bits * words + w, words)
                store(folded(u, np.int32(0), np.int32(1 << 30)), exact, m * 16)
                store(_inputs(u, units, even, p) if units.shape[0] else same(np.int32(0)), inputs, m * 16)
                put(u, p, 0, 16)
                crowded[m] = 0
                for b in range(bits):
                    if p[b * 16] * top > most[1]:
                        crowded[m] |= 1 << b
                anywhere |= crowded[m]
            for c in range(jobs.shape[0]):
                for v in range(some * 16):
                    high[v], lost[v], low_lost[v] = 0, 0, 0
                for n in range(pairs.shape[0]):
                    i, j, up, cell, apart = pairs[n]
                    overflows = full[c] >> j & anywhere >> i & 1
                    if not (apart or overflows):
                        continue
                    at, planes = jobs[c, r * slices + j, 0], jobs[c, r * slices + j, 1]
                    sign = load(masks, (r * slices + j) * 2 * outputs + c * 16)
                    for m in range(some if apart else 0):
                        v = _pair(cells, at, planes, held, (m * bits + i) * words, words)
                        store(plus(load(high, m * 16), shifted(minus(v, sign), np.int32(up))), high, m * 16)
                    into = lost if apart else low_lost
                    for m in range(some if overflows else 0):
                        if crowded[m] >> i & 1:
                            v = plus(
                                _pair(cells, at, planes, held, (m * bits + i) * words, words), same(np.int32(-cell))
                            )
                            v = minus(clipped(v, np.int32(0), np.int32(1 << 30)), sign)
                            store(plus(load(into, m * 16), shifted(v, np.int32(up))), into, m * 16)
                middle, negated = load(centre, r * outputs + c * 16), same(np.int32(-1))
                for m in range(some):
                    to = (start + m) * outputs + c * 16
                    others = plus(load(high, m * 16), times(middle, load(exact, m * 16)))
                    seen = lowered(plus(load(known, to), minus(others, negated)), low[3])
                    seen = plus(seen, minus(load(low_lost, m * 16), negated))
                    code = shifted(clipped(_nearest(seen, low[2]), low[0], low[1]), low[3])
                    rest = plus(load(high, m * 16), minus(load(lost, m * 16), negated))
                    rest = plus(rest, times(middle, load(inputs, m * 16)))
                    store(plus(plus(load(out, to), code), rest), out, to)

    return cached(loops)
