"""What targets are made of, ours and others': machines and flows, tiles' code, the host tile.

`ScheduledBackend` is a whole target; `writes` enters a writer for the tiles of an op of one's own.
"""

from pimc_backends.kit.backend import ScheduledBackend
from pimc_backends.kit.emit import Emitter, emit, next_row, writes
from pimc_backends.kit.moves import move
from pimc_backends.kit.target import (
    analog_pipeline,
    encoding_of,
    make_target,
    narrow_flows,
    packaged_machine,
    scheduled_flow,
    widened,
)
from pimc_backends.kit.tilecode import TileCode, all_rows, up_to

__all__ = [
    "Emitter",
    "ScheduledBackend",
    "TileCode",
    "all_rows",
    "analog_pipeline",
    "emit",
    "encoding_of",
    "make_target",
    "move",
    "narrow_flows",
    "next_row",
    "packaged_machine",
    "scheduled_flow",
    "up_to",
    "widened",
    "writes",
]
