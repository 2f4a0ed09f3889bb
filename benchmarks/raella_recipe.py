"""RAELLA's energy of conversions, from its artifact's statistics alone: no program is compiled.

    python benchmarks/raella_recipe.py

Prints the 28 bars of the energy ablation (seven workloads, four designs) beside those of the recipe: for each layer
`outputs * length / r * slices * 8 * s * passes` conversions, where `r` is the largest divisor of the length of a dot
product that the rows hold (the artifact's mapper knows no other cuts), times the library's energy of one conversion.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from raella_data import DESIGNS, NETWORKS, Layer, bars, layers

__all__ = ["ADC_PJ", "ROWS", "adc_mj", "conversions", "main"]

#: Word lines of a crossbar, and energy of a conversion of 8 and of 7 bits (the artifact's library, as the bars imply).
ROWS = {design: 128 if design == "isaac" else 512 for design in DESIGNS}
ADC_PJ = {design: 1.67 if design == "isaac" else 1.42 for design in DESIGNS}

#: Slices of a weight where they do not adapt, and bits of an input.
_SLICES, _BITS = 4, 8


def conversions(layer: Layer, design: str) -> float:
    """Conversions of one image or token by the artifact's own cuts."""
    held = max(r for r in range(1, ROWS[design] + 1) if layer.length % r == 0)
    slices = layer.slices if design in ("center_offset_aws", "raella") else _SLICES
    share = layer.s if design == "raella" else 1.0
    passes = 2 if layer.signed and design != "isaac" else 1
    return layer.outputs * (layer.length // held) * slices * _BITS * share * passes


def adc_mj(network: str, design: str) -> float:
    """Energy of the conversions of a batch, as large as the figure's."""
    batch = bars()[network, design]["batch"]
    return batch * sum(conversions(layer, design) for layer in layers(network)) * ADC_PJ[design] * 1e-9


def main() -> None:
    """Print the table."""
    print(f"{'network':14} {'design':18} {'bar mJ':>8} {'recipe':>8} {'off %':>6}")
    for network in NETWORKS:
        for design in DESIGNS:
            bar, ours = bars()[network, design]["adc_mj"], adc_mj(network, design)
            print(f"{network:14} {design:18} {bar:8.3f} {ours:8.3f} {100 * (ours / bar - 1):6.2f}")


if __name__ == "__main__":
    main()
