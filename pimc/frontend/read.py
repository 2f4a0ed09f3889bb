"""Reads an ONNX model from a path, bytes or a ModelProto, and says clearly what is wrong with one that is not."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx.external_data_helper import ExternalDataInfo, load_external_data_for_model, uses_external_data

from pimc.frontend.admit.structure import admit_structure
from pimc.frontend.admit.wire import admit_bytes
from pimc.frontend.errors import FrontendError
from pimc.frontend.unroll import unroll

__all__ = ["MAX_IR", "MAX_OPSET", "read_model", "supported_version"]

MAX_OPSET, MAX_IR = min(26, onnx.defs.onnx_opset_version()), 13
"""The newest operator set and file version that onnxruntime 1.31 accepts."""


def read_model(source: str | Path | bytes | onnx.ModelProto) -> tuple[onnx.ModelProto, bytes | None]:
    """Return a checked model with all weights inside, and its bytes if they are just those that were given.

    Raises FrontendError for what is no ONNX model, is cut off, or lacks its external weights.
    """
    if isinstance(source, onnx.ModelProto):
        model, data, where, folder = onnx.ModelProto(), None, "the model", None
        model.CopyFrom(source)
    elif isinstance(source, bytes):
        model, data, where, folder = _parse(source, "the model"), source, "the model", None
    else:
        data, where, folder = _bytes_of(Path(source)), str(source), Path(source).parent
        model = _parse(data, where)
    admit_structure(model, where)
    if _load_external(model, where, folder):
        admit_structure(model, where)
        data = None
    if _inline_functions(model, where):
        data = None
    if unroll(model, where):
        data = None
    if supported_version(model):
        data = None
    _check(model, where)
    return model, data


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise FrontendError(f"{path}: there is no such file.") from None
    except OSError as error:
        raise FrontendError(f"{path}: cannot be read ({error.strerror}).") from None


def _parse(data: bytes, where: str) -> onnx.ModelProto:
    admit_bytes(data, where)
    begins_as_onnx = data[:1] == b"\x08"  # the tag of ir_version, the first field every writer emits
    try:
        model: onnx.ModelProto = onnx.ModelProto.FromString(data)
    except Exception:  # protobuf's DecodeError
        if begins_as_onnx:
            size = f"{len(data)} bytes do not make a whole ONNX model"
            raise FrontendError(f"{where}: cut off or damaged: {size}.") from None
        raise FrontendError(f"{where}: not an ONNX model.") from None
    if model.HasField("graph") and model.graph.node and model.opset_import:
        return model
    if begins_as_onnx and model.ir_version and model.HasField("graph") and not model.graph.node:
        raise FrontendError(f"{where}: the model has no nodes.")
    if begins_as_onnx and 0 < model.ir_version < 100:
        raise FrontendError(f"{where}: cut off: the ONNX model has no graph or no operator set.")
    raise FrontendError(f"{where}: not an ONNX model.")


def _load_external(model: onnx.ModelProto, where: str, folder: Path | None) -> bool:
    """Bring weights from files beside the model into it; returns whether there were any."""
    outside = [t for t in model.graph.initializer if uses_external_data(t)]
    if not outside:
        return False
    try:
        files = sorted({ExternalDataInfo(t).location for t in outside})
    except (ValueError, KeyError) as error:
        raise FrontendError(
            f"{where}: its weights in other files are described wrongly: {_first_line(error)}"
        ) from None
    outer = [name for name in files if not name or "\0" in name or Path(name).is_absolute() or ".." in Path(name).parts]
    if outer:
        raise FrontendError(f"{where}: weights in {outer[0][:80]!a}, which is not a file beside the model.")
    if folder is None:
        raise FrontendError(f"{where}: weights are in other files ({', '.join(files)}). Give the model's path instead.")
    missing = [name for name in files if not (folder / name).is_file()]
    if missing:
        raise FrontendError(
            f"{where}: the weights of {outside[0].name} and others are in {', '.join(missing)}, "
            f"which is not in {folder}.\nPut the file beside the model."
        )
    try:
        load_external_data_for_model(model, str(folder))
    except (ValueError, OSError, onnx.checker.ValidationError) as error:
        raise FrontendError(f"{where}: weights in {', '.join(files)} cannot be read: {_first_line(error)}") from None
    for tensor in outside:
        tensor.ClearField("data_location")
    return True


def _inline_functions(model: onnx.ModelProto, where: str) -> bool:
    """Write functions out where they are called, in place; returns whether there were any."""
    if not model.functions:
        return False
    from onnx import inliner

    try:
        model.CopyFrom(inliner.inline_local_functions(model))
    except Exception as error:
        raise FrontendError(f"{where}: its functions cannot be written out: {_first_line(error)}") from None
    return True


def supported_version(model: onnx.ModelProto) -> bool:
    """Bring the model to versions that onnxruntime accepts, in place; returns whether anything changed."""
    changed = model.ir_version > MAX_IR
    model.ir_version = min(model.ir_version, MAX_IR)
    opset = opset_of(model)
    if opset <= MAX_OPSET:
        return changed
    convert_opset(model, MAX_OPSET)
    return True


def opset_of(model: onnx.ModelProto) -> int:
    """Version of the standard operators."""
    return max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)


def convert_opset(model: onnx.ModelProto, version: int) -> None:
    """Convert the standard operators to another version, in place."""
    from onnx import version_converter

    found = opset_of(model)
    model.ir_version = max(model.ir_version, 8)  # before 4, constants had to be inputs too
    try:
        converted = version_converter.convert_version(model, version)
    except Exception as error:
        raise FrontendError(
            f"Operator set {found} cannot be converted to {version}: {_first_line(error)}\n"
            f"Export the model with opset 13 to {MAX_OPSET}{_newer_onnx(found)}."
        ) from None
    converted.ir_version = min(max(converted.ir_version, 8), MAX_IR)
    model.CopyFrom(converted)


def _newer_onnx(opset: int) -> str:
    known = onnx.defs.onnx_opset_version()
    return f", or install a newer onnx: {onnx.__version__} knows operator sets up to {known}" if opset > known else ""


def _check(model: onnx.ModelProto, where: str) -> None:
    shapeless = [v.type.tensor_type for v in (*model.graph.input, *model.graph.output) if not _has_shape(v)]
    for tensor in shapeless:  # the checker wants shapes; outputs may go without, inputs are looked at later
        tensor.shape.SetInParent()
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise FrontendError(f"{where}: not a valid ONNX model: {_first_line(error)}") from None
    except UnicodeDecodeError:
        raise FrontendError(f"{where}: not a valid ONNX model: a text in it is not UTF-8.") from None
    except ValueError as error:
        raise FrontendError(f"{where}: the model is too large for one file (2 GiB): {_first_line(error)}") from None
    finally:
        for tensor in shapeless:
            tensor.ClearField("shape")


def _has_shape(value: onnx.ValueInfoProto) -> bool:
    return not value.type.HasField("tensor_type") or value.type.tensor_type.HasField("shape")


def _first_line(error: BaseException) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300]
