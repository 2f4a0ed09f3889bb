"""What a verification found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["TensorReport", "VerifyReport"]


@dataclass(frozen=True)
class TensorReport:
    """One ONNX tensor: how many elements were compared and how many differ.

    ``max_lsb`` is the largest difference of an integer tensor (for a float tensor 0; ``max_abs`` says how much it
    differs). ``tolerance`` names the allowance made for the operator that makes it, '' where none is; ``beyond`` counts
    elements that differ by more.
    """

    name: str
    elements: int
    mismatches: int
    max_lsb: int
    max_abs: float = 0.0
    tolerance: str = ""
    beyond: int = 0

    @property
    def passed(self) -> bool:
        """Whether nothing differs by more than is allowed."""
        return self.beyond == 0


@dataclass(frozen=True)
class VerifyReport:
    """All tensors in the order in which the model makes them.

    ``data`` says what was run. ``skipped`` are tensors of the model that no buffer of the program holds, with the
    reason. ``top1_agreement`` is the share of images for which our class is onnxruntime's; ``accuracy`` is by who
    computed it ('pimc', 'onnxruntime', 'fp32'), where labels were given.
    """

    images: int
    data: str
    tensors: tuple[TensorReport, ...]
    skipped: Mapping[str, str] = field(default_factory=dict)
    top1_agreement: float | None = None
    accuracy: Mapping[str, float] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """PASS: something was compared and no tensor differs by more than its tolerance (none, for nearly all)."""
        return bool(self.tensors) and all(t.passed for t in self.tensors)

    @property
    def verdict(self) -> str:
        """PASS or FAIL."""
        return "PASS" if self.passed else "FAIL"

    @property
    def elements(self) -> int:
        """Elements compared."""
        return sum(t.elements for t in self.tensors)

    @property
    def mismatches(self) -> int:
        """Elements that differ at all."""
        return sum(t.mismatches for t in self.tensors)

    @property
    def max_lsb(self) -> int:
        """The largest difference of an integer tensor."""
        return max((t.max_lsb for t in self.tensors), default=0)

    @property
    def first_difference(self) -> TensorReport | None:
        """The first tensor that differs: what comes before it is right, so look there."""
        return next((t for t in self.tensors if t.mismatches), None)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values, for JSON."""
        first = self.first_difference
        return {
            "verdict": self.verdict,
            "images": self.images,
            "data": self.data,
            "tensors": len(self.tensors),
            "elements": self.elements,
            "mismatches": self.mismatches,
            "max_lsb": self.max_lsb,
            "first_difference": first.name if first else None,
            "top1_agreement": self.top1_agreement,
            "accuracy": dict(self.accuracy) or None,
            "skipped": dict(self.skipped),
            "by_tensor": [_tensor(t) for t in self.tensors],
        }


def _tensor(t: TensorReport) -> dict[str, Any]:
    values: dict[str, Any] = {"name": t.name, "elements": t.elements, "mismatches": t.mismatches, "max_lsb": t.max_lsb}
    if t.tolerance:
        values |= {"tolerance": t.tolerance, "beyond_tolerance": t.beyond}
    if t.max_abs:
        values["max_abs"] = t.max_abs
    return values
