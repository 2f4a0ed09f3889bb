"""Host calls: ONNX subgraphs run by onnxruntime, in the layout the subgraph expects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from pimc_isa.engines.values.tensors import from_onnx, to_onnx, view_for
from pimc_isa.errors import RunError
from pimc_isa.meta import session_entries
from pimc_isa.operands import Buffer, Call
from pimc_isa.program import Port, Program, Tile

__all__ = ["OrtCall"]

Array = np.ndarray
_STORED = ("uint8", "int8", "int32")


class OrtCall:
    """One ``call`` of the host tile, ready to run. The session is made once.

    Session entries come from the program's ``meta['ort_config']`` (a JSON object). A subgraph with a fixed batch of 1
    is run image by image. ``rows``: it is a subgraph for one row.
    """

    def __init__(self, program: Program, tile: Tile, call: Call, rows: bool = False) -> None:
        self.call = call
        self._buffer = {name: _one_row(b) if rows else b for name, b in tile.buffer.items()}
        self._session = _session(program, call)
        self._fixed = any(i.shape and i.shape[0] == 1 for i in self._session.get_inputs())
        self._known = {i.name for i in self._session.get_inputs()}
        unknown = [name for name, _ in call.inputs if name not in self._known]
        if unknown:
            raise RunError(f"host call {call.name}: its subgraph has no input '{unknown[0]}'")
        self._ports = {port.name: port for port in program.outputs}

    def __call__(
        self, buffers: Mapping[str, Array], ports: Mapping[str, Array]
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Run on whole input buffers and program inputs; returns output buffers and program outputs."""
        feeds = {name: self._feed(name, place, buffers, ports) for name, place in self.call.inputs}
        names = [name for name, _ in self.call.outputs]
        try:
            results = self._run(names, feeds)
        except Exception as error:  # onnxruntime raises classes of its own, without a common base
            raise RunError(f"host call {self.call.name}: {_first_line(error)}") from error
        images = len(next(iter(feeds.values()))) if feeds else 1
        made: dict[str, Array] = {}
        sent: dict[str, Array] = {}
        for (name, place), value in zip(self.call.outputs, results, strict=True):
            if place.startswith("$"):
                sent[place[1:]] = self._fitting(value, self._ports[place[1:]], images)
            elif not isinstance(value, np.ndarray) or value.dtype.name not in _STORED or len(value) != images:
                raise RunError(f"host call {self.call.name}: '{name}' is no batch of 8-bit or i32 values")
            else:
                buffer = self._buffer[place]
                made[place] = from_onnx(value, buffer, view_for(buffer, name))
        return made, sent

    def by_row(self, buffers: Mapping[str, Array]) -> dict[str, Array]:
        """Run on each row alone: rows of inputs [images, rows, columns, channels] to those of outputs."""
        images, rows = next(iter(buffers.values())).shape[:2]
        made, _ = self({place: held.reshape(-1, 1, *held.shape[2:]) for place, held in buffers.items()}, {})
        return {place: value.reshape(images, rows, *value.shape[2:]) for place, value in made.items()}

    def _fitting(self, value: Any, port: Port, images: int) -> Array:
        """An output that is what the program declares."""
        if isinstance(value, np.ndarray) and value.dtype == port.dtype and value.shape == (images, *port.shape):
            return value
        has = f"{value.dtype} {list(value.shape)}" if isinstance(value, np.ndarray) else type(value).__name__
        want = f"{port.dtype} {[images, *port.shape]}"
        raise RunError(f"host call {self.call.name}: output '{port.name}' is {has}, the program declares {want}")

    def _feed(self, name: str, place: str, buffers: Mapping[str, Array], ports: Mapping[str, Array]) -> Array:
        if place.startswith("$"):
            return ports[place[1:]]
        return to_onnx(buffers[place], view_for(self._buffer[place], name))

    def _run(self, names: list[str], feeds: dict[str, Array]) -> list[Array]:
        images = len(next(iter(feeds.values()))) if feeds else 1
        if not self._fixed or images == 1:
            return list(self._session.run(names, feeds))
        each = [self._session.run(names, {k: v[n : n + 1] for k, v in feeds.items()}) for n in range(images)]
        return [np.concatenate(parts) for parts in zip(*each, strict=True)]


def _one_row(buffer: Buffer) -> Buffer:
    """A buffer of one row, with the views of that."""
    views = []
    for view in buffer.views:
        axis = 1 if view.order == "CHW" else 0
        views.append(replace(view, shape=(*view.shape[:axis], 1, *view.shape[axis + 1 :])))
    return replace(buffer, rows=1, views=tuple(views))


def _session(program: Program, call: Call) -> Any:
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise RunError("host calls need onnxruntime: pip install onnxruntime") from error
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4
    model = np.asarray(program.tensors[call.model], np.uint8).tobytes()
    try:
        for key, value in session_entries(program).items():
            options.add_session_config_entry(key, value)
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"], enable_fallback=0)
    except Exception as error:  # onnxruntime raises classes of its own, without a common base
        raise RunError(f"host call {call.name}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
