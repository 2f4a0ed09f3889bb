"""Where a lossy program loses: the tensor whose ratio falls most below that of what it is made from."""

from __future__ import annotations

import onnx
from onnx import helper

from pimc.verify.losses import largest_losses
from pimc.verify.report import TensorReport


def tensor(name: str, db: float | None, tolerance: str = "") -> TensorReport:
    return TensorReport(name, 100, 0 if db is None else 50, 9, tolerance=tolerance, snr_db=db)


def chain() -> onnx.ModelProto:
    """a, hidden (compared nowhere), b; c of a and b."""
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Relu", ["a"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["c"]),
    ]
    return helper.make_model(helper.make_graph(nodes, "g", [], []))


def test_the_largest_fall_comes_first() -> None:
    losses = largest_losses(chain(), [tensor("a", 30.0), tensor("b", 4.0), tensor("c", 1.0)])
    assert [(x.tensor, x.before_db, x.after_db) for x in losses] == [
        ("b", 30.0, 4.0),
        ("c", 4.0, 1.0),
        ("a", None, 30.0),
    ]
    assert str(losses[2]) == "a (from exact to 30.0 dB)"


def test_what_is_exact_or_gets_better_loses_nothing() -> None:
    losses = largest_losses(chain(), [tensor("a", None), tensor("b", 4.0), tensor("c", 9.0)])
    assert [x.tensor for x in losses] == ["b"]
    assert largest_losses(chain(), [tensor("c", 9.0, "float value: rtol 0.0001")]) == ()
