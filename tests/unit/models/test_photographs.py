"""Readers of other people's formats: a state dict, Qt's resources; and the photographs made of them."""

from __future__ import annotations

import io
import pickle  # noqa: TID251  # makes the files that the reader is tried on
import struct
import zlib
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pimc_models import debian, locate, photographs
from pimc_models.state_dict import MAGIC, StateDictError, read_state_dict


class Named:
    """Pickles as a reference to a class or function that this process need not have."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name

    def __call__(self) -> None:
        """The pickler asks that it can be called."""


_PICKLER: Any = vars(pickle)["_Pickler"]  # the one that is written in Python can be extended


class Writer(_PICKLER):  # type: ignore[misc]
    """Writes references to torch's classes without torch."""

    def persistent_id(self, obj: Any) -> Any:
        return obj if isinstance(obj, tuple) and obj and obj[0] == "storage" else None

    def save_named(self, obj: Named) -> None:
        self.write(b"c" + f"{obj.module}\n{obj.name}\n".encode())


Writer.dispatch = {**_PICKLER.dispatch, Named: Writer.save_named}


class Rebuilt:
    """A tensor as torch writes it: a call."""

    def __init__(self, function: Named, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def file_of(tensors: dict[str, Any], storages: dict[str, np.ndarray], magic: int = MAGIC) -> bytes:
    stream = io.BytesIO()
    for value in (magic, 1001, {"little_endian": True}, OrderedDict(tensors), list(storages)):
        Writer(stream, protocol=2).dump(value)
    for numbers in storages.values():
        stream.write(numbers.size.to_bytes(8, "little") + numbers.tobytes())
    return stream.getvalue()


def tensor(key: str, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], kind: str = "FloatStorage") -> Any:
    storage = ("storage", Named("torch", kind), key, "cpu", 99, None)
    return Rebuilt(Named("torch._utils", "_rebuild_tensor_v2"), storage, offset, shape, strides, False, OrderedDict())


FLOATS, LONGS = np.arange(12, dtype="<f4"), np.array([7], "<i8")


def test_a_state_dict_is_read_without_torch() -> None:
    data = file_of(
        {
            "a": tensor("0", 2, (2, 3), (3, 1)),
            "turned": tensor("0", 0, (3, 4), (1, 3)),
            "n": tensor("1", 0, (), (), "LongStorage"),
        },
        {"0": FLOATS, "1": LONGS},
    )
    found = read_state_dict(data)
    np.testing.assert_array_equal(found["a"], FLOATS[2:8].reshape(2, 3))
    np.testing.assert_array_equal(found["turned"], FLOATS.reshape(4, 3).T)
    assert found["n"].dtype == np.int64
    assert found["n"].item() == 7


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "cannot be read"),
        (file_of({}, {}, magic=3), "not a file of torch's first format"),
        (file_of({"a": tensor("0", 8, (5,), (1,))}, {"0": FLOATS}), "longer than its storage"),
        (file_of({"a": tensor("0", 0, (2,), (-1,))}, {"0": FLOATS}), "longer than its storage"),
        (file_of({"a": tensor("0", 0, (2,), (1,))}, {"0": FLOATS})[:-9], "cannot be read|longer than its storage"),
        (file_of({"a": Rebuilt(Named("os", "system"), "true")}, {}), "needs os.system"),
        (file_of({"a": Named("builtins", "eval")}, {}), "needs builtins.eval"),
    ],
    ids=["empty", "magic", "long", "backwards", "cut", "runs code", "names code"],
)
def test_other_files_are_refused_and_run_nothing(data: bytes, words: str) -> None:
    with pytest.raises(StateDictError, match=words):
        read_state_dict(data)


def resources(files: dict[str, bytes], version: int = 3, packed: bool = True) -> bytes:
    """A Qt resource file with all files in one folder 'pics'."""
    names, places = b"", []
    for name in ("pics", *files):
        places.append(len(names))
        names += struct.pack(">HI", len(name), 0) + name.encode("utf-16-be")
    payload, starts = b"", []
    for body in files.values():
        starts.append(len(payload))
        stored = struct.pack(">I", len(body)) + zlib.compress(body) if packed else body
        payload += struct.pack(">I", len(stored)) + stored
    mtime = bytes(8) if version > 1 else b""
    nodes = struct.pack(">IHII", 0, 2, 1, 1) + mtime + struct.pack(">IHII", places[0], 2, len(files), 2) + mtime
    for place, start in zip(places[1:], starts, strict=True):
        nodes += struct.pack(">IHHHI", place, int(packed), 0, 0, start) + mtime
    head = 20
    at = head, head + len(nodes), head + len(nodes) + len(payload)
    return struct.pack(">4s4I", b"qres", version, *at) + nodes + payload + names


@pytest.mark.parametrize("version", [1, 3])
@pytest.mark.parametrize("packed", [True, False])
def test_qt_resources(version: int, packed: bool) -> None:
    files = {"a.webp": b"first", "ü.png": b"second" * 50}
    found = photographs.qt_resources(resources(files, version, packed))
    assert found == {f"/pics/{name}": body for name, body in files.items()}


@pytest.mark.parametrize("data", [b"", b"qres", b"nope" + bytes(40), resources({"a": b"x"})[:40]])
def test_damaged_resources_are_refused(data: bytes) -> None:
    with pytest.raises(debian.DatasetError, match="Qt resource file"):
        photographs.qt_resources(data)


def test_a_folder_within_itself_is_refused() -> None:
    data = bytearray(resources({"a": b"x"}))
    data[20 + 22 : 20 + 44] = struct.pack(">IHII", 0, 2, 1, 1) + bytes(8)
    with pytest.raises(debian.DatasetError, match="damaged"):
        photographs.qt_resources(bytes(data))


def test_another_picture_than_the_labelled_one_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"no picture")

    class Anything(dict[str, Path]):
        def __missing__(self, key: str) -> Path:
            return tmp_path / "x"

    monkeypatch.setattr(photographs, "_place", lambda package, names: Anything())
    monkeypatch.setattr(photographs, "qt_resources", lambda data: {})
    with pytest.raises((debian.DatasetError, KeyError)):
        photographs.load(32)


@pytest.mark.slow
def test_lite0_is_right_on_as_many_photographs_as_published_weights_should() -> None:
    """81 % of 158 photographs by an independent script; needs the packages and apt."""
    import onnxruntime as ort

    try:
        held, model = photographs.load(224), locate.load("efficientnet-lite0")
    except (debian.DatasetError, locate.NotInstalledError) as missing:
        pytest.skip(str(missing))
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    logits = np.concatenate([session.run(None, {"input": image[None]})[0] for image in held.images])
    assert len(held.images) == 158
    assert held.right(logits).sum() == 128
