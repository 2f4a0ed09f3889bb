"""Groups of options that several commands take as one argument: declared once, added by a decorator."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pimc.frontend import QuantiserOptions
    from pimc.pictures import PictureFolder

__all__ = ["Pictures", "Quantiser", "with_pictures", "with_quantiser"]

Command = Callable[..., None]


class Pictures:
    """What is done to pictures where a folder stands for a file of arrays."""

    def __init__(self, size: str, crop: str, mean: str, std: str, order: str) -> None:
        self._given: dict[str, Any] = {
            "size": _size(size, "--size"),
            "crop": _size(crop, "--crop"),
            "order": order.lower(),
        }
        self._given |= {"mean": _numbers(mean, "--mean"), "std": _numbers(std, "--std")}
        self._given = {name: value for name, value in self._given.items() if value and value != "rgb"}

    def of(self, path: Path, most: int | None = None) -> Path | PictureFolder:
        """The pictures of ``path`` if it is a folder, else the path. Raises BadParameter, ArrayFileError."""
        from pimc.pictures import PictureFolder

        if not path.is_dir():
            if self._given:
                names = ", ".join(f"--{name}" for name in self._given)
                raise typer.BadParameter(f"{path} is no folder of pictures", param_hint=names)
            return path
        return PictureFolder(path, most=most, **self._given)

    def calibration(self, path: Path | None) -> Path | PictureFolder | None:
        """Calibration data of ``path``; of a folder some pictures."""
        from pimc.pictures import FOR_CALIBRATION

        return None if path is None else self.of(path, FOR_CALIBRATION)

    def inputs(self, path: Path, ports: Any) -> Any:
        """Arrays for a program's inputs, from a file or a folder. Raises RunError."""
        from pimc.data import load_arrays
        from pimc_isa.errors import RunError

        folder = self.of(path)
        if isinstance(folder, Path):
            return load_arrays(folder)
        if len(ports) != 1:
            raise RunError(f"{path}: pictures are for programs of one input; this one has {len(ports)}")
        return {ports[0].name: folder.arrays(ports[0].shape, ports[0].dtype)}


def _size(text: str, option: str) -> int | tuple[int, int] | None:
    try:
        values = [int(part) for part in text.split(",")] if text else []
    except ValueError:
        values = [0]
    if len(values) > 2 or any(v < 1 for v in values):
        raise typer.BadParameter(f"{text!r} is neither a number of pixels nor HEIGHT,WIDTH", param_hint=option)
    return None if not values else values[0] if len(values) == 1 else (values[0], values[1])


def _numbers(text: str, option: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(",")) if text else ()
    except ValueError:
        raise typer.BadParameter(f"{text!r} is neither a number nor one for each channel", param_hint=option) from None


class Method(StrEnum):
    """How ranges of activations follow from calibration images."""

    MINMAX = "minmax"
    ENTROPY = "entropy"
    PERCENTILE = "percentile"


class Scales(StrEnum):
    """What a scale of weights is for."""

    CHANNEL = "channel"
    TENSOR = "tensor"


class Fit(StrEnum):
    """How a scale of weights follows from them."""

    LARGEST = "largest"
    SQUARES = "squares"


class Quantiser:
    """What is decided of a float model's quantisation."""

    def __init__(
        self,
        method: Method,
        percentile: float,
        keep_float: list[str] | None,
        weight_bits: int | None,
        weight_scales: Scales,
        weight_fit: Fit,
        weight_blocks: str,
    ) -> None:
        self._given: dict[str, Any] = {"method": method.value, "percentile": percentile}
        self._given["keep_float"] = tuple(keep_float or ())
        self._given |= {"weight_scales": weight_scales.value, "weight_fit": weight_fit.value}
        self._given |= {"weight_bits": weight_bits, "weight_blocks": _block(weight_blocks)}

    @property
    def options(self) -> QuantiserOptions:
        """As the front end takes it."""
        from pimc.frontend import QuantiserOptions

        return QuantiserOptions(**self._given)


@dataclass(frozen=True)
class _Group:
    """An argument of a command and the options that stand for it: name, type with help, default."""

    argument: str
    options: tuple[tuple[str, Any, Any], ...]
    make: Callable[..., Any]

    def __call__(self, command: Command) -> Command:
        """The command with the options in place of the argument."""

        @functools.wraps(command)
        def wrapped(**given: Any) -> None:
            taken = {name: given.pop(name) for name, _, _ in self.options}
            command(**given, **{self.argument: self.make(**taken)})

        signature = inspect.signature(command, eval_str=True)
        parameters: list[inspect.Parameter] = []
        for name, parameter in signature.parameters.items():
            parameters += self._parameters(parameter.kind) if name == self.argument else [parameter]
        wrapped.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        wrapped.__annotations__ = {p.name: p.annotation for p in parameters}
        return wrapped

    def _parameters(self, kind: Any) -> list[inspect.Parameter]:
        return [inspect.Parameter(name, kind, default=default, annotation=a) for name, a, default in self.options]


def _block(text: str) -> tuple[int, int] | None:
    try:
        rows, columns = (int(part) for part in text.split("x")) if text else (0, 0)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not of the form 128x32", param_hint="--weight-blocks") from None
    return (rows, columns) if text else None


def _text(metavar: str, text: str) -> Any:
    return Annotated[str, typer.Option(metavar=metavar, help=text)]


with_pictures = _Group(
    "pictures",
    (
        ("size", _text("N|H,W", "Pictures of a folder: the shorter side after resizing (default: fits)."), ""),
        ("crop", _text("N|H,W", "The middle that is kept of each (default: what the model takes)."), ""),
        ("mean", _text("X|R,G,B", "Taken from their values, 0 to 255 (default 0)."), ""),
        ("std", _text("X|R,G,B", "Divides them (default: 255, and 1 for models of whole numbers)."), ""),
        ("order", _text("rgb|bgr", "Order of their channels."), "rgb"),
    ),
    Pictures,
)
"""``pictures``, a `Pictures`: what is done to a folder of pictures that is given for a file of arrays."""

with_quantiser = _Group(
    "quantiser",
    (
        (
            "method",
            Annotated[Method, typer.Option("--calibration-method", help="How a float model's ranges are chosen.")],
            Method.MINMAX,
        ),
        (
            "percentile",
            Annotated[float, typer.Option(min=50, max=100, help="Values within a range, %, for that method.")],
            99.999,
        ),
        (
            "keep_float",
            Annotated[
                list[str] | None,
                typer.Option(metavar="NODE", help="A node that the host computes in float; repeatable."),
            ],
            None,
        ),
        (
            "weight_bits",
            Annotated[
                int | None,
                typer.Option(
                    min=2,
                    max=8,
                    help="Bits of a float model's weights, the sign included; by layer in a plan file (quantise).",
                ),
            ],
            None,
        ),
        (
            "weight_scales",
            Annotated[Scales, typer.Option(help="A scale of weights for each channel, or for each layer.")],
            Scales.CHANNEL,
        ),
        (
            "weight_fit",
            Annotated[Fit, typer.Option(help="Scales that hold the largest weight, or of the least squared error.")],
            Fit.LARGEST,
        ),
        (
            "weight_blocks",
            Annotated[
                str,
                typer.Option(
                    metavar="ROWSxCOLUMNS", help="Blocks of narrow weights whose scales may differ by powers of two."
                ),
            ],
            "",
        ),
    ),
    Quantiser,
)
"""``quantiser``, a `Quantiser`: what is decided of a float model's quantisation."""
