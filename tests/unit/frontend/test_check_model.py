"""`check_model` and the exposing of tensors."""

from __future__ import annotations

import numpy as np
import pytest

from pimc.cli.commands.check import PLACES
from pimc.frontend import check_model
from pimc.frontend.expose import with_all_outputs
from pimc.frontend.rules import RULES
from tests.differential.frontend_models import Net, session_run
from tests.unit.frontend.float_models import conv_model, random


def test_every_node_is_reported() -> None:
    net = Net(1, qdq=True)
    a = net.conv(net.input(3, 8, 8), 4, (3, 3), after="Relu", zero=0)
    b = net.unary("HardSwish", a)
    net.output(net.gemm(net.relabel("Flatten", b, (1, 144)), 5))
    model = net.model()
    report = check_model(model)
    assert report.supported
    assert len(report.nodes) == len([n for n in model.graph.node if n.input[0] not in {t.name for t in net.constants}])
    where = {(n.op_type, n.where) for n in report.nodes}
    assert {("Conv", "chip"), ("HardSwish", "table"), ("Flatten", "relabel"), ("Gemm", "chip")} <= where
    relu = next(n for n in report.nodes if n.op_type == "Relu")
    assert (relu.where, relu.reason[:9]) == ("chip", "part of n")
    assert sum(n.macs for n in report.nodes) == 6 * 6 * 4 * 27 + 144 * 5
    assert report.on_chip_macs_fraction == 1.0


def test_host_work_is_counted() -> None:
    """A last Gemm without quantised result runs on the host, with its multiply-accumulates."""
    net = Net(2, qdq=True)
    a = net.conv(net.input(3, 8, 8), 4, (3, 3))
    value = net.node("MatMul", [net.node("Flatten", [net.dq(a)]), net.const(random(144, 10))])
    net.outputs.append(conv_model().graph.output[0])
    net.outputs[0].name = value
    report = check_model(net.model())
    assert report.supported
    gemm = next(n for n in report.nodes if n.op_type == "MatMul")
    assert (gemm.where, gemm.macs) == ("host", 1440)
    assert report.on_chip_macs_fraction == pytest.approx(3888 / (3888 + 1440))


def test_the_host_between_layers_is_reported() -> None:
    net = Net(2, qdq=True)
    y = net.conv(net.input(3, 8, 8), 4, (3, 3))
    y = net.quantise(net.node("LRN", [net.dq(y)], size=3), net.result(y.shape))
    net.output(net.conv(y, 2, (1, 1)))
    report = check_model(net.model())
    assert report.supported
    assert [(n.where, n.reason) for n in report.nodes if n.op_type == "LRN"] == [("host", "no unit for LRN")]
    assert [n.where for n in report.nodes if n.op_type == "Conv"] == ["chip", "chip"]
    assert report.on_chip_macs_fraction == 1.0


def test_float_model_is_quantised_first() -> None:
    report = check_model(conv_model(), calibration=random(2, 3, 8, 8))
    assert ("QLinearConv", "chip") in {(n.op_type, n.where) for n in report.nodes}


@pytest.mark.parametrize("qdq", [False, True])
def test_exposed_tensors(qdq: bool) -> None:
    """All 8-bit activations become outputs, and the first outputs do not change by that."""
    net = Net(3, qdq=qdq)
    a = net.conv(net.input(3, 8, 8), 4, (3, 3))
    b = net.binary("Add", a, net.max_pool(a, (1, 1)))
    net.output(b)
    data = net.model().SerializeToString()
    model, names = with_all_outputs(data)
    assert len(names) == 4
    assert names[1] == a.name
    assert names[3] == b.name
    config = {"session.x64quantprecision": "1"}
    feeds = {net.inputs[0].name: random(2, 3, 8, 8) * 8}
    exposed = session_run(model, feeds, config)
    np.testing.assert_array_equal(exposed[0], session_run(data, feeds, config)[0])
    assert {v.dtype for v in exposed[1:]} == {np.dtype(np.uint8)}
    assert with_all_outputs(data, [a.name])[1] == [a.name]


def test_rules_name_where() -> None:
    assert {rule.where for rule in RULES.values()} == {"chip", "table", "relabel", "move"}
    assert all(rule.where == "chip" for rule in RULES.values() if rule.weighted)


def test_summary_counts_every_place() -> None:
    assert set(PLACES) == {rule.where for rule in RULES.values()} | {"host"}
