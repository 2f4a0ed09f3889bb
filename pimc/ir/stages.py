"""The stages a graph goes through: which ops may exist, and which decisions must have been made, after each.

`verify` reads this table; a pass names its stage before and after. A decision belongs to the stage from which on it is
set; before that it must be ``None``, so that the text form of a graph shows all that was decided and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["STAGES", "Decision", "Stage", "stage_of"]

_QUANTISED = frozenset(
    {
        "host.call",
        "q.add",
        "q.avgpool",
        "q.concat",
        "q.conv",
        "q.gap",
        "q.lut",
        "q.maxpool",
        "q.mul",
    }
)


@dataclass(frozen=True)
class Decision:
    """A field of ops that a pass fills: its name, the ops it applies to (empty: all but the host's)."""

    field: str
    ops: frozenset[str] = frozenset()

    def applies(self, kind: str) -> bool:
        """Whether ops of this kind must carry the decision."""
        return kind in self.ops if self.ops else kind != "host.call"


@dataclass(frozen=True)
class Stage:
    """One stage: allowed ops, the decisions that are made in it, and what holds afterwards in one sentence."""

    name: str
    ops: frozenset[str]
    decides: tuple[Decision, ...]
    doc: str


_RELAYED = _QUANTISED | {"q.relay"}
_CONV = frozenset({"q.conv"})
_TILED = _RELAYED - {"host.call", "q.concat"}  # concatenation is only where senders put their channels
_TABLE = (
    Stage("imported", _QUANTISED, (), "every ONNX node is an op or inside a host call; constants are not checked yet"),
    Stage("quantised", _QUANTISED, (), "u8 activations, s8 weights with zero point 0, onnxruntime's requantisation"),
    Stage("mapped", _RELAYED, (Decision("mapping", _TILED),), "every layer is cut into tiles"),
    Stage("sliced", _RELAYED, (Decision("cells", _CONV),), "every weight has its cells"),
    Stage("placed", _RELAYED, (Decision("placement", _TILED),), "every piece has its tile"),
    Stage("programmed", _RELAYED, (Decision("flow", _CONV),), "every convolution has its analog micro-program"),
    Stage("scheduled", _RELAYED, (Decision("schedule", _TILED),), "every ring and channel has its size"),
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
