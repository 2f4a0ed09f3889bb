"""The RAELLA target: centre and offset, adaptive slices, speculation and recovery, on crossbars of 512 x 512 pairs."""

from pimc_backends.raella.pipeline import emit, flow, machine, passes, target

__all__ = ["emit", "flow", "machine", "passes", "target"]
