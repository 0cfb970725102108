"""Label Studio's JSON and JSON-MIN: brush, bitmasks, polygons, rectangles, ellipses, and the texts that belong to each region.

A region's phrases are its texts (`<TextArea perRegion="true">`), else its labels. A text field called `no_target` holds
phrases that name nothing in the picture. Of several people's annotations of a task one is read: the ground truth, else the
last that was not skipped; predictions are not read, but for those of our own export in a task that was in no Label Studio
yet. Coordinates are percents of the picture as people saw it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from stamp_data import numbers
from stamp_data.shards.rejects import RejectLog
from stamp_data.sources.faults import RecordFault
from stamp_data.sources.finding import SUFFIXES
from stamp_data.sources.formats import outlines
from stamp_data.sources.formats.core import HEAD, FormatSource, Pictured, Thing
from stamp_data.sources.jsonfile import decode_row, read_buffer
from stamp_data.sources.phrases import NO_TARGET

OURS = "stamp-data export"
"""`model_version` of predictions that are masks of a shard set."""
_UPLOADED = re.compile(r"[0-9a-f]{8}-(?=.)")  # what Label Studio puts before the name of an uploaded file
_MIN = b'"original_width"'  # of every region, also in JSON-MIN, which has neither of the marks
_IMAGE_KEYS = ("image", "img", "image_url", "picture", "url")
_SAID = ("choices", "rating", "relation", "number", "taxonomy", "datetime")  # of a region or a task, and no area
_NO_AREA = ("keypoint", "keypointlabels", "vector", "vectorlabels")


class _Annotation(msgspec.Struct):
    result: list[msgspec.Raw] = []
    was_cancelled: bool | None = False
    ground_truth: bool | None = False


class _Versioned(msgspec.Struct):
    """A prediction, as far as is looked at to see whose it is."""

    model_version: object = None


class _Task(msgspec.Struct):
    data: dict[str, object]
    id: int | str | None = None
    annotations: list[_Annotation] | None = None
    completions: list[_Annotation] | None = None  # as they were called until version 1.0
    predictions: msgspec.Raw = msgspec.Raw(b"[]")  # looked at only where nobody has said anything yet
    file_upload: str | None = None


class _Result(msgspec.Struct):
    value: msgspec.Raw = msgspec.Raw(b"{}")  # a relation has none
    type: str = ""
    id: str | int | None = None
    from_name: str = ""
    to_name: str = ""
    item_index: object = 0  # of pictures that are shown as pages
    original_width: object = None
    original_height: object = None
    image_rotation: object = 0


class _Words(msgspec.Struct):
    polygonlabels: list[str] = []
    brushlabels: list[str] = []
    rectanglelabels: list[str] = []
    ellipselabels: list[str] = []
    bitmasklabels: list[str] = []
    labels: list[str] = []
    choices: list[str] = []  # that are ticked
    text: list[str] | str = []

    @property
    def named(self) -> list[str]:
        drawn = self.polygonlabels + self.brushlabels + self.bitmasklabels + self.rectanglelabels + self.ellipselabels
        return drawn + self.labels

    @property
    def texts(self) -> list[str]:
        return [self.text] if isinstance(self.text, str) else self.text


class _Shape(msgspec.Struct, rename="camel"):
    points: list[tuple[float, float]] | None = None
    rle: list[int] | None = None
    painted: str | None = msgspec.field(name="imageDataURL", default=None)
    x: float = 0.0
    y: float = 0.0
    width: float | None = None
    height: float | None = None
    radius_x: float | None = None
    radius_y: float | None = None
    rotation: float = 0.0


class LabelStudio(FormatSource):
    dataset = "label_studio"
    homepage = "https://labelstud.io"
    frame = "upright"
    format = "Label Studio JSON"
    marks = (b'"data"', b'"result"')

    @classmethod
    def is_mine(cls, path: Path) -> bool:
        return super().is_mine(path) or read_buffer(path).find(_MIN, 0, HEAD) >= 0

    def pictures(self, document: list[msgspec.Raw], path: Path, rejects: RejectLog) -> Iterator[Pictured]:
        for position, raw in enumerate(document):
            try:
                task = _task(raw)
                done = _said(task)
            except RecordFault as fault:
                rejects.add(self.name_of(path), f"[{position}]", fault.reason, fault.detail)
                continue
            record = f"[{position}]" if task.id is None else f"task {task.id}"
            if done:
                chosen = next((one for one in done if one.ground_truth), done[-1])
                page = Pictured(record, _names(task), [])
                page.things = list(_things(chosen.result, page, list(_pictures(task))))
                yield page


def _task(raw: msgspec.Raw) -> _Task:
    """An entry of either export. JSON-MIN has no results, but the values of all that have the same name in the interface."""
    fields = decode_row(raw, dict[str, msgspec.Raw], "bad-annotation")
    if "data" in fields:
        return decode_row(raw, _Task, "bad-annotation")
    results: list[dict[str, object]] = []
    for name, said in fields.items():
        regions = _objects(said)
        for region in regions:
            value = decode_row(region, dict[str, msgspec.Raw], "bad-annotation")
            kind = next((key for key in value if key.endswith("labels")), "")
            size: dict[str, object] = {
                key: value[key] for key in ("original_width", "original_height", "image_rotation") if key in value
            }
            results.append({"type": kind, "from_name": name, "value": region, **size})
        if name == NO_TARGET and not regions:
            words: object = (
                said if bytes(said)[:1] == b"{" else {"text": said}
            )  # several choices are an object of their own
            results.append({"type": "textarea", "from_name": name, "value": words})
    texts = {name: decode_row(said, str, "bad-annotation") for name, said in fields.items() if bytes(said)[:1] == b'"'}
    identity = bytes(fields.get("id", b"null")).decode()
    done = _Annotation([msgspec.Raw(msgspec.json.encode(result)) for result in results])
    return _Task(dict(texts), identity if identity.isdecimal() else texts.get("id"), [done])


def _said(task: _Task) -> list[_Annotation]:
    """What people said, those who skipped the task left out; of a task for import that we exported, what that says."""
    if task.annotations is None and task.completions is None:
        entries = _objects(task.predictions)
        versions = [decode_row(raw, _Versioned, "bad-annotation").model_version for raw in entries]
        ours = (raw for raw, version in zip(entries, versions, strict=True) if version == OURS)
        return [decode_row(raw, _Annotation, "bad-annotation") for raw in ours]
    return [one for one in task.annotations or task.completions or [] if not one.was_cancelled]


def _objects(raw: msgspec.Raw) -> list[msgspec.Raw]:
    """The objects of a list; none of anything else."""
    if bytes(raw)[:1] != b"[":
        return []
    return [one for one in decode_row(raw, list[msgspec.Raw], "bad-annotation") if bytes(one)[:1] == b"{"]


def _things(results: list[msgspec.Raw], page: Pictured, pictures: list[str]) -> Iterator[Thing]:
    """One thing per region, which several results may be about; `page` gets the size that the regions say.

    pictures: fields of the task that hold any, the one that is read first.
    """
    task = page.record
    found: dict[str, Thing] = {}
    drawn: dict[str, _Shape] = {}
    texts: dict[str, list[str]] = {}
    told: list[tuple[str, _Result, _Words]] = []
    for position, raw in enumerate(results):
        record = f"{task} result[{position}]"
        try:
            result = decode_row(raw, _Result, "bad-annotation")
            told.append((record, result, decode_row(result.value, _Words, "bad-sentence")))
        except RecordFault as fault:
            yield Thing(record, [], fault=fault)
    areas = {result.to_name for _, result, _ in told if result.type.lower() not in ("textarea", *_SAID)}
    others = (areas if len(areas) > 1 else set()).union(pictures[1:]).difference(pictures[:1], [""])
    for record, result, words in told:
        kind = result.type.lower()
        if result.to_name in others or result.item_index:
            why = RecordFault("unused-entry", "it belongs to another picture of the task, of which the first is read")
            yield Thing(record, [], fault=why)
        elif result.from_name == NO_TARGET:
            yield Thing(record, words.texts + words.choices + words.named)
        elif kind == "textarea":
            texts.setdefault(str(result.id), []).extend(words.texts)
        elif kind not in _SAID:
            key = record if result.id is None else str(result.id)
            thing = found.setdefault(key, Thing(record, [], instance=key))
            thing.categories += [name for name in words.named if name not in thing.categories]
            _draw(thing, result, page, drawn)
    for key, thing in found.items():
        thing.phrases = texts.pop(key, []) or thing.categories
        yield thing
    for key in texts:
        yield Thing(f"{task} text {key}", [], fault=RecordFault("unused-entry", "a text that belongs to no region"))


def _draw(thing: Thing, result: _Result, page: Pictured, drawn: dict[str, _Shape]) -> None:
    """drawn: the shapes by their ids: a region's labels have it once more."""
    try:
        shape = decode_row(result.value, _Shape, "bad-shape")
        before = drawn.setdefault(thing.instance, shape)
        if before != shape != _Shape():
            raise RecordFault("duplicate-id", "several regions of another shape each have its id")
        if thing.segmentation is not None or thing.fault:
            return
        width, height = numbers.whole(result.original_width), numbers.whole(result.original_height)
        if page.width is None:
            page.width, page.height = width, height
        if (width, height) != (page.width, page.height):
            raise RecordFault(
                "bad-image", f"another region says {page.width}×{page.height}, this one {width}×{height} pixels"
            )
        thing.segmentation = _segmentation(shape, result, width, height)
    except RecordFault as fault:
        thing.fault = fault
    except ValueError:
        thing.fault = RecordFault("bad-shape", "original_width and original_height are no sizes in pixels")


def _segmentation(shape: _Shape, result: _Result, width: int, height: int) -> msgspec.Raw:
    if result.image_rotation:
        raise RecordFault("bad-shape", "the picture was turned in Label Studio: turn the file itself")
    if result.type.lower() in _NO_AREA:
        raise RecordFault("no-area", f"{result.type.lower()} {result.id}")
    if shape.rle is not None:
        from stamp_data.sources.formats import brush, painted  # numpy, which a listing of datasets does without

        painted.check_size(height, width)
        return painted.encoded(brush.decoded(shape.rle, height, width))
    if shape.painted is not None:
        from stamp_data.sources.formats import painted

        return painted.of_data_url(shape.painted, height, width)
    across, down = width / 100, height / 100
    if shape.points is not None:
        return outlines.polygon([(x * across, y * down) for x, y in shape.points])
    if shape.radius_x is not None and shape.radius_y is not None:
        radii = shape.radius_x * across, shape.radius_y * down
        return outlines.ellipse(shape.x * across, shape.y * down, *radii, shape.rotation)
    if shape.width is not None and shape.height is not None:
        size = shape.width * across, shape.height * down
        return outlines.box(shape.x * across, shape.y * down, *size, shape.rotation)
    raise RecordFault("bad-shape", f"nothing that is known is drawn by type {result.type[:40]!r}")


def _pictures(task: _Task) -> dict[str, str]:
    """The fields of a task that hold a picture, the likeliest first."""
    texts = {key: value for key, value in task.data.items() if isinstance(value, str)}
    named = [key for key, text in texts.items() if text.lower().endswith(SUFFIXES)]
    return {key: texts[key] for key in (*_IMAGE_KEYS, *named) if key in texts}


def _names(task: _Task) -> list[str]:
    """What the picture may be called here: as the task says, then by its base name, then as it was before it was uploaded."""
    given = list(_pictures(task).values())
    names = [name for text in (*given[:1], task.file_upload or "") for name in _called(text)]
    return list(dict.fromkeys(names))


def _called(address: str) -> list[str]:
    if not address or address.startswith("data:"):
        return [address] if address else []
    try:
        parts = urlsplit(address)
    except ValueError:
        return [address]
    served = parse_qs(parts.query).get("d", [""])[0]  # /data/local-files/?d=FOLDER/FILE
    path = served or (unquote(parts.path) if parts.scheme else address)
    path = path.lstrip("/") if parts.scheme or path.startswith("/data/") else path
    base = path.rpartition("/")[2]
    return [path, base, _UPLOADED.sub("", base, count=1)]
