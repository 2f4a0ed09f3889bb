"""What real networks are for, as tasks with right answers: pages turned, text found and read, faces found.

Pages and lines are drawn here; faces are cut out of the free photograph of an astronaut in scikit-image's wheel. A task
gives images as its network takes them and says which answers are right, so that the same question can be put to the
float model, to its 8-bit form and to a chip. Needs pillow, and scikit-image for photographs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pimc_models import preprocess
from pimc_models.locate import load, photos

if TYPE_CHECKING:
    import onnx

__all__ = ["TASKS", "Task", "read_line"]

Array = npt.NDArray[Any]
Photo = npt.NDArray[np.uint8]

WORDS = (
    *("PIMC 2026", "Neural net", "crossbar 64", "ISAAC chip", "analog RAM"),
    *("Hello world", "rows 128", "Epitome", "RAELLA 7 bit", "Cascade"),
)
IMAGENET = np.array(preprocess.IMAGENET_MEAN, np.float32), np.array(preprocess.IMAGENET_DEVIATION, np.float32)
HALF = np.full(3, 0.5, np.float32), np.full(3, 0.5, np.float32)


@dataclass(frozen=True)
class Task:
    """Images [n, ...] for the network's only input, and ``right``: of its outputs (batch first), which are right."""

    network: str
    says: str
    images: Callable[[], Array]
    right: Callable[[Sequence[Array]], npt.NDArray[np.bool_]]

    def model(self) -> onnx.ModelProto:
        """The network. Raises NotInstalledError."""
        return load(self.network)


# ---- pictures ----


def _drawn(size: tuple[int, int], texts: Sequence[tuple[tuple[int, int], str]], font: int) -> tuple[Photo, list[Any]]:
    """A white picture (width, height) with texts, and the box of each (left, top, right, bottom)."""
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.new("RGB", size, "white")
    pen, letters = ImageDraw.Draw(picture), ImageFont.load_default(size=font)
    boxes = []
    for place, text in texts:
        pen.text(place, text, fill=(0, 0, 0), font=letters)
        boxes.append(pen.textbbox(place, text, font=letters))
    return np.asarray(picture), boxes


def _line(text: str, width: int = 320) -> Photo:
    return _drawn((width, 48), [((6, 4), text)], 32)[0]


def _page(words: Sequence[str]) -> tuple[Photo, list[Any]]:
    return _drawn((320, 320), [((24, 30 + 48 * n), word) for n, word in enumerate(words)], 22)


def _normal(photo: Photo, mean: Array, deviation: Array) -> Array:
    """BGR, normalised, channels first: 1 x 3 x rows x columns."""
    unit = photo[:, :, ::-1].astype(np.float32) / np.float32(255.0)
    return np.ascontiguousarray(((unit - mean) / deviation).transpose(2, 0, 1)[None], np.float32)


def _resized(photo: Photo, side: int) -> Photo:
    from PIL import Image

    return np.asarray(Image.fromarray(photo).resize((side, side), Image.Resampling.BILINEAR))


# ---- tasks ----


def _turned_pages() -> Array:
    pages = []
    for first in range(4):
        rows = [f"{WORDS[(first + n) % 10]} {WORDS[(first + n + 1) % 10]}" for n in range(6)]
        page = _drawn((400, 300), [((24, 30 + 40 * n), text) for n, text in enumerate(rows)], 18)[0]
        pages += [preprocess.imagenet(np.ascontiguousarray(np.rot90(page, turn))) for turn in range(4)]
    return np.concatenate(pages)


def _turned_right(outputs: Sequence[Array]) -> npt.NDArray[np.bool_]:
    return np.asarray(outputs[0].argmax(axis=1) == -np.arange(len(outputs[0])) % 4)


def _lines_both_ways() -> Array:
    lines = [_line(word, 300) for word in WORDS]
    return np.concatenate([preprocess.text_direction(line[::way, ::way]) for line in lines for way in (1, -1)])


def _way_right(outputs: Sequence[Array]) -> npt.NDArray[np.bool_]:
    return np.asarray(outputs[0].argmax(axis=1) == np.arange(len(outputs[0])) % 2)


def _pages() -> Array:
    return np.concatenate([_normal(_page(WORDS[n : n + 3])[0], *IMAGENET) for n in range(8)])


def _text_found(outputs: Sequence[Array]) -> npt.NDArray[np.bool_]:
    """Every line lies on a probable place, and little else does."""
    found = []
    for n, probability in enumerate(outputs[0][:, 0]):
        boxes, inside = _page(WORDS[n : n + 3])[1], np.zeros(probability.shape, bool)
        for left, top, right, bottom in boxes:
            inside[int(top) : int(bottom), int(left) : int(right)] = True
        hits = [probability[int(t) : int(b), int(x) : int(y)].mean() > 0.3 for x, t, y, b in boxes]
        found.append(all(hits) and probability[~inside].mean() < 0.05)
    return np.array(found)


def _lines() -> Array:
    return np.concatenate([_normal(_line(word), *HALF) for word in WORDS])


def read_line(probabilities: Array, characters: Sequence[str]) -> str:
    """What a reader says: places x characters, the most probable of each place, repetitions and blanks left out."""
    text, before = "", 0
    for chosen in probabilities.argmax(axis=1).tolist():
        if chosen and chosen != before:
            text += characters[chosen] if chosen < len(characters) else "?"
        before = chosen
    return text


def _read_right(outputs: Sequence[Array]) -> npt.NDArray[np.bool_]:
    """Right but for blanks between words."""
    named = next(p.value for p in load("text-reader").metadata_props if p.key == "character")
    characters = ["", *named.split("\n"), " "]
    said = [read_line(line, characters) for line in outputs[0]]
    return np.array([s.replace(" ", "") == w.replace(" ", "") for s, w in zip(said, WORDS, strict=True)])


#: Rows, columns and sizes of squares in the astronaut's photograph: with her face, and without.
FACES = ((60, 170, 100), (55, 165, 110), (62, 175, 95), (65, 172, 100))
OTHERS = ((300, 20, 120), (0, 0, 100), (380, 380, 120), (200, 380, 100), (300, 250, 120))


def _astronaut() -> Photo:
    return dict(photos())["astronaut.png"]


def _squares(side: int) -> Callable[[], Array]:
    def made() -> Array:
        photo = _astronaut()
        cut = [_resized(photo[y : y + s, x : x + s], side).astype(np.float32) for y, x, s in (*FACES, *OTHERS)]
        # The networks were trained on pictures with rows and columns swapped.
        return np.ascontiguousarray(((np.stack(cut) - 127.5) / 128).transpose(0, 2, 1, 3), np.float32)

    return made


def _is_face(outputs: Sequence[Array]) -> npt.NDArray[np.bool_]:
    said = outputs[-1].reshape(len(outputs[-1]), 2)[:, 1] > 0.5
    return np.asarray(said == (np.arange(len(said)) < len(FACES)))


def _bodies() -> Array:
    """The astronaut three ways, and the photographer, longest side 320."""
    from PIL import Image

    found, photo = dict(photos()), _astronaut()
    made = []
    for picture in (photo, photo[:, ::-1], photo[:300, 100:400], found["camera.png"]):
        small = Image.fromarray(picture)
        small.thumbnail((320, 320))
        square = np.zeros((320, 320, 3), np.uint8)
        square[: small.height, : small.width] = np.asarray(small)
        made.append((square.astype(np.float32) / 255).transpose(2, 0, 1))
    return np.ascontiguousarray(np.stack(made), np.float32)


#: Boxes of the float model's surest finding: middle, width and height, of each of those pictures.
BODIES = ((140, 82, 63, 61), (179, 82, 63, 63), (124, 131, 98, 98), (140, 102, 52, 43))


def _body_found(outputs: Sequence[Array]) -> npt.NDArray[np.bool_]:
    """The surest box overlaps by half with the float model's."""
    found = []
    for answer, wanted in zip(outputs[0], BODIES, strict=True):
        found.append(_overlap(answer[:4, answer[4:].max(axis=0).argmax()], wanted) > 0.5)
    return np.array(found)


def _overlap(a: Any, b: Any) -> float:
    """Intersection over union of boxes (middle x, middle y, width, height)."""
    lows = [max(p - w / 2, q - v / 2) for p, w, q, v in ((a[0], a[2], b[0], b[2]), (a[1], a[3], b[1], b[3]))]
    highs = [min(p + w / 2, q + v / 2) for p, w, q, v in ((a[0], a[2], b[0], b[2]), (a[1], a[3], b[1], b[3]))]
    both = max(0.0, highs[0] - lows[0]) * max(0.0, highs[1] - lows[1])
    return float(both / (a[2] * a[3] + b[2] * b[3] - both))


TASKS: Mapping[str, Task] = MappingProxyType(
    {
        task.network: task
        for task in (
            Task("orientation", "pages turned right", _turned_pages, _turned_right),
            Task("text-direction", "lines upright or upside down", _lines_both_ways, _way_right),
            Task("text-detector", "pages on which all lines are found", _pages, _text_found),
            Task("text-reader", "lines read", _lines, _read_right),
            Task("mtcnn-r", "faces told from other squares", _squares(24), _is_face),
            Task("mtcnn-o", "faces told from other squares", _squares(48), _is_face),
            Task("nudenet", "the float model's surest box", _bodies, _body_found),
        )
    }
)
"""By network."""
