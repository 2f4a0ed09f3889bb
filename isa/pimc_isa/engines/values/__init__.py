"""The values engine: what comes out, for all rows and images at once."""

from pimc_isa.engines.values.executor import Executor, Result, run

__all__ = ["Executor", "Result", "run"]
