"""Formats of other tools: recognised by their files and keys, and named together with the way to build them.

One table. It is asked only once a build has failed, so that nothing that can be read is kept from it; the keys of
`rows.TELLING` alone are asked for before, since a COCO file that has them can be read, but would be misread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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
    """One format. files: patterns below the root that all match something.

    keys: names that all occur in a JSON file. lacks: names of which none does. head: bytes that an XML file begins with.
    way: what to do, as a hint.
    """

    name: str
    way: str
    files: tuple[str, ...] = ()
    keys: frozenset[str] = frozenset()
    lacks: frozenset[str] = frozenset()
    head: bytes = b""


def _json(name: str, keys: str, way: str, lacks: str = "") -> Format:
    return Format(name, way, keys=frozenset(keys.split()), lacks=frozenset(lacks.split()))


_OWN = "write COCO JSON with an `expression` per annotation, then `stamp-data build coco`"
_AS_COCO = "then `stamp-data build coco`"
_CONVERT = f"convert it to COCO, for example with Datumaro or FiftyOne, {_AS_COCO}"
_REFER = "`stamp-data build refer --name NAME`"
_PICKLE = "load the list with `json`, `pickle` it as refs(unc).p beside it, then `stamp-data build refer --name FOLDER`"
_LVIS = "`stamp-data build lvis --root FILE`"
_LABEL_STUDIO = "`stamp-data build label_studio --root FILE`"
_PNG = "list them in masks.csv, with columns image, mask and phrase, then `stamp-data build masks --root FOLDER`"
_SA_CO = "`stamp-data build saco --root FILE`; in COCO of your own it is called `expression`"
_YOLO = "`stamp-data build yolo --root FOLDER`, with the names of its classes in data.yaml or classes.txt"

FORMATS: tuple[Format, ...] = (
    _json("stamp-data annotate", "schema phrases masks", "`stamp-data build annotations --root FOLDER`"),
    _json("SA-Co (SAM 3)", "text_input", _SA_CO),
    _json("SA-Co (SAM 3)", "noun_phrase", _SA_CO),
    _json("MDETR's grounding JSON", "tokens_positive", f"its phrases are parts of captions; {_OWN}"),
    _json("PACO", "obj_ann_id", f"{_LVIS} reads its categories; a phrase of your own is an `expression` in COCO"),
    _json("COCO panoptic", "segments_info", f"convert it with panopticapi's panoptic2detection_coco_format.py, {_AS_COCO}"),
    _json("LVIS", "neg_category_ids", _LVIS, "file_name"),
    _json("LVIS", "synset synonyms images", _LVIS, "file_name"),
    _json("COCO captions", "images caption annotations", "it has no masks; instances_*.json of COCO has", "segmentation"),
    _json("Google's refexp JSON", "refexps", "take the set as REFER has it: `stamp-data build refcocog --split-by google`"),
    _json("Visual Genome", "regions phrase region_id", "its regions are boxes without masks; PhraseCut has masks for it"),
    _json("Visual Genome", "objects image_id object_id", "its objects are boxes without masks; PhraseCut has masks for it"),
    _json("PhraseCut", "phrase Polygons", "`stamp-data build phrasecut --root FOLDER`"),
    _json("VIA", "shape_attributes", "`stamp-data build via --root FILE`"),
    _json("VIA", "fid_list metadata view", "`stamp-data build via --root FILE`"),
    _json("Label Studio JSON", "data result", _LABEL_STUDIO),
    _json("VIA", "_via_img_metadata", "`stamp-data build via --root FILE`"),
    _json("Label Studio JSON-MIN", "polygonlabels", _LABEL_STUDIO),
    _json("Label Studio JSON-MIN", "brushlabels", _LABEL_STUDIO),
    _json("CreateML JSON", "image annotations coordinates", f"its objects are boxes without masks; {_OWN}"),
    _json("Supervisely JSON", "classTitle", f"in Supervisely, export to COCO, {_AS_COCO}"),
    _json("Cityscapes", "imgHeight imgWidth objects", f"convert its polygons; {_OWN}"),
    _json("SA-1B", "image annotations segmentation",
          "it has no phrases: give masks an `expression`, then `stamp-data build sa1b --root FOLDER`", "images"),
    _json("SetCon", "image text masks segments", "`stamp-data build setcon --root FILE`"),
    _json("Sa2VA JSON", "image mask text", "`stamp-data build sa2va --root FILE`"),
    Format(REFER_FORMAT, _REFER, ("refer_seg/*/refs(*).p",)),
    Format(REFER_FORMAT, _REFER, ("*/refs(*).p",)),
    Format("references of REFER as JSON", _PICKLE, ("refer_seg/*/refs*.json",)),
    Format("references of REFER as JSON", _PICKLE, ("*/refs*.json",)),
    _json("conversations as LLaVA has them", "conversations", "`stamp-data build llava --root FILE`"),
    _json("ReasonSeg", "is_sentence shapes", "`stamp-data build reason_seg --root FOLDER`, with train/, val/ or test/ in it"),
    _json("labelme", "shapes imagePath", "`stamp-data build labelme --root FOLDER`"),
    _json("COCO instances JSON", "images annotations segmentation", "`stamp-data build coco --root FILE`"),
    Format("CVAT XML", "`stamp-data build cvat --root FILE`", head=b"<annotations"),
    Format("Pascal VOC", _CONVERT, ("JPEGImages/*", "ImageSets")),
    Format("Pascal VOC", _CONVERT, ("**/VOC*/JPEGImages",)),
    Format("Pascal VOC", _CONVERT, head=b"<annotation"),
    Format("YOLO", _YOLO, ("labels/**/*.txt",)),
    Format("YOLO", _YOLO, ("*/labels/*.txt",)),
    Format("YOLO", _YOLO, ("**/classes.txt",)),
    Format("YOLO", _YOLO, ("data.yaml",)),
    Format("COCO-Stuff's PNGs", "`stamp-data build coco_stuff --root FOLDER`", ("stuffthingmaps*/**/*.png",)),
    Format("COCO-Stuff's PNGs", "`stamp-data build coco_stuff --root FOLDER`", ("cocostuff/**/*.png",)),
    Format("ADE20K", "`stamp-data build ade20k --root FOLDER`", ("annotations/*/ADE_*.png",)),
    Format("ADE20K", "`stamp-data build ade20k --root FOLDER`", ("**/ADE_*_seg.png",)),
    Format("Label Studio's brush as PNG", "nothing says of which pictures they are: export as JSON, which holds the masks too",
           ("task-*-annotation-*.png",)),
    Format("gRefCOCO", "`stamp-data build grefcoco`", ("**/grefs(*).json",)),
    Format("Parquet", f"`stamp-data build refcoco_parquet` or `reason_seg_parquet`; else {_OWN}", ("**/*.parquet",)),
    Format("Arrow files", f"load them with Hugging Face datasets and {_OWN}", ("**/*.arrow",)),
    Format("TFRecord", f"read it with TensorFlow Datasets and {_OWN}", ("**/*.tfrecord*",)),
    Format("masks as PNG", _PNG, ("masks/**/*.png",)),
    Format("masks as PNG", _PNG, ("*mask*/**/*.png",)),
    Format("masks as PNG", _PNG, ("annotations/**/*.png",)),
    Format("masks as PNG", _PNG, ("**/Segmentation*/*.png",)),
    Format("masks as PNG", _PNG, ("**/labels/*.png",)),
    Format("masks as PNG", _PNG, ("**/gt/*.png",)),
    Format("archives", "unpack them first", ("*.zip",)),
    Format("archives", "unpack them first", ("*.tar*",)),
    Format("archives", "unpack them first", ("*.tgz",)),
    Format("CSV", "with columns image, mask and phrase: `stamp-data build masks`; of VIA: `stamp-data build via`", ("*.csv",)),
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
    known = next((form for form in FORMATS if form.keys == {key}), None)
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


def _is(form: Format, root: Path, keys: Iterable[set[str]], heads: Iterable[bytes]) -> bool:
    if form.keys:
        return any(form.keys <= found and not form.lacks & found for found in keys)
    if form.head:
        return any(form.head in head for head in heads)
    suffix = form.files[0].rpartition("*")[2]
    if root.is_file():
        return suffix.startswith(".") and form.files[0].startswith("**") and root.suffix == suffix
    return all(next(root.glob(pattern), None) is not None for pattern in form.files)


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
