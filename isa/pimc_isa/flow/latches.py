"""What a micro-operation finds in a latch, and what several of them gathered there."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, cast

from pimc_isa.errors import FlowError
from pimc_isa.flow.define import OPS, MicroOp

if TYPE_CHECKING:
    from pimc_isa.flow.flow import Flow
    from pimc_isa.flow.microops import Convert

__all__ = ["converted", "fail", "gathered", "guard_of", "latest"]


def fail(flow: Flow, op: MicroOp, problem: str, remedy: str) -> NoReturn:
    """Raise FlowError: which micro-op at which step, what is wrong, the remedy."""
    raise FlowError(f"flow {flow.name}, {op.text()}: {problem}\n{remedy}", op)


def latest(flow: Flow, op: MicroOp, latch: str) -> MicroOp:
    """The micro-op whose value ``op`` finds in a latch: the latest that was done with it when ``op`` starts.

    Of samples and what was made of samples in the same step, the latter.
    """
    names = latch.split("|")
    makers = [o for o in flow.ops if set(o.made()) & set(names) and o.end <= op.step]
    if not makers:
        fail(flow, op, f"nothing has filled the {' or '.join(names)} yet", "start it in a later step")
    order = list(OPS)
    return max(makers, key=lambda o: (o.end, order.index(o.name)))


def converted(flow: Flow, op: MicroOp) -> Convert:
    """The conversion whose codes ``op`` takes. Raises FlowError."""
    found = latest(flow, op, op.takes)
    if not hasattr(found, "conversion"):
        fail(flow, op, f"'{found.text()}' makes no codes", "convert first")
    return cast("Convert", found)


def guard_of(flow: Flow, op: MicroOp) -> Convert:
    """The guarded conversion whose flags ``op`` finds. Raises FlowError."""
    return cast("Convert", latest(flow, op, "flags"))


def gathered(flow: Flow, op: MicroOp, maker: MicroOp) -> list[MicroOp]:
    """The writes that make up the value of ``maker`` which ``op`` takes, in order of their steps."""
    writers = sorted((o for o in flow.ops if o.makes == maker.makes), key=lambda o: o.step)
    if maker.gathers == "all":
        return writers
    if maker.gathers != "since":
        return [maker]
    since = max((o.step for o in flow.ops if o.name == op.name and o.step < op.step), default=-1)
    return [o for o in writers if since <= o.step and o.end <= op.step]
