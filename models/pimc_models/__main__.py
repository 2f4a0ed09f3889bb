"""Print the size table of `models/README.md`: `python -m pimc_models`. Shipped networks appear where installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pimc_models import fashion, locate, measure, zoo

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx


def row(name: str, model: onnx.ModelProto) -> str:
    """Return one Markdown row: name, input shape, nodes, parameters, multiply-accumulates of one image."""
    shape = "x".join(str(d.dim_value) for d in model.graph.input[0].type.tensor_type.shape.dim)
    return f"| {name} | {shape} | {len(model.graph.node)} | {measure.parameters(model):,} | {measure.macs(model):,} |"


def rows() -> Iterator[str]:
    """Yield the row of every network that can be had here."""
    import onnx

    yield row("fashion", measure.with_input_shape(onnx.load(fashion.fp32_path()), (1, 1, 28, 28)))
    for name in zoo.TOPOLOGIES:
        yield row(name, zoo.build(name))
    for name in locate.NETWORKS:
        try:
            yield row(name, slim(locate.load(name)))
        except locate.NotInstalledError as error:
            yield f"{name}: {error}"


def slim(model: onnx.ModelProto) -> onnx.ModelProto:
    """Fold constants, so that every shape is known: the text network computes its own reshapes."""
    import onnxslim

    return onnxslim.slim(model)  # type: ignore[no-any-return]


if __name__ == "__main__":
    print("| network | input | nodes | parameters | MACs |\n| --- | --- | --- | --- | --- |")
    print(*rows(), sep="\n")
