"""What buffers and channels hold, in terms of the values computed so far."""

from __future__ import annotations

import numpy as np

from pimc_isa.engines.values.content import Content, ContentPiece, coverage, moved, overlay, rows_identity, shifted_rows
from pimc_isa.engines.values.lift import Lifted
from pimc_isa.engines.values.operations import Region, Value
from pimc_isa.engines.values.trace import NEVER, Step, StepId, Write
from pimc_isa.errors import ProgramError
from pimc_isa.instructions import Copy, Recv, Send
from pimc_isa.operands import Buffer
from pimc_isa.program import Tile

__all__ = ["Holdings"]

Array = np.ndarray


class Holdings:
    """Values made so far, and from them what buffers and channels hold."""

    def __init__(self, lifted: Lifted) -> None:
        self.lifted, self.program = lifted, lifted.program
        self.values: list[Value] = []
        self.value_of: dict[tuple[StepId, str], int] = {}
        self.channel_values: dict[str, int] = {}
        self.buffer_values: dict[tuple[int, str], int] = {}
        self._content: dict[tuple[StepId, str], Content] = {}
        self._channels: dict[str, Content] = {}

    def new_value(self, region: Region, dtype: str) -> int:
        """Register a value."""
        self.values.append(Value(len(self.values), region, dtype))
        return len(self.values) - 1

    def written(self, write: Write) -> Content:
        """What a step has put into a buffer, in the buffer's coordinates."""
        key = (write.step, write.buffer)
        if key not in self._content:
            self._content[key] = self._written(write)
        return self._content[key]

    def _written(self, write: Write) -> Content:
        tile = self.program.tile[write.step[0]]
        step = self.lifted.traces[tile.number].steps[write.step]
        height = tile.buffer[write.buffer].rows
        if isinstance(step.instr, Recv):
            rows = shifted_rows(height, write.rows, self.lifted.traces[tile.number].taken[step.id])
            source = self.channel(step.instr.channel)
            return moved(source, rows, write.cols, write.chans, -write.cols[0], -write.chans[0])
        if isinstance(step.instr, Copy):
            return self._copied(tile, step, step.instr, write, height)
        value = self.value_of[write.step, write.buffer]
        return (ContentPiece(rows_identity(height, write.rows), write.cols, write.chans, value),)

    def _copied(self, tile: Tile, step: Step, instr: Copy, write: Write, height: int) -> Content:
        source = self.read(step.id, "src")
        cols, chans = tile.cols(instr.src), tile.chans(instr.src)
        if cols[1] - cols[0] != write.cols[1] - write.cols[0] or chans[1] - chans[0] != write.chans[1] - write.chans[0]:
            raise ProgramError(f"tile {tile.number}, instruction {step.id[1]}: copy of a part of another size")
        rows = shifted_rows(height, write.rows, step.rows(instr.src.row))
        return moved(source, rows, write.cols, write.chans, cols[0] - write.cols[0], chans[0] - write.chans[0])

    def read(self, step: StepId, operand: str) -> Content:
        """What a step sees in the buffer of one operand. Raises ProgramError if a part that it needs never arrives."""
        content = self._joined(self.lifted.seen[step, operand])
        read = next(r for r in self.lifted.reads[step] if r.operand == operand)
        area = (read.cols[1] - read.cols[0]) * (read.chans[1] - read.chans[0])
        held = coverage(content, read.cols, read.chans, len(read.first))
        missing = np.flatnonzero((read.first != NEVER) & (held < area))
        if missing.size:
            name = self.lifted.traces[step[0]].steps[step].instr.mnemonic
            raise ProgramError(
                f"tile {step[0]}, instruction {step[1]} ({name}): row {missing[0]} of {read.buffer} is never complete\n"
                "a part of it is neither computed nor sent"
            )
        return content

    def final(self, tile: Tile, buffer: Buffer) -> Content:
        """What a buffer holds after the stream, counting every row ever written."""
        if tile.number in self.lifted.rowwise:
            value = self.buffer_values[tile.number, buffer.name]
            writes = self.lifted.traces[tile.number].writes.get(buffer.name, [])
            return overlay(
                ContentPiece(rows_identity(buffer.rows, w.rows), w.cols, w.chans, value) for w in writes if w.rows.size
            )
        return self._joined(self.lifted.final(tile, buffer.name))

    def _joined(self, writes: list[Write]) -> Content:
        if len(writes) == 1:
            return self.written(writes[0])
        return overlay(p for w in writes for p in self.written(w))

    def channel(self, name: str) -> Content:
        """The messages of a channel: row n is message n; columns and channels count from 0."""
        if name not in self._channels:
            self._channels[name] = self._messages(name)
        return self._channels[name]

    def sent_shape(self, name: str) -> tuple[int, int, int, str] | None:
        """Messages, columns, channels and element type of what a tile sends to a channel; None if it sends nothing."""
        source = self.program.channel[name].source
        tile, trace = self.program.tile[source], self.lifted.traces[source]
        sends = trace.messages.get(name, [])
        if not sends:
            return None
        instr = trace.steps[sends[0][0]].instr
        assert isinstance(instr, Send)
        (x0, x1), (c0, c1) = tile.cols(instr.src), tile.chans(instr.src)
        return sum(len(rows) for _, rows, _ in sends), x1 - x0, c1 - c0, tile.buffer[instr.src.buffer].dtype

    def _messages(self, name: str) -> Content:
        source = self.program.channel[name].source
        if source in self.lifted.rowwise:
            value = self.channel_values.get(name)
            if value is None:
                return ()
            region = self.values[value].region
            rows = rows_identity(region.count, np.arange(region.count))
            return (ContentPiece(rows, region.cols, region.chans, value),)
        tile, trace = self.program.tile[source], self.lifted.traces[source]
        sends = trace.messages.get(name, [])
        order = sorted(
            (int(t), n, int(row))
            for n, (_, rows, times) in enumerate(sends)
            for row, t in zip(rows, times, strict=True)
        )
        pieces: list[ContentPiece] = []
        for n, (step, _, _) in enumerate(sends):
            instr = trace.steps[step].instr
            assert isinstance(instr, Send)
            rows = np.array([row if which == n else -1 for _, which, row in order], np.int32)
            cols, chans = tile.cols(instr.src), tile.chans(instr.src)
            part = moved(
                self.read(step, "src"), rows, (0, cols[1] - cols[0]), (0, chans[1] - chans[0]), cols[0], chans[0]
            )
            pieces += part
        return overlay(pieces)
