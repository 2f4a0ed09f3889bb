"""Control flow whose course is known: loops with a constant number of turns, branches with a constant condition.

Both are written out (ONNX operators Loop and If); what remains of loops is refused, since nobody can tell how long it
runs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import helper, numpy_helper

from pimc.frontend.admit.graphs import all_nodes, label
from pimc.frontend.admit.limits import MAX_NODES
from pimc.frontend.errors import FrontendError

__all__ = ["unroll"]

LOOPS = ("Loop", "Scan", "SequenceMap")


def unroll(model: onnx.ModelProto, where: str) -> bool:
    """Write known control flow out, in place; returns whether there was any. Raises FrontendError for other loops."""
    if not any(node.op_type in (*LOOPS, "If") and _standard(node) for node in all_nodes(model)):
        return False
    work = _Unroller(model, where)
    changed = work.run()
    for node in all_nodes(model):
        if node.op_type in LOOPS and _standard(node):
            why = work.reasons.get(node.output[0], "how long it runs cannot be told")
            raise FrontendError(f"{where}: {label(node)}: {why}. Export the model without loops.")
    return changed


def _standard(node: onnx.NodeProto) -> bool:
    return node.domain in ("", "ai.onnx")


class _CannotUnrollError(Exception):
    """Why a loop cannot be written out."""


@dataclass
class _Unroller:
    """One pass over the nodes of the main graph; what is written out is looked at in its turn."""

    model: onnx.ModelProto
    where: str
    reasons: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        graph = self.model.graph
        self.opset = max(o.version for o in self.model.opset_import if o.domain in ("", "ai.onnx"))
        self.constants = {t.name: t for t in graph.initializer}
        self.done: list[onnx.NodeProto] = []
        self.blocks = 0

    def run(self) -> bool:
        """Rewrite the graph; returns whether anything changed."""
        pending, changed = deque(self.model.graph.node), False
        while pending:
            node = pending.popleft()
            made = self._written_out(node)
            if made is None:
                self._note_constant(node)
                self.done.append(node)
                continue
            changed = True
            pending.extendleft(reversed(made))
            if len(pending) + len(self.done) > MAX_NODES:
                raise FrontendError(f"{self.where}: with its loops written out it has more than {MAX_NODES:,} nodes.")
        if changed:
            del self.model.graph.node[:]
            self.model.graph.node.extend(self.done)
        return changed

    def _note_constant(self, node: onnx.NodeProto) -> None:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
            self.constants[node.output[0]] = node.attribute[0].t
        elif node.op_type == "Identity" and node.input[0] in self.constants:
            self.constants[node.output[0]] = self.constants[node.input[0]]

    def _scalar(self, name: str) -> float | None:
        """The value of a constant of one element."""
        tensor = self.constants.get(name)
        if tensor is None:
            return None
        array = numpy_helper.to_array(tensor)
        return float(array.reshape(-1)[0]) if array.size == 1 and array.dtype.kind in "biu" else None

    def _written_out(self, node: onnx.NodeProto) -> list[onnx.NodeProto] | None:
        if not _standard(node):
            return None
        try:
            if node.op_type == "If":
                condition = self._scalar(node.input[0])
                return None if condition is None else self._branch(node, "then_branch" if condition else "else_branch")
            return self._loop(node) if node.op_type == "Loop" else None
        except _CannotUnrollError as error:
            self.reasons[node.output[0]] = str(error)
            return None

    def _branch(self, node: onnx.NodeProto, name: str) -> list[onnx.NodeProto]:
        body = _graph_of(node, name)
        prefix = self._prefix(node)
        nodes, names = self._block(body, prefix, self._weights(body, prefix))
        ends = zip(node.output, body.output, strict=False)
        return [*nodes, *(_identity(names.get(o.name, o.name), outer) for outer, o in ends if outer)]

    def _loop(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        body = _graph_of(node, "body")
        turns = self._turns(node, body)
        carried = list(node.input[2:])
        if turns * max(1, len(body.node)) > MAX_NODES:
            raise FrontendError(f"{self.where}: {label(node)}: {turns:,} turns are more than pimc writes out.")
        stacked: list[list[str]] = [[] for _ in body.output[1 + len(carried) :]]
        if not turns and stacked:
            raise _CannotUnrollError("it never runs, and stacks what it makes")
        made: list[onnx.NodeProto] = []
        prefix = self._prefix(node)
        weights = self._weights(body, prefix)
        for turn in range(turns):
            here = f"{prefix}{turn}/"
            made += [_constant(f"{here}turn", np.int64(turn)), _constant(f"{here}go", np.bool_(True))]
            given = dict(zip((i.name for i in body.input), (f"{here}turn", f"{here}go", *carried), strict=False))
            nodes, names = self._block(body, here, weights | given)
            made += nodes
            ends = [names.get(o.name, o.name) for o in body.output[1:]]
            carried = ends[: len(carried)]
            for n, end in enumerate(ends[len(carried) :]):
                made += self._unsqueezed(end, f"{here}row{n}")
                stacked[n].append(f"{here}row{n}")
        outs = list(node.output)
        made += [_identity(value, out) for value, out in zip(carried, outs, strict=False) if out]
        rows = zip(stacked, outs[len(carried) :], strict=False)
        return made + [helper.make_node("Concat", parts, [out], axis=0) for parts, out in rows if out]

    def _turns(self, node: onnx.NodeProto, body: onnx.GraphProto) -> int:
        """Turns of a loop. Raises _CannotUnrollError where they depend on values."""
        count = self._scalar(node.input[0]) if node.input[0] else None
        if count is None:
            raise _CannotUnrollError("its number of turns is no constant")
        first = self._scalar(node.input[1]) if len(node.input) > 1 and node.input[1] else 1.0
        if first is None or not self._goes_on(body):
            raise _CannotUnrollError("it may end early, which depends on values")
        return int(count) if first else 0

    def _goes_on(self, body: onnx.GraphProto) -> bool:
        """Whether the condition that a turn ends with is constantly true, or the one it began with."""
        made = {out: n for n in body.node for out in n.output}
        name = body.output[0].name
        while name in made and made[name].op_type == "Identity":
            name = made[name].input[0]
        inside = {t.name: t for t in body.initializer}
        if name in made and made[name].op_type == "Constant" and made[name].attribute[0].HasField("t"):
            inside[name] = made[name].attribute[0].t
        if name in inside:
            return bool(numpy_helper.to_array(inside[name]).all())
        return (len(body.input) > 1 and name == body.input[1].name) or bool(self._scalar(name))

    def _block(
        self, body: onnx.GraphProto, prefix: str, given: Mapping[str, str]
    ) -> tuple[list[onnx.NodeProto], dict[str, str]]:
        """A body's nodes under names of their own, and those names; ``given`` are its inputs' and weights'."""
        names = {**given, **{out: prefix + out for node in body.node for out in node.output if out}}
        return [_renamed(node, names, prefix) for node in body.node], names

    def _weights(self, body: onnx.GraphProto, prefix: str) -> dict[str, str]:
        """Move a body's initialisers to the main graph, where all turns read them; returns their names there."""
        for tensor in body.initializer:
            moved = self.model.graph.initializer.add()
            moved.CopyFrom(tensor)
            moved.name = prefix + tensor.name
            self.constants[moved.name] = moved
        return {t.name: prefix + t.name for t in body.initializer}

    def _unsqueezed(self, name: str, out: str) -> list[onnx.NodeProto]:
        if self.opset < 13:
            return [helper.make_node("Unsqueeze", [name], [out], axes=[0])]
        return [_constant(f"{out}/axes", np.array([0])), helper.make_node("Unsqueeze", [name, f"{out}/axes"], [out])]

    def _prefix(self, node: onnx.NodeProto) -> str:
        self.blocks += 1
        return f"{node.name or node.output[0]}/{self.blocks}/"


def _graph_of(node: onnx.NodeProto, name: str) -> onnx.GraphProto:
    for attribute in node.attribute:
        if attribute.name == name and attribute.HasField("g"):
            graph: onnx.GraphProto = attribute.g
            return graph
    raise _CannotUnrollError(f"it has no {name}")


def _constant(name: str, value: np.ndarray | np.generic) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.asarray(value), name))


def _identity(value: str, name: str) -> onnx.NodeProto:
    return helper.make_node("Identity", [value], [name])


def _renamed(node: onnx.NodeProto, names: Mapping[str, str], prefix: str) -> onnx.NodeProto:
    """A copy of a node with other names, also where graphs inside it read tensors from outside."""
    made = onnx.NodeProto()
    made.CopyFrom(node)
    made.name = prefix + node.name if node.name else ""
    _rename(made.input, names)
    _rename(made.output, names)
    for attribute in made.attribute:
        if attribute.HasField("g"):
            _rename_inside(attribute.g, names)
    return made


def _rename_inside(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    own = {v.name for v in graph.input} | {t.name for t in graph.initializer}
    own |= {out for node in graph.node for out in node.output}
    outer = {name: new for name, new in names.items() if name not in own}
    for node in graph.node:
        _rename(node.input, outer)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _rename_inside(attribute.g, outer)
    for value in graph.output:
        value.name = outer.get(value.name, value.name)


def _rename(list_of_names: Iterable[str], names: Mapping[str, str]) -> None:
    new = [names.get(name, name) for name in list_of_names]
    for n, name in enumerate(new):
        list_of_names[n] = name  # type: ignore[index]  # a field of a protobuf message
