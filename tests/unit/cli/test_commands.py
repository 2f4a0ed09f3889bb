"""The commands on a trained network: exit codes, files, and the JSON keys that other tools rely on."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from pimc.cli.main import app
from pimc_isa.binary.container import load
from pimc_models import fashion
from tests.unit.cli.conftest import Files
from tests.unit.cli.run import pimc

FIRST = ("compile", "check", "opt", "run", "verify", "compare", "widths")
COMMANDS = (*FIRST, "explore", "disasm", "asm", "targets", "demo")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str) -> None:
    done = pimc(command, "--help")
    assert done.code == 0
    assert f"pimc {command}" in done.out or command == "demo"
    assert "--json" in done.out


def test_help_loses_no_words_in_brackets() -> None:
    """Words in brackets are styles to what draws help: those that are no style vanish."""
    group: Any = typer.main.get_command(app)
    texts = [text for one in group.commands.values() for text in (one.help, *(_help(each) for each in one.params))]
    assert len(texts) > 100
    known = {"bold", "dim", "/bold", "/dim"}
    said = [tag for text in texts for tag in re.findall(r"(?<!\\)\[([a-z/][^\[\]]*)\]", text or "")]
    assert not set(said) - known


def _help(parameter: Any) -> str:
    return str(getattr(parameter, "help", "") or "")


def test_help_lists_the_commands_in_order_of_use() -> None:
    done = pimc("--help")
    places = [done.out.index(f"│ {name} ") for name in COMMANDS]
    assert places == sorted(places)


def test_start_up_imports_nothing_heavy() -> None:
    """Numpy alone takes as long as everything else that ``pimc --help`` does."""
    heavy = "('numpy', 'onnx', 'onnxruntime', 'networkx', 'numba', 'lark', 'msgspec')"
    code = f"import sys; import pimc.cli.main; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_compile_writes_the_same_bytes_and_reports(files: Files, tmp_path: Path) -> None:
    output = tmp_path / "net.pim"
    done = pimc("compile", files.model, "-o", output, "--json")
    assert done.code == 0
    values = done.json
    wanted = "target tiles chips arrays arrays_one_copy instructions program_bytes conversions_proved"
    assert set(wanted.split()) <= values.keys()
    assert values["program_bytes"] == output.stat().st_size
    assert values["conversions_proved"] == 1.0
    assert values["arrays"] >= values["arrays_one_copy"] > 0
    assert output.read_bytes() == files.program.read_bytes()


def test_compile_options_change_the_program(files: Files, tmp_path: Path) -> None:
    single = pimc("compile", files.model, "-o", tmp_path / "a.pim", "--replication", "none", "--json").json
    spread = pimc("compile", files.model, "-o", tmp_path / "b.pim", "--chips", 2, "--json").json
    assert single["arrays"] < spread["arrays"]


def test_compile_prints_graphs_and_stops(files: Files, tmp_path: Path) -> None:
    done = pimc(
        "compile", files.model, "--print-after", "map-weights", "--stop-after", "slice-weights", "--time-passes"
    )
    assert done.code == 0
    assert "# after map-weights\ngraph " in done.out
    assert 'graph "fashion" sliced {' in done.out
    assert "mapping = {" in done.out
    assert "placement" not in done.out
    assert "map-weights" in done.err
    path = tmp_path / "net.ir"
    assert pimc("compile", files.model, "--emit", "ir", "-o", path).code == 0
    assert 'graph "fashion" scheduled {' in path.read_text()


def test_layers_add_up_to_the_whole(files: Files, tmp_path: Path) -> None:
    values = pimc("compile", files.model, "-o", tmp_path / "n.pim", "--report", "--json").json
    assert sum(layer["arrays"] for layer in values["layers"]) == values["arrays"]
    assert max(layer["busy"] for layer in values["layers"]) == pytest.approx(1, rel=0.02)
    convs = [layer for layer in values["layers"] if layer["arrays"]]
    assert all(0 < layer["utilisation"] <= 1 and layer["copies"] >= 1 and layer["joules"] > 0 for layer in convs)
    text = pimc("compile", files.model, "-o", tmp_path / "n.pim", "--report").out
    assert "cells used" in text
    assert "/stem/conv/Conv" in text


def test_run_writes_what_onnxruntime_computes(files: Files, tmp_path: Path) -> None:
    output = tmp_path / "y.npz"
    done = pimc("run", files.program, "--input", files.images, "-o", output, "--layers", "--json")
    assert done.code == 0
    values = done.json
    assert {"cycles", "seconds", "energy_joules", "images_per_second"} <= values.keys()
    assert values["images"] == 5
    assert values["latency_cycles"] < values["cycles"] <= values["latency_cycles"] + 4 * values["interval_cycles"]
    assert sum(values["energy_by_component"].values()) == pytest.approx(values["energy_joules"])
    import onnx

    with np.load(files.images) as data, np.load(output) as made:
        expected = fashion.logits(onnx.load(files.model), data["image"])
        np.testing.assert_array_equal(made["logits"], expected)


def test_counts_of_a_run_times_prices_are_its_energy(files: Files) -> None:
    values = pimc("run", files.program, "--input", files.images, "--layers", "--json").json
    prices = {e.action: e.energy_pj for e in load(files.program).machine.energies}
    picojoules = sum(n * prices[action] for actions in values["counts"].values() for action, n in actions.items() if n)
    assert picojoules * 1e-12 == pytest.approx(values["energy_joules"])
    assert any("dac_drive" in actions for actions in values["counts"].values())


def test_run_takes_one_image_and_writes_npy(files: Files, tmp_path: Path) -> None:
    image = tmp_path / "one.npy"
    with np.load(files.images) as data:
        np.save(image, data["image"][0])
    done = pimc("run", files.program, "-i", image, "-o", tmp_path / "y.npy")
    assert done.code == 0
    assert "1 image," in done.out
    assert np.load(tmp_path / "y.npy").shape == (1, 10)


def test_batches_do_not_change_results(files: Files, tmp_path: Path) -> None:
    for batch in (1, 2, 5):
        assert (
            pimc("run", files.program, "-i", files.images, "-o", tmp_path / f"{batch}.npz", "--batch", batch).code == 0
        )
    first, *others = ((tmp_path / f"{batch}.npz").read_bytes() for batch in (1, 2, 5))
    assert all(other == first for other in others)


def test_verify_passes_with_accuracy(files: Files) -> None:
    done = pimc(
        *("verify", files.program, "--data", files.images, "--labels", files.labels),
        *("--fp32", fashion.fp32_path(), "--json"),
    )
    assert done.code == 0
    values = done.json
    assert {"verdict", "tensors", "elements", "mismatches", "max_lsb", "top1_agreement", "accuracy"} <= values.keys()
    assert (values["verdict"], values["mismatches"], values["top1_agreement"]) == ("PASS", 0, 1.0)
    assert values["accuracy"].keys() == {"pimc", "onnxruntime", "fp32"}
    assert values["tensors"] == len(values["by_tensor"])
    assert values["elements"] == sum(t["elements"] for t in values["by_tensor"])


def test_verify_says_that_its_images_are_synthetic(files: Files) -> None:
    done = pimc("verify", files.program, "--images", 2, "--seed", 3)
    assert done.code == 0
    assert "2 synthetic images (uniform random, seed 3)" in done.out
    assert done.out.splitlines()[-1].startswith("PASS: ")


def test_disassembled_text_assembles_to_the_same_bytes(files: Files, tmp_path: Path) -> None:
    text, program = tmp_path / "net.pimasm", tmp_path / "again.pim"
    assert pimc("disasm", files.program, "-o", text).code == 0
    assert pimc("asm", text, "-o", program).code == 0
    assert program.read_bytes() == files.program.read_bytes()
    assert pimc("run", text, "-i", files.images).code == 0


def test_disasm_shows_one_tile(files: Files) -> None:
    done = pimc("disasm", files.program, "--tile", 1)
    assert done.code == 0
    assert done.out.startswith(".tile 1 ")
    assert done.out.count("\n.tile") == 0
    assert " mvm " in done.out


def test_targets_with_peak_figures() -> None:
    done = pimc("targets", "--peak", "--json")
    assert done.code == 0
    isaac = next(t for t in done.json["targets"] if t["name"] == "isaac")
    assert isaac["peak"].keys() == set(isaac["flows"])
    assert all(figure > 0 for flow in isaac["peak"].values() for figure in flow.values())


def test_targets_without_power_and_with_many_flows() -> None:
    """No power is no efficiency, and hundreds of flows are a number; JSON names them all."""
    done = pimc("targets", "--peak", "--json")
    raella = next(t for t in done.json["targets"] if t["name"] == "raella")
    assert raella["peak"]["raella-4-2-2"]["gops_per_watt"] is None
    assert len(raella["flows"]) == len(raella["peak"]) == 4 * 108  # speculation or not, one pass or two
    shown = pimc("targets", "--peak").out
    assert "raella-4-2-2 and 431 more" in shown
    assert "raella-4-4" not in shown


def test_version() -> None:
    done = pimc("--version")
    assert done.code == 0
    assert done.out.startswith("pimc 0.")


def test_text_goes_where_it_is_asked_to(files: Files, tmp_path: Path) -> None:
    path = tmp_path / "net.txt"
    done = pimc("compile", files.model, "--emit", "asm", "-o", path, "--json")
    assert done.json["program"] == str(path)
    assert pimc("asm", path, "-o", tmp_path / "again.pim", "--json").json["tiles"] == done.json["tiles"]
    assert (tmp_path / "again.pim").read_bytes() == files.program.read_bytes()
    assert pimc("compile", files.model, "--emit", "asm").out.startswith(".program ")
    shown = pimc("compile", files.model, "--emit", "ir", "--print-after", "place", "--json")
    assert shown.json["stage"] == "scheduled"
    assert shown.json["text"].startswith('graph "fashion" scheduled')
    assert shown.err.startswith("# after place\n")


def test_check_lists_every_node(files: Files) -> None:
    import onnx

    done = pimc("check", files.model, "--json")
    assert done.code == 0
    values = done.json
    assert {"supported", "nodes", "host_nodes", "on_chip_macs_fraction"} <= values.keys()
    model = onnx.load(files.model)
    assert values["nodes"] == len(model.graph.node) == len(values["by_node"])
    assert [n["op_type"] for n in values["by_node"] if n["where"] == "host"] == ["QuantizeLinear", "DequantizeLinear"]
    assert sum(n["macs"] for n in values["by_node"]) == pytest.approx(5.68e6, rel=0.01)
    text = pimc("check", files.model, "--all").out
    assert "/stem/conv/Conv_quant" in text
    assert text.splitlines()[-1] == "this model compiles"


def test_a_model_of_the_host_alone(tmp_path: Path) -> None:
    import onnx

    text = '<ir_version: 8, opset_import: ["": 17]> g (float[N, 4] x) => (float[N, 4] y) {y = Relu(x)}'
    path = tmp_path / "relu.onnx"
    onnx.save(onnx.parser.parse_model(text), path)
    done = pimc("check", path)
    assert done.code == 0
    assert "host" in done.out
    compiled = pimc("compile", path, "-o", tmp_path / "x.pim")
    assert compiled.code == 0
    assert "The host computes the whole model" in compiled.err


def test_a_float_model_without_calibration_is_warned_about(tmp_path: Path) -> None:
    done = pimc("compile", fashion.fp32_path(), "-o", tmp_path / "x.pim")
    assert done.code == 0
    assert done.err.startswith("warning: No calibration data")
    assert "--calibration" in done.err
    assert pimc("verify", tmp_path / "x.pim", "--images", 1).code == 0


def test_a_targets_own_options(files: Files, tmp_path: Path) -> None:
    out = tmp_path / "x.pim"
    done = pimc("compile", files.model, "--target", "isaac-style", "--set", "converter_bits=8", "-o", out, "--json")
    assert done.code == 0
    assert load(out).machine.array.converter_bits == 8
    assert pimc("compile", files.model, "--set", "colour=blue", "-o", out).code == 2
    assert pimc("compile", files.model, "--set", "colour", "-o", out).code == 2
