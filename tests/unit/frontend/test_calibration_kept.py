"""Calibration data in the graph: for passes that choose ranges, also of models that are quantised already."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from pimc import driver
from pimc.frontend import CalibrationWarning, FrontendError, load_model
from pimc.passes.target import TargetError
from pimc_models import fashion

IMAGES = fashion.load_calibration()[:3]


def test_given_data_is_kept_for_quantised_and_float_models() -> None:
    for path in (fashion.int8_path(), fashion.fp32_path()):
        graph = load_model(path, calibration=IMAGES, input_shapes={"image": (1, 1, 28, 28)})
        assert np.array_equal(graph.calibration["image"], IMAGES)
    assert load_model(fashion.int8_path()).calibration == {}


def test_data_is_made_up_with_one_warning() -> None:
    for path in (fashion.int8_path(), fashion.fp32_path()):
        with pytest.warns(CalibrationWarning, match="No calibration data") as seen:
            graph = load_model(path, calibrate=True, input_shapes={"image": (1, 1, 28, 28)})
        assert len(seen) == 1
        assert graph.calibration["image"].shape[1:] == (1, 28, 28)


def test_unfit_data_for_a_quantised_model() -> None:
    with pytest.raises(FrontendError, match="has shape"):
        load_model(fashion.int8_path(), calibration=IMAGES[:, :, :9])


def test_only_targets_that_choose_ranges_ask_for_data() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, options in (("isaac", {}), ("neural-pim", {"ranges": "wide"})):
            target, steps = driver.choose(name, **options)
            driver.lower(fashion.int8_path(), target, steps)
        target, steps = driver.choose("neural-pim", "choose-ranges{force=0.5/1}")
        driver.lower(fashion.int8_path(), target, steps)
    with pytest.warns(CalibrationWarning):
        driver.lower(fashion.int8_path(), *driver.choose("neural-pim"))


def test_options_that_a_target_does_not_have() -> None:
    with pytest.raises(TargetError, match="target isaac has no option 'ranges'; its options are chips, replication"):
        driver.choose("isaac", ranges="gain")
    with pytest.raises(TargetError, match="ranges 'best' do not exist"):
        driver.choose("neural-pim", ranges="best")
    with pytest.raises(TargetError, match="peripherals 'real' do not exist"):
        driver.choose("neural-pim", peripherals="real")
