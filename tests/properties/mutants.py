"""Seeded mutations of programs and of assembly, and the judgement of each mutant.

Every mutant is refused in one to three lines, or all engines agree on it and ``verify`` sees every tensor that differs.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import re
import resource
import signal
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

import pimc
from pimc.verify import verify
from pimc_isa.binary import from_bytes, to_bytes
from pimc_isa.binary.tensorfile import chunks, header_of, open_tensors
from pimc_isa.check import check, check_structure, check_tensors
from pimc_isa.engines import step, values
from pimc_isa.engines.cycles import simulate
from pimc_isa.errors import DeadlockError, PimcError
from pimc_isa.instructions import executed_instructions
from pimc_isa.program import Program
from pimc_isa.text import assemble, disassemble
from tests.properties.programs import random_program
from tests.properties.programs_rounds import random_rounds_program
from tests.unit.isa.cases import GOLDEN
from tests.unit.isa.engines.tiny import same

Array = np.ndarray

EXTRA_BYTES = 1 << 30
SECONDS = 10
#: Clock cycles beyond which the step engine is left out.
STEPS = 200_000
#: Numbers that mistakes and attacks are made of.
NUMBERS = [0, 1, -1, 2, 3, 7, 128, 255, 256, 1000, 4096, 65535, 65537, 2**24, 2**31 - 1, 2**31, -(2**31), 2**63, 10**30]
TEXTS = ["", "x", "host", "tile", "$x", "u8", "i32", "\x1b[31m", "a\nb\rc", "\u202eabc", "nan", "\ud800"]


@cache
def base_programs() -> tuple[Program, ...]:
    """Small programs of every kind: all instructions, shared rows, strips, multicast, lossy flows, rounds."""
    texts = ("every.pimasm", "rows/evens.pimasm", "rows/halves.pimasm")
    written = (assemble((GOLDEN / "isa" / name).read_text(encoding="utf-8")) for name in texts)
    drafts = (random_program(Random(seed), 3) for seed in (1, 5, 8, 11, 20, 33))
    return (*written, *compiled(), *drafts, *(random_rounds_program(Random(seed)) for seed in (1, 3, 4)))


def compiled() -> Iterator[Program]:
    """One network for each target, with its reference model."""
    images = {"x": np.random.default_rng(0).standard_normal((4, 1, 6, 6)).astype(np.float32)}
    for target in ("isaac", "isaac-style", "cascade", "neural-pim"):
        yield pimc.compile(network(), target, calibration=images).program


def network() -> onnx.ModelProto:
    """Two convolutions, an addition, a pool, a mean: 6 x 6 images of one channel."""
    rng = np.random.default_rng(1)
    shapes = {"w1": (4, 1, 3, 3), "b1": (4,), "w2": (4, 4, 3, 3), "b2": (4,)}
    weights = [numpy_helper.from_array(rng.standard_normal(s).astype(np.float32) / 3, n) for n, s in shapes.items()]
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["c2", "r1"], ["s"]),
        helper.make_node("MaxPool", ["s"], ["m"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("GlobalAveragePool", ["m"], ["y"]),
    ]
    ports = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, s) for n, s in (("x", _IN), ("y", _OUT))]
    graph = helper.make_graph(nodes, "net", ports[:1], ports[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


_IN: list[str | int | None] = ["N", 1, 6, 6]
_OUT: list[str | int | None] = ["N", 4, 1, 1]


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """At most so much more memory (RLIMIT_AS) and time as the issue allows a file of 10 MB."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    now = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()

    def stop(number: int, frame: FrameType | None) -> None:
        raise TimeoutError("a mutant took too long")

    before = signal.signal(signal.SIGALRM, stop)
    resource.setrlimit(resource.RLIMIT_AS, (now + EXTRA_BYTES, hard))
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.signal(signal.SIGALRM, before)


# ---- mutations of program files ----


def repaired(tensors: dict[str, Array], header: Any) -> bytes:
    """A file with this header, whose digest is right."""
    header = {**header, "sha256": "0" * 64} if isinstance(header, dict) else header
    text = header if isinstance(header, str) else json.dumps(header, separators=(",", ":"), ensure_ascii=False)
    first = header_of(tensors, {"pimc": text})
    digest = hashlib.sha256(first)
    for chunk in chunks(tensors):
        digest.update(chunk)
    return b"".join([first.replace(b"0" * 64, digest.hexdigest().encode(), 1), *chunks(tensors)])


def mutant_file(rng: Random, program: Program) -> bytes:
    """A program file with one to three mutations in one place."""
    data = to_bytes(program)
    held, metadata = open_tensors(memoryview(data), "base")
    tensors, header = {n: a.copy() for n, a in held.items()}, json.loads(metadata["pimc"])
    kind = rng.choice(["bytes", "header", "header", "header", "words", "streams", "tensors", "tensors", "drop"])
    for _ in range(rng.randint(1, 3)):
        if kind == "bytes":
            at = rng.randrange(len(data))
            data = data[:at] + bytes([rng.randrange(256)]) * rng.randint(0, 2) + data[at + 1 :]
        elif kind == "header":
            _mutate_json(rng, header)
        elif kind == "drop":
            tensors.pop(rng.choice(sorted(tensors)), None)
        else:
            _mutate_tensor(rng, tensors, kind)
    if kind == "bytes":
        return data
    try:
        return repaired(tensors, header)
    except (UnicodeEncodeError, RecursionError):
        return data


def _leaves(value: Any) -> Iterator[tuple[Any, Any]]:
    """Containers and keys of all values inside."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield value, key
        if isinstance(inner, dict | list):
            yield from _leaves(inner)


def _mutate_json(rng: Random, header: Any) -> None:
    holder, key = rng.choice(list(_leaves(header)))
    old = holder[key]
    kind = rng.choice(["number", "near", "near", "text", "copy", "drop", "twice", "swap"])
    if kind == "drop":
        del holder[key]
    elif kind == "twice" and isinstance(holder, list):
        holder.append(old)
    elif kind == "swap" and isinstance(holder, list) and len(holder) > 1:
        rng.shuffle(holder)
    elif kind == "copy":
        other, there = rng.choice(list(_leaves(header)))
        holder[key] = json.loads(json.dumps(other[there]))
    elif isinstance(old, bool) or (kind == "text" and isinstance(old, str)):
        holder[key] = not old if isinstance(old, bool) else rng.choice(TEXTS)
    elif isinstance(old, int | float):
        holder[key] = old + rng.choice([-1, 1, 2]) if kind == "near" else rng.choice(NUMBERS)
    elif isinstance(old, str) and old:
        at = rng.randrange(len(old))
        holder[key] = old[:at] + rng.choice("0129,:<>i ") + old[at + 1 :]
    else:
        holder[key] = rng.choice([[], {}, "", 0, None, [0], "9" * 5000])


def _mutate_tensor(rng: Random, tensors: dict[str, Array], kind: str) -> None:
    streams = {"words": ["pimc.code"], "streams": ["pimc.slabs", "pimc.rows", "pimc.nodes"]}
    names = streams.get(kind) or sorted(n for n in tensors if not n.startswith("pimc."))
    name = rng.choice(names)
    array = tensors.get(name)
    if array is None or not array.size:
        return
    if rng.random() < 0.15:
        tensors[name] = rng.choice([array[:-1], array.reshape(-1), array.astype(np.float32), array[None]])
        return
    flat = np.array(array).reshape(-1)
    at = rng.randrange(flat.size)
    if kind == "streams":
        flat[at] += rng.choice([-1, 1, 2, -3])
    elif flat.dtype.kind == "f":
        flat[at] = rng.choice([np.nan, np.inf, -1.0, 0.0, 1e38, 1e-40, flat[at] * 2])
    else:
        bits = np.frombuffer(flat.tobytes(), np.uint8).copy()
        bits[at * flat.itemsize + rng.randrange(flat.itemsize)] ^= 1 << rng.randrange(8)
        flat = np.frombuffer(bits.tobytes(), flat.dtype)
    tensors[name] = flat.reshape(array.shape)


# ---- mutations of assembly ----

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[A-Za-z_.$]+[\w.]*=?|-?\d+|\S')


def mutant_text(rng: Random, program: Program) -> str:
    """Assembly with one to three mutations of tokens, numbers and lines."""
    lines = _text(program).split("\n")
    for _ in range(rng.choice([1, 1, 2])):
        at = rng.randrange(len(lines))
        kind = rng.choice(["number", "number", "near", "near", "token", "swap", "drop", "twice", "move", "byte"])
        if kind == "drop":
            lines.pop(at)
        elif kind == "twice":
            lines.insert(at, lines[at])
        elif kind == "move":
            lines.insert(rng.randrange(len(lines)), lines.pop(at))
        else:
            lines[at] = _mutate_line(rng, lines[at], kind)
        lines = lines or [""]
    return "\n".join(lines)


@cache
def _texts() -> dict[int, str]:
    return {}


def _text(program: Program) -> str:
    texts = _texts()
    if id(program) not in texts:
        texts[id(program)] = disassemble(program)
    return texts[id(program)]


def _mutate_line(rng: Random, line: str, kind: str) -> str:
    tokens = list(_TOKEN.finditer(line))
    if kind in ("number", "near"):
        tokens = [t for t in tokens if re.fullmatch(r"-?\d+", t[0])] or tokens
    if not tokens:
        return line
    token = rng.choice(tokens)
    if kind == "byte":
        at = rng.randrange(len(line))
        return line[:at] + rng.choice('\x1b\r\t ,;@[]x0.9"\u202e') + line[at + 1 :]
    if kind == "swap":
        new = rng.choice(tokens)[0]
    elif kind == "near" and re.fullmatch(r"-?\d+", token[0]):
        new = str(int(token[0]) + rng.choice([-1, 1, 2]))
    elif kind == "number":
        new = str(rng.choice(NUMBERS)) if rng.random() < 0.98 else "9" * 5000
    else:
        new = rng.choice([json.dumps(t) for t in TEXTS] + ["inf", "nan", "1e999", "i", ":", "->", ""])
    return line[: token.start()] + new + line[token.end() :]


# ---- the judgement ----


def judge(read: Callable[[], Program], rng: Random) -> str:
    """'refused', 'deadlock', 'large', 'long' or 'ran'; AssertionError (or any other) where somebody could be fooled."""
    try:
        with bounded():
            program = read()
    except PimcError as error:
        assert_readable(error)
        return "refused"
    if sum(map(executed_instructions, program.tiles)) > 3000 or _elements(program) > 200_000:
        return "large"
    try:
        with bounded():
            return _engines_agree(program, rng)
    except DeadlockError:
        return "deadlock"
    except PimcError as error:
        assert_readable(error)
        return "refused"


def assert_readable(error: PimcError) -> None:
    """One to three lines (an assembly error shows the place in two more at most), nothing a terminal acts on."""
    lines = str(error).split("\n")
    assert 1 <= len(lines) <= 4
    assert all(line.isprintable() and len(line) < 600 for line in lines), lines


def _elements(program: Program) -> int:
    ports = sum(math.prod(p.shape) for p in (*program.inputs, *program.outputs))
    return ports + sum(b.rows * b.row_elements for t in program.tiles for b in t.buffers)


def _engines_agree(program: Program, rng: Random) -> str:
    inputs = {p.name: _image(rng, p.dtype, (2, *p.shape)) for p in program.inputs}
    computed = values.run(program, inputs, keep=True)
    timing = simulate(program, 2)
    if timing.image_ends[-1] > STEPS:
        return "long"
    result = step.run(program, inputs, 2, True)
    same(timing, result.timing)
    for name, value in result.outputs.items():
        np.testing.assert_array_equal(computed.outputs[name], value)
    if program.tensors.get("reference", np.zeros(0)).size:
        _verify_is_right(program, inputs, result.outputs)
    return "ran"


def _verify_is_right(program: Program, inputs: dict[str, Array], outputs: Any) -> None:
    """``verify`` does not pass where an output of the step engine differs from onnxruntime's."""
    import onnxruntime as ort

    report = verify(program, inputs)
    options = ort.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = ort.InferenceSession(program.tensors["reference"].tobytes(), options, providers=["CPUExecutionProvider"])
    for name, theirs in zip(outputs, session.run(list(outputs), inputs), strict=True):
        if not np.allclose(outputs[name], theirs, 1e-3, 1e-4):
            assert report.verdict != "PASS"


def _image(rng: Random, dtype: str, shape: tuple[int, ...]) -> Array:
    draw = np.random.default_rng(rng.randrange(1 << 30))
    if np.dtype(dtype).kind == "f":
        return draw.standard_normal(shape).astype(dtype)
    return draw.integers(0, 2 if dtype == "bool" else 100, shape).astype(dtype)


def judge_file(seed: int) -> str:
    """One mutated program file."""
    rng = Random(f"file {seed}")
    data = mutant_file(rng, rng.choice(base_programs()))

    def read() -> Program:
        program = from_bytes(data, "mutant.pim")
        check(program)
        return program

    return judge(read, rng)


def judge_text(seed: int) -> str:
    """One mutated text."""
    rng = Random(f"text {seed}")
    text = mutant_text(rng, rng.choice(base_programs()))

    def read() -> Program:
        program = assemble(text, judge=check_structure)
        check_tensors(program)
        return program

    return judge(read, rng)
