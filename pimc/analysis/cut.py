"""Ways to cut an op over tiles, what each costs in tiles and memory, and how long an image takes on it.

The step model counts, for the busiest tile: crossbar time (the flow's interval), vector work, and the bytes that
enter and leave over the tile's links. Copying data matters: replication gains are overstated when it is ignored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from pimc.analysis.facts import Facts, Resources, needed_columns, split
from pimc_isa.crossbar.footprint import arrays_for, outputs_per_array
from pimc_isa.element import I32
from pimc_isa.machine import Array
from pimc_isa.operands import Range

__all__ = [
    "Cut",
    "arrays_per_tile",
    "base_cut",
    "channel_unit",
    "cut_cycles",
    "fits",
    "grow",
    "lag_cycles",
    "parts_of",
    "tile_memory",
]


KEPT = 1 << 16
"""Results that are kept of each question: searches ask the same ones over and over."""


@dataclass(frozen=True)
class Cut:
    """Column strips x output-channel parts x row-block chain links (one tile each), and weight copies in each tile."""

    strips: int = 1
    parts: int = 1
    chain: int = 1
    copies: int = 1

    @property
    def tiles(self) -> int:
        """Tiles used."""
        return self.strips * self.parts * self.chain


@lru_cache(maxsize=KEPT)
def channel_unit(facts: Facts, res: Resources) -> int:
    """Output channels that should stay together: a crossbar's worth."""
    if not facts.is_conv:
        return 1
    if facts.rounds is not None:
        return facts.shape[2]
    if facts.groups == 1:
        return outputs_per_array(res.flow(facts).columns, res.machine.array)
    columns = res.flow(facts).columns
    return facts.n * _groups_in_one_array(facts.groups, facts.k, facts.n, columns, res.machine.array)


@lru_cache(maxsize=4096)
def _groups_in_one_array(groups: int, k: int, n: int, columns: int, array: Array) -> int:
    packed = 1
    while packed < groups and arrays_for(packed + 1, k, n, columns, array) == 1:
        packed += 1
    return packed


@lru_cache(maxsize=KEPT)
def parts_of(facts: Facts, parts: int, res: Resources) -> tuple[Range, ...]:
    """Output-channel ranges."""
    return split(facts.shape[2], parts, channel_unit(facts, res))


@lru_cache(maxsize=KEPT)
def arrays_per_tile(facts: Facts, cut: Cut, res: Resources) -> int:
    """Crossbars of one copy in the fullest tile."""
    if not facts.is_conv:
        return 0
    chans = max(b - a for a, b in parts_of(facts, cut.parts, res))
    rows = max(b - a for a, b in split(facts.k, cut.chain, res.machine.array.rows))
    columns, array = res.flow(facts).columns, res.machine.array
    if facts.rounds is not None:
        return arrays_for(1, rows, facts.n, columns, array)
    if facts.groups == 1:
        return arrays_for(1, rows, chans, columns, array)
    return arrays_for(max(1, chans // facts.n), rows, min(facts.n, chans), columns, array)


@lru_cache(maxsize=KEPT)
def tile_memory(facts: Facts, cut: Cut, res: Resources, depth: tuple[int, ...], loose: bool) -> int:
    """Bytes of rings and channel FIFOs in the fullest tile; ``loose`` adds room to overlap neighbouring rows."""
    part = max(b - a for a, b in parts_of(facts, cut.parts, res))
    width = -(-facts.shape[1] // cut.strips)
    total = 0
    for index in range(len(facts.in_shapes)):
        held = _most_columns(facts, index, cut.strips) * _held_channels(facts, part, index)
        row = facts.in_elements[index].nbytes(held)
        total += row * (ring_slots(facts, index, loose) + depth[index])
    results = 2 if loose and facts.shape[0] > 1 else 1
    result, sums = facts.element.nbytes(width * part), I32.nbytes(width * part)
    total += results * result
    if facts.sums:
        total += results * sums
    if cut.chain > 1:
        total += sums
    return total + facts.tables * min(2, facts.shape[0]) * result


@lru_cache(maxsize=1 << 16)
def _most_columns(facts: Facts, index: int, strips: int) -> int:
    """Columns of an input that a strip reads, at most: the outer ones see padding in place of some."""
    needed = (needed_columns(facts, index, strip) for strip in split(facts.shape[1], strips))
    return max(last - first for first, last in needed)


def _held_channels(facts: Facts, part: int, index: int) -> int:
    if facts.reach is not None:
        return _most_channels(facts, part, index)
    if facts.is_conv and facts.groups == 1:
        return facts.in_shapes[index][2]
    if facts.is_conv:
        return max(1, -(-part // facts.n)) * (facts.in_shapes[index][2] // facts.groups)
    return part


@lru_cache(maxsize=1 << 16)
def _most_channels(facts: Facts, part: int, index: int) -> int:
    """Channels of an input that a movement to so many channels reads, at most."""
    needed = (facts.input_channels(r, index) for r in split(facts.shape[2], -(-facts.shape[2] // part)))
    return max(last - first for first, last in needed)


def ring_slots(facts: Facts, index: int, loose: bool) -> int:
    """Rows of input ``index`` a tile keeps: the window's, and with ``loose`` those of the next step."""
    w, reach = facts.window, facts.reach
    if reach is not None:
        step = max(segment.steps[index] for segment in reach.segments)
        return min(facts.in_shapes[index][0], reach.slots(index) + (step if loose else 0))
    tall = (w.kernel[0] - 1) * w.dilation[0] + 1
    return min(facts.in_shapes[index][0], tall + (w.stride[0] if loose else 0))


def fits(facts: Facts, cut: Cut, res: Resources, depth: tuple[int, ...]) -> bool:
    """Whether the fullest tile has the crossbars and the memory."""
    if arrays_per_tile(facts, cut, res) * cut.copies > res.machine.tile.arrays:
        return False
    return tile_memory(facts, cut, res, depth, loose=False) <= res.machine.tile.memory_bytes


def base_cut(facts: Facts, res: Resources, depth: tuple[int, ...]) -> Cut | None:
    """The cut with the fewest tiles for one copy (fewest partial sums among equals); ``None`` if nothing fits."""
    best: Cut | None = None
    for chain in _chains(facts, res):
        cut = _fewest_parts(facts, res, chain)
        if cut is None:
            continue
        cut = _shrink_memory(facts, cut, res, depth)
        if cut is not None and (best is None or cut.tiles < best.tiles):
            best = cut
    return best if best is None else fill(facts, best, res)


def _chains(facts: Facts, res: Resources) -> Sequence[int]:
    if not facts.is_conv:
        return range(1, 2)
    if facts.rounds is not None:
        return facts.rounds.chains
    blocks = -(-facts.k // res.machine.array.rows)
    return range(1, min(blocks, 3 + 2 * -(-blocks // res.machine.tile.arrays)) + 1)


def _fewest_parts(facts: Facts, res: Resources, chain: int) -> Cut | None:
    if not facts.is_conv:
        return Cut(chain=chain)
    most = -(-facts.shape[2] // channel_unit(facts, res))
    for parts in range(1, most + 1):
        cut = Cut(parts=parts, chain=chain)
        if arrays_per_tile(facts, cut, res) <= res.machine.tile.arrays:
            return cut
    return None


def _shrink_memory(facts: Facts, cut: Cut, res: Resources, depth: tuple[int, ...]) -> Cut | None:
    """More parts where channels are independent, else more strips, until the rings fit."""
    limit = res.machine.tile.memory_bytes
    while tile_memory(facts, cut, res, depth, loose=False) > limit:
        wider = _next(facts, cut, res, prefer_parts=facts.channelwise)
        if wider is None:
            return None
        cut = wider
    return cut


def _next(facts: Facts, cut: Cut, res: Resources, prefer_parts: bool) -> Cut | None:
    parts = len(parts_of(facts, cut.parts, res))
    more_parts = replace(cut, parts=cut.parts + 1) if parts < -(-facts.shape[2] // channel_unit(facts, res)) else None
    more_strips = replace(cut, strips=cut.strips + 1) if cut.strips < facts.shape[1] else None
    if prefer_parts:
        return more_parts or more_strips
    return more_strips or more_parts


def fill(facts: Facts, cut: Cut, res: Resources) -> Cut:
    """As many copies inside each tile as its crossbars hold, and no more than there are positions."""
    if not facts.is_conv:
        return cut
    room = res.machine.tile.arrays // arrays_per_tile(facts, cut, res)
    return replace(cut, copies=max(1, min(room, -(-facts.shape[1] // cut.strips))))


@lru_cache(maxsize=KEPT)
def cut_cycles(facts: Facts, cut: Cut, res: Resources) -> int:
    """Cycles per image of the busiest tile in a filled pipeline."""
    return max(row_cycles(facts, cut, res) * facts.shape[0], _link_cycles(facts, cut, res))


@lru_cache(maxsize=KEPT)
def row_cycles(facts: Facts, cut: Cut, res: Resources) -> int:
    """Cycles between two output rows in the matrix or vector unit of the busiest tile."""
    width = -(-facts.shape[1] // cut.strips)
    part = max(b - a for a, b in parts_of(facts, cut.parts, res))
    if facts.reach is not None:
        moved = -(-width * part // res.machine.tile.bus_bytes_per_cycle)
        return max(1, moved, -(-facts.reach.row_copies // (cut.strips * cut.parts)))
    vector = -(-width * part * max(facts.taps, 1) // res.machine.tile.vector_lanes)
    if not facts.is_conv:
        return max(1, vector)
    rounds = 1 if facts.rounds is None else facts.rounds.count
    return max(vector, -(-width // cut.copies) * rounds * res.flow(facts).interval_cycles)


def lag_cycles(facts: Facts, res: Resources) -> int:
    """Cycles by which the end of a row trails the unit's readiness for the next."""
    if not facts.is_conv:
        return 0
    flow = res.flow(facts)
    return max(0, flow.latency_cycles - flow.interval_cycles)


def _link_cycles(facts: Facts, cut: Cut, res: Resources) -> int:
    """Bytes in and out of the busiest tile over a link."""
    part = max(b - a for a, b in parts_of(facts, cut.parts, res))
    strip = max(split(facts.shape[1], cut.strips), key=lambda r: r[1] - r[0])
    entering = 0
    for index, shape in enumerate(facts.in_shapes):
        first, last = needed_columns(facts, index, strip)
        entering += shape[0] * facts.in_elements[index].nbytes((last - first) * _held_channels(facts, part, index))
    row = (strip[1] - strip[0]) * part
    leaving = facts.shape[0] * facts.element.nbytes(row) * facts.readers
    if cut.chain > 1:
        sums = facts.shape[0] * I32.nbytes(row)
        entering, leaving = entering + sums, max(leaving, sums)
    return int(max(entering, leaving) / (res.machine.network.link_bytes_per_cycle * res.link_share)) + 1


def grow(facts: Facts, cut: Cut, res: Resources, depth: tuple[int, ...]) -> Cut | None:
    """The next larger cut that is faster, or ``None`` (a row of positions is the most that can be split)."""
    now = cut_cycles(facts, cut, res)
    candidate: Cut | None = cut
    for _ in range(64):
        candidate = _next(facts, candidate, res, prefer_parts=not facts.is_conv) if candidate else None
        if candidate is None:
            return None
        candidate = fill(facts, replace(candidate, copies=1), res)
        if cut_cycles(facts, candidate, res) < now and fits(facts, candidate, res, depth):
            return candidate
    return None
