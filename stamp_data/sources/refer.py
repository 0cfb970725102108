"""RefCOCO, RefCOCO+, RefCOCOg and RefCLEF: pickled references to single annotations of an instances file; and gRefCOCO.

Layout: `refer_seg/<name>/refs(<splitBy>).p` and `instances.json`, pictures under `refer_seg/images`. The root may be the
`refer_seg` folder itself.

gRefCOCO: expressions that mean one thing, several, or none; `refer_seg/grefcoco/grefs(unc).json` (or `.p`, which its own loader
looks for first). A reference names a list of annotations, whose union is meant; [-1] (or `no_target`) means that nothing in the
picture is, and then the target is the one empty mask of the record.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import msgspec

from stamp_data.shards.rejects import RejectLog
from stamp_data.sources.base import AS_USUAL, Reading, Source
from stamp_data.sources.faults import RecordFault
from stamp_data.sources.instances import Instances, load_instances
from stamp_data.sources.jsonfile import OTHER_FORMAT, decode_row, load_json, numbered
from stamp_data.sources.paths import first_folder
from stamp_data.sources.pickles import load_plain
from stamp_data.sources.references import Reference, References, collect
from stamp_schemas import Annotation, Region, Request, StampError, Target
from stamp_schemas.annotation import Written

COCO_FOLDERS = ("images/coco_2014/train2014", "images/mscoco/images/train2014", "images/train2014")
SHARED_COCO_FOLDERS = (
    *(f"{name}/train2014" for name in ("coco", "coco/images", "coco_2014", "coco2014")),
    "train2014",
)
CLEF_FOLDERS = ("images/saiapr_tc-12",)
REFER_FORMAT = "a set in REFER's format"
NOTHING = "none"  # id of the one target of an image that no-target expressions point at


class ReferSource(Source):
    """References joined with the annotations they name: one target per set of annotations, one request per sentence.

    several: a reference may name several annotations (their union is the target) or none. patterns: file names of the
    references, with `{}` for the way of splitting; the first that is there is read. image_folders: where the pictures may
    lie, beside the set; the first that exists is used. shared_folders: where else they may lie in the root, with those of
    other sets.
    """

    format = REFER_FORMAT
    several: ClassVar[bool] = False
    patterns: ClassVar[tuple[str, ...]] = ("refs({}).p",)
    image_folders: ClassVar[tuple[str, ...]] = COCO_FOLDERS
    shared_folders: ClassVar[tuple[str, ...]] = SHARED_COCO_FOLDERS

    def __init__(self, root: Path, split_by: str = "", reading: Reading = AS_USUAL) -> None:
        super().__init__(root, split_by, reading)
        prefix = _prefix(root, self.dataset)
        self.usual_folders = (*(prefix + folder for folder in self.image_folders), *self.shared_folders)
        self.folder = folder_of(root, self.dataset)
        self._refs = References()
        self._instances = Instances("")

    @classmethod
    def find(cls, root: Path) -> list[str]:
        folder = root / folder_of(root, cls.dataset)
        return [name for name in cls.split_bys if any((folder / one.format(name)).is_file() for one in cls.patterns)]

    @cached_property
    def refs_file(self) -> str:
        """The file of references, relative to the root; looked for once, as every reference names it."""
        names = [f"{self.folder}/{pattern.format(self.split_by)}" for pattern in self.patterns]
        return next((name for name in names if (self.root / name).is_file()), names[0])

    @property
    def instances_file(self) -> str:
        """The instances file, relative to the root."""
        return f"{self.folder}/instances.json"

    @property
    def image_folder(self) -> str:
        """The folder of pictures, relative to the root."""
        return first_folder(self.root, self.usual_folders)

    @property
    def inputs(self) -> list[Path]:
        paths = [self.root / self.refs_file, self.root / self.instances_file]
        for path in paths:
            if not path.is_file():
                there = ", ".join(self.find(self.root)) or "no references at all"
                raise StampError(f"{path} does not exist", f"split-bys found: {there}; see stamp-data doctor")
        return paths

    def load(self) -> None:
        _, instances_path = self.inputs
        self.load_splits()
        with _no_collection():
            images, annotations = self._refs.wanted()
            self._instances = load_instances(
                instances_path,
                self.instances_file,
                images,
                annotations,
                self.reading.encoding,
                others=self.reading.others,
            )

    def load_splits(self) -> None:
        """Parse the references alone, which is enough for `splits` and `counts`."""
        path = self.root / self.refs_file
        with _no_collection():
            rows = self._read_refs(path)
            self._refs = collect(rows, self.refs_file, several=self.several, limit=path.stat().st_size)

    def splits(self) -> list[str]:
        return self._refs.ordered()

    def counts(self, split: str) -> tuple[int, int, int]:
        """References, sentences and images of a split."""
        refs = self._refs.splits.get(split, [])
        return len(refs), sum(len(ref.sentences) for ref in refs), len({ref.image_id for ref in refs})

    def annotations(self, split: str, rejects: RejectLog) -> Iterator[Annotation]:
        for log in (self._refs.broken, self._refs.faults.get(split), self._instances.broken):
            rejects.rows.extend(log.rows if log else [])
        by_image: dict[str, list[Reference]] = {}
        for ref in self._refs.splits.get(split, []):
            by_image.setdefault(ref.image_id, []).append(ref)
        pictures = self.image_folder
        for image_id, refs in by_image.items():
            annotation = self._annotation(image_id, refs, pictures, rejects)
            if annotation is not None:
                yield annotation

    def _read_refs(self, path: Path) -> Iterator[object]:
        """The raw references, one by one; StampError if the file is not a list of them."""
        rows = load_plain(path)
        if not isinstance(rows, list):
            raise StampError(f"{path}: holds {type(rows).__name__}, not a list of references", OTHER_FORMAT)
        for _, row in numbered(rows):
            yield row

    def _annotation(self, image_id: str, refs: list[Reference], pictures: str, rejects: RejectLog) -> Annotation | None:
        """Everything that the split says about one image, or None with a row in `rejects`."""
        try:
            row = self._instances.image(image_id)
            image = self.image_ref(pictures, row.file_name, row.width, row.height)
        except RecordFault as fault:
            lost = sum(len(ref.sentences) for ref in refs)
            rejects.add(self.instances_file, f"image {image_id}", fault.reason, fault.detail, expressions=lost)
            return None
        where = self.instances_file, f"image {image_id}"
        annotation = Annotation(image_id, where, image)
        places: dict[str, int] = {}
        for ref in refs:
            try:
                target = self._target(ref)
            except RecordFault as fault:
                lost = len(ref.sentences)
                rejects.add(self.refs_file, f"ref {ref.id}", fault.reason, fault.detail, expressions=lost)
                continue
            if target.id not in places:
                places[target.id] = len(annotation.targets)
                annotation.targets.append(target)
            annotation.requests.extend(self._requests(ref, places[target.id]))
        make_unique(annotation.requests)
        if self.reading.others:
            annotation.others = self._others(image_id, annotation.targets)
        return annotation if annotation.requests else None

    def _target(self, ref: Reference) -> Target:
        """The mask that a reference means; RecordFault if any of its annotations cannot be used."""
        names = sorted(ref.annotation_ids, key=_numeric)
        target = Target("-".join(names) or NOTHING, [], names, [])
        for name in names:
            row = self._instances.annotation(name, ref.image_id)
            target.regions.append(Region(row.segmentation, (self.instances_file, f"annotation {name}")))
            target.categories.extend(self._instances.category(row))
        return target

    def _others(self, image_id: str, targets: list[Target]) -> list[Target]:
        """What is annotated in an image besides the targets that are one thing each; crowds and broken ones without regions."""
        single = {target.instances[0] for target in targets if len(target.instances) == 1}
        crowds = self.reading.crowd == "ignore"
        others = []
        for position in self._instances.in_image(image_id):
            row = self._instances.annotations[position]
            name = f"n{position}" if row.id is None else str(row.id)
            if name in single:
                continue
            is_known = position not in self._instances.faulty and not (row.iscrowd and crowds)
            regions = [Region(row.segmentation, (self.instances_file, f"annotation {name}"))] if is_known else []
            others.append(Target(name, regions, [name], self._instances.category(row)))
        return others

    def _requests(self, ref: Reference, place: int) -> list[Request]:
        file, record = self.refs_file, f"ref {ref.id} sentence"
        return [Request(one.id, one.text, [place], (file, f"{record} {one.id}")) for one in ref.sentences]


@contextmanager
def _no_collection() -> Iterator[None]:
    """Millions of small objects, none of them garbage: looking through them again and again costs half of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def make_unique(requests: list[Request] | list[Target] | list[Request | Written]) -> None:
    """Number the later ones of equal ids within one record: `7`, `7-2`, `7-3`."""
    taken = {request.id for request in requests}
    seen: dict[str, int] = {}
    for request in requests:
        times = seen[request.id] = seen.get(request.id, 0) + 1
        if times == 1:
            continue
        name = f"{request.id}-{times}"
        while name in taken:
            times += 1
            name = f"{request.id}-{times}"
        seen[request.id] = times
        taken.add(name)
        request.id = name


def folder_of(root: Path, dataset: str) -> str:
    """The folder of a set, relative to the root."""
    return f"{_prefix(root, dataset)}{dataset}"


def _prefix(root: Path, dataset: str) -> str:
    """`refer_seg/`, or nothing if the root is that folder itself."""
    return "" if not (root / "refer_seg").is_dir() and (root / dataset).is_dir() else "refer_seg/"


def _numeric(name: str) -> tuple[int, int, str]:
    """Ids in the order of their numbers, those that are none after them."""
    return (0, int(name), "") if name.isascii() and name.isdecimal() and len(name) < 20 else (1, 0, name)


class RefCOCO(ReferSource):
    dataset = "refcoco"
    default_split_by = "unc"
    split_bys = ("unc", "google")
    licence = "Apache-2.0 (refer); annotations CC BY 4.0 (COCO); pictures under their Flickr licences"
    homepage = "https://github.com/lichengunc/refer"
    numbered = True


class RefCOCOPlus(RefCOCO):
    dataset = "refcoco+"


class RefCOCOg(RefCOCO):
    dataset = "refcocog"
    default_split_by = "umd"
    split_bys = ("umd", "google")


class RefCLEF(RefCOCO):
    dataset = "refclef"
    split_bys = ("unc", "berkeley")
    image_folders = CLEF_FOLDERS
    shared_folders = ("saiapr_tc-12",)
    licence = "Apache-2.0 (refer); pictures and regions: SAIAPR TC-12, research use"


class GRefCOCO(ReferSource):
    dataset = "grefcoco"
    default_split_by = "unc"
    split_bys = ("unc",)
    licence = "MIT (gRefCOCO); annotations CC BY 4.0 (COCO); pictures under their Flickr licences"
    homepage = "https://github.com/henghuiding/gRefCOCO"
    several = True
    numbered = True
    patterns = ("grefs({}).json", "grefs({}).p")

    def _read_refs(self, path: Path) -> Iterator[object]:
        if path.suffix == ".p":
            yield from super()._read_refs(path)
            return
        for _, raw in numbered(load_json(path, list[msgspec.Raw], encoding=self.reading.encoding)):
            try:
                yield decode_row(raw, object, "bad-reference")
            except RecordFault as fault:
                yield fault
