"""The float Fashion-MNIST network: all of it quantised and on the chip; a Softmax put on a branch costs no pace."""

from __future__ import annotations

import onnx
import pytest
from onnx import helper

import pimc
from pimc.frontend import check_model
from pimc_models import fashion

STREAM = 4
ADDS = ("/residual16/Add", "/residual32/Add", "/residual64/Add")


def with_softmax(add: str, operand: int) -> onnx.ModelProto:
    """The network with a Softmax in front of one operand of an addition."""
    model = onnx.load(fashion.fp32_path())
    nodes = list(model.graph.node)
    place = next(n for n, node in enumerate(nodes) if node.name == add)
    source = nodes[place].input[operand]
    nodes[place].input[operand] = "softened"
    nodes.insert(place, helper.make_node("Softmax", [source], ["softened"], "soften", axis=1))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def test_nothing_but_its_ends_is_the_hosts() -> None:
    report = check_model(fashion.fp32_path(), calibration={"image": fashion.load_calibration()})
    assert [n.op_type for n in report.nodes if n.where == "host"] == ["QuantizeLinear", "DequantizeLinear"]


@pytest.mark.parametrize("operand", [0, 1])
@pytest.mark.parametrize("add", ADDS)
def test_a_softmax_on_a_branch_costs_its_own_time_only(add: str, operand: int) -> None:
    images = {"image": fashion.load_calibration()}
    without = pimc.compile(fashion.fp32_path(), calibration=images).interval_cycles
    program = pimc.compile(with_softmax(add, operand), calibration=images)
    hosts = {t.number for t in program.program.tiles if t.kind == "host"}
    busy = program.timing.unit_busy.items()
    island = max(cycles / STREAM for (tile, _), cycles in busy if tile in hosts)
    assert program.interval_cycles <= 1.05 * max(without, island)
    assert any(line.split()[:1] in (["call"], ["call.row"]) for line in program.assembly().splitlines())
    assert program.verify(images=2).verdict == "PASS"


@pytest.mark.parametrize("kept", [("/stem/pool/MaxPool", "/residual16/Add"), ("/stem/pool/MaxPool", *ADDS)])
def test_a_call_of_a_branch_and_what_goes_round_it_keeps_the_pace(kept: tuple[str, ...]) -> None:
    """What reaches a call early, round the branch, must not wait in its channel for what comes last."""
    images = {"image": fashion.load_calibration()}
    without = pimc.compile(fashion.fp32_path(), calibration=images).interval_cycles
    program = pimc.compile(fashion.fp32_path(), calibration=images, quantiser=pimc.QuantiserOptions(keep_float=kept))
    assert sum(t.kind == "host" for t in program.program.tiles) > 1
    assert program.interval_cycles <= 1.05 * without
    assert program.verify(images=2).verdict == "PASS"
