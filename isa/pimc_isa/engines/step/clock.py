"""The slow referee: one clock at a time, physical ring slots and FIFOs, values and time together.

Every cycle has three parts, in this order: what ends now ends; one instruction of each tile is dispatched; units
start what may start, tile by tile in order of number. The rules are written down here once more, as they stand in the
manual. This package takes data from the rest of ``pimc_isa`` (programs, machines, flows) and no rule: neither routes
nor what an instruction costs, touches or means (``referee``, ``rules``), nor what crossbars compute (``flows``,
``dots``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from pimc_isa.engines.noise import Noise
from pimc_isa.engines.step.actions import Ledger
from pimc_isa.engines.step.analog import Hardware
from pimc_isa.engines.step.dots import Dots
from pimc_isa.engines.step.geometry import channels, columns
from pimc_isa.engines.step.network import StepWires
from pimc_isa.engines.step.routes import Link
from pimc_isa.engines.step.tile import Execution, TileMachine
from pimc_isa.engines.timing import TileTiming, Timing
from pimc_isa.errors import DeadlockError
from pimc_isa.instructions import Recv, Send
from pimc_isa.program import Program

__all__ = ["StepResult", "run"]

Array = np.ndarray


@dataclass(frozen=True)
class StepResult:
    """Outputs by name [images, ...], every row ever written by (tile, buffer) [images, rows, ...], and the timing.

    ``counts``: actions of all images by layer (ONNX node, or the tile's name), where values were computed.
    """

    outputs: Mapping[str, Array]
    buffers: Mapping[tuple[int, str], Array]
    timing: Timing
    counts: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass
class _Clock:
    program: Program
    images: int
    inputs: Mapping[str, Array]
    with_values: bool
    hardware: Hardware
    now: int = 0
    unit_busy: dict[tuple[int, str], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.wires = StepWires(self.program)
        ordered = sorted(self.program.tiles, key=lambda t: t.number)
        dots = Dots(self.program, self.hardware)
        self.tiles = [TileMachine(self.program, t, self.images, dots) for t in ordered]
        self.outputs: dict[str, list[Array]] = {}
        self.booked: dict[str, dict[str, float]] = {}

    def run(self) -> None:
        while not all(t.finished for t in self.tiles):
            if self._cycle():
                self.now += 1
                continue
            later = [m for t in self.tiles for m in t.moments()] + self.wires.moments(self.now)
            later = [m for m in later if m > self.now]
            if not later:
                heads = [f'tile {t.tile.number} "{t.tile.name}": {h.describe()}' for t in self.tiles for h in t.heads()]
                raise DeadlockError("\n".join(["deadlock in cycle " + str(self.now), *heads[:5]]))
            self.now = min(later)

    def _cycle(self) -> bool:
        """One clock; returns whether anything happened."""
        happened = False
        for tile in self.tiles:
            for execution in tile.ending(self.now):
                self._end(tile, execution)
                happened = True
            happened |= tile.release(self.now)
        for tile in self.tiles:
            happened |= tile.dispatch(self.now)
        for tile in self.tiles:
            for execution in tile.idle_executions(self.now):
                happened |= self._start(tile, execution)
        return happened

    def _start(self, tile: TileMachine, e: Execution) -> bool:
        """Start an instruction, or the next row transfer of a running ``recv``, if it may."""
        if isinstance(e.instr, Recv):
            return self._start_transfer(tile, e, e.instr)
        if not tile.may_read(e) or not tile.may_write(e, e.writes):
            return False
        if isinstance(e.instr, Send) and not self.wires.may_send(e.instr.channel, e.nbytes, self.now):
            return False
        if self.with_values:
            self._execute(tile, e)
        if isinstance(e.instr, Send):
            message = e.values.message if e.values is not None else None
            self.wires.send(e.instr.channel, e.nbytes, self.now, message)
            self._book(tile, e, self.wires.actions(e.instr.channel, e.nbytes))
        tile.start(e, self.now, self.now + e.cycles, self.now + e.busy)
        self._busy(tile, e, e.busy)
        return True

    def _start_transfer(self, tile: TileMachine, e: Execution, instr: Recv) -> bool:
        if not e.rows:
            tile.start(e, self.now, self.now + 1)
            self._busy(tile, e, 1)
            return True
        if not self.wires.has_message(instr.channel, tile.tile.number, self.now):
            return False
        if not tile.may_write(e, {e.rows[0]}):
            return False
        tile.start(e, self.now, self.now + e.cycles)
        self._busy(tile, e, e.cycles)
        self._book_own(tile, e, None)
        return True

    def _execute(self, tile: TileMachine, e: Execution) -> None:
        inputs = {name: values[e.image] for name, values in self.inputs.items()}
        e.values = tile.values(e, inputs)
        e.rule.meaning(e.instr, e.values)
        self._book_own(tile, e, e.values.ledger)

    def _book_own(self, tile: TileMachine, e: Execution, ledger: Ledger | None) -> None:
        """What an instruction costs; nobody counts the host's own work."""
        if tile.tile.kind != "host":
            self._book(tile, e, e.rule.actions(tile.place, e.instr, ledger))

    def _book(self, tile: TileMachine, e: Execution, actions: Mapping[str, float]) -> None:
        node = tile.tile.nodes[e.pc] if e.pc < len(tile.tile.nodes) else ""
        booked = self.booked.setdefault(node or tile.tile.name, {})
        for action, number in actions.items():
            booked[action] = booked.get(action, 0) + number

    def _end(self, tile: TileMachine, e: Execution) -> None:
        if e.values is not None:
            e.values.commit()
            for name, value in e.values.outputs.items():
                self.outputs.setdefault(name, []).append(value)
        if isinstance(e.instr, Recv) and e.rows:
            message = self.wires.take(e.instr.channel, tile.tile.number, self.now)
            _, row = e.rows.pop(0)
            if message is not None:
                ring = tile.memory.rings[e.instr.dst.buffer]
                dst = e.instr.dst
                ring.store(e.image, row, ring.part(columns(tile.tile, dst), channels(tile.tile, dst)), message)
            if e.rows:
                e.busy_until = None
                return
        tile.end(e, self.now)

    def _busy(self, tile: TileMachine, e: Execution, cycles: int) -> None:
        key = tile.tile.number, e.unit
        self.unit_busy[key] = self.unit_busy.get(key, 0) + cycles

    def timing(self) -> Timing:
        """What happened when."""
        by_number = {t.tile.number: _tile_timing(t, self.images) for t in self.tiles}
        watched = [t for t in self.tiles if t.tile.kind == "host"] or self.tiles
        image_ends = [
            max((e.ended or 0 for t in watched for e in t.done if e.image == n), default=0) for n in range(self.images)
        ]
        links: dict[Link, int] = {k: sum(b - a for a, b in v) for k, v in self.wires.taken.items()}
        tiles = tuple(by_number[t.number] for t in self.program.tiles)
        return Timing(self.images, tiles, tuple(image_ends), self.unit_busy, links)


def _tile_timing(tile: TileMachine, images: int) -> TileTiming:
    runs = [[e for e in tile.done if e.image == n] for n in range(images)]
    return TileTiming(
        tile.tile.number,
        np.array([e.pc for e in runs[0]], np.int32),
        np.array([e.iteration for e in runs[0]], np.int32),
        np.array([[e.started for e in run] for run in runs], np.int64).reshape(images, -1),
        np.array([[e.ended for e in run] for run in runs], np.int64).reshape(images, -1),
    )


def run(
    program: Program,
    inputs: Mapping[str, Array],
    images: int = 1,
    values: bool = True,
    noise: Noise | None = None,
    first: int = 0,
) -> StepResult:
    """Run a stream of images; ``inputs`` by name, [images, ...]. Without ``values`` only the timing is computed.

    With ``noise`` it is one noisy chip, and ``first`` is the number of the first image, on which draws depend. Raises
    ``DeadlockError`` when nothing can proceed, ``ProgramError`` for an instruction without a restatement.
    """
    hardware = Hardware.of(program, noise, first)
    clock = _Clock(program, images, inputs, values, hardware)
    clock.run()
    while hardware.lumped is not None and hardware.lumped.again():
        clock = _Clock(program, images, inputs, values, hardware)
        clock.run()
    outputs = {name: np.stack(parts) for name, parts in clock.outputs.items()}
    buffers = {(t.tile.number, n): ring.history for t in clock.tiles for n, ring in t.memory.rings.items()}
    counts = {layer: actions for layer, actions in clock.booked.items() if actions} if values else {}
    return StepResult(outputs, buffers, clock.timing(), counts)
