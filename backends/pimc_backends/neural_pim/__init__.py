"""The Neural-PIM target: sums added in the analog domain, one conversion per output."""

from pimc_backends.neural_pim.pipeline import DATAFLOW, FLOW, emit, flow, machine, passes, target

__all__ = ["DATAFLOW", "FLOW", "emit", "flow", "machine", "passes", "target"]
