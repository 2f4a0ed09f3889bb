"""`check_model`: where every node of a model would run, and why; from the same table of rules as the compiler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from pimc.frontend.build import HEAD, Built
from pimc.frontend.calibration import calibration_arrays
from pimc.frontend.epitomes.structure import EXACT
from pimc.frontend.errors import NotOnChipError
from pimc.frontend.load import Progress, quantised_graph
from pimc.frontend.macs import chip_macs, host_macs
from pimc.frontend.options import QuantiserOptions
from pimc.frontend.source import Source
from pimc.ir.graph import Graph
from pimc_isa.extensions import load_extensions

__all__ = ["CheckReport", "NodeReport", "check_model"]


@dataclass(frozen=True)
class NodeReport:
    """One ONNX node: ``where`` is chip, table (256 entries), relabel (no work), move (copies only) or host.

    ``reason`` says why it is not on the chip, or what it is part of; ``macs`` are multiply-accumulates of one image.
    """

    node: str
    op_type: str
    where: str
    reason: str = ""
    macs: int = 0


@dataclass(frozen=True)
class CheckReport:
    """All nodes of the quantised model, and the error that compiling would give ('' if it compiles).

    ``graph``: what compiling would go on with, at stage 'quantised'.
    """

    nodes: tuple[NodeReport, ...]
    error: str = ""
    graph: Graph | None = None

    @property
    def supported(self) -> bool:
        """Whether the model compiles."""
        return not self.error

    @property
    def on_chip_macs_fraction(self) -> float:
        """Share of the multiply-accumulates that crossbars do, 0 to 1."""
        total = sum(n.macs for n in self.nodes)
        return sum(n.macs for n in self.nodes if n.where == "chip") / total if total else 0.0


def check_model(
    source: str | Path | bytes | onnx.ModelProto,
    *,
    calibration: Any = None,
    input_shapes: Mapping[str, Sequence[int]] | None = None,
    progress: Progress | None = None,
    quantiser: QuantiserOptions | None = None,
    epitome: str | Path = EXACT,
    calibrate: bool = False,
) -> CheckReport:
    """Report on every node; a float model is quantised first, as compiling would.

    ``calibration``, ``calibrate``, ``quantiser`` and ``epitome`` as for `load_model`.

    Raises FrontendError only for what is no model or has open shapes; unsupported operators are reported.
    """
    load_extensions()
    say = progress or (lambda text: None)
    read, built = quantised_graph(source, calibration, input_shapes, say, quantiser=quantiser, epitome=epitome)
    if calibrate or calibration is not None:
        built.graph.calibration = calibration_arrays(read.model, calibration, warn=not read.was_float)
    macs, ahead = host_macs(built), _ahead_of_chip(built)
    nodes = [
        _report(built, number, node, macs, between=number in ahead)
        for number, node in enumerate(built.source.nodes)
        if node.op_type != "Constant" and not _makes_constants(built.source, node)
    ]
    return CheckReport(tuple(nodes), graph=built.graph)


def _makes_constants(source: Source, node: onnx.NodeProto) -> bool:
    """Whether a node only unpacks weights."""
    return bool(node.input) and all(not name or source.constant(name) is not None for name in node.input)


def _ahead_of_chip(built: Built) -> set[int]:
    """Nodes whose results the chip reads, itself or through others of the host."""
    wanted, found = set[str](), set[int]()
    for number, node in reversed(list(enumerate(built.source.nodes))):
        if number in built.taken or wanted.intersection(node.output):
            found.add(number)
            wanted.update(node.input)
    return found


def _report(
    built: Built, number: int, node: onnx.NodeProto, host_macs: Mapping[int, int], *, between: bool
) -> NodeReport:
    name = node.name or node.output[0]
    if number in built.taken:
        taken = built.taken[number]
        main = taken.unit.node.output[0] == node.output[0]
        macs = chip_macs(built, taken.value) if main else 0
        return NodeReport(name, node.op_type, taken.where, "" if main else f"part of {taken.unit.node.name}", macs)
    macs = host_macs.get(number, 0)
    error = _error_of(built, number, node)
    if error is not None:
        return NodeReport(name, node.op_type, *_verdict(built, node, error), macs)
    after = any(t in built.from_chip for t in node.output)
    if after:
        reason = "between quantised operators" if between else "behind the last quantised operator"
    else:
        reason = "before the first quantised operator"
    return NodeReport(name, node.op_type, "host", reason, macs)


def _verdict(built: Built, node: onnx.NodeProto, error: NotOnChipError) -> tuple[str, str]:
    """Where a node that no rule takes is, and why."""
    if error.blocked or error.reason == HEAD or error.node is None:
        return "host", error.reason
    if error.node is not node:
        return "host", f"with {error.node.name or error.node.output[0]}"
    return "host", error.reason


def _error_of(built: Built, number: int, node: onnx.NodeProto) -> NotOnChipError | None:
    """Why a node is not on the chip: its own error, or that of an operator it is to blame for."""
    blaming = (e for e in built.host.values() if e.node is node)
    return built.host.get(number) or next(blaming, None)
