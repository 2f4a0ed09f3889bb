"""Element types: declared once, asked for bytes, limits and storage; a third party's works like ours."""

from __future__ import annotations

import numpy as np
import pytest

from pimc_isa.element import ELEMENTS, I32, U8, Element, element
from pimc_isa.errors import ProgramError
from pimc_isa.operands import Buffer


@pytest.fixture(autouse=True)
def _table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pimc_isa.element.ELEMENTS", dict(ELEMENTS))


def test_bytes_are_packed_and_rounded_up() -> None:
    four = Element("u4", 4, np.uint8, 0, 15)
    assert [four.nbytes(n) for n in (0, 1, 2, 3, 7)] == [0, 1, 1, 2, 4]
    assert (U8.nbytes(7), I32.nbytes(7)) == (7, 28)


def test_a_ring_takes_what_its_rows_take() -> None:
    Element("u4", 4, np.uint8, 0, 15)
    assert Buffer("x", "u4", 8, 5, 3, (0, 5), (0, 3), 4).memory_bytes == 4 * 8  # 15 elements: 8 bytes
    assert Buffer("x", "u8", 8, 5, 3, (0, 5), (0, 3), 4).memory_bytes == 4 * 15


def test_unknown_types_are_named() -> None:
    with pytest.raises(ProgramError, match="no element type 'f8'; there are u8, i32"):
        element("f8")


@pytest.mark.parametrize(
    "given",
    [
        ("u8", 8, np.uint8, 0, 15),
        ("x", 9, np.uint8, 0, 15),
        ("x", 0, np.uint8, 0, 15),
        ("x", 8, np.uint8, -1, 15),
        ("x", 8, np.uint8, 0, 256),
        ("x", 8, np.uint8, 3, 2),
    ],
)
def test_types_that_cannot_be_are_refused(given: tuple[str, int, type, int, int]) -> None:
    with pytest.raises(ProgramError, match=r"do not fit|declared twice"):
        Element(*given)
