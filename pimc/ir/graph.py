"""The graph: a networkx DAG of frozen ops with their constants, the model's ports and its reference model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import networkx as nx
import numpy as np

from pimc.ir.ops import Op
from pimc_isa.operands import View
from pimc_isa.program import Port

__all__ = ["Graph"]

Array = np.ndarray


@dataclass
class Graph:
    """Ops by name in a DAG whose edges follow values. Passes work on a copy (constants are shared, never changed).

    ``stage`` is the last stage whose invariants hold. ``reference`` is the quantised ONNX model (bytes) that the
    program must equal; ``meta`` holds further strings (session options, model hash). ``calibration`` holds sample
    inputs by port (batch first) for passes that choose ranges; it is not part of the text form.
    """

    name: str
    stage: str = "imported"
    inputs: tuple[Port, ...] = ()
    outputs: tuple[Port, ...] = ()
    constants: dict[str, Array] = field(default_factory=dict)
    reference: bytes = b""
    meta: dict[str, str] = field(default_factory=dict)
    calibration: dict[str, Array] = field(default_factory=dict)
    _dag: Any = field(default_factory=nx.DiGraph)
    _order: list[str] | None = field(default=None, compare=False, repr=False)

    def copy(self) -> Graph:
        """A graph that can be changed without changing this one."""
        other = replace(self, constants=dict(self.constants), meta=dict(self.meta))
        other._dag = self._dag.copy()
        return other

    def add(self, op: Op) -> str:
        """Add an op whose inputs exist; returns its name."""
        if op.name in self._dag:
            raise ValueError(f"value {op.name} exists already")
        self._order = None
        self._dag.add_node(op.name, op=op)
        for value in op.inputs:
            if value not in self._dag:
                raise ValueError(f"{op.name}: input {value} does not exist")
            self._dag.add_edge(value, op.name)
        return op.name

    def update(self, op: Op) -> None:
        """Replace the op of the same name; its inputs may have changed."""
        known = self[op.name].inputs == op.inputs
        self._dag.nodes[op.name]["op"] = op
        if known:
            return
        self._order = None
        self._dag.remove_edges_from(list(self._dag.in_edges(op.name)))
        self._dag.add_edges_from((value, op.name) for value in op.inputs)

    def insert_before(self, user: str, index: int, op: Op) -> None:
        """Add ``op`` and let input ``index`` of ``user`` read it."""
        self.add(op)
        old = self[user]
        inputs = tuple(op.name if n == index else v for n, v in enumerate(old.inputs))
        self.update(replace(old, inputs=inputs))

    def remove(self, name: str) -> None:
        """Remove an op that nobody reads."""
        if self._dag.out_degree(name):
            raise ValueError(f"{name} is still read")
        self._order = None
        self._dag.remove_node(name)

    def __getitem__(self, name: str) -> Op:
        op: Op = self._dag.nodes[name]["op"]
        return op

    def __contains__(self, name: str) -> bool:
        return name in self._dag

    def __len__(self) -> int:
        return len(self._dag)

    def ops(self) -> Iterator[Op]:
        """Ops in an order in which inputs come first; the same graph always gives the same order."""
        if self._order is None:
            order = {name: n for n, name in enumerate(self._dag.nodes)}
            self._order = list(nx.lexicographical_topological_sort(self._dag, key=order.__getitem__))
        for name in self._order:
            yield self[name]

    def of(self, kind: type[Op]) -> Iterable[Any]:
        """Ops of one class, in order."""
        return (op for op in self.ops() if isinstance(op, kind))

    def users(self, name: str) -> list[Op]:
        """Ops that read a value, each once, in order of insertion."""
        return [self[user] for user in self._dag.successors(name)]

    def add_view(self, name: str, view: View) -> None:
        """Say that a value holds a further ONNX tensor."""
        op = self[name]
        if view not in op.views:
            self.update(replace(op, views=(*op.views, view)))
