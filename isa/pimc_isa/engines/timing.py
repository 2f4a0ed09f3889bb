"""What the timing engines hand out: when every executed instruction started and ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from pimc_isa.define import Instr
from pimc_isa.instructions import HostWork, Mvm, Mvma
from pimc_isa.route import Link

__all__ = ["TileTiming", "Timing", "is_shared", "unit_of"]

Array = np.ndarray


def unit_of(instr: Instr) -> str:
    """The unit of its tile that executes an instruction: one per matrix group, one per host call, else by kind."""
    if isinstance(instr, Mvm | Mvma):
        return f"matrix.{instr.group}"
    if isinstance(instr, HostWork):
        return f"host.{instr.call}"
    return instr.unit


def is_shared(unit: str) -> bool:
    """Whether the streams of one place share a unit, as ``unit_of`` names it: all but those of groups and calls."""
    return not unit.startswith(("matrix.", "host."))


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
    by (tile, unit), each stream's own, ``link_busy`` by link, both over all images. ``sharing`` has the numbers of the
    tiles at each place where there are several.
    """

    images: int
    tiles: tuple[TileTiming, ...]
    image_ends: tuple[int, ...]
    unit_busy: Mapping[tuple[int, str], int] = field(default_factory=dict)
    link_busy: Mapping[Link, int] = field(default_factory=dict)
    sharing: tuple[tuple[int, ...], ...] = ()

    @property
    def busy(self) -> dict[tuple[int, str], int]:
        """Cycles each unit is busy, by (tile, unit): one that streams share has the sum of all at each of them."""
        first = {number: numbers[0] for numbers in self.sharing for number in numbers}
        owner = {(n, unit): (first.get(n, n) if is_shared(unit) else n, unit) for n, unit in self.unit_busy}
        sums: Counter[tuple[int, str]] = Counter()
        for key, cycles in self.unit_busy.items():
            sums[owner[key]] += cycles
        return {key: sums[owner[key]] for key in self.unit_busy}

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
        busiest = max([0, *self.busy.values(), *self.link_busy.values()])
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
