"""Counting of differences, allowances and verdicts, at their limits and with numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pimc.verify.compare import EXACT, Counter, Tolerance
from pimc.verify.report import TensorReport, VerifyReport


def counted(differences: list[int], lsb: int = 0, base: int = 1000) -> TensorReport:
    """The report on a tensor that differs by these numbers, half of them upwards."""
    signs = np.array([1 if n % 2 else -1 for n in range(len(differences))])
    theirs = np.full(len(differences), base, np.int32)
    counter = Counter("t", Tolerance("some operator", lsb=lsb) if lsb else EXACT)
    counter.add((theirs + signs * np.array(differences)).astype(np.int32), theirs)
    return counter.report()


@pytest.mark.parametrize("lsb", [0, 1, 2, 5])
def test_what_is_allowed_ends_at_the_allowance(lsb: int) -> None:
    assert counted([lsb, lsb], lsb).passed
    assert counted([lsb, 0], lsb).beyond == 0
    assert not counted([lsb + 1], lsb).passed
    assert counted([lsb + 1, lsb + 1, lsb, 0], lsb).beyond == 2


def test_the_histogram_has_each_bar_from_its_first_to_its_last_difference() -> None:
    report = counted([0, 1, 2, 2, 3, 4, 4, 5, 8, 9, 16, 17, 32, 32, 32, 33, 900])
    bars = {"1": 1, "2": 2, "3-4": 3, "5-8": 2, "9-16": 2, "17-32": 4, "over 32": 2}
    assert report.histogram == bars
    assert report.mismatches == sum(bars.values()) == 16
    assert (report.elements, report.max_lsb) == (17, 900)
    assert counted([0, 40]).histogram == {"over 32": 1}
    assert counted([0]).histogram == {}


def test_bars_add_up_over_batches_and_tensors() -> None:
    counter = Counter("t")
    for ours in ([1, 5], [2, 0]):
        counter.add(np.array(ours, np.uint8), np.zeros(2, np.uint8))
    one = counter.report()
    assert one.histogram == {"1": 1, "2": 1, "5-8": 1}
    report = VerifyReport(2, "d", (one, counted([7, 1]), counted([0])))
    assert report.histogram == {"1": 2, "2": 1, "5-8": 2}
    assert list(report.histogram) == ["1", "2", "5-8"]
    assert (report.elements, report.mismatches, report.max_lsb) == (4 + 2 + 1, 3 + 2, 7)


def test_elements_beyond_the_allowance_add_up_over_batches() -> None:
    counter = Counter("t")
    counter.add(np.array([3, 0], np.uint8), np.zeros(2, np.uint8))
    counter.add(np.array([0, 1], np.uint8), np.zeros(2, np.uint8))
    counter.add(np.zeros(2, np.uint8), np.zeros(2, np.uint8))
    report = counter.report()
    assert (report.beyond, report.mismatches, report.max_lsb, report.elements) == (2, 2, 3, 6)


def test_the_ratio_of_signal_to_noise_by_hand() -> None:
    counter = Counter("t")
    counter.add(np.array([1, 3], np.int32), np.array([0, 4], np.int32))
    counter.add(np.array([8, 14], np.int32), np.array([8, 12], np.int32))
    # theirs 0, 4, 8, 12: mean 6, power 36 + 4 + 4 + 36 = 80; errors 1, 1, 0, 2: 6
    assert counter.snr_db() == pytest.approx(10 * math.log10(80 / 6))
    assert counter.report().snr_db == counter.snr_db()
    floats = Counter("f")
    floats.add(np.array([0.5, 4.0], np.float32), np.array([0.0, 4.0], np.float32))
    assert floats.snr_db() == pytest.approx(10 * math.log10(8 / 0.25))


def test_no_ratio_where_nothing_differs_or_nothing_varies() -> None:
    single = Counter("t")
    single.add(np.array([1], np.uint8), np.array([2], np.uint8))
    assert single.snr_db() is None
    equal, flat = Counter("t"), Counter("t")
    assert equal.snr_db() is None
    equal.add(np.array([1, 2], np.uint8), np.array([1, 2], np.uint8))
    flat.add(np.array([1, 2], np.uint8), np.array([2, 2], np.uint8))
    assert equal.snr_db() is None
    assert flat.snr_db() is None


def test_floats_that_differ_and_floats_beyond_the_allowance() -> None:
    # allowed: 0.5 + 0.25 * 4 = 1.5 around 4
    counter = Counter("t", Tolerance("float value", rtol=0.25, atol=0.5))
    theirs = np.array([4, 4, 4, 4, np.nan, np.nan, np.inf, 1], np.float32)
    ours = np.array([4, 5.5, 5.75, 2.25, np.nan, 1, 2, np.inf], np.float32)
    counter.add(ours, theirs)
    report = counter.report()
    assert (report.elements, report.mismatches, report.beyond, report.max_lsb) == (8, 6, 5, 0)
    assert report.max_abs == 1.75
    counter.add(np.array([0.5], np.float32), np.array([0], np.float32))
    assert (counter.report().mismatches, counter.report().beyond, counter.report().max_abs) == (7, 5, 1.75)


def test_tensors_of_nothing_finite_have_no_largest_difference() -> None:
    counter = Counter("t")
    counter.add(np.array([np.nan, np.inf], np.float32), np.array([1, 2], np.float32))
    assert (counter.report().mismatches, counter.report().max_abs) == (2, 0.0)


def test_an_allowance_in_words() -> None:
    assert str(EXACT) == ""
    assert str(Tolerance("average", lsb=2)) == "average: 2 LSB"
    assert str(Tolerance("float", rtol=1e-4, atol=1e-5)) == "float: rtol 0.0001, atol 1e-05"


GOOD = TensorReport("good", 4, 0, 0)
ALLOWED = TensorReport("allowed", 4, 1, 1, 0.0, "average: 1 LSB", 0)
BAD = TensorReport("bad", 4, 2, 3, 0.0, "", 1)


@pytest.mark.parametrize(
    ("tensors", "lossy", "verdict", "first"),
    [
        ((), False, "FAIL", None),
        ((), True, "LOSSY", None),
        ((GOOD,), False, "PASS", None),
        ((GOOD,), True, "PASS", None),
        ((GOOD, ALLOWED), False, "PASS", "allowed"),
        ((GOOD, BAD, ALLOWED), False, "FAIL", "bad"),
        ((BAD, GOOD), True, "LOSSY", "bad"),
    ],
)
def test_verdicts(tensors: tuple[TensorReport, ...], lossy: bool, verdict: str, first: str | None) -> None:
    report = VerifyReport(1, "d", tensors, lossy=lossy)
    assert (report.verdict, report.passed) == (verdict, verdict == "PASS")
    assert (report.first_difference.name if report.first_difference else None) == first
    assert report.to_dict()["first_difference"] == first
    assert report.max_lsb == max((t.max_lsb for t in tensors), default=0)


def test_reports_as_plain_values() -> None:
    noisy = TensorReport("noisy", 4, 1, 0, 0.5, "float: rtol 1, atol 1", 1, {}, 12.3456)
    report = VerifyReport(3, "d", (GOOD, BAD, noisy), {"x": "inside a host call"}, 0.5, {"pimc": 0.25}, False, "", 7.0)
    values = report.to_dict()
    assert values["by_tensor"] == [
        {"name": "good", "elements": 4, "mismatches": 0, "max_lsb": 0},
        {"name": "bad", "elements": 4, "mismatches": 2, "max_lsb": 3},
        {
            "name": "noisy", "elements": 4, "mismatches": 1, "max_lsb": 0, "tolerance": "float: rtol 1, atol 1",
            "beyond_tolerance": 1, "max_abs": 0.5, "snr_db": 12.35,
        },
    ]  # fmt: skip
    assert {k: values[k] for k in ("images", "tensors", "elements", "mismatches", "noise", "accuracy", "skipped")} == {
        "images": 3, "tensors": 3, "elements": 12, "mismatches": 3, "noise": None, "accuracy": {"pimc": 0.25},
        "skipped": {"x": "inside a host call"},
    }  # fmt: skip
