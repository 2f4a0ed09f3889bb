"""Sharing: instructions of different tiles that are parts of one computation become one operation.

Tiles of a layer hold different outputs, columns or rows of it, but look at the same tensors through the same window.
Steps are first grouped by a signature that leaves those parts out; a group whose parts fill a box, and whose inputs
agree, is computed once over the whole box. What a tile holds is then a slice of the result, and buffers put together
from all slices of a tensor are the tensor itself: nothing is copied.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pimc_isa.engines.dots.layer import LayerPart, part_channels
from pimc_isa.engines.values.content import (
    Content,
    ContentPiece,
    content_key,
    moved,
    rows_identity,
    shifted_rows,
    unite,
)
from pimc_isa.engines.values.holdings import Holdings
from pimc_isa.engines.values.lift import Lifted, LiftedUnit
from pimc_isa.engines.values.operations import (
    CallOp,
    DotMember,
    DotOp,
    GenericOp,
    LutOp,
    Operation,
    PairOp,
    PoolOp,
    QuantOp,
    Region,
    TilesOp,
)
from pimc_isa.engines.values.signatures import Signer
from pimc_isa.engines.values.trace import Step, StepId
from pimc_isa.errors import ProgramError
from pimc_isa.instructions import CallRow, HostWork, Lut, Mvm, Mvma, PerPair, PoolAvg, PoolMax, PoolSum, Quant
from pimc_isa.operands import Range, Slab
from pimc_isa.program import Tile

__all__ = ["Shared", "share"]

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class _Part:
    """What one step contributes: the first step it stands for, the rows of a tensor of ``height``, and its inputs."""

    step: StepId
    height: int
    rows: Array
    cols: Range
    chans: Range
    inputs: dict[str, Content]

    @property
    def region(self) -> Region:
        return Region.of(self.rows, self.cols, self.chans)


@dataclass
class Shared:
    """The operations of a program, inputs first, and what everything holds."""

    holdings: Holdings
    operations: list[Operation]


def share(lifted: Lifted, merge: bool = True) -> Shared:
    """Turn a lifted program into operations; without ``merge`` every step stays an operation of its own."""
    builder = _Builder(lifted)
    for members in _classes(lifted, merge):
        builder.build(members)
    return Shared(builder.holdings, builder.operations)


def _classes(lifted: Lifted, merge: bool) -> list[list[LiftedUnit]]:
    """Units grouped by signature, in an order in which inputs come first."""
    signer = Signer(lifted, merge)
    levels: dict[int, int] = {}
    members: dict[int, list[LiftedUnit]] = {}
    for unit in lifted.order:
        found = signer.tiles(unit.tiles) if unit.step is None else signer.step(unit.step)
        if found is not None:
            levels[found[0]] = found[1]
            members.setdefault(found[0], []).append(unit)
    return [members[name] for name in sorted(members, key=lambda name: (levels[name], name))]


class _Builder:
    """Builds operations class by class."""

    def __init__(self, lifted: Lifted) -> None:
        self.lifted, self.program = lifted, lifted.program
        self.holdings = Holdings(lifted)
        self.operations: list[Operation] = []
        self._dots: dict[int, DotOp] = {}

    def build(self, members: list[LiftedUnit]) -> None:
        """One class: one operation if its parts fit together, else one for each."""
        first = members[0]
        if first.step is None:
            self._tiles(first.tiles)
            return
        instr = self._step(first.step).instr
        if isinstance(instr, HostWork):
            self._call(first.step, instr)
            return
        steps = [unit.step for unit in members if unit.step is not None]
        parts = [self._part(s) for s in steps]
        whole = self._merged(parts) if len(parts) > 1 else None
        if whole is not None:
            self._add(whole, steps)
            return
        for step, part in zip(steps, parts, strict=True):
            self._add(part, [step])

    def _step(self, step: StepId) -> Step:
        return self.lifted.traces[step[0]].steps[step]

    def _tile(self, step: StepId) -> Tile:
        return self.program.tile[step[0]]

    # ---- parts ----

    def _part(self, step_id: StepId) -> _Part:
        step, tile = self._step(step_id), self._tile(step_id)
        dst = step.instr.destination
        cols, chans = tile.cols(dst), tile.chans(dst)
        rows, height = step.rows(dst.row), tile.buffer[dst.buffer].rows
        inputs = {}
        for read in self.lifted.reads.get(step_id, []):
            operand = getattr(step.instr, read.operand)
            content = self.holdings.read(step_id, read.operand)
            inputs[read.operand] = content if isinstance(operand, str) else self._aligned(step, tile, operand, content)
        return _Part(step_id, height, rows, cols, chans, inputs)

    def _aligned(self, step: Step, tile: Tile, operand: Slab, content: Content) -> Content:
        """An operand in the coordinates of the destination; one that is a single column wide keeps its own column."""
        dst = step.instr.destination
        to_cols, to_chans = tile.cols(dst), tile.chans(dst)
        cols, chans = tile.cols(operand), tile.chans(operand)
        rows = shifted_rows(tile.buffer[dst.buffer].rows, step.rows(dst.row), step.rows(operand.row))
        shift = chans[0] - to_chans[0]
        if cols[1] - cols[0] == 1 and to_cols[1] - to_cols[0] > 1:
            return moved(content, rows, cols, to_chans, 0, shift)
        return moved(content, rows, to_cols, to_chans, cols[0] - to_cols[0], shift)

    def _merged(self, parts: list[_Part]) -> _Part | None:
        """All parts as one, or None where they leave gaps or see different things."""
        first = parts[0]
        box = unite([ContentPiece(rows_identity(p.height, p.rows), p.cols, p.chans, 0) for p in parts])
        if box is None or len(box) != 1:
            return None
        rows = np.flatnonzero(box[0].rows >= 0)
        gaps = np.diff(rows)
        if len(gaps) and (gaps != gaps[0]).any():
            return None
        inputs = {}
        for operand in first.inputs:
            content = unite([piece for p in parts for piece in p.inputs[operand]])
            if content is None:
                return None
            inputs[operand] = content
        whole = _Part(first.step, first.height, rows, box[0].cols, box[0].chans, inputs)
        return whole if self._layer_fits(whole) else None

    def _layer_fits(self, part: _Part) -> bool:
        """Whether the channels of a matrix instruction are whole convolution groups, or within one."""
        instr = self._step(part.step).instr
        if not isinstance(instr, Mvm | Mvma) or self._tile(part.step).group[instr.group].rounds:
            return True
        n = self.program.weight[self._tile(part.step).group[instr.group].weights].n
        c0, c1 = part.chans
        return c0 // n == (c1 - 1) // n or (c0 % n == 0 and c1 % n == 0)

    # ---- operations ----

    def _add(self, part: _Part, steps: list[StepId]) -> None:
        step, tile = self._step(part.step), self._tile(part.step)
        dst = step.instr.destination.buffer
        value = self.holdings.new_value(part.region, tile.buffer[dst].dtype)
        self.operations.append(self._operation(step, tile, part, value, steps))
        for s in steps:
            self.holdings.value_of[s, self._step(s).instr.destination.buffer] = value

    def _operation(self, step: Step, tile: Tile, part: _Part, out: int, steps: list[StepId]) -> Operation:
        match instr := step.instr:
            case Mvm() | Mvma():
                return self._dot(instr, tile, part, out, tuple(map(self._member, steps)))
            case Quant():
                src = part.inputs["src"]
                to, at = part.chans[0], tile.chans(instr.src)[0] - tile.chans(instr.dst)[0]
                return QuantOp(out, src, tile.requant[instr.requant], to + at)
            case Lut():
                return LutOp(out, part.inputs["src"], tile.table[instr.table].data)
            case PerPair():
                scales = tile.elementwise[instr.scales]
                return PairOp(out, part.inputs["a"], part.inputs["b"], type(instr), scales)
            case PoolMax() | PoolSum() | PoolAvg():
                x = tile.buffer[instr.src]
                s = tile.elementwise[instr.scales] if isinstance(instr, PoolAvg) else None
                size = (x.rows, x.width)
                return PoolOp(out, part.inputs["src"], size, tile.window[instr.window], instr.mnemonic, s)
        slabs = {getattr(instr, n): c for n, c in part.inputs.items() if isinstance(getattr(instr, n), Slab)}
        sources = {getattr(instr, n): c for n, c in part.inputs.items() if isinstance(getattr(instr, n), str)}
        return GenericOp(out, step.id, instr, slabs, sources)

    def _member(self, step_id: StepId) -> DotMember:
        step, tile = self._step(step_id), self._tile(step_id)
        assert isinstance(step.instr, Mvm | Mvma)
        dst = step.instr.dst
        return DotMember(step_id, step.rows(dst.row), tile.cols(dst), LayerPart.of(tile.group[step.instr.group]))

    def _dot(self, instr: Mvm | Mvma, tile: Tile, part: _Part, out: int, members: tuple[DotMember, ...]) -> DotOp:
        group, window, x = tile.group[instr.group], tile.window[instr.window], tile.buffer[instr.src]
        weights = self.program.weight[group.weights]
        own = LayerPart.of(group)
        if part_channels(own, self.program) != tile.chans(instr.dst):
            raise ProgramError(
                f"tile {tile.number}: {instr.dst.buffer} does not hold the channels of group {group.name}"
            )
        layer = own if own.rounds else _layer_part(own, weights.n, part.chans)
        per_group = weights.k // (window.kernel[0] * window.kernel[1])
        chans = x.chans
        if weights.groups > 1:
            chans = (layer.groups[0] * per_group, layer.groups[1] * per_group)
        base = part.inputs["dst"] if isinstance(instr, Mvma) else ()
        op = DotOp(out, part.inputs["src"], (x.rows, x.width), window, layer, chans, base, members)
        op = self._chained(op, part.region)
        self._dots[out] = op
        return op

    def _chained(self, op: DotOp, region: Region) -> DotOp:
        """Join with the dot product it is added to, if that is over the preceding rows of the same windows."""
        if len(op.base) != 1 or op.base[0].value not in self._dots:
            return op
        base, before = op.base[0], self._dots[op.base[0].value]
        made = self.holdings.values[before.out].region
        unmoved = (base.dcol, base.dchan) == (0, 0) and (base.rows[region.rows] == region.rows).all()
        same = replace(before.window, name="") == replace(op.window, name="") and before.size == op.size
        same = same and not op.part.rounds  # each group rounds and overwrites for itself
        adjacent = before.part.k[1] == op.part.k[0] and replace(before.part, k=op.part.k, cuts=()) == op.part
        inputs = before.chans == op.chans and content_key(before.x) == content_key(op.x)
        if not (unmoved and same and adjacent and inputs and made == region):
            return op
        cuts = (*before.part.cuts, op.part.k[0])
        whole = replace(op.part, k=(before.part.k[0], op.part.k[1]), cuts=cuts)
        return replace(op, part=whole, base=before.base, members=before.members + op.members)

    def _call(self, step: StepId, instr: HostWork) -> None:
        tile = self._tile(step)
        call = tile.call[instr.call]
        feeds = {p: self.holdings.read(step, p) for _, p in call.inputs if not p.startswith("$")}
        rows = self._step(step).rows(instr.row) if isinstance(instr, CallRow) else None
        made = {}
        for _, place in call.outputs:
            if not place.startswith("$"):
                b = tile.buffer[place]
                region = Region.of(np.arange(b.rows) if rows is None else rows, b.cols, b.chans)
                made[place] = self.holdings.new_value(region, b.dtype)
                self.holdings.value_of[step, place] = made[place]
        self.operations.append(CallOp(tile.number, instr.call, feeds, made, rows))

    def _tiles(self, numbers: tuple[int, ...]) -> None:
        """Row-wise tiles: every channel between them and the rest is a whole value."""
        inside = set(numbers)
        arriving, channels = {}, {}
        for channel in self.program.channels:
            if channel.source not in inside and inside & set(channel.dests):
                arriving[channel.name] = self.holdings.channel(channel.name)
            shape = self.holdings.sent_shape(channel.name) if channel.source in inside else None
            if shape is not None:
                rows, cols, chans, dtype = shape
                channels[channel.name] = self.holdings.new_value(Region(0, 1, rows, (0, cols), (0, chans)), dtype)
        self.holdings.channel_values.update(channels)
        buffers = {}
        for number in numbers:
            for b in self.program.tile[number].buffers:
                if b.views:
                    buffers[number, b.name] = self.holdings.new_value(Region(0, 1, b.rows, b.cols, b.chans), b.dtype)
        self.holdings.buffer_values.update(buffers)
        self.operations.append(TilesOp(numbers, arriving, channels, buffers))


def _layer_part(own: LayerPart, n: int, chans: Range) -> LayerPart:
    """The part of a layer with the same rows whose outputs are ``chans``."""
    first, last = chans[0] // n, (chans[1] - 1) // n + 1
    outputs = (0, n) if last - first > 1 else (chans[0] - first * n, chans[1] - first * n)
    return replace(own, n=outputs, groups=(first, last))
