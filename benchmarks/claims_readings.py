"""Every reading of how Neural-PIM counts energy: conversions of a dot product, bits of a converter, what is counted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from claims_energy import ACCOUNTS, energy, geometric, machine_of, price_of

__all__ = ["READINGS", "Reading", "readings_of", "saved"]

Record = Mapping[str, Any]
Data = Mapping[str, Mapping[str, Record]]

NPIM, ISAAC, CASCADE = "neural-pim", "isaac-style", "cascade"

#: Energy of an 8-bit conversion in pJ (SAR converter, Accelergy/CiMLoop library for ISAAC), where a chip has 7 bits.
EIGHT_BIT_PJ = 1.667

#: Actions that come with every code of a column.
PER_CODE = ("adc_conversion", "shift_add")


@dataclass(frozen=True)
class Reading:
    """One way to count a chip's energy: ``codes`` divides what comes with codes, ``prices`` replaces prices in pJ."""

    chip: str
    name: str
    source: str
    codes: int = 1
    prices: tuple[tuple[str, float], ...] = ()
    program: str = ""

    def energy(self, chips: Mapping[str, Record], account: str) -> float:
        """Joules of one image."""
        record = chips[self.program or self.chip]
        actions = {a: n / (self.codes if a in PER_CODE else 1) for a, n in record["actions"].items()}
        prices = price_of(self.chip, dict(self.prices))
        return energy({**record, "actions": actions}, prices, machine_of(self.chip), account)

    def ratio(self, chips: Mapping[str, Record], account: str) -> float:
        """The chip's energy over neural-pim's."""
        return self.energy(chips, account) / energy(chips[NPIM], price_of(NPIM), machine_of(NPIM), account)


_EIGHT = (("adc_conversion", EIGHT_BIT_PJ),)

#: All readings with programs of every network.
READINGS = (
    Reading(ISAAC, "64 conversions, 7 bits", "equation 5, Table 3", codes=2),
    Reading(ISAAC, "64 conversions, 8 bits", "equation 5, Figure 13's ADC share", codes=2, prices=_EIGHT),
    Reading(ISAAC, "128 conversions, 7 bits", "W+ and W- converted apart, Table 3"),
    Reading(ISAAC, "128 conversions, 8 bits", "W+ and W- converted apart, Figure 13's ADC share", prices=_EIGHT),
    Reading(CASCADE, "5 conversions, TIA and write 0.11 pJ", "summing amplifiers, so that 3 converters keep up"),
    Reading(CASCADE, "5 conversions, TIA and write free", "the same", prices=(("buffer_write", 0.0),)),
    Reading(CASCADE, "5 conversions, TIA and write 0.22 pJ", "the same", prices=(("buffer_write", 0.22),)),
)


def saved(data: Data, reading: Reading, account: str) -> float:
    """Geometric mean over the networks of the chip's energy over neural-pim's."""
    return geometric(reading.ratio(chips, account) for chips in data.values())


def readings_of(data: Data, chip: str) -> Iterator[list[str]]:
    """A row for each reading of a chip: its ratio for every account."""
    for reading in READINGS:
        if reading.chip == chip:
            yield [reading.name, reading.source, *(f"{saved(data, reading, account):.2f}" for account in ACCOUNTS)]
