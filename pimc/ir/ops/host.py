"""Parts of the model that the host runs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from pimc.ir.layout import from_onnx, to_onnx
from pimc.ir.ops.base import Array, Constants, Evaluation, Geometry, Op, Shape
from pimc.ir.ops.specs import constant
from pimc_isa.operands import View

if TYPE_CHECKING:
    from pimc.ir.graph import Graph

__all__ = ["HostCall"]


class HostCall(Op, op="host.call"):
    """An ONNX subgraph on the host: the model's head (makes one value) or its tail (makes the program's outputs).

    ``feeds`` pairs subgraph inputs with values, or ``$NAME`` for a model input. ``fetches`` pairs subgraph outputs with
    this op's value, or ``$NAME`` for a model output. ``operations`` of one image are an estimate of the host's work.
    ``by_row``: the subgraph makes one row of the result from the same row of each input, and is run for every row.
    """

    model: str = constant(np.uint8)
    feeds: tuple[tuple[str, str], ...]
    fetches: tuple[tuple[str, str], ...]
    why: str = ""
    operations: int = 0
    by_row: bool = False

    decides: ClassVar[frozenset[str]] = frozenset()
    is_host: ClassVar[bool] = True

    def infer(self, shapes: Sequence[Shape], constants: Constants) -> Shape:
        """What it says itself: the front end has asked onnx."""
        return self.shape

    def geometry(self, shapes: Sequence[Shape], constants: Constants) -> Geometry:
        """Everything before anything, but for a call by rows."""
        return Geometry() if self.by_row else Geometry(whole=tuple(range(len(shapes))))

    def results(self, x: list[Array], run: Evaluation) -> Mapping[str, Array]:
        """Run the subgraph in onnxruntime."""
        if self.by_row:
            return {self.name: self._rows(x, run)}
        values = dict(zip(self.inputs, x, strict=True))
        feeds = {}
        for tensor, place in self.feeds:
            if place.startswith("$"):
                feeds[tensor] = run.inputs[place[1:]]
            else:
                feeds[tensor] = to_onnx(values[place], _view(run.graph[place], tensor))
        found = {}
        for (tensor, place), result in zip(self.fetches, self._run(run.graph, feeds), strict=True):
            found[place] = result if place.startswith("$") else from_onnx(result, _view(self, tensor), self.shape)
        return found

    def _rows(self, x: list[Array], run: Evaluation) -> Array:
        """Run it with the rows of all images as images of their own."""
        (h, w, c), images = self.shape, len(x[0])
        feeds = {}
        for tensor, place in self.feeds:
            rows = x[self.inputs.index(place)]
            view = _one_row(_view(run.graph[place], tensor))
            feeds[tensor] = to_onnx(rows.reshape(images * h, 1, *rows.shape[2:]), view)
        (result,) = self._run(run.graph, feeds)
        made = from_onnx(result, _one_row(_view(self, self.fetches[0][0])), (1, w, c))
        return np.asarray(made).reshape(images, h, w, c)

    def _run(self, graph: Graph, feeds: Mapping[str, Array]) -> list[Array]:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        for key, value in json.loads(graph.meta.get("ort_config", "{}")).items():
            options.add_session_config_entry(key, value)
        session = ort.InferenceSession(
            graph.constants[self.model].tobytes(), options, providers=["CPUExecutionProvider"]
        )
        names = [tensor for tensor, _ in self.fetches]
        fixed = session.get_inputs() and session.get_inputs()[0].shape[0] == 1
        images = len(next(iter(feeds.values()))) if feeds else 1
        if not fixed or images == 1:
            return list(session.run(names, dict(feeds)))
        parts = [session.run(names, {k: v[n : n + 1] for k, v in feeds.items()}) for n in range(images)]
        return [np.concatenate(column) for column in zip(*parts, strict=True)]

    def problems(self, graph: Graph) -> Iterator[str]:
        """Yield what its feeds and fetches say wrongly."""
        values = [place for _, place in self.feeds if not place.startswith("$")]
        if sorted(set(values)) != sorted(set(self.inputs)):
            yield f"feeds {values} and inputs {list(self.inputs)} name different values"
        ports = {port.name for port in graph.inputs}
        for _, place in self.feeds:
            if place.startswith("$") and place[1:] not in ports:
                yield f"feeds {place}, which is no input of the model"
        results = [place for _, place in self.fetches if not place.startswith("$")]
        if results != ([self.name] if self.type is not None else []):
            yield f"fetches {results}, but its result is {self.name if self.type else 'none'}"
        yield from self._row_problems(graph)

    def _row_problems(self, graph: Graph) -> Iterator[str]:
        if not self.by_row:
            return
        if self.type is None or not self.inputs or any(place.startswith("$") for _, place in self.feeds):
            yield "runs by rows, but not from values of the chip to a value"
        elif len({graph[v].shape[0] for v in self.inputs} | {self.shape[0]}) > 1:
            yield "runs by rows, but its inputs and its result have different numbers of rows"


def _one_row(view: View) -> View:
    axis = 1 if view.order == "CHW" else 0
    return replace(view, shape=(*view.shape[:axis], 1, *view.shape[axis + 1 :]))


def _view(op: Op, tensor: str) -> View:
    return next(v for v in op.views if v.tensor == tensor)
