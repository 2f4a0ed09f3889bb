"""A program in memory: tiles with their descriptors and streams, channels, flows, weights, tensors, machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from pimc_isa.operands import (
    Buffer,
    Call,
    Channel,
    Elementwise,
    Group,
    Range,
    Requant,
    Rounds,
    Slab,
    Table,
    Weights,
    Window,
)

if TYPE_CHECKING:
    from pimc_isa.define import Instr
    from pimc_isa.flow import Flow
    from pimc_isa.machine import Machine

__all__ = ["Port", "Program", "Tile"]

Array = np.ndarray


@dataclass(frozen=True)
class Port:
    """An input or output of the program: an ONNX tensor with its element type (numpy name) and shape without batch."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Tile:
    """One instruction stream with its descriptors. ``kind`` is 'tile' or 'host'; position is chip, x, y in the mesh.

    Several tiles may stand at one place: they are the streams of one physical tile, and share what it has.
    ``layer`` names the IR op (and so the ONNX node) that the tile works on; ``nodes`` gives the ONNX node of each
    instruction (same length as ``code``, '' where there is none).
    """

    number: int
    name: str
    kind: str
    chip: int
    x: int
    y: int
    buffers: tuple[Buffer, ...] = ()
    windows: tuple[Window, ...] = ()
    groups: tuple[Group, ...] = ()
    requants: tuple[Requant, ...] = ()
    elementwises: tuple[Elementwise, ...] = ()
    tables: tuple[Table, ...] = ()
    calls: tuple[Call, ...] = ()
    code: tuple[Instr, ...] = ()
    nodes: tuple[str, ...] = ()

    @cached_property
    def buffer(self) -> dict[str, Buffer]:
        """Buffers by name."""
        return {b.name: b for b in self.buffers}

    def cols(self, operand: Slab) -> Range:
        """The absolute columns that a row part covers."""
        return operand.cols if operand.cols is not None else self.buffer[operand.buffer].cols

    def chans(self, operand: Slab) -> Range:
        """The absolute channels that a row part covers."""
        return operand.chans if operand.chans is not None else self.buffer[operand.buffer].chans

    @cached_property
    def window(self) -> dict[str, Window]:
        """Windows by name."""
        return {w.name: w for w in self.windows}

    @cached_property
    def group(self) -> dict[str, Group]:
        """Groups by name."""
        return {g.name: g for g in self.groups}

    @cached_property
    def requant(self) -> dict[str, Requant]:
        """Requantisations by name."""
        return {s.name: s for s in self.requants}

    @cached_property
    def elementwise(self) -> dict[str, Elementwise]:
        """Element-wise scales by name."""
        return {s.name: s for s in self.elementwises}

    @cached_property
    def table(self) -> dict[str, Table]:
        """Tables by name."""
        return {t.name: t for t in self.tables}

    @cached_property
    def call(self) -> dict[str, Call]:
        """Host calls by name."""
        return {c.name: c for c in self.calls}


@dataclass(frozen=True)
class Program:
    """Everything the interpreter needs, and nothing of the compiler.

    ``tensors`` holds arrays by name: weights' codes, multipliers, tables, host subgraphs, and ``reference`` (the
    quantised ONNX model's bytes, for verification). ``meta`` holds strings: ``target``, ``model_sha256``, ...
    """

    machine: Machine
    tiles: tuple[Tile, ...]
    channels: tuple[Channel, ...]
    flows: tuple[Flow, ...]
    weights: tuple[Weights, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    tensors: Mapping[str, Array]
    meta: Mapping[str, str] = field(default_factory=dict)
    rounds: tuple[Rounds, ...] = ()

    @cached_property
    def tile(self) -> dict[int, Tile]:
        """Tiles by number."""
        return {t.number: t for t in self.tiles}

    @cached_property
    def sharing(self) -> dict[int, tuple[int, ...]]:
        """By tile number all tiles at its place, in order: the streams of one physical tile. A host shares nothing."""
        places: dict[tuple[int, int, int], list[int]] = {}
        for number, t in sorted(self.tile.items()):
            if t.kind != "host":
                places.setdefault((t.chip, t.x, t.y), []).append(number)
        found = {number: tuple(numbers) for numbers in places.values() for number in numbers}
        return {number: found.get(number, (number,)) for number in self.tile}

    @cached_property
    def physical_tiles(self) -> int:
        """Places of the mesh where one or more streams stand."""
        return len({self.sharing[t.number] for t in self.tiles if t.kind == "tile"})

    @cached_property
    def channel(self) -> dict[str, Channel]:
        """Channels by name."""
        return {c.name: c for c in self.channels}

    @cached_property
    def flow(self) -> dict[str, Flow]:
        """Flows by name."""
        return {f.name: f for f in self.flows}

    @cached_property
    def weight(self) -> dict[str, Weights]:
        """Weights by name."""
        return {w.name: w for w in self.weights}

    @cached_property
    def schedule(self) -> dict[str, Rounds]:
        """Rounds by name."""
        return {r.name: r for r in self.rounds}

    @cached_property
    def levels(self) -> dict[Group, int]:
        """Levels of all cells that a position's inputs meet, of groups that were asked for."""
        return {}

    def rounds_of(self, group: Group) -> int:
        """How many rounds a group takes for a position."""
        return self.schedule[group.rounds].count if group.rounds else 1
