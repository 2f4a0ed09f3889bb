"""Several noisy chips: mean and deviation of what each of them computes."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from pimc.verify.report import VerifyReport
from pimc.verify.run import verify
from pimc_isa.engines.noise import parse_noise
from pimc_isa.program import Program

__all__ = ["Spread", "TrialsReport", "verify_trials"]


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation (0 for one trial) of one figure."""

    mean: float
    deviation: float

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Spread | None:
        """The spread of the values that exist."""
        found = [v for v in values if v is not None]
        if not found:
            return None
        return cls(statistics.fmean(found), statistics.stdev(found) if len(found) > 1 else 0.0)


@dataclass(frozen=True)
class TrialsReport:
    """One report for each chip; chip number n has the seed ``seed + n``."""

    seed: int
    model: str
    reports: tuple[VerifyReport, ...]

    @property
    def passed(self) -> bool:
        """Whether every chip equals onnxruntime."""
        return all(r.passed for r in self.reports)

    def figures(self) -> dict[str, Spread]:
        """Accuracy, agreement, signal-to-noise ratio of the output in dB, and the share of elements that differ."""
        found = {
            "accuracy": Spread.of(r.accuracy.get("pimc") for r in self.reports),
            "top1_agreement": Spread.of(r.top1_agreement for r in self.reports),
            "output_snr_db": Spread.of(r.output_snr_db for r in self.reports),
            "elements_that_differ": Spread.of(r.mismatches / max(1, r.elements) for r in self.reports),
        }
        return {name: spread for name, spread in found.items() if spread is not None}

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values, for JSON."""
        first = self.reports[0]
        return {
            "verdict": "PASS" if self.passed else "LOSSY",
            "trials": len(self.reports),
            "seed": self.seed,
            "noise_model": self.model,
            "images": first.images,
            "data": first.data,
            "figures": {n: {"mean": s.mean, "deviation": s.deviation} for n, s in self.figures().items()},
            "unrefereed": list(first.unrefereed),
            "accuracy_onnxruntime": first.accuracy.get("onnxruntime"),
            "accuracy_fp32": first.accuracy.get("fp32"),
        }


def verify_trials(
    program: Program,
    data: Any = None,
    labels: Any = None,
    *,
    noise: int = 0,
    model: str = "device",
    trials: int = 1,
    progress: Callable[[str], None] | None = None,
    **options: Any,
) -> TrialsReport:
    """Verify ``trials`` noisy chips with the seeds ``noise``, ``noise + 1``, ...; ``options`` as for ``verify``."""
    reports = []
    for number in range(trials):
        if progress:
            progress(f"chip {number + 1} of {trials}")
        reports.append(verify(program, data, labels, noise=parse_noise(noise + number, model), **options))
    return TrialsReport(noise, model, tuple(reports))
