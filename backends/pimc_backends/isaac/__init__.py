"""The ISAAC target: an array with one converter, inputs bit by bit, every column converted for every input bit."""

from pimc_backends.isaac.pipeline import emit, flow, machine, passes, target

__all__ = ["emit", "flow", "machine", "passes", "target"]
