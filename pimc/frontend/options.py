"""What a user decides of a float model's quantisation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pimc.epitomes import steps

__all__ = ["CalibrationMethod", "QuantiserOptions", "WeightFit", "WeightScales"]


class CalibrationMethod(StrEnum):
    """How the range of an activation follows from the values it takes on calibration images."""

    MINMAX = "minmax"
    ENTROPY = "entropy"
    PERCENTILE = "percentile"


class WeightFit(StrEnum):
    """How the scale of weights follows from them: the largest is held, or the squared error is least."""

    LARGEST = steps.LARGEST
    SQUARES = steps.SQUARES


class WeightScales(StrEnum):
    """Whether each output channel of a layer has a scale for its weights, or all have one."""

    CHANNEL = "channel"
    TENSOR = "tensor"


@dataclass(frozen=True)
class QuantiserOptions:
    """What a user decides of the quantisation of a float model.

    ``method``: ranges hold all values, or cut outliers by the least loss of entropy, or all but a share of
    (100 - ``percentile``) %. ``keep_float`` names nodes that are not quantised; the host computes them.

    ``weight_bits``: bits of weights with their sign, 2 to 8, of all layers, or of those whose names fit, the first
    name that does (a node of the model, a layer of the program, or a pattern with ``*``); others have 8.
    ``weight_scales``: one for each output channel of a layer, or for the whole layer. ``weight_fit``: scales so that
    the largest weight is held, or so that the squared error is least. ``weight_blocks``: rows and columns of blocks of
    a layer's stored weights whose scales may differ by powers of two, where weights have fewer than 8 bits; codes times
    these take up 8 bits on the chip, so this shows what such scales would bring, and saves nothing.
    """

    method: CalibrationMethod | str = CalibrationMethod.MINMAX
    percentile: float = 99.999
    keep_float: Sequence[str] = ()
    weight_bits: int | Mapping[str, int] | None = None
    weight_scales: WeightScales | str = WeightScales.CHANNEL
    weight_fit: WeightFit | str = WeightFit.LARGEST
    weight_blocks: tuple[int, int] | None = None
