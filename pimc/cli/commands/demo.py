"""``pimc demo``: a trained network from ONNX to verdict in a few seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from pimc.cli.group import NO
from pimc.cli.options import Json, Quiet

if TYPE_CHECKING:
    from pimc.driver import CompiledProgram

__all__ = ["demo"]


def demo(json: Json = False, quiet: Quiet = False) -> None:
    """Compile a trained network, show its assembly, run 1,000 images, compare every tensor with onnxruntime.

    The network sorts images of garments (Fashion-MNIST); model and images are part of the package.
    """
    from pimc import driver
    from pimc.cli.commands.run import print_result, result_values
    from pimc.cli.output import print_json, progress
    from pimc.cli.tables import print_verdict
    from pimc.report.summary import summary
    from pimc_models import fashion

    images, labels = fashion.load_test()
    with progress("compiling", quiet=quiet) as say:
        program = driver.compile(fashion.int8_path(), hooks=driver.Hooks(progress=say))
        say("running 1,000 images")
        result = program.run(images, progress=say)
        say("comparing with onnxruntime")
        report = program.verify(images, labels, fp32=fashion.fp32_path(), progress=say)
    values = summary(program.program)
    if json:
        print_json({**values, **result_values(result), **report.to_dict()})
    else:
        print(f"1. compiled {fashion.int8_path().name} for {values['target']}: {_sentence(values)}\n")
        print("2. a tile of it, in assembly (all of it: pimc compile MODEL.onnx --emit asm)\n")
        print(_piece(program))
        print(f"3. ran {result.images} images")
        print_result(result)
        print("\n4. compared with onnxruntime, every tensor, every element")
        print_verdict(report)
    raise typer.Exit(0 if report.passed else NO)


def _sentence(values: dict[str, int]) -> str:
    return (
        f"{values['tiles']} tiles, {values['arrays']} arrays "
        f"({values['arrays_one_copy']} hold one copy of the weights), {values['instructions']} instructions"
    )


def _piece(program: CompiledProgram) -> str:
    """The assembly of the tile with the shortest code that uses crossbars and a window larger than one."""
    from dataclasses import replace

    from pimc.cli.commands.assembly import tile_text
    from pimc.driver import CompiledProgram

    inner = program.program
    candidates = [t for t in inner.tiles if t.groups and any(w.kernel != (1, 1) for w in t.windows)]
    chosen = min(candidates or inner.tiles, key=lambda t: (len(t.code), t.number))
    return tile_text(CompiledProgram(replace(inner, tiles=(chosen,))).assembly())
