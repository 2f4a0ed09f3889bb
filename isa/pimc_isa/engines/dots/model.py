"""What stands for the analog circuits of a run: the kind of peripherals, their trained parameters, device noise."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from pimc_isa.engines.noise import DeviceNoise, Noise
from pimc_isa.errors import ProgramError, RunError
from pimc_isa.flow.forms import Conversion, NormalForm
from pimc_isa.operands import Weights
from pimc_isa.peripherals import ConverterTable, NnsaInstance, Peripherals, from_tensors
from pimc_isa.program import Program

__all__ = ["PREFIX", "AnalogModel", "analog_model", "check_trained", "drawn_parts"]

#: Where a program keeps its trained peripherals.
PREFIX = "peripherals."


@dataclass(frozen=True)
class AnalogModel:
    """What stands for the analog circuits of a run: ``kind`` of peripherals, their parameters, noise.

    ``column``: every column sum strays by that times the root of its products (see ``noise``).
    """

    kind: str
    seed: int
    peripherals: Peripherals | None
    device: DeviceNoise | None
    column: float | None = None


def analog_model(program: Program, noise: Noise | None = None) -> AnalogModel | None:
    """The model that a program and a noise ask for; None: ideal. Raises PimcError for what it cannot be."""
    kind = str(program.meta.get("peripherals", "ideal"))
    if kind not in ("ideal", "fitted", "trained"):
        raise ProgramError(f"peripherals {kind!r} do not exist; a program has ideal, fitted or trained ones")
    device, column = (noise.device, noise.column) if noise else (None, None)
    if kind != "ideal" and column is not None:
        raise RunError(
            f"noise of columns is that of ideal peripherals, the program's are {kind}\n"
            "compile it with peripherals ideal, or use the noise model device"
        )
    if kind == "ideal" and device is None and column is None:
        return None
    peripherals = None if kind == "ideal" else from_tensors(program.tensors, PREFIX)
    if peripherals is not None and not peripherals.nnadc:
        raise ProgramError(f"the program has {kind} peripherals, but does not hold them\ncompile it again")
    return AnalogModel(kind, noise.seed if noise else 0, peripherals, device, column)


def check_trained(weights: Weights, form: NormalForm, whole: bool, ranged: Conversion | None) -> None:
    """The trained peripherals fit one kind of flow. Raises ProgramError."""
    narrow = ranged is not None and (ranged.lo, ranged.hi) == (-128, 127)
    low_first = {hi - lo for lo, hi in form.input_slices} == {4} and list(form.input_slices) == sorted(
        form.input_slices
    )
    if not (whole and narrow and low_first and weights.slices == (1,) * 8):
        raise ProgramError(
            f"weights {weights.name}: trained peripherals need 4-bit input slices, the lowest first, eight 1-bit cells "
            "and signed 8-bit converters\ncompile with peripherals ideal"
        )


class _Peripherals:
    """Peripherals as a cache key, by identity."""

    def __init__(self, value: Peripherals) -> None:
        self.value = value

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Peripherals) and self.value is other.value


@lru_cache(maxsize=256)
def _drawn(held: _Peripherals, v_range: int, seed: int | None) -> tuple[tuple[NnsaInstance, ConverterTable], float]:
    """The networks of a range, as designed or drawn, and the converter's range in volts."""
    fold, adc = held.value.parts(v_range)
    parts = (fold.nominal(), adc.nominal()) if seed is None else (fold.draw(seed), adc.draw(seed))
    return parts, adc.v_max


def drawn_parts(
    peripherals: Peripherals, v_range: int, seed: int | None
) -> tuple[tuple[NnsaInstance, ConverterTable], float]:
    """The networks of a range, as designed or drawn with a seed, and the converter's range in volts."""
    return _drawn(_Peripherals(peripherals), v_range, seed)
