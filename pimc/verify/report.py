"""What a verification found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["LSB_LABELS", "Loss", "OwnReport", "TensorReport", "VerifyReport"]

#: Bars of the histogram of differences, in LSB.
LSB_LABELS = ("1", "2", "3-4", "5-8", "9-16", "17-32", "over 32")


@dataclass(frozen=True)
class TensorReport:
    """One ONNX tensor: how many elements were compared and how many differ.

    ``max_lsb`` is the largest difference of an integer tensor (for a float tensor 0; ``max_abs`` says how much it
    differs). ``histogram`` counts differing elements by how many LSB they differ; ``snr_db`` is the power of
    onnxruntime's tensor around its mean over that of the difference. ``tolerance`` names the allowance made for the
    operator that makes it, '' where none is; ``beyond`` counts elements that differ by more.
    """

    name: str
    elements: int
    mismatches: int
    max_lsb: int
    max_abs: float = 0.0
    tolerance: str = ""
    beyond: int = 0
    histogram: Mapping[str, int] = field(default_factory=dict)
    snr_db: float | None = None

    @property
    def passed(self) -> bool:
        """Whether nothing differs by more than is allowed."""
        return self.beyond == 0


@dataclass(frozen=True)
class Loss:
    """A tensor, the ratio of signal to noise that what it is made from has (None: it is exact), and its own, dB."""

    tensor: str
    before_db: float | None
    after_db: float

    @property
    def lost(self) -> float:
        """How much smaller the signal's share of all power got, 0 to 1."""
        return _share_of_signal(self.before_db) - _share_of_signal(self.after_db)

    def __str__(self) -> str:
        """In words."""
        before = "exact" if self.before_db is None else f"{self.before_db:.1f} dB"
        return f"{self.tensor} (from {before} to {self.after_db:.1f} dB)"


@dataclass(frozen=True)
class OwnReport:
    """The program's outputs beside those of the user's own model (``name``) in a plain session.

    ``owed``: they must be equal, because the model is ``quantised`` and onnxruntime computes all of it in integers.
    """

    name: str
    outputs: tuple[TensorReport, ...]
    quantised: bool
    owed: bool

    @property
    def passed(self) -> bool:
        """Whether nothing differs that must not."""
        return not self.owed or all(t.passed for t in self.outputs)

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        outputs = [_tensor(t) for t in self.outputs]
        return {"model": self.name, "quantised": self.quantised, "equality_owed": self.owed, "outputs": outputs}


@dataclass(frozen=True)
class VerifyReport:
    """All tensors in the order in which the model makes them.

    ``data`` says what was run. ``skipped`` are tensors of the model that no buffer of the program holds, with the
    reason. ``top1_agreement`` is the share of images for which our class is onnxruntime's; ``accuracy`` is by who
    computed it ('pimc', 'onnxruntime', 'fp32'), where labels were given. ``lossy``: not every conversion of the program
    is proved exact, or its hardware is not ideal (``noise`` says how), so equality is not claimed; ``output_snr_db`` is
    that of the first output. ``unrefereed`` are instructions of the program that the step engine does not restate, so
    that nothing judges what the engines make of them. ``own`` is the comparison with the user's own model, where asked;
    ``losses`` are the tensors of a lossy program at which most signal is lost, the worst first.
    """

    images: int
    data: str
    tensors: tuple[TensorReport, ...]
    skipped: Mapping[str, str] = field(default_factory=dict)
    top1_agreement: float | None = None
    accuracy: Mapping[str, float] = field(default_factory=dict)
    lossy: bool = False
    noise: str = ""
    output_snr_db: float | None = None
    unrefereed: tuple[str, ...] = ()
    own: OwnReport | None = None
    losses: tuple[Loss, ...] = ()

    @property
    def passed(self) -> bool:
        """PASS: something was compared and no tensor differs by more than its tolerance (none, for nearly all)."""
        own = self.own is None or self.own.passed
        return bool(self.tensors) and all(t.passed for t in self.tensors) and own

    @property
    def verdict(self) -> str:
        """PASS, or FAIL; LOSSY where a difference is no bug, because the program does not claim to be exact."""
        return "PASS" if self.passed else "LOSSY" if self.lossy else "FAIL"

    @property
    def histogram(self) -> dict[str, int]:
        """Differing elements of all integer tensors by difference in LSB."""
        total: dict[str, int] = {}
        for t in self.tensors:
            for label, count in t.histogram.items():
                total[label] = total.get(label, 0) + count
        return {label: total[label] for label in LSB_LABELS if label in total}

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
            "lossy": self.lossy,
            "noise": self.noise or None,
            "unrefereed": list(self.unrefereed),
            "lsb_histogram": self.histogram,
            "output_snr_db": self.output_snr_db,
            "top1_agreement": self.top1_agreement,
            "accuracy": dict(self.accuracy) or None,
            "own_model": self.own.to_dict() if self.own else None,
            "losses": [asdict(loss) for loss in self.losses],
            "skipped": dict(self.skipped),
            "by_tensor": [_tensor(t) for t in self.tensors],
        }


def _tensor(t: TensorReport) -> dict[str, Any]:
    values: dict[str, Any] = {"name": t.name, "elements": t.elements, "mismatches": t.mismatches, "max_lsb": t.max_lsb}
    if t.tolerance:
        values |= {"tolerance": t.tolerance, "beyond_tolerance": t.beyond}
    if t.max_abs:
        values["max_abs"] = t.max_abs
    if t.snr_db is not None:
        values["snr_db"] = round(t.snr_db, 2)
    return values


def _share_of_signal(db: float | None) -> float:
    """Signal over signal and noise."""
    return 1.0 if db is None else 1 / (1 + 10 ** (-db / 10))
