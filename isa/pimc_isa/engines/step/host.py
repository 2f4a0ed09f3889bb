"""Host calls of the step engine: one image at a time, straight through onnxruntime."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np

from pimc_isa.operands import Buffer, View
from pimc_isa.program import Program, Tile

__all__ = ["run_call"]

Array = np.ndarray


def run_call(
    program: Program,
    tile: Tile,
    name: str,
    buffers: Mapping[str, Array],
    inputs: Mapping[str, Array],
    by_row: bool = False,
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Run a call on one image: whole buffers [rows, columns, channels] and program inputs; returns both kinds.

    ``by_row``: the buffers are one row of each.
    """
    import onnxruntime as ort

    call = tile.call[name]
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    for key, value in json.loads(program.meta.get("ort_config", "{}")).items():
        options.add_session_config_entry(key, str(value))
    session = ort.InferenceSession(program.tensors[call.model].tobytes(), options, providers=["CPUExecutionProvider"])
    feeds = {
        tensor: inputs[place[1:]][None]
        if place.startswith("$")
        else _tensor(buffers[place], tile.buffer[place], tensor, by_row)
        for tensor, place in call.inputs
    }
    results = session.run([tensor for tensor, _ in call.outputs], feeds)
    made: dict[str, Array] = {}
    outputs: dict[str, Array] = {}
    for (tensor, place), value in zip(call.outputs, results, strict=True):
        if place.startswith("$"):
            outputs[place[1:]] = value[0]
        else:
            made[place] = _rows(value[0], tile.buffer[place], tensor, by_row)
    return made, outputs


def _view(buffer: Buffer, tensor: str) -> View:
    """The buffer's view of that name; else its first; else channels first, as the buffer is."""
    plain = View(tensor, "CHW", (buffer.channels, buffer.rows, buffer.width))
    return next((v for v in buffer.views if v.tensor == tensor), buffer.views[0] if buffer.views else plain)


def _tensor(rows: Array, buffer: Buffer, tensor: str, by_row: bool) -> Array:
    view = _view(buffer, tensor)
    if view.offset:
        rows = (rows.astype(np.int32) - view.offset).astype(np.int8)
    ordered = np.moveaxis(rows, 2, 0) if view.order == "CHW" else rows
    return np.ascontiguousarray(ordered)[None] if by_row else ordered.reshape(1, *view.shape)


def _rows(value: Array, buffer: Buffer, tensor: str, by_row: bool) -> Array:
    view, rows = _view(buffer, tensor), 1 if by_row else buffer.rows
    stored = value.astype(np.int32) + view.offset
    if view.order == "CHW":
        return np.moveaxis(stored.reshape(buffer.channels, rows, buffer.width), 0, 2)
    return stored.reshape(rows, buffer.width, buffer.channels)
