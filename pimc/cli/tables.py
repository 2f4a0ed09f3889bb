"""Tables that several commands print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pimc.cli.output import percent, print_table, quantity, say

if TYPE_CHECKING:
    from pimc.report.layers import LayerReport
    from pimc.verify import TrialsReport, VerifyReport

__all__ = ["print_energy", "print_layers", "print_loss", "print_trials", "print_verdict"]


def print_layers(layers: Sequence[LayerReport]) -> None:
    """Print one line for each layer."""
    rows = [
        [
            layer.name,
            str(layer.tiles),
            str(layer.arrays) if layer.arrays else "-",
            str(layer.copies) if layer.arrays else "-",
            percent(layer.utilisation) if layer.arrays else "-",
            percent(layer.busy),
            quantity(layer.joules, "J"),
        ]
        for layer in layers
    ]
    columns = ["layer", "tiles", "arrays", "copies", "cells used", "busy", "energy/image"]
    if any(layer.v_max for layer in layers):
        columns += ["v_max", "gain", "clipped", "SQNR dB", "error LSB"]
        rows = [row + _range(layer) for row, layer in zip(rows, layers, strict=True)]
    print_table("layers", columns, rows)


def _range(layer: LayerReport) -> list[str]:
    """Converter range and what it costs, of one layer."""
    parts = (
        (layer.v_max, "g"),
        (layer.gain, ".4g"),
        (layer.clipped, ".3%"),
        (layer.sqnr_db, ".1f"),
        (layer.error_lsb, ".2f"),
    )
    return [format(value, form).replace("%", " %") if value is not None else "-" for value, form in parts]


def print_energy(parts: Mapping[str, float], images: int) -> None:
    """Print energy by component, largest first, with shares."""
    total = sum(parts.values()) or 1.0
    rows = [[name, quantity(joules / images, "J"), percent(joules / total)] for name, joules in parts.items()]
    print_table("energy by component", ["component", "per image", "share"], rows)


def print_verdict(report: VerifyReport, *, every: bool = False) -> None:
    """Print PASS or FAIL and what it rests on; tensors that differ, or all."""
    shown = [t for t in report.tensors if every or t.mismatches]
    if shown:
        rows = [[t.name, str(t.elements), str(t.mismatches), str(t.max_lsb), t.tolerance or "-"] for t in shown[:200]]
        print_table("tensors", ["tensor", "elements", "differ", "max LSB", "tolerance"], rows)
    if report.top1_agreement is not None:
        say(f"same class as onnxruntime: {percent(report.top1_agreement)} of {report.images} images")
    if report.accuracy:
        say("accuracy: " + ", ".join(f"{who} {percent(share)}" for who, share in report.accuracy.items()))
    say(f"data: {report.data}")
    if report.lossy:
        print_loss(report)
    if report.skipped:
        say(f"not compared: {len(report.skipped)} tensors ({_reasons(report)})")
    print_unrefereed(report)
    print_own(report)
    say(
        f"{report.verdict}: {len(report.tensors)} tensors, {report.elements} elements, {report.mismatches} differ"
        + (f", at most {report.max_lsb} LSB" if report.mismatches else "")
    )
    first = report.first_difference
    if first is not None:
        say(f"first tensor that differs: {first.name} ({first.mismatches} of {first.elements} elements)")


def print_own(report: VerifyReport) -> None:
    """Say how the outputs compare with the user's own model, if asked."""
    if report.own is None:
        return
    for t in report.own.outputs:
        ratio = "" if t.snr_db is None else f", {t.snr_db:.1f} dB"
        say(f"against {report.own.name}: {t.name}, {t.beyond} of {t.elements} elements differ{ratio}")
    if not report.own.owed:
        what = "parts of it are computed in floating point" if report.own.quantised else "it is not quantised"
        say(f"no equality is owed to it: {what}")


def print_unrefereed(report: VerifyReport) -> None:
    """Say which instructions the step engine does not restate, if any."""
    if report.unrefereed:
        say(f"unrefereed: the step engine has no restatement of {', '.join(report.unrefereed)}")


def print_loss(report: VerifyReport) -> None:
    """Print how far a lossy program is from onnxruntime."""
    if report.noise:
        say(f"noise: {report.noise}")
    if report.histogram:
        bars = (f"{label} LSB: {percent(n / report.elements)}" for label, n in report.histogram.items())
        say("differences: " + ", ".join(bars))
    if report.output_snr_db is not None:
        say(f"signal-to-noise ratio of the output: {report.output_snr_db:.1f} dB")
    if report.losses:
        say(f"most is lost at {', '.join(map(str, report.losses[:3]))}")


def print_trials(report: TrialsReport) -> None:
    """Print mean and deviation over noisy chips."""
    rows = [[name.replace("_", " "), f"{s.mean:.4g}", f"{s.deviation:.2g}"] for name, s in report.figures().items()]
    print_table(f"{len(report.reports)} noisy chips", ["figure", "mean", "deviation"], rows)
    first = report.reports[0]
    for who in ("onnxruntime", "fp32"):
        if who in first.accuracy:
            say(f"accuracy of {who}: {percent(first.accuracy[who])}")
    say(f"noise model {report.model}, seeds {report.seed} to {report.seed + len(report.reports) - 1}")
    say(f"data: {first.data}")
    print_unrefereed(first)


def _reasons(report: VerifyReport) -> str:
    reasons = list(report.skipped.values())
    return ", ".join(f"{reasons.count(r)} {r}" for r in dict.fromkeys(reasons))
