"""Random int8 networks in ONNX, in both formats, with scales, zero points and biases that no trained network has."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

import pimc
from pimc.frontend import FrontendError
from pimc_isa.errors import PimcError, RunError
from tests.differential.frontend_models import Net, Tensor

__all__ = ["Wild", "judge", "random_net"]

#: Of one network in three a bias is put near the end of 32 bits.
BIASES = (2**31 - 1, -(2**31), 2**31 - 5000, -(2**31) + 77, 2**24, -(2**27))


class Wild(Net):
    """A `Net` whose results have scales far from what fits them, now and then, and zero points at the ends."""

    def __init__(self, seed: int, **form: bool) -> None:
        super().__init__(seed, **form)
        self.wild = Random(seed)

    def result(self, shape: Any, scale: float | None = None, zero: int | None = None) -> Tensor:
        """As the base's, with another scale in some cases."""
        made = super().result(shape, scale, zero)
        draw = self.wild.random()
        factor = 1.0
        if draw < 0.25:
            factor = 2.0 ** self.wild.uniform(-6, 6)
        elif draw < 0.3:
            factor = 10.0 ** self.wild.uniform(-12, 12)
        ends = [-128, 127] if self.signed else [0, 255]
        own = self.wild.choice(ends) if zero is None and self.wild.random() < 0.2 else made.zero
        return Tensor(made.name, float(np.float32(made.scale * factor)), own, made.shape)


def random_net(seed: int) -> onnx.ModelProto:
    """Two to six operators behind a convolution, on maps of a few pixels."""
    rng = Random(seed)
    qdq, signed = rng.random() < 0.5, rng.random() < 0.25
    wide = rng.random() < 0.25 and (qdq or not signed)  # onnxruntime has no QLinearConv of s8 with u8
    net = Wild(seed, qdq=qdq, signed=signed, wide=wide)
    x = net.input(rng.choice([2, 3, 6]), rng.randint(4, 9), rng.randint(4, 9))
    y = net.conv(x, rng.choice([4, 6]), (rng.randint(1, 3), rng.randint(1, 3)), pads=[1, 1, 1, 1], **_after(rng, net))
    shown = [y]
    for _ in range(rng.randint(1, 5)):
        y = _layer(rng, net, y)
        shown.append(y)
    if rng.random() < 0.4:
        y = net.global_average(y)
    net.output(y)
    if rng.random() < 0.2:
        net.output(rng.choice(shown[:-1]))
    model = net.model()
    if rng.random() < 0.33:
        _push_a_bias(rng, model)
    return model


def _after(rng: Random, net: Net) -> dict[str, Any]:
    if not net.qdq or rng.random() < 0.5:
        return {}
    return {"after": rng.choice(["Relu", "Clip"])}


def _layer(rng: Random, net: Net, x: Tensor) -> Tensor:
    channels, small = x.shape[1], min(x.shape[2:])
    match rng.randrange(7):
        case 0 | 1:
            groups = rng.choice([1, 1, 2, channels]) if channels % 2 == 0 else 1
            size = min(3, small)
            stride = [rng.randint(1, 2), rng.randint(1, 2)]
            outputs = channels * rng.choice([1, 2]) if groups == channels else rng.choice([4, 6, 8])
            return net.conv(
                x, outputs, (size, size), groups=groups, pads=[1, 1, 1, 1], strides=stride,
                bias=rng.random() < 0.7, per_channel=rng.random() < 0.6, **_after(rng, net),
            )  # fmt: skip
        case 2:
            other = net.conv(x, channels, (1, 1))
            return net.binary(rng.choice(["Add", "Mul"]), x, other)
        case 3:
            return net.concat(x, net.conv(x, 3, (1, 1)), same=rng.random() < 0.5)
        case 4 if small > 2:
            return net.max_pool(x, (2, 2), rescale=rng.random() < 0.3, strides=[rng.randint(1, 2)] * 2)
        case 5:
            return net.unary(rng.choice(["Sigmoid", "LeakyRelu"]), x)
        case _:
            return net.conv(x, channels, (1, 1), **_after(rng, net))


def _push_a_bias(rng: Random, model: onnx.ModelProto) -> None:
    held = [t for t in model.graph.initializer if t.data_type == onnx.TensorProto.INT32 and len(t.dims) == 1]
    held = [t for t in held if np.abs(numpy_helper.to_array(t)).max(initial=0) > 1]
    if not held:
        return
    tensor = rng.choice(held)
    values = numpy_helper.to_array(tensor).copy()
    values[rng.randrange(len(values))] = rng.choice(BIASES)
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


TARGETS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("isaac", {}),
    ("isaac-style", {}),
    ("cascade", {"ranges": "wide"}),
    ("neural-pim", {"ranges": "wide"}),
    ("isaac-8b", {}),
)


def runs(model: onnx.ModelProto, feeds: dict[str, Any]) -> bool:
    """Whether onnxruntime itself can run a model in a plain session."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        session.run(None, feeds)
    except Exception:  # onnxruntime raises classes of its own, without a common base
        return False
    return True


def judge(seed: int, on: tuple[str, dict[str, Any]] | None = None) -> str:
    """'equal' or 'refused'; AssertionError where a tensor, or an output of a plain session on the model, differs.

    ``on`` is the target and the options of `pimc.compile`, by default one of `TARGETS`.
    """
    model = random_net(seed)
    target, options = on or TARGETS[seed % len(TARGETS)]
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim][1:]
    x = np.random.default_rng(seed).normal(0, 2, (6, *shape)).astype(np.float32)
    feeds = {model.graph.input[0].name: x}
    try:
        program = pimc.compile(model, target, **options)
    except FrontendError:
        return "refused"
    except PimcError as error:
        if "bug" in str(error):
            raise
        return "refused"
    try:
        report = program.verify(feeds, own=model.SerializeToString())
    except RunError:
        if runs(model, feeds):
            raise
        return "refused"  # by onnxruntime, which has no numbers for it either
    assert report.verdict == "PASS", (report.first_difference, report.own)
    return "equal"
