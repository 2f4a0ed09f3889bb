"""The cycles engine: event driven, row by row, without values."""

from pimc_isa.engines.cycles.engine import simulate

__all__ = ["simulate"]
