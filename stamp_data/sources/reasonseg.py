"""ReasonSeg: one labelme-like JSON beside each picture, with the questions or phrases that ask for its target.

Layout: `reason_seg/[ReasonSeg/]{train,val,test}/<stem>.jpg` and `<stem>.json`; `explanatory/train.json` gives answers in
words to some training pictures. Sizes are not in the files. Texts are UTF-8 and,
rarely, cp1252.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from stamp_data.shards.rejects import RejectLog, storable
from stamp_data.sources.base import AS_USUAL, Reading, Source
from stamp_data.sources.faults import RecordFault, unreadable
from stamp_data.sources.formats import outlines
from stamp_data.sources.jsonfile import SMALL_LIMIT, decode_row, load_json
from stamp_data.sources.paths import first_folder, relative
from stamp_data.sources.references import checked_text
from stamp_schemas import Annotation, ImageRef, Region, Request, StampError, Target
from stamp_schemas.annotation import Form, Where

FOLDERS = ("reason_seg/ReasonSeg", "reason_seg", "ReasonSeg")
SPLITS = ("train", "val", "test")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")  # in either case; of several, the first counts
ENCODING = "cp1252"


class _Shape(msgspec.Struct):
    label: str
    points: list[tuple[float, float]]
    shape_type: str = "polygon"


class _File(msgspec.Struct):
    text: list[msgspec.Raw]
    is_sentence: bool
    shapes: list[msgspec.Raw]


class _Explanation(msgspec.Struct):
    image: str
    query: str
    outputs: str


class ReasonSeg(Source):
    dataset = "reason_seg"
    licence = "Apache-2.0 (LISA); pictures: OpenImages (CC BY 2.0) and ScanNetv2 (its own terms)"
    homepage = "https://github.com/dvlab-research/LISA"
    frame = "upright"
    format = "ReasonSeg"

    def __init__(self, root: Path, split_by: str = "", reading: Reading = AS_USUAL) -> None:
        super().__init__(root, split_by, reading)
        self.folder = _folder(root)
        self._files: dict[str, list[Path]] = {}

    @classmethod
    def find(cls, root: Path) -> list[str]:
        return [""] if any(_annotation_files(root / _folder(root) / split) for split in SPLITS) else []

    @property
    def image_folder(self) -> str:
        """The folder of the splits, relative to the root; pictures lie beside their files."""
        return self.folder

    @property
    def explanatory(self) -> Path:
        """Where the answers in words are, if the download has them."""
        return self.root / self.folder / "explanatory" / "train.json"

    @property
    def inputs(self) -> list[Path]:
        base = self.root / self.folder
        files = [path for split in SPLITS for path in _annotation_files(base / split)]
        if not files:
            raise StampError(f"{base} holds no train, val or test folder with JSON files", "see stamp-data doctor")
        # a folder or a dangling link called x.json is a reject, but nothing to take a digest of
        return [path for path in (*files, self.explanatory) if path.is_file()]

    def load(self) -> None:
        base = self.root / self.folder
        self._files = {split: files for split in SPLITS if (files := _annotation_files(base / split))}

    def splits(self) -> list[str]:
        return list(self._files)

    def annotations(self, split: str, rejects: RejectLog) -> Iterator[Annotation]:
        explanations = self._explanations(rejects) if split == "train" else {}
        files = self._files.get(split, [])
        folder = f"{self.folder}/{split}"
        pictures = _pictures(self.root / folder) if files else {}
        for path in files:
            name = pictures.get(path.stem, f"{path.stem}.jpg")
            try:
                annotation = self._annotation(path, self.image_ref(folder, name), rejects)
            except RecordFault as fault:
                rejects.add(relative(path, self.root), path.stem, fault.reason, fault.detail)
                continue
            if annotation is None:
                continue
            annotation.requests.extend(explanations.pop(path.stem, []))
            yield annotation
        for stem, requests in explanations.items():
            detail = f"{stem} is no usable record of this split"
            rejects.add(*requests[0].where, "unused-entry", detail, expressions=len(requests))

    def _annotation(self, path: Path, image: ImageRef, rejects: RejectLog) -> Annotation | None:
        """The record of one file, or None with rows in `rejects` if nothing is left of it."""
        name, stem = relative(path, self.root), storable(path.stem)
        try:
            file = load_json(path, _File, SMALL_LIMIT, self.reading.encoding or ENCODING)
        except StampError as fault:
            raise unreadable(fault, path) from None
        regions, broken = self._regions(file.shapes, name, rejects)
        if broken or not any(region.role == "target" for region in regions):
            reason, detail = ("bad-shape", "a shape is unusable") if broken else ("no-target", "no shape is a target")
            rejects.add(name, stem, reason, detail, expressions=len(file.text))
            return None
        where = name, stem
        annotation = Annotation(stem, where, image, [Target("0", regions, ["0"])])
        form: Form = "question" if file.is_sentence else "description"
        for number, raw in enumerate(file.text):
            try:
                text = checked_text(decode_row(raw, str, "bad-sentence"))
            except RecordFault as fault:
                rejects.add(name, f"text {number}", fault.reason, fault.detail, expressions=1)
                continue
            annotation.requests.append(Request(str(number), text, [0], (name, f"text {number}"), form))
        if not file.text:
            rejects.add(name, stem, "empty-text", "text is an empty list")
        return annotation if annotation.requests else None

    def _regions(self, shapes: list[msgspec.Raw], name: str, rejects: RejectLog) -> tuple[list[Region], bool]:
        """Regions of a file, and whether a shape that belongs to the mask had to be left out."""
        regions, broken = [], False
        for position, raw in enumerate(shapes):
            try:
                shape = decode_row(raw, _Shape, "bad-shape")
                region = _region(shape, (name, f"shapes[{position}]"))
            except RecordFault as fault:
                rejects.add(name, f"shapes[{position}]", fault.reason, fault.detail)
                broken = True
                continue
            if region is not None:
                regions.append(region)
        return regions, broken

    def _explanations(self, rejects: RejectLog) -> dict[str, list[Request]]:
        """Requests with an answer in words, by the stem of their picture."""
        found: dict[str, list[Request]] = {}
        path = self.explanatory
        if not path.is_file():
            return found
        name = relative(path, self.root)
        try:
            rows = load_json(path, list[msgspec.Raw], encoding=self.reading.encoding or ENCODING)
        except StampError as fault:
            rejects.add(name, path.stem, "unreadable-file", unreadable(fault, path).detail)
            return found
        for position, raw in enumerate(rows):
            record = f"[{position}]"
            try:
                entry = decode_row(raw, _Explanation, "bad-reference")
                checked_text(entry.query)
                checked_text(entry.outputs)
            except RecordFault as fault:
                rejects.add(name, record, fault.reason, fault.detail, expressions=1)
                continue
            stem = Path(entry.image).stem
            identity = f"e{len(found.get(stem, []))}"
            request = Request(identity, entry.query, [0], (name, record), "explanation", entry.outputs)
            found.setdefault(stem, []).append(request)
        return found


def _region(shape: _Shape, where: Where) -> Region | None:
    """The shape as a region, None for a `flag`, which marks nothing. RecordFault for labels and kinds that are unknown."""
    label = shape.label.lower()
    if label == "flag":
        return None
    if label not in ("target", "ignore"):
        raise RecordFault("bad-shape", f"label is {shape.label[:40]!r}, not target, ignore or flag")
    if shape.shape_type != "polygon":
        raise RecordFault("bad-shape", f"shape_type is {shape.shape_type[:40]!r}, not polygon")
    return Region(outlines.polygons([shape.points]), where, "target" if label == "target" else "ignore")


def _folder(root: Path) -> str:
    """Where train, val and test are, relative to the root."""
    holding = tuple(name for name in FOLDERS if any((root / name / split).is_dir() for split in SPLITS))
    return first_folder(root, holding or FOLDERS[1:2])


def _pictures(folder: Path) -> dict[str, str]:
    """File names of the pictures in a folder by their stems."""
    paths = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES]
    paths.sort(key=lambda path: (SUFFIXES.index(path.suffix.lower()), path.suffix.isupper()), reverse=True)
    return {path.stem: path.name for path in paths}


def _annotation_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.[jJ][sS][oO][nN]")) if folder.is_dir() else []
