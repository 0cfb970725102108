"""Formats of other tools: recognised by their files and keys, and named together with the way to build them.

One table. It is asked only once a build has failed, so that nothing that can be read is kept from it; the keys of
`rows.TELLING` alone are asked for before, since a COCO file that has them can be read, but would be misread.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import msgspec

from stamp_data.sources.jsonfile import Buffer, as_utf8, read_buffer
from stamp_data.sources.own_refer import own_sets
from stamp_data.sources.refer import REFER_FORMAT
from stamp_schemas import StampError

DEPTH = 6  # of a JSON file, down to which keys are looked at
FILES = 12  # JSON files looked into
HEAD = 4096  # bytes of an XML file looked at


@dataclass(frozen=True)
class Format:
    """One format, which any one of its signs gives away; a sign of several words takes all of them.

    keys: names in a JSON file. lacks: names of which it has none. files: patterns below the root that match something. head:
    bytes that an XML file begins with. way: what to do, as a hint.
    """

    name: str
    way: str
    keys: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    lacks: str = ""
    head: bytes = b""


_OWN = "write COCO JSON with an `expression` per annotation, then `stamp-data build coco`"
_AS_COCO = "then `stamp-data build coco`"
_LVIS = "`stamp-data build lvis --root FILE`"
_LABEL_STUDIO = "`stamp-data build label_studio --root FILE`"

FORMATS: tuple[Format, ...] = (
    Format("stamp-data annotate", "`stamp-data build annotations --root FOLDER`", ("schema phrases masks",)),
    Format("SA-Co (SAM 3)", "`stamp-data build saco --root FILE`; in COCO of your own it is called `expression`",
           ("text_input", "noun_phrase")),
    Format("MDETR's grounding JSON", f"its phrases are parts of captions; {_OWN}", ("tokens_positive",)),
    Format("PACO", f"{_LVIS} reads its categories; a phrase of your own is an `expression` in COCO", ("obj_ann_id",)),
    Format("COCO panoptic", f"convert it with panopticapi's panoptic2detection_coco_format.py, {_AS_COCO}", ("segments_info",)),
    Format("LVIS", _LVIS, ("neg_category_ids", "synset synonyms images"), lacks="file_name"),
    Format("COCO captions", "it has no masks; instances_*.json of COCO has", ("images caption annotations",),
           lacks="segmentation"),
    Format("Google's refexp JSON", "take the set as REFER has it: `stamp-data build refcocog --split-by google`", ("refexps",)),
    Format("Visual Genome", "its regions are boxes without masks; PhraseCut has masks for it", ("regions phrase region_id",)),
    Format("Visual Genome", "its objects are boxes without masks; PhraseCut has masks for it", ("objects image_id object_id",)),
    Format("PhraseCut", "`stamp-data build phrasecut --root FOLDER`", ("phrase Polygons",)),
    Format("VIA", "`stamp-data build via --root FILE`", ("shape_attributes", "fid_list metadata view", "_via_img_metadata")),
    Format("Label Studio JSON", _LABEL_STUDIO, ("data result",)),
    Format("Label Studio JSON-MIN", _LABEL_STUDIO, ("polygonlabels", "brushlabels")),
    Format("CreateML JSON", f"its objects are boxes without masks; {_OWN}", ("image annotations coordinates",)),
    Format("Supervisely JSON", f"in Supervisely, export to COCO, {_AS_COCO}", ("classTitle",)),
    Format("Cityscapes", f"convert its polygons; {_OWN}", ("imgHeight imgWidth objects",)),
    Format("SA-1B", "it has no phrases: give masks an `expression`, then `stamp-data build sa1b --root FOLDER`",
           ("image annotations segmentation",), lacks="images"),
    Format("SetCon", "`stamp-data build setcon --root FILE`", ("image text masks segments",)),
    Format("Sa2VA JSON", "`stamp-data build sa2va --root FILE`", ("image mask text",)),
    Format(REFER_FORMAT, "`stamp-data build refer --name NAME`", files=("refer_seg/*/refs(*).p", "*/refs(*).p")),
    Format("references of REFER as JSON",
           "load the list with `json`, `pickle` it as refs(unc).p beside it, then `stamp-data build refer --name FOLDER`",
           files=("refer_seg/*/refs*.json", "*/refs*.json")),
    Format("conversations as LLaVA has them", "`stamp-data build llava --root FILE`", ("conversations",)),
    Format("ReasonSeg", "`stamp-data build reason_seg --root FOLDER`, with train/, val/ or test/ in it",
           ("is_sentence shapes",)),
    Format("labelme", "`stamp-data build labelme --root FOLDER`", ("shapes imagePath",)),
    Format("COCO instances JSON", "`stamp-data build coco --root FILE`", ("images annotations segmentation",)),
    Format("CVAT XML", "`stamp-data build cvat --root FILE`", head=b"<annotations"),
    Format("Pascal VOC", f"convert it to COCO, for example with Datumaro or FiftyOne, {_AS_COCO}",
           files=("JPEGImages/* ImageSets", "**/VOC*/JPEGImages"), head=b"<annotation"),
    Format("YOLO", "`stamp-data build yolo --root FOLDER`, with the names of its classes in data.yaml or classes.txt",
           files=("labels/**/*.txt", "*/labels/*.txt", "**/classes.txt", "data.yaml")),
    Format("COCO-Stuff's PNGs", "`stamp-data build coco_stuff --root FOLDER`",
           files=("stuffthingmaps*/**/*.png", "cocostuff/**/*.png")),
    Format("ADE20K", "`stamp-data build ade20k --root FOLDER`", files=("annotations/*/ADE_*.png", "**/ADE_*_seg.png")),
    Format("Label Studio's brush as PNG", "nothing says of which pictures they are: export as JSON, which holds the masks too",
           files=("task-*-annotation-*.png",)),
    Format("gRefCOCO", "`stamp-data build grefcoco`", files=("**/grefs(*).json",)),
    Format("Parquet", f"`stamp-data build refcoco_parquet` or `reason_seg_parquet`; else {_OWN}", files=("**/*.parquet",)),
    Format("Arrow files", f"load them with Hugging Face datasets and {_OWN}", files=("**/*.arrow",)),
    Format("TFRecord", f"read it with TensorFlow Datasets and {_OWN}", files=("**/*.tfrecord*",)),
    Format("masks as PNG",
           "list them in masks.csv, with columns image, mask and phrase, then `stamp-data build masks --root FOLDER`",
           files=("masks/**/*.png", "*mask*/**/*.png", "annotations/**/*.png", "**/Segmentation*/*.png", "**/labels/*.png",
                  "**/gt/*.png")),
    Format("archives", "unpack them first", files=("*.zip", "*.tar*", "*.tgz")),
    Format("CSV", "with columns image, mask and phrase: `stamp-data build masks`; of VIA: `stamp-data build via`",
           files=("*.csv",)),
)  # fmt: skip

READ_AS = {"CSV": ("masks as PNG", "VIA"), "Label Studio JSON-MIN": ("Label Studio JSON",)}
"""Of what is recognised by less than a `Source.format` is: the formats that it can be."""


def recognise(root: Path) -> Format | None:
    """The format of a file, or of what lies in a folder; None if it is not known."""
    files = [root] if root.is_file() else []
    documents = files or _documents(root, ("*.json", "*/*.json", "*/*/*.json", "*.jsonl"))
    keys = [set(_keys_of(path)) for path in documents if path.suffix.lower() in (".json", ".jsonl")]
    heads = [_head(path) for path in files or _documents(root, ("*.xml", "*/*.xml", "*/*/*.xml"))]
    return next((form for form in FORMATS if _is(form, root, keys, heads)), None)


def by_key(key: str) -> Format:
    """The format that a key of `rows.TELLING` gives away."""
    known = next((form for form in FORMATS if key in form.keys), None)
    return known or Format(
        f"COCO JSON with `{key}`", f"this key is not read: call it `expression`, or take it out, {_AS_COCO}"
    )


def explained(fault: StampError, root: Path, format_name: str) -> StampError:
    """`fault`, with the name of the format that lies there, unless it is that of `Source.format`, and the way to build it."""
    form = recognise(root)
    if form is None or format_name in (form.name, *READ_AS.get(form.name, ())):
        return fault
    names = ", ".join(own_sets(root)) or "NAME"
    return type(fault)(f"{fault.message}: this is {form.name}", form.way.replace("NAME", names))


def _is(form: Format, root: Path, keys: list[set[str]], heads: list[bytes]) -> bool:
    lacks = set(form.lacks.split())
    by_keys = (set(sign.split()) <= found and not lacks & found for sign in form.keys for found in keys)
    by_head = (form.head in head for head in heads if form.head)
    return any(by_keys) or any(by_head) or any(_lies_in(root, *sign.split()) for sign in form.files)


def _lies_in(root: Path, first: str, *others: str) -> bool:
    """Whether patterns all match something; of a file, whether it is of the kind that the first looks for anywhere."""
    if root.is_file():
        suffix = first.rpartition("*")[2]
        return suffix.startswith(".") and first.startswith("**") and root.suffix == suffix
    return all(next(root.glob(pattern), None) is not None for pattern in (first, *others))


def _documents(root: Path, patterns: tuple[str, ...]) -> list[Path]:
    found = (path for pattern in patterns for path in sorted(islice(root.glob(pattern), 10 * FILES)))
    return list(islice((path for path in found if path.is_file()), FILES))


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(HEAD)
    except OSError:
        return b""


def _keys_of(path: Path) -> Iterator[str]:
    """Keys of the first objects of a JSON file; nothing if it cannot be read."""
    try:
        data: Buffer = as_utf8(read_buffer(path), path)
        if path.suffix.lower() == ".jsonl":
            data = bytes(data[: data.find(b"\n")]) if data.find(b"\n") > 0 else data
        yield from _keys(data, DEPTH)
    except (StampError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return


def _keys(data: Buffer | msgspec.Raw, depth: int) -> Iterator[str]:
    opening = bytes(memoryview(data)[:64]).lstrip()[:1]
    if depth and opening == b"{":
        for key, value in islice(msgspec.json.decode(data, type=dict[str, msgspec.Raw]).items(), 64):
            yield key
            yield from _keys(value, depth - 1)
    elif depth and opening == b"[":
        for value in msgspec.json.decode(data, type=list[msgspec.Raw])[:2]:
            yield from _keys(value, depth - 1)
