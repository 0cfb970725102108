"""Scenes as arrays: what the network sees, what lies at each patch, and what is asked. Rendered once, kept in files.

Everything follows from the recipe and the number of a scene, whatever was rendered before it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stamp_data.synth.render import Plane, render
from stamp_data.synth.scene import COLOURS, Scene, Stream, generator, sample_scene
from stamp_data.synth.shapes import SHAPES
from stamp_data.writing import part_of
from stamp_train.backbones.processor import make_images
from stamp_train.backbones.qwen2_vl import QWEN2_VL
from tools.tiny_base.questions import FORMS, Question, ask
from tools.tiny_base.recipe import Scenes

SHAPE_NAMES, COLOUR_NAMES = tuple(SHAPES), tuple(COLOURS)
# Share that a thing has to cover to be what is seen there: of a quarter of a patch, of a patch, of a merged one.
_QUARTER, _FINE, _MERGED = 0.5, 0.4, 0.3
_CHUNK = 500  # scenes of a file

Patches = NDArray[np.float32]


@dataclass
class Pool:
    """Scenes, one after another; patches are in the order of the tower, four of each merged one together.

    features: float16 [N, 4P, width], patches after the frozen projection. shapes, colours: int8 [N, 4P], what is seen there,
    and one more for the ground. rest: float16 [N, 4P, 4], of covered patches: columns and rows from there to the middle of the
    thing, the logarithm of its size in patches, whether that middle is here. merged_shapes, merged_colours: int8 [N, P].
    quarters, covered: int8 and float16 [N, 4P, 4], of the quarters of patches, row by row, the color seen there, and how much
    of each shows things.
    questions: int32 [M, 3], form, and numbers of question and answer in `texts`. first: int64 [N + 1], where each scene's
    begin. boxes: float32 [M, K, 4], see `questions.Question`, and not a number beyond those that are there; told: bool [M],
    whether a question has any, be it none.
    """

    features: NDArray[np.float16]
    shapes: NDArray[np.int8]
    colours: NDArray[np.int8]
    rest: NDArray[np.float16]
    quarters: NDArray[np.int8]
    covered: NDArray[np.float16]
    merged_shapes: NDArray[np.int8]
    merged_colours: NDArray[np.int8]
    questions: NDArray[np.int32]
    first: NDArray[np.int64]
    boxes: NDArray[np.float32]
    told: NDArray[np.bool_]
    texts: list[str]

    def __len__(self) -> int:
        return len(self.features)

    def asked(self, scene: int) -> NDArray[np.int32]:
        """The questions of a scene: [n, 4], as in `questions`, and the row there."""
        rows = np.arange(self.first[scene], self.first[scene + 1], dtype=np.int32)
        return np.column_stack([self.questions[rows], rows])


def grid_of(scenes: Scenes) -> tuple[int, int]:
    """Merged patches of a scene's picture, rows and columns."""
    pixels = pixels_of(Drawn(scenes, scenes.train_seed, 0).picture, scenes)
    height, width = pixels[1]
    return height // 2, width // 2


def pixels_of(picture: Any, scenes: Scenes) -> tuple[Patches, tuple[int, int]]:
    """What the processor of Qwen2-VL makes of a picture: float32 [4P, 1176], and rows and columns of these patches."""
    found = make_images(QWEN2_VL, 4, scenes.patches)(images=[picture], return_tensors="np")
    _, height, width = found["image_grid_thw"][0].tolist()
    return np.asarray(found["pixel_values"], np.float32), (height, width)


class Drawn:
    """One scene with its picture."""

    def __init__(self, scenes: Scenes, seed: int, number: int) -> None:
        self.scene: Scene = sample_scene(generator(seed, Stream.SCENE, number), scenes.size)
        drawing = render(self.scene, generator(seed, Stream.PAINT, number))
        self.picture, self.shown = drawing.picture, drawing.shown
        self.rng = generator(seed, Stream.LLAVA, number)


def _by_block(values: NDArray[Any]) -> NDArray[Any]:
    """[rows, columns, ...] of patches in the order of the tower: [patches, ...]."""
    height, width = values.shape[:2]
    blocks = values.reshape(height // 2, 2, width // 2, 2, *values.shape[2:])
    return blocks.swapaxes(1, 2).reshape(height * width, *values.shape[2:])


def _shares(shown: tuple[Plane, ...], grid: tuple[int, int]) -> NDArray[np.float32]:
    """How much of each cell of a grid shows each thing: [things, rows, columns]. The grid has to divide the picture."""
    rows, columns = grid
    height, width = shown[0].shape
    cells = np.stack(shown).reshape(len(shown), rows, height // rows, columns, width // columns)
    return np.asarray(cells.mean((2, 4)), np.float32)


def _seen(shares: NDArray[np.float32], least: float) -> NDArray[np.int64]:
    """The thing that is seen at each cell, -1 for the ground."""
    return np.where(shares.max(0) >= least, shares.argmax(0), -1)


def _names(scene: Scene, seen: NDArray[np.int64]) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """Numbers of the shape and the color seen at each cell."""
    shapes = [SHAPE_NAMES.index(thing.shape) for thing in scene.things] + [len(SHAPE_NAMES)]
    colours = [COLOUR_NAMES.index(thing.colour) for thing in scene.things] + [len(COLOUR_NAMES)]
    return np.array(shapes, np.int8)[seen], np.array(colours, np.int8)[seen]


def _quarters(drawn: Drawn, grid: tuple[int, int]) -> NDArray[np.int8]:
    """See `Pool.quarters`: [rows, columns, 4] of a grid of patches."""
    rows, columns = grid
    _, colours = _names(drawn.scene, _seen(_shares(drawn.shown, (2 * rows, 2 * columns)), _QUARTER))
    return _in_patches(colours)


def _covered(drawn: Drawn, grid: tuple[int, int]) -> NDArray[np.float16]:
    """See `Pool.covered`: [rows, columns, 4] of a grid of patches."""
    rows, columns = grid
    return _in_patches(_shares(drawn.shown, (2 * rows, 2 * columns)).sum(0).astype(np.float16))


def _in_patches(cells: NDArray[Any]) -> NDArray[Any]:
    """Quarters of patches, [2 rows, 2 columns], as [rows, columns, 4]."""
    rows, columns = cells.shape[0] // 2, cells.shape[1] // 2
    return cells.reshape(rows, 2, columns, 2).swapaxes(1, 2).reshape(rows, columns, 4)


def _rest(scene: Scene, seen: NDArray[np.int64]) -> NDArray[np.float16]:
    """See `Pool.rest`: [rows, columns, 4]."""
    rows, columns = seen.shape
    side = scene.width / columns
    middle = np.array([[*thing.centre, np.log(thing.area / side**2)] for thing in scene.things] + [[0, 0, 0]])[seen]
    across = (np.arange(columns) + 0.5)[None, :] - middle[..., 0] / side
    down = (np.arange(rows) + 0.5)[:, None] - middle[..., 1] / side
    here = (abs(across) <= 0.5) & (abs(down) <= 0.5)
    found = np.stack([-across, -down, middle[..., 2], here], -1)
    return np.where(seen[..., None] >= 0, found, 0).astype(np.float16)


def make_pool(
    scenes: Scenes, seed: int, numbers: range, projection: torch.Tensor
) -> tuple[dict[str, NDArray[Any]], list[list[Question]]]:
    """Arrays of scenes by the names of `Pool`, and their questions. projection: float32 [width, 1176]."""
    columns: dict[str, list[NDArray[Any]]] = {}
    questions = []
    for number in numbers:
        drawn = Drawn(scenes, seed, number)
        pixels, (rows, across) = pixels_of(drawn.picture, scenes)
        fine = _seen(_shares(drawn.shown, (rows, across)), _FINE)
        merged = _seen(_shares(drawn.shown, (rows // 2, across // 2)), _MERGED)
        shapes, colours = _names(drawn.scene, fine)
        merged_shapes, merged_colours = _names(drawn.scene, merged)
        row = {
            "features": (torch.from_numpy(pixels) @ projection.T).numpy().astype(np.float16),
            "shapes": _by_block(shapes),
            "colours": _by_block(colours),
            "rest": _by_block(_rest(drawn.scene, fine)),
            "quarters": _by_block(_quarters(drawn, (rows, across))),
            "covered": _by_block(_covered(drawn, (rows, across))),
            "merged_shapes": merged_shapes.reshape(-1),
            "merged_colours": merged_colours.reshape(-1),
        }
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
        questions.append(ask(drawn.scene, drawn.rng))
    return {name: np.stack(values) for name, values in columns.items()}, questions


def open_pool(
    scenes: Scenes, seed: int, count: int, projection: torch.Tensor, folder: Path, say: Callable[[str], None]
) -> Pool:
    """Scenes 0 to `count` of a seed, from files in a folder where they are there, else rendered into it."""
    folder.mkdir(parents=True, exist_ok=True)
    parts, questions = [], []
    for first in range(0, count, _CHUNK):
        numbers = range(first, min(first + _CHUNK, count))
        path = folder / f"{seed}-{numbers.start}-{numbers.stop}.npz"
        if not path.is_file():
            _keep(path, *make_pool(scenes, seed, numbers, projection))
            say(f"rendered {numbers.stop} of {count} scenes of seed {seed}")
        with np.load(path, allow_pickle=False) as stored:
            parts.append({name: stored[name] for name in stored.files})
        questions += json.loads(str(parts[-1].pop("questions")))
    return _joined(parts, [[Question(*one) for one in asked] for asked in questions])


def _keep(path: Path, arrays: dict[str, NDArray[Any]], questions: list[list[Question]]) -> None:
    part = part_of(path)
    with part.open("wb") as file:
        np.savez(file, allow_pickle=False, questions=np.array(json.dumps(questions)), **arrays)
    part.rename(path)


def _joined(parts: list[dict[str, NDArray[Any]]], questions: list[list[Question]]) -> Pool:
    numbers: dict[str, int] = {}

    def rows() -> Iterator[tuple[int, int, int]]:
        for asked in questions:
            for one in asked:
                texts = (numbers.setdefault(text, len(numbers)) for text in (one.text, one.answer))
                yield (FORMS.index(one.form), *texts)  # type: ignore[misc]  # two of them

    table = np.array(list(rows()), np.int32)
    first = np.cumsum([0, *map(len, questions)])
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    given = [one.boxes for asked in questions for one in asked]
    told = np.array([boxes is not None for boxes in given])
    boxes = np.full((len(given), max(len(one or ()) for one in given), 4), np.nan, np.float32)
    for row, one in zip(boxes, given, strict=True):
        row[: len(one or ())] = one or np.zeros((0, 4))
    assert set(arrays) | {"questions", "first", "boxes", "told", "texts"} == {field.name for field in fields(Pool)}
    return Pool(**arrays, questions=table, first=first, boxes=boxes, told=told, texts=list(numbers))
