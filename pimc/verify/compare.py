"""Counts differences of tensors over batches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pimc.verify.report import TensorReport
from pimc_isa.errors import RunError

__all__ = ["EXACT", "Counter", "Tolerance"]

Array = np.ndarray


@dataclass(frozen=True)
class Tolerance:
    """An allowance for an operator (``reason``): ``lsb`` for integer tensors, ``rtol`` and ``atol`` for float ones."""

    reason: str = ""
    lsb: int = 0
    rtol: float = 0.0
    atol: float = 0.0

    def __str__(self) -> str:
        """Return the allowance in words, '' for none."""
        if not self.reason:
            return ""
        return f"{self.reason}: " + (f"{self.lsb} LSB" if self.lsb else f"rtol {self.rtol:g}, atol {self.atol:g}")


EXACT = Tolerance()


class Counter:
    """Adds up the differences of one tensor over batches."""

    def __init__(self, name: str, tolerance: Tolerance = EXACT) -> None:
        self.name, self.tolerance = name, tolerance
        self.elements = self.mismatches = self.max_lsb = self.beyond = 0
        self.max_abs = 0.0

    def add(self, ours: Array, theirs: Array) -> None:
        """Compare one batch; other shapes or types are an error of the program, not a difference."""
        if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
            raise RunError(
                f"tensor {self.name}: the program holds {ours.dtype}{list(ours.shape)}, "
                f"the model {theirs.dtype}{list(theirs.shape)}"
            )
        self.elements += ours.size
        if np.array_equal(ours, theirs):
            return
        if np.issubdtype(ours.dtype, np.floating):
            self._add_float(ours, theirs)
        else:
            self._add_integer(ours, theirs)

    def _add_integer(self, ours: Array, theirs: Array) -> None:
        difference = np.abs(ours.astype(np.int64) - theirs.astype(np.int64))
        self.mismatches += int(np.count_nonzero(difference))
        self.beyond += int(np.count_nonzero(difference > self.tolerance.lsb))
        self.max_lsb = max(self.max_lsb, int(difference.max()))

    def _add_float(self, ours: Array, theirs: Array) -> None:
        same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
        self.mismatches += int(np.count_nonzero(~same))
        close = np.isclose(ours, theirs, rtol=self.tolerance.rtol, atol=self.tolerance.atol, equal_nan=True)
        self.beyond += int(np.count_nonzero(~close))
        both = np.isfinite(ours) & np.isfinite(theirs)
        if both.any():
            self.max_abs = max(self.max_abs, float(np.abs(ours[both] - theirs[both]).max()))

    def report(self) -> TensorReport:
        """Return the sums."""
        return TensorReport(
            self.name, self.elements, self.mismatches, self.max_lsb, self.max_abs, str(self.tolerance), self.beyond
        )
