"""The cycles engine: event driven, row by row, without values."""

from pimc_isa.engines.cycles.engine import simulate
from pimc_isa.engines.cycles.record import REASONS, Record, Slice, channel_of, record

__all__ = ["REASONS", "Record", "Slice", "channel_of", "record", "simulate"]
