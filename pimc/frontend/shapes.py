"""Input shapes: every size but the batch must be known before compiling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx

from pimc.frontend.admit.sizes import skeleton
from pimc.frontend.errors import FrontendError
from pimc.frontend.subgraph import BATCH

__all__ = ["fix_input_shapes", "forget_shapes", "free_batch", "model_inputs"]


def model_inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """Inputs that are fed: not those that only name an initialiser."""
    constants = {t.name for t in model.graph.initializer}
    return [v for v in model.graph.input if v.name not in constants]


def fix_input_shapes(model: onnx.ModelProto, shapes: Mapping[str, Sequence[int]] | None) -> bool:
    """Write the given shapes into the model's inputs, in place, and check that all are known then.

    A batch that is left open stays open. Returns whether anything changed. Raises FrontendError that names the input
    and the option.
    """
    inputs = {v.name: v for v in model_inputs(model)}
    for name in shapes or {}:
        if name not in inputs:
            raise FrontendError(f"There is no input {name!r}; the model's inputs are {', '.join(map(repr, inputs))}.")
    changed = [_apply(inputs[name], shape) for name, shape in (shapes or {}).items()]
    for value in inputs.values():
        _demand_known(value)
    if any(changed):
        forget_shapes(model)
    return any(changed)


def _dims(value: onnx.ValueInfoProto) -> list[str]:
    shape = value.type.tensor_type.shape
    return [str(d.dim_value) if d.HasField("dim_value") else d.dim_param or "?" for d in shape.dim]


def _described(value: onnx.ValueInfoProto) -> str:
    return f"Input {value.name!r} has shape [{', '.join(_dims(value))}]"


def _option(value: onnx.ValueInfoProto) -> str:
    sizes = [d if d.isdigit() else "224" for d in _dims(value)] or ["1", "3", "224", "224"]
    return f"--input-shape {value.name}={','.join(['1', *sizes[1:]])}"


def _apply(value: onnx.ValueInfoProto, shape: Sequence[int]) -> bool:
    tensor = value.type.tensor_type
    if tensor.HasField("shape") and len(tensor.shape.dim) != len(shape):
        raise FrontendError(
            f"Input {value.name!r} has {len(tensor.shape.dim)} dimensions [{', '.join(_dims(value))}]; "
            f"the shape given has {len(shape)}: {list(shape)}."
        )
    if min(shape, default=1) < 1:
        raise FrontendError(f"Input {value.name!r}: shape {list(shape)} must be of positive sizes.")
    if not tensor.HasField("shape"):
        for size in shape:
            tensor.shape.dim.add().dim_value = size
        return True
    changed = False
    for n, (dim, size) in enumerate(zip(tensor.shape.dim, shape, strict=True)):
        open_batch = n == 0 and not dim.HasField("dim_value")
        if dim.dim_value != size and not open_batch:
            dim.dim_value = size
            changed = True
    return changed


def _demand_known(value: onnx.ValueInfoProto) -> None:
    tensor = value.type.tensor_type
    if not value.type.HasField("tensor_type"):
        raise FrontendError(f"Input {value.name!r} is not a tensor.")
    if not tensor.HasField("shape"):
        raise FrontendError(f"Input {value.name!r} has no shape. Give it with {_option(value)}")
    dims = tensor.shape.dim
    known = dims if len(dims) < 2 else dims[1:]
    if any(not d.HasField("dim_value") or d.dim_value < 0 for d in known):
        raise FrontendError(f"{_described(value)}, which is not fixed. Give it with {_option(value)}")
    if any(d.dim_value == 0 for d in known):
        raise FrontendError(f"{_described(value)}: it holds nothing. Leave the input out.")


def forget_shapes(model: onnx.ModelProto) -> None:
    """Forget the sizes of tensors that are no inputs, in place."""
    del model.graph.value_info[:]
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")


def free_batch(model: onnx.ModelProto) -> bool:
    """Make the batch symbolic, in place, where operators allow it: reshapes to a leading 1 keep the batch instead.

    Returns False, and leaves the model alone, where an output would lose its batch.
    """
    trial, names = skeleton(model), {value.name for value in model_inputs(model)}
    forget_shapes(trial)
    _keep_batch_in_reshapes(trial)
    for value in trial.graph.input:
        if value.name in names:
            value.type.tensor_type.shape.dim[0].dim_value = 2
    try:
        inferred = onnx.shape_inference.infer_shapes(trial, strict_mode=True, data_prop=True)
    except Exception:
        return False
    if not all(_first(v) == 2 for v in inferred.graph.output):
        return False
    forget_shapes(model)
    _keep_batch_in_reshapes(model)
    del model.graph.output[:]
    model.graph.output.extend(inferred.graph.output)
    for value in (*model_inputs(model), *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = BATCH
    return True


def _first(value: onnx.ValueInfoProto) -> int:
    dims = value.type.tensor_type.shape.dim
    return dims[0].dim_value if dims else 0


def _keep_batch_in_reshapes(model: onnx.ModelProto) -> None:
    constants = {t.name: t for t in model.graph.initializer}
    for node in [n for n in model.graph.node if n.op_type == "Reshape" and n.input[1] in constants]:
        target = onnx.numpy_helper.to_array(constants[node.input[1]])
        if (
            target.ndim == 1
            and target.size
            and target[0] == 1
            and not any(a.name == "allowzero" and a.i for a in node.attribute)
        ):
            kept = target.copy()
            kept[0] = 0
            name = f"{node.output[0]}.shape"
            model.graph.initializer.append(onnx.numpy_helper.from_array(kept, name))
            node.input[1] = name
