"""What the conversions of a flow see, read off its micro-operations (the manual's section "Flows").

A micro-operation takes what was put into its latch last, by one that was done when it starts. So one goes back from
each ``accumulate`` (or ``merge``) to its ``convert``, and from there to the reads of the crossbar. The flow is known to
be legal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

from pimc_isa.errors import ProgramError
from pimc_isa.flow.define import MicroOp
from pimc_isa.flow.flow import Flow

__all__ = ["Reading", "StepConverter", "StepGroup", "read_flow", "restate_micro_op", "unknown_micro_ops"]

#: Bits [lo, hi) of an input, of what it is above its zero point (1), or below it (-1); 0: of the input as it is.
Slice = tuple[int, int, int]
#: Input slice (number), weight slice (number), and the power of two of their pair within its group.
Pair = tuple[int, int, int]


@dataclass(frozen=True)
class StepConverter:
    """Codes ``lo`` to ``hi``; a code stands for ``step`` units, or a part of the group's full scale if ``ranged``."""

    lo: int
    hi: int
    step: int
    ranged: bool = False


@dataclass(frozen=True)
class StepGroup:
    """Pairs whose column sums are added before one conversion; the result counts ``2**shift`` times.

    ``by``: the conversion's micro-operation. ``cell``: every column sum goes through such a buffer cell first; where
    these are in columns of a buffer, it is ``buffered``. ``finer``: where the code is an end code, these groups count
    in its place. ``minus``: the result is subtracted, since it is of what inputs are below their zero point.
    """

    pairs: tuple[Pair, ...]
    shift: int
    converter: StepConverter
    by: MicroOp
    cell: StepConverter | None = None
    buffered: bool = False
    finer: tuple[StepGroup, ...] = ()
    minus: bool = False

    @property
    def flagged(self) -> bool:
        """Whether it is converted because a flag asks for it."""
        return _says(self.by) == "flagged"


@dataclass(frozen=True)
class Reading:
    """A flow as its conversions see it.

    ``slices``: bits of the input, in the order in which their codes are added, those of flagged
    conversions last. ``units``: for the sum of each input slice the converter it goes through (None: counted); empty if
    nothing is corrected. ``adders``: who adds codes, and the conversion that makes them. ``sides``: W+ and W-
    go through converters of their own.
    """

    slices: tuple[Slice, ...]
    groups: tuple[StepGroup, ...]
    units: tuple[StepConverter | None, ...]
    sides: bool
    adders: tuple[tuple[MicroOp, MicroOp], ...] = ()

    @property
    def all_groups(self) -> tuple[StepGroup, ...]:
        """Those that count at first, and the finer ones."""
        return (*self.groups, *(finer for group in self.groups for finer in group.finer))

    @property
    def converter(self) -> StepConverter:
        """One of the converters that count; all are ranged alike, or none is."""
        return self.groups[0].converter


#: Which latch each micro-operation fills; of those done at the same time the later one in this list came last.
_FILLS = {"read": "samples", "fold": "held", "buffer": "buffered", "convert": "codes", "accumulate": "sums"}
#: Those that are known, with whoever fills no latch that is looked at here.
_KNOWN = {*_FILLS, "load", "drive", "sum-inputs", "count-inputs", "correct", "merge", "scale", "activate", "store"}
#: Cells that micro-operations of other packages put samples through.
_CELLS: dict[str, Callable[[MicroOp], StepConverter]] = {}


def restate_micro_op(name: str, cell: Callable[[MicroOp], StepConverter] | None = None) -> None:
    """Tell the referee of a micro-operation: it takes samples, and puts each through a cell.

    Without ``cell`` it changes nothing that conversions see. ``book_micro_op`` says what it costs.
    """
    _KNOWN.add(name)
    if cell is not None:
        _FILLS[name], _CELLS[name] = "samples", cell


def unknown_micro_ops(flow: Flow) -> tuple[str, ...]:
    """Micro-operations of a flow that the referee was never told of."""
    return tuple(dict.fromkeys(op.name for op in flow.ops if op.name not in _KNOWN))


def _end(op: MicroOp) -> int:
    """The first step after it."""
    return op.step + op.steps


def _bits(op: MicroOp) -> Slice:
    low, high = vars(op)["bits"]
    return low, high, {"positive": 1, "negative": -1}.get(vars(op)["part"], 0)


class _Reader:
    """Goes back through one flow."""

    def __init__(self, flow: Flow) -> None:
        self.ops = flow.ops
        self.places = [sum(flow.slices[:j]) for j in range(len(flow.slices))]

    def called(self, *names: str) -> list[MicroOp]:
        return [op for op in self.ops if op.name in names]

    def last(self, op: MicroOp, *latches: str) -> MicroOp:
        """What ``op`` finds: the last that was done with one of the latches when ``op`` starts."""
        order = list(_FILLS)
        done = [o for o in self.ops if _FILLS.get(o.name) in latches and _end(o) <= op.step]
        return max(done, key=lambda o: (_end(o), order.index(o.name)))

    def counted(self) -> list[MicroOp]:
        """The conversions whose codes count: merged as they are, or accumulated."""
        merged = [self.last(op, "sums", "codes") for op in self.called("merge")]
        accumulated = [self.last(op, "codes") for op in self.called("accumulate")]
        return [op for op in merged if op.name == "convert"] + accumulated

    def guard(self, flagged: MicroOp) -> MicroOp:
        """The conversion whose flags one finds: the last guarded one that was done when it starts."""
        guards = [op for op in self.called("convert") if _says(op) == "guarded" and _end(op) <= flagged.step]
        return max(guards, key=_end)

    def source(self, convert: MicroOp) -> MicroOp:
        return self.last(convert, "samples", "held", "buffered")

    def sources(self, convert: MicroOp) -> list[MicroOp]:
        """What gave the samples, or all folds since the last conversion, or all writes to the buffer."""
        source = self.source(convert)
        if source.name not in ("fold", "buffer"):
            return [source]
        parts = sorted(self.called(source.name), key=lambda o: o.step)
        if source.name == "fold":
            since = max((o.step for o in self.called("convert") if o.step < convert.step), default=-1)
            parts = [o for o in parts if since <= o.step and _end(o) <= convert.step]
        return parts

    def read(self, source: MicroOp) -> MicroOp:
        """The read of the crossbar behind whatever samples went through."""
        while source.name != "read":
            source = self.last(source, "samples")
        return source

    def slices(self, convert: MicroOp) -> list[Slice]:
        """Input bits that were driven when each source was read."""
        reads = [self.read(o) for o in self.sources(convert)]
        return [next(_bits(d) for d in self.called("drive") if d.step == read.step) for read in reads]

    def groups(self, convert: MicroOp, number: dict[Slice, int]) -> list[StepGroup]:
        """The pairs of slices that ``convert`` converts, group by group."""
        minus = self.slices(convert)[0][2] < 0
        source, converter = self.source(convert), _converter(convert)
        pairs = [(number[b], j, b[0] + place) for b in self.slices(convert) for j, place in enumerate(self.places)]
        if source.name not in ("fold", "buffer"):
            through = _CELLS[source.name](source) if source.name in _CELLS else None
            return [StepGroup(((i, j, 0),), p, converter, convert, through, minus=minus) for i, j, p in pairs]
        powers = sorted({power for _, _, power in pairs})
        chosen = vars(convert)["columns"]
        if chosen is not None:
            powers = powers[chosen.lo : chosen.hi]
        together = source.name == "fold" or (chosen is not None and chosen.summed)
        cell = _cell(source) if source.name == "buffer" else None
        found = []
        for wanted in [powers] if together else [[power] for power in powers]:
            inside = tuple((i, j, power - wanted[0]) for i, j, power in pairs if power in wanted)
            buffered = source.name == "buffer"
            found.append(StepGroup(inside, wanted[0], converter, convert, cell, buffered, minus=minus))
        return found

    def units(self) -> dict[Slice, StepConverter | None]:
        """How the sum of each input slice is made digital."""
        found: dict[Slice, StepConverter | None] = {_bits(op): None for op in self.called("count-inputs")}
        for op in self.called("sum-inputs"):
            convert = self.last(op, "codes")
            found[self.slices(convert)[0]] = _converter(convert)
        return found


def _converter(op: MicroOp) -> StepConverter:
    codes, rounding = 1 << vars(op)["bits"], vars(op)["rounding"]
    lo, hi = (0, codes - 1) if vars(op)["sign"] == "unsigned" else (-(codes // 2), codes // 2 - 1)
    if rounding is None:
        return StepConverter(lo, hi, 1)
    return StepConverter(lo, hi, rounding.step, rounding.ranged)


def _cell(op: MicroOp) -> StepConverter:
    return StepConverter(0, (1 << vars(op)["bits"]) - 1, vars(op)["cell_step"] or 1)


def _says(op: MicroOp) -> str:
    return str(vars(op)["guard"])


@lru_cache(maxsize=64)
def read_flow(flow: Flow) -> Reading:
    """What the conversions of a legal flow see. Raises ProgramError for micro-operations that nobody restated."""
    for name in unknown_micro_ops(flow):
        raise ProgramError(
            f"flow {flow.name}: the step engine has no restatement of micro-operation '{name}'\n"
            "give it one with pimc_isa.engines.step.restate_micro_op"
        )
    reader = _Reader(flow)
    counted = reader.counted()
    first = [convert for convert in counted if _says(convert) != "flagged"]
    flagged = [convert for convert in counted if _says(convert) == "flagged"]
    own = tuple(dict.fromkeys(bits for convert in first for bits in reader.slices(convert)))
    slices = tuple(dict.fromkeys([*own, *(bits for convert in flagged for bits in reader.slices(convert))]))
    number = {bits: i for i, bits in enumerate(slices)}
    groups = []
    for convert in first:
        behind = [c for c in flagged if reader.guard(c) is convert]
        finer = [group for c in behind for group in reader.groups(c, number)]
        groups += [_refined(group, finer, slices) for group in reader.groups(convert, number)]
    units = reader.units()
    sides = any(vars(op)["sampled"] == "sides" for op in reader.called("read"))
    adders = tuple((op, reader.last(op, "codes")) for op in reader.called("accumulate"))
    return Reading(slices, tuple(groups), tuple(units[bits] for bits in own) if units else (), sides, adders)


def _refined(group: StepGroup, finer: list[StepGroup], slices: tuple[Slice, ...]) -> StepGroup:
    """The group with those of the finer ones that see what it sees."""
    seen = _seen(group, slices)
    return replace(group, finer=tuple(f for f in finer if _seen(f, slices) <= seen))


def _seen(group: StepGroup, slices: tuple[Slice, ...]) -> set[tuple[int, int, int]]:
    return {(bit, slices[i][2], j) for i, j, _ in group.pairs for bit in range(*slices[i][:2])}
