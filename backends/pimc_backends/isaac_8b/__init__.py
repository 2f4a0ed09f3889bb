"""The isaac-8b target: RAELLA's baseline, ISAAC of 8 bits with 2-bit cells and digital sums of inputs."""

from pimc_backends.isaac_8b.pipeline import DATAFLOW, FLOW, emit, flow, machine, passes, target

__all__ = ["DATAFLOW", "FLOW", "emit", "flow", "machine", "passes", "target"]
