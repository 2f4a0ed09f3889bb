"""Which operators of a lossy program lose most: the signal that what it reads still has, and its result no longer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import onnx

from pimc.verify.report import Loss, TensorReport

__all__ = ["largest_losses"]

SHOWN = 5


def largest_losses(model: onnx.ModelProto, tensors: Iterable[TensorReport]) -> tuple[Loss, ...]:
    """The tensors that lose most of the signal of what they are made from, the worst first."""
    found = {t.name: t for t in tensors if not t.tolerance.startswith("float")}
    makers = {name: node for node in model.graph.node for name in node.output if name}
    losses = []
    for tensor in found.values():
        if tensor.snr_db is None or not tensor.mismatches:
            continue
        ratios = [found[name].snr_db for name in _read(tensor.name, makers, found) if found[name].mismatches]
        known = [db for db in ratios if db is not None]
        losses.append(Loss(tensor.name, min(known, default=None), tensor.snr_db))
    return tuple(sorted((x for x in losses if x.lost > 0), key=lambda x: -x.lost)[:SHOWN])


def _read(tensor: str, makers: Mapping[str, onnx.NodeProto], found: Mapping[str, TensorReport]) -> set[str]:
    """The nearest compared tensors that ``tensor`` is made from."""
    pending, near, seen = list(makers[tensor].input) if tensor in makers else [], set[str](), set[str]()
    while pending:
        name = pending.pop()
        if name in found:
            near.add(name)
        elif name not in seen and name in makers:
            pending.extend(makers[name].input)
        seen.add(name)
    return near
