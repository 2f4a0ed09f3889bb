"""A chip with a machine of its own and three flows, one of them as text, with a micro-operation of its own.

That is an analog limiter in front of the converters: what it clips needs no converter that could tell it apart.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pimc.analysis.dataflow import Dataflow
from pimc.analysis.facts import Facts
from pimc.passes.target import Target
from pimc_backends.kit import ScheduledBackend
from pimc_isa.engines.step import StepConverter, book_micro_op, restate_micro_op
from pimc_isa.flow import Conversion, MicroOp
from pimc_isa.flow.fields import bits
from pimc_isa.flow.forms import Seen
from pimc_isa.flow.latches import fail, latest


class Limit(MicroOp, op="limit", resource="limiter", takes="samples", makes="samples"):
    """Clip every sample to BITS bits; it is held anew."""

    bits: int = bits()

    def seen(self, flow: Any, taker: MicroOp) -> Seen:
        """The samples, through a cell that clips."""
        found = latest(flow, self, self.takes).seen(flow, self)
        if found.cell is not None:
            fail(flow, self, "the samples are limited already", "limit them once")
        return Seen(found.kind, found.bits, Conversion(0, 2**self.bits - 1))

    def actions(self, flow: Any, use: Any) -> dict[str, float]:
        """A hold for each column."""
        return {"sample_hold": use.positions * use.columns}


restate_micro_op("limit", cell=lambda op: StepConverter(0, 2 ** vars(op)["bits"] - 1, 1))
book_micro_op("limit", lambda op, burst: {"sample_hold": burst.positions * sum(c.columns for c in burst.activations)})

LIMITED = """
.flow nibble8l input_bits=8 slices=2,2,2,2 step_cycles=120 interval=8 latency=13
  @0 load
  @1 drive 0:2
  @1 read
  @1 count-inputs 0:2
  @2 limit 7
  @3 convert unsigned 7
  @3 drive 2:4
  @3 read
  @3 count-inputs 2:4
  @4 accumulate <<0
  @4 limit 7
  @5 convert unsigned 7
  @5 drive 4:6
  @5 read
  @5 count-inputs 4:6
  @6 accumulate <<2
  @6 limit 7
  @7 convert unsigned 7
  @7 drive 6:8
  @7 read
  @7 count-inputs 6:8
  @8 accumulate <<4
  @8 limit 7
  @9 convert unsigned 7
  @10 accumulate <<6
  @11 correct
  @11 merge
  @12 store
"""


def by_height(facts: Facts, target: Target) -> tuple[str, ...]:
    """Two input bits at a time take half the steps; converters hold the sums of a flipped column of so few rows."""
    fits = facts.k * 3 * 3 // 2 < 1 << target.machine.array.converter_bits
    return ("nibble8x2", "nibble8", "nibble8l") if fits else ("nibble8",)


MACHINE, BIT_BY_BIT = Path(__file__).with_name("pimc_nibble.toml"), Dataflow("A", input_slicing=(1,) * 8)
FLOWS: dict[str, Any] = {"more": {"nibble8x2": Dataflow("A")}, "written": (LIMITED,), "offer": by_height}
TARGET = ScheduledBackend("nibble", MACHINE, BIT_BY_BIT, "nibble8", **FLOWS)
