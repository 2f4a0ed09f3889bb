"""The ISAAC-style target: every column sum of every input bit converted, 1-bit cells, 7-bit converters."""

from pimc_backends.isaac_style.pipeline import DATAFLOW, FLOW, emit, flow, machine, passes, target

__all__ = ["DATAFLOW", "FLOW", "emit", "flow", "machine", "passes", "target"]
