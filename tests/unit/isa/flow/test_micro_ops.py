"""Micro-operations are typed and declared once: text and back, arguments that are wrong, and a plug-in's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pimc_backends.cascade as cascade
import pimc_backends.isaac as isaac
import pimc_backends.isaac_style as isaac_style
import pimc_backends.neural_pim as neural_pim
from pimc_isa.errors import FlowError
from pimc_isa.flow import OPS, Flow, check_flow, micro_op, parse_flow, parse_flow_lines, print_flow
from pimc_isa.flow import define as base
from pimc_isa.flow.define import MicroOp
from pimc_isa.flow.fields import Columns, Rounding, shift
from pimc_isa.flow.file import judge_flow_file
from pimc_isa.flow.microops import Buffer, Convert, Drive, Fold, Read

FLOWS = [f for module in (isaac, cascade, isaac_style, neural_pim) for f in module.target().flows]


@pytest.mark.parametrize("flow", FLOWS, ids=lambda f: f.name)
def test_shipped_flows_are_their_text(flow: Flow) -> None:
    again = parse_flow(print_flow(flow))
    assert again == flow
    assert all(micro_op(op.step, op.op, op.args) == op for op in flow.ops)


NUMBERS = st.integers(0, 40)


@given(NUMBERS, st.integers(1, 9), NUMBERS, NUMBERS, st.booleans(), st.sampled_from([None, 1, 3, "ranged"]))
def test_arguments_of_every_kind_read_back(a: int, bits: int, lo: int, hi: int, summed: bool, how: object) -> None:
    rounding = None if how is None else Rounding(1, True) if how == "ranged" else Rounding(int(str(how)))
    ops = [
        Drive(a, (lo, hi)),
        Read(a, "pairs"),
        Read(a),
        Fold(a, lo - hi, steps=bits),
        Buffer(a, lo, bits, None if how in (None, "ranged") else 3),
        Convert(a, "signed", bits, rounding, Columns(lo, hi, summed) if summed else None, steps=2),
    ]
    assert parse_flow_lines(op.text() for op in ops) == tuple(ops)


@pytest.mark.parametrize(
    ("text", "usage"),
    [
        ("@1 drive 0", "LO:HI"),
        ("@1 drive 0:1 steps=2", "LO:HI"),
        ("@1 read both", "[pairs|sides]"),
        ("@1 fold 3", ">>N|<<N [steps=STEPS]"),
        ("@1 convert unsigned 8 ranged step=2", "unsigned|signed BITS [step=STEP|ranged]"),
        ("@1 convert unsigned 8 columns=0:4 added", "columns=LO:HI [summed]"),
        ("@1 buffer <<1 8 steps=0", "<<N BITS [step=STEP] [steps=STEPS]"),
        ("@1 accumulate <<1234567890", "<<N"),
        ("@1 load now", "load"),
    ],
)
def test_wrong_arguments_show_the_right_ones(text: str, usage: str) -> None:
    with pytest.raises(FlowError, match="has wrong arguments") as error:
        parse_flow_lines([text])
    assert usage in str(error.value)
    assert len(str(error.value).splitlines()) == 2


@pytest.fixture
def plugin() -> Iterator[type[MicroOp]]:
    """A micro-operation of a plug-in, for one test."""

    class Settle(MicroOp, op="toy.settle", resource="array", takes="samples"):
        """Wait until the samples are settled."""

        left: int = shift()

        def problems(self, flow: object, machine: object) -> Iterator[tuple[str, str]]:
            """Nobody waits longer."""
            if self.left > 3:
                yield "nobody waits so long", "wait <<3 at most"

    yield Settle
    del base._OPS["toy.settle"]


def test_a_plug_in_declares_its_own_in_one_place(plugin: type[MicroOp], tmp_path: Path) -> None:
    assert OPS["toy.settle"] is plugin
    text = print_flow(isaac.flow()).replace("interval=8", "interval=9").replace("latency=14", "latency=14")
    lines = text.splitlines()
    place = next(n for n, line in enumerate(lines) if "@9" in line)
    machine = isaac.target().machine
    for wait, legal in ((2, True), (4, False)):
        file = tmp_path / f"{wait}.flow"
        file.write_text("\n".join([*lines[:place], f"  @9 toy.settle <<{wait}", *lines[place:]]) + "\n")
        if legal:
            flow, form = judge_flow_file(file, machine)
            assert form == check_flow(isaac.flow(), machine)
            assert any(op.op == "toy.settle" for op in flow.ops)
        else:
            with pytest.raises(FlowError, match=rf"{file}:{place + 1}: .*nobody waits so long"):
                judge_flow_file(file, machine)


def test_declarations_that_lack_something_are_errors_at_import() -> None:
    with pytest.raises(TypeError, match="has no docstring"):

        class Silent(MicroOp, op="toy.silent", resource="array"):
            pass

    with pytest.raises(TypeError, match="name is already taken"):

        class Again(MicroOp, op="drive", resource="dac"):
            """Drive."""


def test_errors_have_file_and_line(tmp_path: Path) -> None:
    machine, text = isaac.target().machine, print_flow(isaac.flow())
    wrong = {
        "raed": (text.replace("  @1 read", "  @1 raed"), "no micro-op is called 'raed'"),
        "wide": (text.replace("@2 convert unsigned 8", "@2 convert unsigned 12"), "the converters are narrower"),
        "head": (text.replace(".flow", ".flaw"), "not the head of a flow"),
    }
    for name, (changed, why) in wrong.items():
        file = tmp_path / f"{name}.flow"
        file.write_text("; a comment\n\n" + changed)
        line = next(
            n
            for n, one in enumerate(file.read_text().splitlines(), 1)
            if one not in ("; a comment", "", *text.split("\n"))
        )
        with pytest.raises(FlowError, match=rf"^{file}:{line}: .*{why}"):
            judge_flow_file(file, machine)
