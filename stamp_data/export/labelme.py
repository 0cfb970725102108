"""labelme: a JSON beside each picture, a shape per expression, the expression in its `description`.

    <set>/<split>/KEY.json, KEY.jpg

A shape has one text and one area; it stands for every pass over its expression. That an expression means nothing in the
picture is a flag of the picture, `no_target: EXPRESSION`. There is no place for several masks in one answer, or for
conversations; these are losses, and so are words that mean something else in the same picture, since a phrase there names
all that bears it. What is to be ignored is a shape labelled `__ignore__`, labelme's own word, and can only be kept where it
is the same for every target of the picture.
"""

from __future__ import annotations

import base64

import msgspec
import numpy as np
from PIL import Image

from stamp_data import rle as rles
from stamp_data.export.base import PARTED, Format, Place, image_name, parted, single_round
from stamp_data.export.outline import polygons
from stamp_data.frame import UPRIGHT, turned, upright_size
from stamp_data.picture import PictureFault, check_picture
from stamp_data.pixels import encoded
from stamp_data.shards.reader import Loaded
from stamp_data.text import look
from stamp_data.writing import json_text
from stamp_schemas import RLE, Dialogue, Record, StampError, TargetInfo

VERSION = "5.5.0"  # of labelme, whose files these are like
IGNORE = "__ignore__"
NO_TARGET = "no_target"
UNNAMED = "object"  # label of a target without a category


class LabelMe(Format):
    name = "labelme"
    notes = (
        "questions and answers around the expressions are left out: `stamp-data build labelme` draws them anew",
        PARTED,
    )

    def begin(self, place: Place) -> None:
        self._folder = self.out / place.dataset / place.split
        self._folder.mkdir(parents=True)

    def add(self, loaded: Loaded) -> None:
        record = _as_shown(loaded)
        if loaded.image is None or record.image is None:
            why = "labelme files belong to pictures"
            self.tally.lose("text-only", "records", why, record.key)
            self.tally.lose("text-only", "dialogues", why, record.key, len(record.dialogues))
            return
        shapes, flags = self._shapes(record)
        content: dict[str, object] = {
            "version": VERSION,
            "flags": flags,
            "shapes": shapes,
            "imagePath": image_name(loaded),
            "imageData": None,
            "imageHeight": record.image.height,
            "imageWidth": record.image.width,
        }
        (self._folder / image_name(loaded)).write_bytes(loaded.image)
        (self._folder / f"{record.key}.json").write_bytes(json_text(content))
        self.tally.hold(records=1, pictures=1)

    def _shapes(self, record: Record) -> tuple[list[dict[str, object]], dict[str, bool]]:
        """Shapes of what is there, flags of what is not."""
        shapes: list[dict[str, object]] = []
        flags: dict[str, bool] = {}
        held: dict[
            str, tuple[int, str]
        ] = {}  # by the look of an expression: its target, and the sentence that it was first drawn from
        for dialogue in record.dialogues:
            losses = []
            for one in parted(dialogue):
                loss = _loss(one, held)
                if loss:
                    losses.append(loss)
                    continue
                number, sentence = one.targets[0], _sentence(one)
                if look(one.expression) in held:
                    continue  # a further pass over the sentence, which the shape stands for
                held[look(one.expression)] = number, sentence
                target = record.targets[number]
                if target.area:
                    shapes += self._areas(target.rle, _label(target), one.expression, group=len(shapes))
                else:
                    flags[f"{NO_TARGET}: {one.expression}"] = True
            if losses:
                self.tally.lose(losses[0][0], "dialogues", losses[0][1], record.key)
            else:
                self.tally.hold(dialogues=1)
        shown = {number for number, _ in held.values()}
        self.tally.hold(targets=len(shown))
        missing = len(record.targets) - len(shown)
        self.tally.lose(
            "in-lost-dialogues", "targets", "only dialogues that cannot be held ask for them", record.key, missing
        )
        return shapes + self._ignored(record), flags

    def _ignored(self, record: Record) -> list[dict[str, object]]:
        masks = {target.ignore_rle.counts if target.ignore_rle else None for target in record.targets}
        count = sum(target.ignore_rle is not None for target in record.targets)
        shared = record.targets[0].ignore_rle if len(masks) == 1 and record.targets else None
        if shared is not None:
            self.tally.hold(ignored=count)
            return self._areas(shared, IGNORE, "", group=-1)
        why = "an ignored shape counts for every target of its picture"
        self.tally.lose("ignored-per-target", "ignored", why, record.key, count)
        return []

    def _areas(self, mask: RLE, label: str, description: str, group: int) -> list[dict[str, object]]:
        """Shapes of one mask; `group` joins them if it takes several."""
        common: dict[str, object] = {"label": label, "description": description, "flags": {}}
        if not self.polygons:
            return [common | {"shape_type": "mask", "group_id": None} | _cutout(mask)]
        rings = polygons(mask)
        joined = group if len(rings) > 1 else None
        return [
            common
            | {
                "shape_type": "polygon",
                "group_id": joined,
                "points": list(zip(ring[::2], ring[1::2], strict=True)),
                "mask": None,
            }
            for ring in rings
        ]


def _as_shown(loaded: Loaded) -> Record:
    """The record in the frame of its upright picture, which is what labelme shows and means."""
    record = loaded.record
    if loaded.image is None or record.image is None:
        return record
    name = image_name(loaded)
    try:
        picture = check_picture(loaded.image, name)
    except PictureFault as fault:
        raise StampError(fault.message, "stamp-data verify says what else is damaged") from None
    if picture.orientation == 1:
        return record
    targets = [_upright(target, picture.orientation) for target in record.targets]
    width, height = upright_size(picture)
    image = msgspec.structs.replace(record.image, width=width, height=height)
    return msgspec.structs.replace(record, image=image, targets=targets)


def _upright(target: TargetInfo, orientation: int) -> TargetInfo:
    rle = turned(target.rle, UPRIGHT, orientation)
    ignore = turned(target.ignore_rle, UPRIGHT, orientation) if target.ignore_rle else None
    return msgspec.structs.replace(target, rle=rle, ignore_rle=ignore)


def _sentence(dialogue: Dialogue) -> str:
    """Which sentence of the source a dialogue was drawn from; passes over the same one differ in the end of their ids."""
    return dialogue.id.rpartition("-p")[0]


def _label(target: TargetInfo) -> str:
    """Its first category, unless labelme would take that for a mark of what is to be ignored."""
    first = target.categories[0] if target.categories else UNNAMED
    return UNNAMED if first.strip() == IGNORE else first


def _loss(dialogue: Dialogue, held: dict[str, tuple[int, str]]) -> tuple[str, str] | None:
    """(code, why) of a dialogue that no shape can hold."""
    if single_round(dialogue) is None or not dialogue.expression:
        return "conversation", "a shape has a text, not turns"
    if len(dialogue.targets) != 1:
        return "several-masks", "a shape is one area, the expression asks for several"
    number = dialogue.targets[0]
    first, sentence = held.get(look(dialogue.expression), (number, _sentence(dialogue)))
    if first != number:
        return "same-words", "a phrase names all that bears it, and these words mean another target of the picture too"
    if sentence != _sentence(dialogue):
        return "repeated", "the same words for the same target once more"
    return None


def _cutout(mask: RLE) -> dict[str, object]:
    """labelme's `mask` shape: corners of the mask's box (the second one inclusive), and its pixels as a base64 PNG."""
    x, y, width, height = (round(value) for value in rles.bbox(mask))
    pixels = rles.decode(mask)[y : y + height, x : x + width]
    png = encoded(Image.fromarray(np.ascontiguousarray(pixels * 255)).convert("1"))
    corners = [[x, y], [x + width - 1, y + height - 1]]
    return {"points": corners, "mask": base64.b64encode(png).decode()}
