"""Predictions as files, and nothing done twice.

OUT/predictions.jsonl       one row per request, see `Prediction`; a row is there only when its files are
OUT/masks/ID-1.png          the mask of the first `<|seg|>`: 0 or 255, the picture's size
OUT/overlays/ID.jpg         the picture with all masks of the answer drawn over it
OUT/predict.json            what they were made with; the same settings go on in the same folder
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from PIL import Image
from xxhash import xxh3_64_hexdigest

from stamp_data import rle
from stamp_data.pixels import encoded
from stamp_data.writing import json_text, write_atomic
from stamp_schemas import RLE, StampError, UsageFault
from stamp_schemas.errors import naming
from stamp_train.predict.inputs import Asked
from stamp_train.train.runlog import read_rows

if TYPE_CHECKING:
    from stamp_train.predict.segmentation import Segmentation
    from stamp_train.predict.segmenter import Segmenter

ROWS, SETTINGS, MASKS, OVERLAYS = "predictions.jsonl", "predict.json", "masks", "overlays"
_QUALITY = 90  # of the overlays' JPEG
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Mask(msgspec.Struct, frozen=True):
    """One mask. file: PNG, relative to the folder; rle: COCO's, compressed; area: pixels; bbox: x, y, width, height."""

    file: str
    rle: RLE
    area: int
    bbox: tuple[float, float, float, float]


class Prediction(msgspec.Struct, frozen=True):
    """One row: what was asked, word for word (prompt), about a picture as it was named, and the answer.

    text: as it is meant to be read; content: with `<|seg|>` in its places, one mask for each. finish: `stop`, `length` or
    `stopped`. forced: the mask was asked for although the answer has no `<|seg|>` of its own. refined: every mask was redrawn
    by `--refine`. width, height: of the picture as it is seen (EXIF rotation applied), 0 without one. overlay: JPEG, relative
    to the folder, None without masks.
    """

    id: str
    image: str
    prompt: str
    text: str
    content: str
    finish: str
    forced: bool
    width: int
    height: int
    masks: list[Mask]
    overlay: str | None
    refined: bool = False


class PredictionFolder:
    """A folder that predictions are written into, one by one; nothing in it changes before the first. rows: their file.

    settings: plain values that tell what the predictions are made with. overwrite: begin anew in a folder of predictions,
    whatever they were made with. refining: a refiner is at hand: rows with masks that it has not redrawn are not done.
    UsageFault if the folder holds predictions made with other settings, or files of others under our names.
    """

    def __init__(
        self, folder: Path, settings: dict[str, Any], *, overwrite: bool = False, refining: bool = False
    ) -> None:
        self.folder, self.rows = folder, folder / ROWS
        self._settings = msgspec.json.decode(msgspec.json.encode(settings))
        self._begun, self._refining = False, refining
        self._check(overwrite)
        self._done = {} if overwrite else {row.id: row for row in _whole_rows(self.rows)}

    def found(self, asked: Asked) -> Prediction | StampError | None:
        """The row of a request, None if it is still to be done; a fault if the row of that id is of another request."""
        row = self._done.get(asked.id)
        if row is not None and (row.image, row.prompt) != (asked.shown, asked.prompt):
            return StampError(
                f"{asked.shown}: {self.rows} has an id {asked.id!r} of another request", "--out names another folder"
            )
        if row is not None and self._refining and row.masks and not row.refined:
            del self._done[asked.id]
            return None
        return row

    def add(self, asked: Asked, answer: Segmentation) -> Prediction:
        """Write the answer to a request; its row. UsageFault if the folder refuses it."""
        if not self._begun:
            self._begin()
        stem = file_name(asked.id)
        masks = [self._mask(f"{MASKS}/{stem}-{number}.png", mask) for number, mask in enumerate(answer.masks, start=1)]
        drawn = None
        if masks:
            drawn = f"{OVERLAYS}/{stem}.jpg"
            self._write(drawn, answer.overlay(), quality=_QUALITY)
        height, width = answer.image_size or (0, 0)
        row = Prediction(
            id=asked.id,
            image=asked.shown,
            prompt=asked.prompt,
            text=answer.text,
            content=answer.content,
            finish=answer.finish,
            forced=answer.forced,
            width=width,
            height=height,
            masks=masks,
            overlay=drawn,
            refined=answer.refined,
        )
        with naming(self.rows), self.rows.open("ab") as file:
            file.write(msgspec.json.encode(row) + b"\n")
        self._done[asked.id] = row
        return row

    def _check(self, overwrite: bool) -> None:
        """Refuse a folder whose contents must stay."""
        path = self.folder / SETTINGS
        if not path.is_file():
            there = next(
                (self.folder / name for name in (ROWS, MASKS, OVERLAYS) if (self.folder / name).exists()), None
            )
            if there is not None:
                raise UsageFault(f"{there} is there already and not from here", "--out names another folder")
        elif not overwrite:
            before = _decoded(path)
            names = sorted(before.keys() | self._settings.keys())
            changed = [name for name in names if before.get(name) != self._settings.get(name)]
            if changed:
                raise UsageFault(
                    f"{self.folder} holds predictions made with other settings ({', '.join(changed)})",
                    "--out names another folder; --overwrite begins anew",
                )

    def _begin(self) -> None:
        """Leave what is kept, whole rows and their files, and nothing else."""
        folders = self.folder / MASKS, self.folder / OVERLAYS
        if not self._done:
            for folder in folders:
                shutil.rmtree(folder, ignore_errors=True)
        try:
            for folder in folders:
                folder.mkdir(parents=True, exist_ok=True)
            write_atomic(self.folder / SETTINGS, json_text(self._settings))
            write_atomic(self.rows, b"".join(msgspec.json.encode(row) + b"\n" for row in self._done.values()))
        except OSError as fault:
            raise UsageFault(f"{self.folder}: cannot be written to: {fault.strerror}") from None
        self._begun = True

    def _mask(self, file: str, mask: np.ndarray[Any, np.dtype[np.bool_]]) -> Mask:
        self._write(file, Image.fromarray(mask.astype(np.uint8) * np.uint8(255)))
        packed = rle.encode(mask.astype(np.uint8))
        return Mask(file, packed, rle.area(packed), rle.bbox(packed))

    def _write(self, file: str, picture: Image.Image, **options: Any) -> None:
        write_atomic(self.folder / file, encoded(picture, "JPEG" if file.endswith(".jpg") else "PNG", **options))


def answer_all(
    asked: Iterable[Asked | StampError],
    folder: PredictionFolder,
    open_segmenter: Callable[[], Segmenter],
    **options: Any,
) -> Iterator[Prediction | StampError]:
    """A row or a fault for every request: first those that are known at once, then the others in their order.

    folder: holds the rows of earlier calls and gets the new ones. open_segmenter: called if there is anything to answer;
    options: of `Segmenter.outcomes`.
    """
    waiting: list[Asked] = []
    for one in asked:
        if isinstance(one, StampError):
            yield one
        elif (known := folder.found(one)) is not None:
            yield known
        else:
            waiting.append(one)
    if not waiting:
        return
    outcomes = open_segmenter().outcomes((one.request() for one in waiting), **options)
    for one, outcome in zip(waiting, outcomes, strict=True):
        yield outcome if isinstance(outcome, StampError) else folder.add(one, outcome)


def file_name(name: str) -> str:
    """A name for files: `name` itself where that is harmless, else what is harmless of it and its hash."""
    if _SAFE_NAME.fullmatch(name):
        return name
    harmless = re.sub(r"[^A-Za-z0-9._-]+", "_", name).lstrip("._-")[:60]
    return f"{harmless}-{xxh3_64_hexdigest(name.encode(errors='surrogatepass'))}".lstrip("-")


def _decoded(path: Path) -> dict[str, Any]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.MsgspecError):
        return {}  # settings that nobody can have: whoever asks is told so, and may overwrite


def _whole_rows(path: Path) -> list[Prediction]:
    """The rows of a file; one that was cut off when a process was killed is left out."""
    try:
        return [msgspec.convert(row, Prediction) for row in read_rows(path)]
    except msgspec.MsgspecError as fault:
        raise UsageFault(f"{path}: damaged: {fault}", "--overwrite begins anew") from None
