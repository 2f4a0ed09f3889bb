"""The step engine judges with rules of its own: what it imports, what it never calls, and plug-ins' restatements."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

import pimc_isa.engines.step as step_package
from pimc_isa.define import REGISTRY, Context, Instr, Meaning, slab
from pimc_isa.engines import step, values
from pimc_isa.engines.cycles import simulate
from pimc_isa.engines.step import InTile, Restatement, Values, restate, unrefereed
from pimc_isa.engines.step import referee as table
from pimc_isa.engines.step.rules import over
from pimc_isa.engines.timing import Timing
from pimc_isa.errors import DeadlockError, ProgramError
from pimc_isa.flow import Flow, MicroOp
from pimc_isa.instructions import Copy, Halt
from pimc_isa.machine import Chip
from pimc_isa.operands import Buffer, RowExpr, Slab, Weights, Window
from pimc_isa.program import Program
from tests.properties.programs import random_images, random_program
from tests.unit.isa.engines.tiny import ROW0, buffer, machine, program, same, tile

#: All that files of the step engine may take from the rest of the package: data, and classes to tell data apart.
ALLOWED = {
    "pimc_isa.define": {"Instr"},
    "pimc_isa.element": {"ELEMENTS"},
    "pimc_isa.engines.noise": {"DeviceNoise", "Noise"},
    "pimc_isa.engines.timing": {"TileTiming", "Timing"},
    "pimc_isa.errors": {"DeadlockError", "ProgramError", "RunError"},
    "pimc_isa.flow.flow": {"Flow"},
    "pimc_isa.flow.define": {"MicroOp"},
    "pimc_isa.instructions": {cls.__name__ for cls in REGISTRY.values()},
    "pimc_isa.machine": {"Machine", "Network"},
    "pimc_isa.peripherals": {"ConverterTable", "NnsaInstance", "Peripherals", "from_tensors"},
    "pimc_isa.program": {"Program", "Tile"},
}
FILES = sorted(Path(step_package.__file__).parent.glob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_it_imports_data_alone(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert not any(alias.name.startswith("pimc") for alias in node.names)
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("pimc"):
            continue
        assert node.module is not None
        own = node.module.startswith("pimc_isa.engines.step")
        if own or node.module == "pimc_isa.operands":
            continue
        taken = {alias.name for alias in node.names}
        assert taken <= ALLOWED.get(node.module, set()), f"{path.name} takes {taken} from {node.module}"


def classes(kind: type) -> Iterator[type]:
    yield kind
    subclasses: list[type] = kind.__subclasses__()
    for below in subclasses:
        yield from classes(below)


def forbid(monkeypatch: pytest.MonkeyPatch, kind: type) -> None:
    """Make every method and property that a class defines raise."""

    def refuse(*_: object, **__: object) -> Any:
        raise AssertionError(f"the step engine asked {kind.__name__}")

    for name, value in list(vars(kind).items()):
        if name.startswith("__"):
            continue
        if inspect.isfunction(value):
            monkeypatch.setattr(kind, name, refuse)
        elif isinstance(value, property):
            monkeypatch.setattr(kind, name, property(refuse))


def test_it_calls_no_method_of_an_instruction_or_operand(monkeypatch: pytest.MonkeyPatch) -> None:
    programs = [random_program(Random(seed)) for seed in range(12)]
    inputs = [random_images(Random(0), p, 1) for p in programs]
    expected: list[tuple[Timing, values.Result] | None] = []
    for p, x in zip(programs, inputs, strict=True):
        try:
            expected.append((simulate(p, 1), values.run(p, x)))
        except DeadlockError:
            expected.append(None)
    for kind in (*classes(Instr), RowExpr, Buffer, Window, Weights, Flow, MicroOp, Context, Chip):
        forbid(monkeypatch, kind)
    with pytest.raises(AssertionError, match="asked RowExpr"):
        RowExpr().at(0)
    for p, x, found in zip(programs, inputs, expected, strict=True):
        if found is not None:
            result = step.run(p, x, 1)
            same(found[0], result.timing)
            assert all((result.outputs[name] == value).all() for name, value in found[1].outputs.items())
    assert sum(found is not None for found in expected) > 4


# ---- plug-ins ----


@pytest.fixture
def negate() -> Iterator[type[Instr]]:
    """A plug-in's instruction, for one test."""

    class Negate(Instr, op=0xF0, name="toy.negate", unit="mover"):
        """255 less each element."""

        dst: Slab = slab("w", "destination row part")
        src: Slab = slab("r", "source row part")

        def cycles(self, ctx: Context) -> int:
            """Half as fast as a copy."""
            return max(1, -(-2 * ctx.nbytes(self.src) // ctx.machine.tile.bus_bytes_per_cycle))

        def execute(self, m: Meaning) -> None:
            """Turn round."""
            m.write(self.dst, 255 - m.read(self.src))

    yield Negate
    del REGISTRY["toy.negate"]
    table._TABLE.pop(Negate, None)


def toy_program(kind: Any) -> Program:
    code = (Copy(Slab("y", ROW0), Slab("x", ROW0)), kind(Slab("z", ROW0), Slab("y", ROW0)), Halt())
    return program(machine(), (tile(1, (0, 0, 0), tuple(buffer(n, 1, 1) for n in "xyz"), *code),))


def test_an_instruction_without_restatement_is_refused_and_reported(negate: type[Instr]) -> None:
    made = toy_program(negate)
    assert unrefereed(made) == ("toy.negate",)
    with pytest.raises(ProgramError, match=r"no restatement of instruction 'toy\.negate'") as refused:
        step.run(made, {}, 1)
    assert len(str(refused.value).splitlines()) == 1


def test_a_plug_in_brings_its_own_restatement(negate: type[Instr]) -> None:
    def cycles(place: InTile, instr: Any) -> int:
        return over(2 * 8, place.program.machine.tile.bus_bytes_per_cycle)

    def meaning(instr: Any, v: Values) -> None:
        v.write(instr.dst, 255 - v.read(instr.src))

    rule = Restatement(
        unit=lambda instr: "mover",
        cycles=cycles,
        reads=lambda place, instr, i: [(instr.src.buffer, 0)],
        writes=lambda place, instr, i: [(instr.dst.buffer, 0)],
        meaning=meaning,
    )
    restate(negate, rule)
    made = toy_program(negate)
    assert unrefereed(made) == ()
    result = step.run(made, {}, 1)
    same(simulate(made, 1), result.timing)
    assert (result.buffers[1, "z"] == 255).all()
    with pytest.raises(ProgramError, match="restated twice"):
        restate(negate, Restatement(lambda instr: "mover", cycles))


def test_every_instruction_of_the_isa_is_restated() -> None:
    assert set(table._TABLE) | set(table.CONTROL) == set(REGISTRY.values())


def test_verify_names_what_is_unrefereed(capsys: pytest.CaptureFixture[str]) -> None:
    from pimc.cli.tables import print_verdict
    from pimc.verify.report import VerifyReport

    print_verdict(VerifyReport(1, "none", (), unrefereed=("toy.negate",)))
    assert "unrefereed: the step engine has no restatement of toy.negate" in capsys.readouterr().out
    print_verdict(VerifyReport(1, "none", ()))
    assert "unrefereed" not in capsys.readouterr().out
    assert VerifyReport(1, "none", (), unrefereed=("toy.negate",)).to_dict()["unrefereed"] == ["toy.negate"]
