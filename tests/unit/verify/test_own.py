"""The user's own model beside the program: equality where it is owed, and a failure where it is not given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import pimc
from pimc.frontend import FrontendError
from pimc.verify import verify
from pimc_isa.errors import RunError
from pimc_isa.program import Program
from pimc_models import fashion
from tests.differential.test_families import Float, cut_relu, images


@pytest.fixture(scope="module")
def program() -> Program:
    return pimc.compile(fashion.int8_path()).program


def other(path: Path, step: int) -> bytes:
    """The model with one bias changed by a step."""
    model = onnx.load(path)
    held = next(t for t in model.graph.initializer if t.data_type == onnx.TensorProto.INT32 and len(t.dims) == 1)
    held.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(held) + np.int32(step), held.name))
    return bytes(model.SerializeToString())


def test_the_model_it_was_compiled_from_is_equal(program: Program) -> None:
    report = verify(program, images=3, own=fashion.int8_path())
    assert report.own is not None
    assert report.own.owed
    assert (report.verdict, report.own.outputs[0].elements, report.own.outputs[0].mismatches) == ("PASS", 30, 0)


def test_another_model_fails_though_every_tensor_is_right(program: Program) -> None:
    report = verify(program, images=3, own=other(fashion.int8_path(), 3000))
    assert report.verdict == "FAIL"
    assert all(t.passed for t in report.tensors)
    assert report.own is not None
    assert report.own.outputs[0].beyond > 0


def test_a_float_model_is_only_compared(program: Program) -> None:
    report = verify(program, images=3, own=fashion.fp32_path())
    assert report.verdict == "PASS"
    assert report.own is not None
    assert not report.own.owed
    assert report.own.outputs[0].snr_db is not None
    assert 20 < report.own.outputs[0].snr_db < 60


def test_no_equality_is_owed_where_onnxruntime_computes_in_float() -> None:
    model = cut_relu(0)
    made = pimc.compile(model)
    report = verify(made.program, images(model, 64), own=model.SerializeToString())
    assert report.own is not None
    assert report.own.quantised
    assert not report.own.owed


def fixed(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model for one image at a time."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for value in copy.graph.input:
        value.type.tensor_type.shape.dim[0].dim_value = 1
    return copy


def test_a_model_for_one_image_runs_image_by_image(program: Program) -> None:
    report = verify(program, images=3, own=fixed(onnx.load(fashion.int8_path())).SerializeToString())
    assert report.own is not None
    assert (report.verdict, report.own.outputs[0].elements, report.own.outputs[0].mismatches) == ("PASS", 30, 0)


def test_what_follows_an_inexact_tensor_is_judged_image_by_image_too() -> None:
    model = fixed(cut_relu(0))
    made = pimc.compile(model)
    assert made.verify(images(model, 64)).verdict == "PASS"


def test_another_output_is_an_error(program: Program) -> None:
    renamed = replace(program, outputs=tuple(replace(p, name="scores") for p in program.outputs))
    with pytest.raises(RunError, match="has no output 'scores'; the program was compiled from another model"):
        verify(renamed, images=1, own=fashion.int8_path())


def test_a_damaged_file_is_an_error(program: Program) -> None:
    with pytest.raises(FrontendError):
        verify(program, images=1, own=Float().model().SerializeToString()[:20])
