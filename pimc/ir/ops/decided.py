"""What passes decide of an op: the values of ``rounds``, ``mapping``, ``cells``, ``placement`` and ``schedule``."""

from __future__ import annotations

from collections.abc import Mapping as MappingOf
from dataclasses import dataclass, field

import numpy as np

from pimc.epitomes.rounds import Tables
from pimc.ir.ops.specs import NAMED
from pimc_isa.operands import Range

__all__ = ["CellPlan", "Mapping", "Part", "RoundPlan", "Schedule"]


@dataclass(frozen=True)
class Mapping:
    """How a layer is cut: column strips x output-channel parts x row-block chains, each on a tile of its own.

    ``copies`` of the weights inside each tile; ``arrays`` is the number of crossbars in all.
    """

    strips: tuple[Range, ...]
    parts: tuple[Range, ...]
    chain: tuple[Range, ...]
    copies: int
    arrays: int


@dataclass(frozen=True)
class CellPlan:
    """How weights are stored: the code, polarity and centre constants, slice widths (low first), rows of a block."""

    codes: str = field(metadata=NAMED)
    polarity: str = field(metadata=NAMED)
    centre: str = field(metadata=NAMED)
    slices: tuple[int, ...]
    block_rows: int
    bipolar: bool = False


@dataclass(frozen=True)
class RoundPlan:
    """How a layer with an epitome works on a position in ``count`` rounds; dense where it has none.

    The four tables of `pimc_isa.operands.Rounds` for all rows of the epitome, merged for crossbars of ``height`` word
    lines that hold ``across`` outputs. ``chains``: into how many links of a chain its rows may be cut, so that every
    link makes every channel.
    """

    patches: str = field(metadata=NAMED)
    rows: str = field(metadata=NAMED)
    columns: str = field(metadata=NAMED)
    copies: str = field(metadata=NAMED)
    count: int
    height: int
    across: int
    chains: tuple[int, ...] = (1,)

    def tables(self, constants: MappingOf[str, np.ndarray]) -> Tables:
        """The tables themselves, out of a graph's constants."""
        return Tables(*(constants[name] for name in (self.patches, self.rows, self.columns, self.copies)))


@dataclass(frozen=True)
class Part:
    """A piece of an op on one tile: which columns, channels and (convolutions) weight rows, and where the tile is."""

    tile: int
    chip: int
    x: int
    y: int
    cols: Range
    chans: Range
    rows_k: Range = (0, 0)


@dataclass(frozen=True)
class Schedule:
    """Row buffering: ``slots`` of each input's ring and ``depth`` (messages) of the channels that fill it.

    ``out_slots`` of the result's ring.
    """

    slots: tuple[int, ...]
    depth: tuple[int, ...]
    out_slots: int
