"""Reads a playground the way a stranger would: from its files, with none of the package's own notions of what is true."""

from __future__ import annotations

import json
import pickle
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from pycocotools import mask as coco_mask

Mask = npt.NDArray[np.bool_]

COLOURS = {
    "red": (214, 45, 52), "orange": (243, 139, 32), "yellow": (247, 213, 62), "green": (52, 160, 84),
    "blue": (46, 108, 214), "purple": (139, 74, 178), "black": (42, 42, 50),
}  # fmt: skip
PLURALS = {
    "circles": "circle", "ellipses": "ellipse", "rings": "ring", "squares": "square", "triangles": "triangle",
    "stars": "star", "crosses": "cross", "equals signs": "equals sign", "objects": "object",
}  # fmt: skip
SINGULARS = set(PLURALS.values())
NUMBERS = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7}
SETS = {
    "refcoco": ("unc", "google"),
    "refcoco+": ("unc",),
    "refcocog": ("umd",),
    "refclef": ("unc", "berkeley"),
}


@dataclass(frozen=True)
class Seen:
    """A thing as it can be measured: its annotation's shape, its pixels' colour, its mask's centre and area."""

    id: int
    shape: str
    colour: str
    x: float
    y: float
    area: int


def decode(segmentation: Any, height: int, width: int) -> Mask:
    """The mask of a COCO segmentation of any kind."""
    if isinstance(segmentation, list) and isinstance(segmentation[0], dict):
        return np.logical_or.reduce([decode(part, height, width) for part in segmentation])
    if isinstance(segmentation, list):
        rle = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation["counts"], list):
        rle = coco_mask.frPyObjects(segmentation, height, width)
    else:
        rle = segmentation
    return np.asarray(coco_mask.decode(rle), bool)


def colour_of(pixels: npt.NDArray[np.uint8], mask: Mask) -> str:
    """The palette's colour that is nearest to the median of the masked pixels."""
    middle = np.median(pixels[mask], axis=0)
    return min(COLOURS, key=lambda name: float(np.abs(middle - COLOURS[name]).sum()))


def load_refs(root: Path, name: str, split_by: str) -> list[dict[str, Any]]:
    if name == "grefcoco":
        found: list[dict[str, Any]] = json.loads(
            (root / "refer_seg" / name / f"grefs({split_by}).json").read_text(encoding="utf-8")
        )
        return found
    return list(pickle.loads((root / "refer_seg" / name / f"refs({split_by}).p").read_bytes()))


def load_instances(root: Path, name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((root / "refer_seg" / name / "instances.json").read_text(encoding="utf-8"))
    return loaded


def see(root: Path, instances: dict[str, Any], folder: str) -> dict[int, tuple[list[Seen], tuple[int, int]]]:
    """What every picture of an instances file shows, and its size (width, height)."""
    names = {c["id"]: c["name"] for c in instances["categories"]}
    pictures: dict[int, tuple[list[Seen], tuple[int, int]]] = {}
    pixels: dict[int, npt.NDArray[np.uint8]] = {}
    for image in instances["images"]:
        pixels[image["id"]] = np.asarray(Image.open(root / folder / image["file_name"]))
        pictures[image["id"]] = ([], (image["width"], image["height"]))
    for a in instances["annotations"]:
        things, (width, height) = pictures[a["image_id"]]
        mask = decode(a["segmentation"], height, width)
        y, x = np.nonzero(mask)
        colour = colour_of(pixels[a["image_id"]], mask)
        things.append(Seen(a["id"], names[a["category_id"]], colour, x.mean() + 0.5, y.mean() + 0.5, int(mask.sum())))
    return pictures


def meaning(text: str, things: list[Seen], size: tuple[int, int]) -> set[int]:
    """The annotation ids that an expression means, by plain English. Fails on words it does not know."""
    text = text.replace(" in the picture", "").replace(" that is shown in this picture", "").replace(" ,", ",")
    if " and " in text:
        return set().union(*(meaning(half, things, size) for half in text.split(" and ")))
    number = None
    if plural := re.match(r"(?:all the|all|both|every one of the|the (two|three|four|five|six|seven)) ", text):
        number = 2 if text.startswith("both") else NUMBERS.get(plural[1] or "")
        text = text[plural.end() :]
    limits: list[set[int]] = []
    text, limits = _corner(text, things, size, limits)
    text, limits = _side(text, things, size, limits)
    text, limits = _beside(text, things, limits)
    found = _head(text.removeprefix("the ").strip(" ,"), things).intersection(*limits)
    assert number is None or len(found) == number, text
    return found


def _corner(text: str, things: list[Seen], size: tuple[int, int], limits: list[set[int]]) -> tuple[str, list[set[int]]]:
    pattern = r" in the (top|bottom) (left|right) corner(?: of the picture)?"
    if match := re.search(pattern, text):
        down, across = (0 if match[1] == "top" else 1), (0 if match[2] == "left" else 1)
        limits.append({
            t.id for t in things if abs(t.x / size[0] - across) < 0.4 and abs(t.y / size[1] - down) < 0.4
        })  # fmt: skip
        text = text.replace(match[0], "")
    return text, limits


def _side(text: str, things: list[Seen], size: tuple[int, int], limits: list[set[int]]) -> tuple[str, list[set[int]]]:
    before = re.match(r"(?:the )?(left|right|upper|lower) (?!of)", text)
    after = re.search(r" (?:on|at) the (left|right|top|bottom)$", text)
    if match := before or after:
        share = {
            "left": lambda t: t.x / size[0], "right": lambda t: 1 - t.x / size[0],
            "top": lambda t: t.y / size[1], "bottom": lambda t: 1 - t.y / size[1],
        }[{"upper": "top", "lower": "bottom"}.get(match[1], match[1])]  # fmt: skip
        limits.append({t.id for t in things if share(t) < 0.4})
        text = text.replace(match[0], "")
    return text, limits


def _beside(text: str, things: list[Seen], limits: list[set[int]]) -> tuple[str, list[set[int]]]:
    pattern = r",?(?: that is| which can be seen)?(?: to the)? (left of|right of|above|below) the ([a-z ]+)"
    if match := re.search(pattern, text):
        (anchor,) = (t for t in things if t.id in _head(match[2], things))
        dx, dy = {"left of": (-1, 0), "right of": (1, 0), "above": (0, -1), "below": (0, 1)}[match[1]]
        limits.append({t.id for t in things if dx * (t.x - anchor.x) + dy * (t.y - anchor.y) > 2})
        text = text.replace(match[0], "")
    return text, limits


def _head(text: str, things: list[Seen]) -> set[int]:
    """The meaning of "(leftmost) (red) circle (on the far left)"."""
    extreme = None
    if tail := re.search(r" (?:on the far|at the very) (left|right|top|bottom)$", text):
        extreme, text = tail[1], text[: tail.start()]
    words = text.split(" ")
    starts = {
        "leftmost": "left", "rightmost": "right", "topmost": "top", "lowest": "bottom",
        "largest": "largest", "biggest": "largest", "smallest": "smallest", "tiniest": "smallest",
    }  # fmt: skip
    if words[0] in starts:
        extreme, words = starts[words[0]], words[1:]
    colour = words.pop(0) if words[0] in COLOURS else None
    name = " ".join(words)
    shape = PLURALS.get(name, name)
    assert shape in SINGULARS, f"unknown words: {text!r}"
    kind = [t for t in things if colour in (None, t.colour) and shape in ("object", t.shape)]
    if extreme is None:
        return {t.id for t in kind}
    rank = {
        "left": lambda t: -t.x, "right": lambda t: t.x, "top": lambda t: -t.y, "bottom": lambda t: t.y,
        "largest": lambda t: t.area, "smallest": lambda t: -t.area,
    }[extreme]  # fmt: skip
    return {max(kind, key=rank).id}
