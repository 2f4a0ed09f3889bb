"""The stages a graph goes through: which ops may exist, and which decisions must have been made, after each.

`verify` reads this table; a pass names its stage before and after. A decision belongs to the stage from which on it is
set; before that it must be ``None``, so that the text form of a graph shows all that was decided and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

from pimc.ir.ops import Op

__all__ = ["STAGES", "Decision", "Stage", "stage_of"]


@dataclass(frozen=True)
class Decision:
    """A field of ops that a pass fills; ops say which decisions they get (`Op.decides`)."""

    field: str

    def applies(self, op: Op) -> bool:
        """Whether an op must carry the decision."""
        return self.field in op.decides


@dataclass(frozen=True)
class Stage:
    """One stage: the decisions that are made in it, and what holds afterwards in one sentence."""

    name: str
    decides: tuple[Decision, ...]
    doc: str

    def allows(self, op: Op) -> bool:
        """Whether an op may stand in a graph at this stage; ops say since when (``since=``)."""
        order = list(STAGES)
        return not op.since or order.index(op.since) <= order.index(self.name)


_TABLE = (
    Stage("imported", (), "every ONNX node is an op or inside a host call; constants are not checked yet"),
    Stage("quantised", (), "u8 activations, s8 weights with zero point 0, onnxruntime's requantisation"),
    Stage("flowed", (Decision("flow"),), "every convolution has its analog micro-program"),
    Stage("mapped", (Decision("mapping"),), "every layer is cut into tiles"),
    Stage("sliced", (Decision("cells"),), "every weight has its cells"),
    Stage("placed", (Decision("placement"),), "every piece has its tile"),
    Stage("scheduled", (Decision("schedule"),), "every ring and channel has its size"),
)

#: Stages by name, in order.
STAGES: dict[str, Stage] = {stage.name: stage for stage in _TABLE}


def stage_of(name: str) -> tuple[Stage, tuple[Decision, ...], tuple[Decision, ...]]:
    """Return a stage, the decisions that must be made by then, and those that must still be open."""
    if name not in STAGES:
        raise KeyError(f"no stage {name!r}; stages are {', '.join(STAGES)}")
    order = list(STAGES)
    here = order.index(name)
    made = tuple(d for s in order[: here + 1] for d in STAGES[s].decides)
    pending = tuple(d for s in order[here + 1 :] for d in STAGES[s].decides)
    return STAGES[name], made, pending
