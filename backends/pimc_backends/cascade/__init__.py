"""The CASCADE-style target: column sums kept in analog buffer cells, one conversion per buffer column."""

from pimc_backends.cascade.pipeline import DATAFLOW, FLOW, emit, flow, machine, passes, target

__all__ = ["DATAFLOW", "FLOW", "emit", "flow", "machine", "passes", "target"]
