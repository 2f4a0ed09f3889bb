"""An op declares all of itself: what is forgotten, or declared twice, is an error where the class is made."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from pimc.ir.ops import OPS, Evaluation, Geometry, Relay, TensorOp
from pimc.ir.ops.base import Array, Constants, Shape
from pimc.ir.ops.specs import Constant, constant, is_constant, limit, scale, specs_of, zero_point

HOOKS = ("infer", "geometry", "evaluate")


@pytest.fixture(autouse=True)
def _table(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ops declared here are gone afterwards."""
    monkeypatch.setattr("pimc.ir.ops.base.OPS", dict(OPS))


def declared(without: str = "", kind: str = "t.op") -> type:
    """An op with all hooks but one."""
    hooks = {name: getattr(Relay, name) for name in HOOKS if name != without}
    return type("Made", (TensorOp,), {"__annotations__": {}, **hooks}, op=kind)


def test_a_complete_op_enters_the_table() -> None:
    from pimc.ir.ops import base

    made = declared()
    assert base.OPS["t.op"] is made


@pytest.mark.parametrize("hook", HOOKS)
def test_a_forgotten_hook_is_an_error_at_import(hook: str) -> None:
    with pytest.raises(TypeError, match=rf"op t\.op \(Made\) does not say its {hook}"):
        declared(without=hook)


def test_a_name_is_taken_once() -> None:
    with pytest.raises(TypeError, match=r"op q\.conv declared twice"):
        declared(kind="q.conv")


@pytest.mark.parametrize("op", OPS.values(), ids=lambda op: op.kind)
def test_every_op_has_its_own_hooks(op: type) -> None:
    for hook in ("infer", "geometry", "results"):
        assert not getattr(getattr(op, hook), "required", False)


def test_fields_say_what_they_may_hold() -> None:
    class Scaled(TensorOp, op="t.scaled"):
        """An op of a third party."""

        table: str = constant(np.uint8, (4,))
        x_scale: float = scale()
        x_zero: int = zero_point(default=0)
        lo: int = limit(default=0)
        hi: int = limit(default=255, above="lo")

        def infer(self, shapes: Sequence[Shape], constants: Constants) -> Shape:
            return shapes[0]

        def geometry(self, shapes: Sequence[Shape], constants: Constants) -> Geometry:
            return Geometry()

        def evaluate(self, x: list[Array], run: Evaluation) -> Array:
            return x[0]

    op = Scaled(name="s", inputs=("x",), type=None, table="t", x_scale=-1.0, x_zero=300, lo=9, hi=3)
    found = [text for name, spec in specs_of(Scaled).items() for text in spec.problems(op, name, getattr(op, name))]
    assert found == ["x_scale=-1.0 is not a positive number", "x_zero=300 is outside 0..255", "lo is above hi"]
    assert is_constant(Scaled, "table")
    spec = specs_of(Scaled)["table"]
    assert isinstance(spec, Constant)
    assert list(spec.array_problems(op, "t", np.zeros(3, np.int8))) == [
        "@t is int8, not uint8",
        "@t has shape (3,), not (4,)",
    ]
