"""Progress goes to stderr and leaves stdout alone; figures read well."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest

from pimc.cli.output import Progress, counted, percent, print_json, progress, quantity


class Terminal(io.StringIO):
    """A text stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_live_line_does_not_take_over_stdout(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = io.StringIO(), Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    with progress("working") as say:
        say("still working")
        print("result")
    assert out.getvalue() == "result\n"
    assert "result" not in err.getvalue()
    assert "working" in err.getvalue()


def test_quick_steps_are_silent_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("working") as say:
        say("a")
        say("b")
    assert capsys.readouterr().err == ""


def test_a_step_after_a_long_one_is_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Progress, "PATIENCE_SECONDS", 0.0)
    with progress("working") as say:
        say("step")
    assert capsys.readouterr().err == "pimc: step\n"
    with progress("working", quiet=True) as say:
        say("step")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 J"), (1.5, "1.5 J"), (1234.5, "1.23 kJ"), (2.5e-3, "2.5 mJ"), (4e-13, "0.4 pJ"), (3.21e10, "32.1 GJ")],
)
def test_quantities(value: float, text: str) -> None:
    assert quantity(value, "J") == text


def test_words() -> None:
    assert (counted(1, "tile"), counted(2, "tile"), counted(0, "tile")) == ("1 tile", "2 tiles", "0 tiles")
    assert percent(0.12345) == "12.3 %"


def test_json_of_numpy_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": np.int64(3), "b": np.float32(0.5)})
    assert capsys.readouterr().out == '{\n  "a": 3,\n  "b": 0.5\n}\n'
    with pytest.raises(TypeError, match="object has no JSON form"):
        print_json({"a": object()})
