"""Counts differences of tensors over batches."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pimc.verify.report import LSB_LABELS, TensorReport
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

#: Largest difference of each bar of the histogram but the last, in LSB.
BINS = np.array([1, 2, 4, 8, 16, 32])


class Counter:
    """Adds up the differences of one tensor over batches."""

    def __init__(self, name: str, tolerance: Tolerance = EXACT) -> None:
        self.name, self.tolerance = name, tolerance
        self.elements = self.mismatches = self.max_lsb = self.beyond = 0
        self.max_abs = 0.0
        self._bins = np.zeros(len(BINS) + 1, np.int64)
        self._sum = self._squares = self._error = 0.0

    def add(self, ours: Array, theirs: Array) -> None:
        """Compare one batch; other shapes or types are an error of the program, not a difference."""
        if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
            raise RunError(
                f"tensor {self.name}: the program holds {ours.dtype}{list(ours.shape)}, "
                f"the model {theirs.dtype}{list(theirs.shape)}"
            )
        self.elements += ours.size
        wide = theirs.astype(np.float64)
        self._sum, self._squares = self._sum + float(wide.sum()), self._squares + float(np.square(wide).sum())
        if np.array_equal(ours, theirs):
            return
        if np.issubdtype(ours.dtype, np.floating):
            self._add_float(ours, theirs)
        else:
            self._add_integer(ours, theirs)

    def _add_integer(self, ours: Array, theirs: Array) -> None:
        difference = np.abs(ours.astype(np.int64) - theirs.astype(np.int64))
        self._error += float(np.square(difference.astype(np.float64)).sum())
        bins = np.searchsorted(BINS, difference[difference > 0])
        self._bins += np.bincount(bins, minlength=len(self._bins))
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
            self._error += float(np.square(ours[both].astype(np.float64) - theirs[both]).sum())
            self.max_abs = max(self.max_abs, float(np.abs(ours[both] - theirs[both]).max()))

    def snr_db(self) -> float | None:
        """Power of onnxruntime's tensor around its mean over that of the difference; ``None`` if nothing differs."""
        power = self._squares - self._sum**2 / max(1, self.elements)
        return 10 * math.log10(power / self._error) if self._error > 0 and power > 0 else None

    def report(self) -> TensorReport:
        """Return the sums."""
        return TensorReport(
            self.name,
            self.elements,
            self.mismatches,
            self.max_lsb,
            self.max_abs,
            str(self.tolerance),
            self.beyond,
            {label: int(n) for label, n in zip(LSB_LABELS, self._bins, strict=True) if n},
            self.snr_db(),
        )
