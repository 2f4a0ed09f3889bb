"""What the timing engines hand out: when every executed instruction started and ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from pimc_isa.define import Instr
from pimc_isa.instructions import HostWork, Mvm, Mvma
from pimc_isa.route import Link

__all__ = ["TileTiming", "Timing", "unit_of"]

Array = np.ndarray


def unit_of(instr: Instr) -> str:
    """The unit of its tile that executes an instruction: one per matrix group, one per host call, else by kind."""
    if isinstance(instr, Mvm | Mvma):
        return f"matrix.{instr.group}"
    if isinstance(instr, HostWork):
        return f"host.{instr.call}"
    return instr.unit


@dataclass(frozen=True)
class TileTiming:
    """Executed instructions of one tile in stream order, without loop, end and halt.

    ``index`` [n] is the position in the tile's code and ``iteration`` [n] the loop counter (0 outside a loop), the same
    for every image; ``start`` and ``end`` [images, n] are clock cycles, an instruction occupies [start, end).
    """

    tile: int
    index: Array
    iteration: Array
    start: Array
    end: Array


@dataclass(frozen=True)
class Timing:
    """When a program's instructions ran over a stream of ``images`` images.

    ``image_ends`` is the cycle at which the host's last instruction of each image ended. ``unit_busy`` counts cycles
    by (tile, unit), ``link_busy`` by link, both over all images.
    """

    images: int
    tiles: tuple[TileTiming, ...]
    image_ends: tuple[int, ...]
    unit_busy: Mapping[tuple[int, str], int] = field(default_factory=dict)
    link_busy: Mapping[Link, int] = field(default_factory=dict)

    @property
    def latency_cycles(self) -> int:
        """Cycles until the first image is out."""
        return self.image_ends[0]

    @property
    def interval_cycles(self) -> int:
        """Cycles between images in a filled pipeline; for a single image its latency.

        The time between two images, the last left out where there are three or more (with nobody behind it, it is
        quicker), but never less than the busiest unit or link is busy for each.
        """
        if self.images == 1:
            return self.latency_cycles
        busiest = max([0, *self.unit_busy.values(), *self.link_busy.values()])
        last = -1 if self.images == 2 else -2
        return max(self.image_ends[last] - self.image_ends[last - 1], -(-busiest // self.images))

    @property
    def total_cycles(self) -> int:
        """End of the last instruction of all."""
        return max((int(t.end.max()) for t in self.tiles if t.end.size), default=0)

    @property
    def executed(self) -> int:
        """Executed instructions of all images."""
        return sum(t.start.size for t in self.tiles)
