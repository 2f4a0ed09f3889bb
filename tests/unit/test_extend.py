"""examples/extend: a package that is none of ours adds one of everything; without it its program names it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "extend"


@dataclass(frozen=True)
class Package:
    """The package as pip lays it out, and a folder to work in."""

    site: Path
    work: Path

    def pimc(self, command: str, *, installed: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the command line, with or without the package."""
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        if installed:
            environment["PYTHONPATH"] = str(self.site)
        return subprocess.run(
            [sys.executable, "-m", "pimc.cli.main", *command.split(), "-q"],
            cwd=self.work,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """Installed by hand, since a test must not need the network: modules, and their entry points beside them."""
    site, work = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("work")
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text(encoding="utf-8"))
    for name in project["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]:
        shutil.copy(EXAMPLE / name, site)
    info = site / "pimc_nibble-0.1.dist-info"
    info.mkdir()
    name, version = (project["project"][key] for key in ("name", "version"))
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")
    groups = project["project"]["entry-points"].items()
    lines = [line for group, found in groups for line in (f"[{group}]", *(f"{k} = {v}" for k, v in found.items()))]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    made = Package(site, work)
    subprocess.run([sys.executable, EXAMPLE / "network.py", work / "net.onnx"], check=True)
    done = made.pimc("compile net.onnx --target nibble --passes +count-nibbles -o net.pim")
    assert done.returncode == 0, done.stderr
    return made


def test_a_module_is_at_most_150_lines() -> None:
    for path in EXAMPLE.glob("pimc_*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 150


def test_contributing_shows_this_code() -> None:
    code = "".join(path.read_text(encoding="utf-8") for path in EXAMPLE.glob("pimc_*.py"))
    shown = (EXAMPLE.parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", shown, re.DOTALL)
    assert len(blocks) == 7
    assert all(block in code for block in blocks)


def test_every_tensor_equals_onnxruntime_and_every_instruction_has_its_referee(package: Package) -> None:
    done = package.pimc("verify net.pim --images 8")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "PASS: 6 tensors, 41280 elements, 0 differ" in done.stdout
    assert "unrefereed" not in done.stdout


def test_the_three_engines_agree(package: Package) -> None:
    script = """
import numpy as np
from pimc_isa.energy import program_counts
from pimc_isa.engines import step
from pimc_isa.engines.cycles import simulate
from pimc_isa.engines.values import Executor
from pimc_isa.load import load_program
program = load_program("net.pim")
x = {"image": np.random.default_rng(1).standard_normal((2, 3, 12, 10)).astype(np.float32)}
result = step.run(program, x, 2)
timing, values = simulate(program, 2), Executor(program).run(x)
for one, other in zip(timing.tiles, result.timing.tiles, strict=True):
    assert (one.start == other.start).all() and (one.end == other.end).all()
assert all((result.outputs[k] == v).all() for k, v in values.outputs.items())
counted = program_counts(program, 2).layers
assert counted == {layer: {a: n for a, n in own.items() if n} for layer, own in result.counts.items()}
"""
    environment = {**os.environ, "PYTHONPATH": str(package.site)}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=package.work, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_its_instruction_type_pass_and_machine_are_in_the_program(package: Package) -> None:
    text = package.pimc("disasm net.pim").stdout
    for line in (".buffer y u4 12x10x8", "narrow y[i], x[i]", "widen  y[i], x[i]", '.meta nibbles = "1"'):
        assert line in text
    assert ".machine nibble" in text or 'name="nibble"' in text or '"nibble"' in text
    assert package.pimc("disasm net.pim -o net.pimasm").returncode == 0
    assert package.pimc("asm net.pimasm -o again.pim").returncode == 0
    assert (package.work / "again.pim").read_bytes() == (package.work / "net.pim").read_bytes()


def test_layers_have_the_flows_that_their_facts_ask_for(package: Package) -> None:
    """27 rows fit the converters two input bits at a time, 72 do not; a plan file cannot force what is not offered."""
    text = package.pimc("disasm net.pim").stdout
    groups = re.findall(r"\.group g weights=\S+ flow=(\S+) k=0:(\d+)", text)
    assert groups == [("nibble8x2", "27"), ("nibble8", "72")]
    assert re.findall(r"\.flow (\S+) .* interval=(\d+)", text) == [("nibble8", "8"), ("nibble8x2", "4")]
    assert text.count("drive 0:2") == text.count("drive 0:1") == 1
    (package.work / "plan.toml").write_text('[choose-flows]\nflow = "nibble8x2"\n', encoding="utf-8")
    done = package.pimc("compile net.onnx --target nibble --plan plan.toml")
    assert done.returncode == 2
    assert "layer second cannot have flow 'nibble8x2': target nibble offers it nibble8" in done.stderr


def test_a_flow_as_text_with_a_micro_operation_of_the_package(package: Package) -> None:
    """Chosen by a plan for the layer whose sums the limiter leaves alone: every tensor equals onnxruntime."""
    plan = '[choose-flows.first]\nflow = "nibble8l"\n'
    (package.work / "limited.toml").write_text(plan, encoding="utf-8")
    done = package.pimc("compile net.onnx --target nibble --plan limited.toml -o limited.pim")
    assert done.returncode == 0, done.stderr
    assert package.pimc("disasm limited.pim").stdout.count("limit 7") == 4
    done = package.pimc("verify limited.pim --images 4")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 differ" in done.stdout
    assert "unrefereed" not in done.stdout
    assert "micro-operation limit" in package.pimc("disasm limited.pim").stdout  # and so whose it is


@pytest.mark.parametrize("bits", [7, 4])
def test_the_engines_agree_on_the_limiter_where_it_clips_too(package: Package, bits: int) -> None:
    script = f"""
import numpy as np
import pimc_nibble, pimc_nibble_chip
from pimc_isa.energy import program_counts
from pimc_isa.engines import step
from pimc_isa.engines.values import Executor
from pimc_isa.flow import parse_flow
from pimc_isa.load import load_program
from dataclasses import replace
program = load_program("limited.pim")
flow = parse_flow(pimc_nibble_chip.LIMITED.replace("limit 7", "limit {bits}"))
program = replace(program, flows=tuple(flow if f.name == flow.name else f for f in program.flows))
x = {{"image": np.random.default_rng(1).standard_normal((2, 3, 12, 10)).astype(np.float32)}}
result, plain = step.run(program, x, 2), Executor(load_program("limited.pim")).run(x)
for how in ({{}}, {{"prove": False}}, {{"rowwise": True}}):
    values = Executor(program, **how).run(x)
    assert all((result.outputs[k] == v).all() for k, v in values.outputs.items())
same = all((result.outputs[k] == v).all() for k, v in plain.outputs.items())
assert same == ({bits} == 7)
counted = program_counts(program, 2).layers
assert counted["first"] == {{a: n for a, n in result.counts["first"].items() if n}}
"""
    environment = {**os.environ, "PYTHONPATH": str(package.site)}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=package.work, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_half_the_bytes_go_over_the_links(package: Package) -> None:
    script = """
from pimc_isa.energy import program_actions
from pimc_isa.load import load_program
down, up = (program_actions(load_program("net.pim"))[name]["link_byte"] for name in ("down", "up"))
assert up == 2 * down > 0, (down, up)
"""
    environment = {**os.environ, "PYTHONPATH": str(package.site)}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=package.work, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("form", ["net.pim", "net.pimasm"])
def test_without_the_package_the_program_is_refused_in_one_line_that_names_it(package: Package, form: str) -> None:
    np.save(package.work / "x.npy", np.zeros((1, 3, 12, 10), np.float32))
    if form.endswith("asm"):
        package.pimc("disasm net.pim -o net.pimasm")
    done = package.pimc(f"run {form} -i x.npy", installed=False)
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line == f"error: {form} needs the package pimc-nibble (element type u4), which is not installed here"


def test_without_the_package_its_operator_is_the_hosts(package: Package) -> None:
    done = package.pimc("check net.onnx", installed=False)
    assert (done.returncode, "no unit for BitShift" in done.stdout) == (0, True)
    assert "no target 'nibble'" in package.pimc("compile net.onnx --target nibble", installed=False).stderr
