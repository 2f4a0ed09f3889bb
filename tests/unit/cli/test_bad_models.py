"""Models and programs that cannot work: what, where and the remedy on stderr, exit code 2, nothing written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import pimc as api
from pimc_isa.binary import container, words
from pimc_isa.binary.container import save
from pimc_isa.errors import ProgramError
from pimc_models import fashion
from tests.unit.analysis.test_rows import too_shallow
from tests.unit.cli.conftest import Files
from tests.unit.cli.run import pimc
from tests.unit.cli.test_errors import refused


def _model(nodes: list[onnx.NodeProto], shape: list[int | str], **constants: np.ndarray) -> onnx.ModelProto:
    info = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", shape), ("y", None))]
    inits = [numpy_helper.from_array(v, k) for k, v in constants.items()]
    graph = helper.make_graph(nodes, "g", info[:1], info[1:], inits)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def _conv(x: str, y: str) -> onnx.NodeProto:
    return helper.make_node("Conv", [x, "w"], [y], name=f"conv_{y}", pads=[1, 1, 1, 1])


WEIGHTS = np.random.default_rng(0).normal(size=(4, 4, 3, 3)).astype(np.float32)


def _write(model: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def test_truncated_model(tmp_path: Path) -> None:
    bad = tmp_path / "cut.onnx"
    bad.write_bytes(fashion.int8_path().read_bytes()[:-5000])
    refused(pimc("compile", bad, "-o", tmp_path / "x.pim"), "cut.onnx")
    assert not (tmp_path / "x.pim").exists()


def test_missing_external_data(tmp_path: Path) -> None:
    model = _model([_conv("x", "y")], [1, 4, 8, 8], w=WEIGHTS)
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, location="m.bin", size_threshold=0)
    (tmp_path / "m.bin").unlink()
    refused(pimc("compile", tmp_path / "m.onnx"), "m.bin")


def test_dynamic_shape_names_the_option(tmp_path: Path) -> None:
    model = _write(_model([_conv("x", "y")], ["N", 4, "h", "w"], w=WEIGHTS), tmp_path / "m.onnx")
    refused(pimc("compile", model), "--input-shape x=1,4,")
    done = pimc("compile", model, "--input-shape", "x=1,4,8,8", "-o", tmp_path / "m.pim")
    assert done.code == 0, done


def test_operators_without_a_unit_run_on_the_host_and_are_listed(tmp_path: Path) -> None:
    nodes = [
        _conv("x", "a"),
        helper.make_node("CumSum", ["a", "axis"], ["b"], name="first_bad"),
        _conv("b", "c"),
        helper.make_node("Det", ["c"], ["d"], name="second_bad"),
        helper.make_node("Unsqueeze", ["d", "axes"], ["e"]),
        helper.make_node("Mul", ["c", "e"], ["f"]),
        _conv("f", "y"),
    ]
    axes = {"axis": np.array(3, np.int64), "axes": np.array([2, 3], np.int64)}
    model = _write(_model(nodes, [1, 4, 8, 8], w=WEIGHTS, **axes), tmp_path / "m.onnx")
    done = pimc("check", model)
    assert done.code == 0
    assert all(any(name in line and "host" in line for line in done.out.splitlines()) for name in ("CumSum", "Det"))
    assert pimc("compile", model, "-o", tmp_path / "m.pim").code == 0
    assert pimc("verify", tmp_path / "m.pim").code == 0


def test_a_program_of_another_isa_version(files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = container.load(files.program)
    monkeypatch.setattr(container, "ISA_VERSION", "0.1")
    container.save(program, tmp_path / "old.pim")
    monkeypatch.undo()
    refused(pimc("run", tmp_path / "old.pim", "-i", files.images), "0.1")


def test_a_deadlock_names_who_waits_for_whom(tmp_path: Path) -> None:
    save(too_shallow(), tmp_path / "stuck.pim")
    np.savez(tmp_path / "x.npz", input=np.zeros((1, 8, 24, 24), np.uint8))
    done = pimc("run", tmp_path / "stuck.pim", "-i", tmp_path / "x.npz")
    assert done.code == 2
    assert "deadlock" in done.err
    assert done.err.count("waits for") >= 2


def _dense(layers: int, width: int) -> onnx.ModelProto:
    """A quantised stack of 1x1 convolutions with ``layers * width**2`` weights."""
    one, zero = np.array(0.1, np.float32), np.array(128, np.uint8)
    inits: dict[str, np.ndarray] = {"s": one, "z": zero, "ws": one, "wz": np.array(0, np.int8)}
    nodes = [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["t0"])]
    for n in range(layers):
        ins = [f"t{n}", "s", "z", f"w{n}", "ws", "wz", "s", "z"]
        nodes.append(helper.make_node("QLinearConv", ins, [f"t{n + 1}"], name=f"layer{n}"))
        inits[f"w{n}"] = np.ones((width, width, 1, 1), np.int8)
    nodes.append(helper.make_node("DequantizeLinear", [f"t{layers}", "s", "z"], ["y"]))
    return _model(nodes, [1, width, 1, 1], **inits)


def test_more_weights_than_the_chips_allowed(tmp_path: Path) -> None:
    """One chip holds 168 x 96 x 4,096 = 66 million weights; these are all 1, so as epitomes they would fit."""
    path = _write(_dense(5, 4096), tmp_path / "big.onnx")
    refused(pimc("compile", path, "--chips", "1", "--epitome", "off", "-o", tmp_path / "v.pim"), "--chips 2")
    assert not (tmp_path / "v.pim").exists()


def test_an_edited_word_is_found(files: Files) -> None:
    program = api.load(files.program).program
    tile = program.tiles[1]
    encoded = words.encode(tile)
    edited = encoded.words.copy()
    edited[0] |= np.uint64(0xFF) << np.uint64(56)
    with pytest.raises(ProgramError, match="0xff"):
        words.decode(tile, replace(encoded, words=edited))
