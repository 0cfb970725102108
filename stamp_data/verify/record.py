"""One record against itself, its picture, its labels and its row of the index."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import msgspec
import numpy as np

from stamp_data import rle as rles
from stamp_data.files import UNDECODABLE
from stamp_data.grid import coverage, foreground, grid_of
from stamp_data.picture import MAX_PIXELS, PictureFault, check_picture
from stamp_data.rle import UInt8
from stamp_data.shards.index import IndexRow
from stamp_data.shards.labels import parse_labels
from stamp_data.shards.row import described
from stamp_data.text import CONTROL_TOKEN
from stamp_data.verify.fault import Code, FaultList
from stamp_schemas import RLE, Dialogue, Record, Settings, StampError
from stamp_schemas.record import SEG

_DECODER = msgspec.json.Decoder(Record)


@dataclass(frozen=True)
class Found:
    """The members of a record as they were found. names: by kind (image, json, labels); data: of those that are whole."""

    key: str
    names: dict[str, str]
    data: dict[str, bytes]


@dataclass(frozen=True)
class RecordCheck:
    """The check of one record; what is wrong goes into `faults`.

    settings: the manifest's, None if it could not be read. labels: whether to make every label anew from its mask.
    """

    found: Found
    faults: FaultList
    settings: Settings | None
    labels: bool

    def run(self, row: IndexRow | None) -> None:
        """Every check of the record; `row`: what the index says about it, if that is to be believed."""
        record = self._parse()
        if record is None:
            return
        self._identity(record)
        self._picture(record)
        good = self._masks(record)
        labels = self._labels(record, good)
        ids = Counter(dialogue.id for dialogue in record.dialogues)
        for name, times in ids.items():
            if times > 1:
                self._note("record-differs", f"{times} dialogues are called {name!r}")
        for dialogue in record.dialogues:
            self._dialogue(dialogue, record)
        if row is not None:
            self._row(record, labels, row)

    def _note(self, code: Code, detail: str, kind: str = "json") -> None:
        self.faults.add(code, detail, self.found.key, self.found.names.get(kind, ""))

    def _parse(self) -> Record | None:
        data = self.found.data.get("json")
        if data is None:
            return None  # damaged or missing: noted where that was seen
        try:
            record = _DECODER.decode(data)
        except UNDECODABLE as fault:
            self._note("record-unreadable", f"not a record: {fault}")
            return None
        if msgspec.json.encode(record) != data:
            self._note("record-unreadable", "more or other bytes than its content needs")
        return record

    def _identity(self, record: Record) -> None:
        """Key, origin, grid, and which members such a record has."""
        if record.key != self.found.key:
            self._note("record-differs", f"its key is {record.key!r}")
        if (record.image is None) != (record.grid is None) or (record.targets and record.image is None):
            self._note("record-differs", "picture, grid and targets do not go together")
        if not record.dialogues:
            self._note("record-differs", "no dialogue")
        present = self.found.names.keys() - {"json"}
        needed = {str(kind) for kind, wanted in (("image", record.image), ("labels", record.targets)) if wanted}
        if present != needed:
            self._note("record-differs", f"has {_listed(present)}, its content asks for {_listed(needed)}")
        settings, source = self.settings, record.source
        if settings is None:
            return
        asked = (settings.dataset, settings.split_by, settings.split)
        if (source.dataset, source.split_by, source.split) != asked:
            self._note("record-differs", f"is of {source.dataset}/{source.split_by}/{source.split}, not of this set")
        if record.image is not None:
            try:
                grid = grid_of(settings, record.image.height, record.image.width)
            except (ValueError, ArithmeticError) as fault:  # of no size, or of one beyond all numbers
                self._note("record-differs", f"no grid for its size: {fault}")
                return
            if record.grid != grid:
                self._note("record-differs", f"its grid is not the {grid.height}×{grid.width} of its size")

    def _picture(self, record: Record) -> None:
        data = self.found.data.get("image")
        if data is None or record.image is None:
            return
        try:
            picture = check_picture(data, self.found.names["image"])
        except PictureFault as fault:
            self._note("picture-unreadable", str(fault), "image")
            return
        if (picture.width, picture.height) != (record.image.width, record.image.height):
            claimed = f"{record.image.width}×{record.image.height}"
            detail = f"{picture.width}×{picture.height} pixels, the record says {claimed}"
            self._note("picture-size", detail, "image")
        if self.found.names["image"] != f"{self.found.key}.{picture.extension}":
            self._note("picture-unreadable", f"really a .{picture.extension}", "image")

    def _masks(self, record: Record) -> bool:
        """Whether every mask can be decoded; area and box are checked where it can."""
        if record.image is None:
            return False
        height, width = record.image.height, record.image.width
        if not 0 < height * width <= MAX_PIXELS or min(height, width) < 1:
            self._note("record-differs", f"a picture of {width}×{height} pixels")
            return False
        good = True
        for number, target in enumerate(record.targets):
            for kind, mask in (("rle", target.rle), ("ignore_rle", target.ignore_rle)):
                problem = _rle_problem(mask, height, width) if mask else ""
                if problem:
                    self._note("rle-invalid", f"target {number}, {kind}: {problem}")
                    good = False
            if good and (target.area, target.bbox) != (rles.area(target.rle), rles.bbox(target.rle)):
                self._note("mask-derived", f"target {number}: area or bbox are not those of its mask")
        return good

    def _labels(self, record: Record, good: bool) -> UInt8 | None:
        """The labels that the member holds, None if it has not the right shape; compared with the masks if these are good."""
        data = self.found.data.get("labels")
        if data is None or record.grid is None or not record.targets:
            return None
        shape = (len(record.targets), record.grid.height, record.grid.width)
        try:
            stored = parse_labels(data, shape, "labels")
        except StampError:
            self._note("labels-differ", f"not an array of uint8 {list(shape)}", "labels")
            return None
        if self.labels and good:
            for number, target in enumerate(record.targets):
                ignore = rles.decode(target.ignore_rle) if target.ignore_rle else None
                made = coverage(rles.decode(target.rle), record.grid, ignore)
                if not np.array_equal(made, stored[number]):
                    at = tuple(int(place) for place in np.argwhere(made != stored[number])[0])
                    self._note(
                        "labels-differ",
                        f"target {number}: {np.count_nonzero(made != stored[number])} patches differ from its mask, "
                        f"the first {list(at)}: {stored[number][at]} instead of {made[at]}",
                        "labels",
                    )
        return stored

    def _dialogue(self, dialogue: Dialogue, record: Record) -> None:
        name = f"dialogue {dialogue.id!r}"
        wrong = [index for index in dialogue.targets if not 0 <= index < len(record.targets)]
        if wrong:
            self._note("target-index", f"{name}: target {wrong[0]} of {len(record.targets)}")
        pictures = masks = 0
        said = [dialogue.said(answer) for answer in range(len(dialogue.expressions))]
        texts = [("expression", text) for text in dict.fromkeys([dialogue.expression, *dialogue.expressions, *said])]
        for message in dialogue.messages:
            for content in message.content:
                pictures += content.type == "image"
                texts.append((message.role, content.text))
        for place, text in texts:
            for token in CONTROL_TOKEN.findall(text):
                if token == SEG and place == "assistant":
                    masks += 1
                else:
                    self._note("control-token", f"{name}: {token[:80]} in {place}")
        answers = sum(message.role == "assistant" for message in dialogue.messages)
        if not _has_rounds(dialogue, answers):
            self._note("record-differs", f"{name}: its rounds are not those of its {answers} answers")
        if masks != len(dialogue.targets):
            self._note("seg-count", f"{name}: {masks} {SEG} for {len(dialogue.targets)} targets")
        if pictures != (record.image is not None):
            self._note("image-count", f"{name}: {pictures} places for {int(record.image is not None)} picture")

    def _row(self, record: Record, labels: UInt8 | None, row: IndexRow) -> None:
        for name, value in described(record, self.found.names.get("image", "").partition(".")[2]).items():
            if getattr(row, name) != value:
                self._note("index-differs", f"{name} is {_short(value)}, the index says {_short(getattr(row, name))}")
        if labels is not None or not record.targets:
            fraction = np.float32(foreground(labels))
            if fraction != np.float32(row.foreground):
                self._note(
                    "index-differs", f"foreground is {fraction:.6f}, the index says {row.foreground:.6f}", "labels"
                )
        counted = self.settings is not None and bool(self.settings.tokenizer)
        tokens = row.text_tokens
        if self.settings is not None and (tokens is not None) != counted:
            self._note("index-differs", f"tokens were {'' if counted else 'not '}counted, the index says otherwise")
        if tokens is not None and len(tokens) != len(record.dialogues):
            self._note("index-differs", f"token counts of {len(tokens)} dialogues, it has {len(record.dialogues)}")


def _has_rounds(dialogue: Dialogue, answers: int) -> bool:
    """Whether a dialogue that was joined has a round for each answer, and each refers to none but an earlier one."""
    if dialogue.rounds is msgspec.UNSET:
        return True
    referring = [bool(one.reference) == (0 <= one.anchor < number) for number, one in enumerate(dialogue.rounds)]
    return len(dialogue.rounds) == answers and all(referring)


def _rle_problem(mask: RLE, height: int, width: int) -> str:
    """Why a mask is not the canonical RLE of height × width pixels, "" if it is."""
    if mask.size != (height, width):
        return f"is for {mask.size[1]}×{mask.size[0]} pixels, the picture has {width}×{height}"
    try:
        lengths = rles.runs(mask.counts)
    except ValueError as fault:
        return str(fault)
    if lengths[0] < 0 or (lengths[1:] < 1).any():
        return "has a run of no length, or less"
    if lengths.sum() != height * width:
        return f"covers {lengths.sum()} pixels of {height * width}"
    return ""


def _listed(kinds: set[str]) -> str:
    return " and ".join(sorted(kinds)) or "neither picture nor labels"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
