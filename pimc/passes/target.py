"""What passes know about the chip they compile for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

from pimc.analysis.facts import Facts
from pimc.epitomes.codes import FEWEST, MOST
from pimc_isa.errors import PimcError
from pimc_isa.flow import Flow
from pimc_isa.machine import Machine

__all__ = [
    "CENTRES",
    "PERIPHERALS",
    "RANGES",
    "REPLICATIONS",
    "SIGNED",
    "Narrow",
    "Offer",
    "Target",
    "TargetError",
    "every_flow",
    "few",
]

#: How full scales of ranged conversions are chosen, and what stands for the analog circuits.
RANGES, PERIPHERALS = ("gain", "power2", "published", "wide"), ("ideal", "fitted", "trained")

#: The flows that a layer may have, the first by default: a function of the layer's facts and the target's options.
Offer = Callable[[Facts, "Target"], tuple[str, ...]]

#: What is taken off the weights of a column of pairs whose flow sums inputs.
CENTRES = ("mean", "best", "zero")

#: Whether inputs less their zero point are driven in two passes: nowhere, everywhere, or where it is best.
SIGNED = ("off", "on", "best")

#: How spare crossbars are spent on further copies of weights.
REPLICATIONS = ("balanced", "none", "stride2", "equal")


class TargetError(PimcError):
    """A target that does not exist, or an option of it that cannot be."""


#: The flow for weights of so many bits, sign included; None where the usual one has no more columns.
Narrow = Callable[[int], Flow | None]


def every_flow(facts: Facts, target: Target) -> tuple[str, ...]:
    """Every layer is offered all flows of the chip, and takes the one that its target names for convolutions.

    A layer whose weights are known to have few bits takes the flow for these, where there is one.
    """
    narrow = target.narrow(facts.bits) if target.narrow is not None and facts.bits is not None else None
    return tuple(dict.fromkeys((*([narrow.name] if narrow else ()), target.conv_flow, *target.flow)))


def few(names: Iterable[str], most: int = 6) -> str:
    """Names in a message: all, or the first and how many more there are."""
    found = list(names)
    shown = found if len(found) <= most else found[: most // 2]
    return ", ".join(shown) + (f" and {len(found) - len(shown)} more" if len(shown) < len(found) else "")


@dataclass(frozen=True)
class Target:
    """A chip and the choices a user made for it.

    ``flows`` are the analog micro-programs the chip knows. ``offer`` says which of them a layer may have, the target's
    own choice first, from the layer's facts and from the target with its options; ``conv_flow`` is what the usual offer
    (`every_flow`) puts first. ``chips`` is the number of chips, ``None`` for as many as one copy of the weights needs.
    ``tiles`` is the most tiles that may be used, whatever the chips have (``None``: all): a comparison at equal area.
    ``replication``: 'balanced' (spend spare crossbars where a step model says they help most), 'none', 'stride2'
    (twice the copies for each stride of two behind a layer) or 'equal' (the same number of copies everywhere).

    For flows with ranged conversions, ``ranges`` chooses full scales from calibration data: 'gain' (per layer),
    'power2' (gains that are powers of two), 'published' (the paper's three ranges alone) or 'wide' (no value can clip
    or round), and ``peripherals`` is what stands for the analog circuits: 'ideal', 'fitted' or 'trained'.

    ``signed``: whether layers may be given flows that drive their inputs in two passes ('best'; see `choose_inputs`);
    'off' and 'on' are what ``conv_flow`` says.

    ``narrow`` makes flows for weights of fewer than 8 bits, when a layer has such; ``None``: the target has none.
    """

    name: str
    machine: Machine
    flows: tuple[Flow, ...]
    conv_flow: str
    chips: int | None = None
    replication: str = "balanced"
    ranges: str = "gain"
    peripherals: str = "ideal"
    tiles: int | None = None
    offer: Offer = every_flow
    centre: str = "mean"
    signed: str = "off"
    narrow: Narrow | None = None

    def __post_init__(self) -> None:
        """Refuse options that cannot be."""
        if self.replication not in REPLICATIONS:
            raise TargetError(
                f"replication {self.replication!r} does not exist; choose one of {', '.join(REPLICATIONS)}"
            )
        for option, value, known in (
            ("ranges", self.ranges, RANGES),
            ("peripherals", self.peripherals, PERIPHERALS),
            ("centre", self.centre, CENTRES),
            ("signed", self.signed, SIGNED),
        ):
            if value not in known:
                raise TargetError(f"{option} {value!r} do not exist; choose one of {', '.join(known)}")
        if self.chips is not None and self.chips < 1:
            raise TargetError(f"chips={self.chips}: a network needs at least one chip")
        if self.tiles is not None and self.tiles < 1:
            raise TargetError(f"tiles={self.tiles}: a network needs at least one tile")
        if self.conv_flow not in self.flow:
            raise TargetError(f"target {self.name} has no flow {self.conv_flow!r}; it has {few(self.flow)}")

    @cached_property
    def flow(self) -> dict[str, Flow]:
        """Flows by name, but for those of narrow weights."""
        return {f.name: f for f in self.flows}

    def find(self, name: str) -> Flow | None:
        """The flow of this name, one for narrow weights too."""
        if name in self.flow or self.narrow is None:
            return self.flow.get(name)
        made = (self.narrow(bits) for bits in range(FEWEST, MOST + 1) if name.endswith(f"-w{bits}"))
        return next((flow for flow in made if flow is not None and flow.name == name), None)

    def named(self, name: str) -> Flow:
        """The same. Raises TargetError for a flow that it does not have."""
        found = self.find(name)
        if found is None:
            raise TargetError(f"target {self.name} has no flow {name!r}; it has {', '.join(self.flow)}")
        return found

    def offers(self, facts: Facts) -> tuple[str, ...]:
        """Names of the flows that a layer may have, the target's choice first. Raises TargetError for a bad offer."""
        names = self.offer(facts, self)
        unknown = [name for name in names if self.find(name) is None]
        if unknown or not names:
            what = f"flow {unknown[0]!r}, which it does not have" if unknown else "no flow"
            raise TargetError(f"target {self.name} offers layer {facts.name} {what}; it has {few(self.flow)}")
        return names
