"""The step engine: the slow referee, one clock at a time, values and cycles together."""

from pimc_isa.engines.step.clock import Result, run

__all__ = ["Result", "run"]
