"""The report of a training run: every number is measured from the parameters it stands beside."""

from __future__ import annotations

import numpy as np

from pimc_backends.neural_pim.peripherals import technology
from pimc_backends.neural_pim.peripherals.measure import chain_sinad, effective_bits, linearity, nnsa_errors
from pimc_backends.neural_pim.peripherals.signals import Order, nnsa_inputs
from pimc_backends.neural_pim.peripherals.store import Variants
from pimc_isa.peripherals import ConverterTable, NnsaDesign, Peripherals
from pimc_isa.peripherals.design import RANGES

__all__ = ["render"]

Array = np.ndarray

#: The devices measured here; training draws others.
SEED = 7

HEAD = """# Trained peripherals of Neural-PIM: measured

Written by `python -m pimc_backends.neural_pim.peripherals.train`; do not edit. All voltages are differential; the full
scale is +-{full_scale} V, the supply {supply} V. Weight spread sigma = {sigma}; thermal noise {noise} mV on every held
or bit-line voltage; one of 64 inverter curves per neuron. {devices} drawn devices per number unless it says nominal.
"""

NOTES = """
What these numbers assume, and what is ours:

* Each NNS+A is trimmed once after programming: gain and offset of its output driver, fitted on known inputs. "Not
  trimmed" devices keep the gain and offset of the nominal one: without trimming the spread of 2.5 % misses the target.
* The output driver has a gain of up to 2 (a sample-and-hold that doubles the voltage by its capacitors). The paper's
  source followers have at most 1; the last rows of the tables are a network trained for that. It and the network for
  the high slice first are the result of one start, the others of the better of two.
* NNS+A inverters have a gain of 4 (12 in the gain-4 network and in the converter): ours, like the curves' spread of
  +-5 % gain, +-3 mV switching point and +-1 % rail, which stands for what is left after the common corner is tracked
  by the references. The paper's set of process, voltage and temperature corners is not published.
* The inside of the NNADC and its foreground calibration (one digital weight per comparator, measured on a ramp) are
  ours; the paper's are not published. Codes are signed, 0 at 0 V. Training starts from an analytic solution and ends
  close to it. Most drawn converters step back by one code at a few voltages ("monotone" counts those that never do).
* The network with gain 4 (alpha = 68 in place of 272) is ours, for the small sums of real layers.
* SINAD is `10 log10((P_sig + P_noise) / P_noise)` with the mean square of the ideal voltage as signal. The range 0.5
  is filled by sums spread evenly over it; the others get sums of 128 random activations and Gaussian weights with the
  gain at which bit lines clip at four standard deviations. Those fill little of the range, so their SINAD is far below
  45 dB: with gain 1 most of that is rounding to 8 bits, with gain 4 most is the error of the NNS+A. "Peak" takes the
  square of the range as the signal, as the paper's eq. 13 does.
* An ideal 8-bit converter alone would give 48.2 dB for sums spread evenly over the range, 52.9 dB against the peak.
"""


def render(peripherals: Peripherals, variants: Variants, devices: int = 100) -> str:
    """The whole report as Markdown."""
    head = HEAD.format(
        full_scale=technology.FULL_SCALE,
        supply=technology.SUPPLY,
        sigma=technology.SIGMA,
        noise=technology.NOISE * 1e3,
        devices=devices,
    )
    converters = [[adc.draw(SEED, device) for device in range(devices)] for adc in peripherals.nnadc]
    parts = [head, _nnsa(peripherals.nnsa, variants, devices), _nnadc(converters)]
    parts += [_sinad(peripherals, variants, converters), NOTES]
    return "\n".join(parts)


def _nnsa(designs: tuple[NnsaDesign, ...], variants: Variants, devices: int) -> str:
    rows = ["## NNS+A, mean squared error of one operation, V^2 (target below 1e-5)\n"]
    rows += [
        "| network | inputs | nominal | drawn, mean | drawn, worst | largest error, mV | not trimmed | driver gain |"
    ]
    rows += ["| --- | --- | --- | --- | --- | --- | --- | --- |"]
    networks: list[tuple[str, NnsaDesign, Order]] = [("low slice first", designs[0], "lsb")]
    networks += [("low slice first, gain 4", designs[1], "gain"), ("high slice first", variants.msb_first, "msb")]
    networks += [("low slice first, source follower", variants.follower, "lsb")]
    for name, network, order in networks:
        x = nnsa_inputs(order, 8192, np.random.default_rng(1))
        parts = {"training mix": x, "full range, independent": x[:2048]}
        parts |= {"full range, correlated": x[2048:6144], "realistic": x[6144:]}
        for label, inputs in parts.items():
            rows.append(f"| {name} | {label} | " + " | ".join(_nnsa_row(network, inputs, devices)) + " |")
    return "\n".join(rows) + "\n"


def _nnsa_row(design: NnsaDesign, x: Array, devices: int) -> list[str]:
    rng = np.random.default_rng(2)
    nominal = float(np.mean(nnsa_errors(design, design.nominal(), x) ** 2))
    errors = [nnsa_errors(design, design.draw(SEED, d), x, rng) for d in range(devices)]
    mses = [float(np.mean(e**2)) for e in errors]
    largest = 1e3 * max(float(np.abs(e).max()) for e in errors)
    raw = np.mean([np.mean(nnsa_errors(design, design.draw(SEED, d, False), x, rng) ** 2) for d in range(devices)])
    return [
        f"{nominal:.2e}",
        f"{np.mean(mses):.2e}",
        f"{max(mses):.2e}",
        f"{largest:.1f}",
        f"{raw:.2e}",
        f"{design.driver()[0]:.2f}",
    ]


def _nnadc(converters: list[list[ConverterTable]]) -> str:
    rows = ["## NNADC, 8 bits (targets: ENOB at least 7.8, INL and DNL below 1)\n"]
    rows += ["| range, V | ENOB mean | ENOB worst | INL mean | INL worst | DNL mean | DNL worst | monotone |"]
    rows += ["| --- | --- | --- | --- | --- | --- | --- | --- |"]
    for tables in converters:
        bits = [effective_bits(t) for t in tables]
        inl, dnl = zip(*[[float(np.abs(e).max()) for e in linearity(t)] for t in tables], strict=True)
        monotone = sum(t.monotone() for t in tables)
        cells = [f"{np.mean(bits):.3f}", f"{min(bits):.3f}", f"{np.mean(inl):.2f}", f"{max(inl):.2f}"]
        cells += [f"{np.mean(dnl):.2f}", f"{max(dnl):.2f}", f"{monotone} of {len(tables)}"]
        rows.append(f"| {tables[0].v_max} | " + " | ".join(cells) + " |")
    rows.append(
        "\nINL and DNL are the largest magnitudes over all codes of a device, in codes; INL without a fitted line."
    )
    return "\n".join(rows) + "\n"


def _sinad(peripherals: Peripherals, variants: Variants, converters: list[list[ConverterTable]]) -> str:
    rows = ["## Whole chain: NNS+A twice, then the NNADC; SINAD in dB (target: at least 45)\n"]
    rows += ["| order | gain | range, V | held voltage, mean | code, mean | code, worst | code, mean, against peak |"]
    rows += ["| --- | --- | --- | --- | --- | --- | --- |"]
    cases = [("low slice first", peripherals.nnsa[a], converters[b]) for a, b in RANGES]
    cases += [("high slice first", variants.msb_first, tables) for tables in converters]
    cases += [("low slice first, source follower", variants.follower, tables) for tables in converters]
    for name, design, tables in cases:
        analog, digital, peak = chain_sinad(design, tables, SEED).T
        cells = [f"{analog.mean():.1f}", f"{digital.mean():.1f}", f"{digital.min():.1f}", f"{peak.mean():.1f}"]
        rows.append(f"| {name} | {272 * design.line:.0f} | {tables[0].v_max} | " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"
