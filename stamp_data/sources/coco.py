"""One's own data as COCO instances JSON.

The root is such a file, or a folder with `annotations/*.json` (only `instances*.json` if there are any), with one
`instances*.json` or `_annotations.coco.json` of its own, with one of these in each split's folder, or with a single sub-folder
of the first kind, which is what `stamp-data export --to coco` wrote. The split is the
word in the file's name (`instances_val2017.json`: val), else in its folder's, else "train" for a single file and the
file's stem for several. Phrases are told in `coco_phrases.py`; all annotations of a picture that share one form one target,
since the phrase names them all. Pictures of which nothing is annotated give no record.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from shlex import quote

from stamp_data.shards.rejects import RejectLog, storable
from stamp_data.sources.base import AS_USUAL, Reading, Source
from stamp_data.sources.faults import RecordFault
from stamp_data.sources.instances import Instances, load_instances
from stamp_data.sources.paths import WORD, first_folder, image_path, relative
from stamp_data.sources.rows import TELLING
from stamp_schemas import Annotation, StampError

_PATTERNS = ("annotations/instances*.json", "annotations/*.json", "instances*.json", "*annotations.coco.json",
             "*/_annotations.coco.json")  # fmt: skip
_PROBES = 3  # images whose files are looked for to find their folder


class COCO(Source):
    dataset = "coco"
    frame = "unsure"
    licence = "that of the data"
    homepage = ""
    own = True
    numbered = True
    format = "COCO instances JSON"
    usual_folders = ("", "images", "data", "images/default")

    def __init__(self, root: Path, split_by: str = "", reading: Reading = AS_USUAL) -> None:
        self.only = root if root.is_file() else None
        super().__init__(_home(root) if root.is_file() else _inner(root), split_by, reading)
        self._sets: dict[str, tuple[Path, Instances]] = {}

    @classmethod
    def find(cls, root: Path) -> list[str]:
        is_one = root.is_file() and root.suffix == ".json"
        return [""] if is_one or _annotation_files(_inner(root)) else []

    @property
    def inputs(self) -> list[Path]:
        files = [self.only] if self.only else _annotation_files(self.root)
        if not files:
            several = ", ".join(f"--root {quote(str(path))}" for path in _sets_within(self.root))
            hint = (
                f"there are several sets: {several}" if several else "name the file itself, or put it into annotations/"
            )
            raise StampError(f"{self.root}: no COCO annotations", hint)
        return files

    def load(self) -> None:
        files = self.inputs
        words = [_split_word(path, self.root) for path in files]
        for path, word in zip(files, words, strict=True):
            stem = storable(path.stem)
            alone = "train" if len(files) == 1 else stem
            split = word if word and words.count(word) == 1 else stem if word else alone
            instances = load_instances(path, relative(path, self.root), encoding=self.reading.encoding)
            if instances.telling:
                from stamp_data.sources.foreign import by_key

                key = min(instances.telling, key=TELLING.index)
                form = by_key(key)
                raise StampError(f"{path}: `{key}` says what its annotations mean; this is {form.name}", form.way)
            self._sets[split] = path, instances

    def splits(self) -> list[str]:
        return list(self._sets)

    def annotations(self, split: str, rejects: RejectLog) -> Iterator[Annotation]:
        from stamp_data.sources.coco_phrases import CocoPhrases, by_picture  # most builds are of no file of one's own

        if split not in self._sets:
            return
        path, instances = self._sets[split]
        rejects.rows.extend(instances.broken.rows)
        pictures = self._pictures(path, split, instances)
        reader = CocoPhrases(instances, rejects, crowds=self.reading.crowd == "ignore")
        for image_id, page in by_picture(instances, rejects).items():
            targets, requests, others = reader.read(image_id, page)
            record = f"image {image_id}"
            try:
                image = instances.image(image_id)
                reference = self.image_ref(pictures, image.file_name, image.width, image.height)
            except RecordFault as fault:
                rejects.add(instances.name, record, fault.reason, fault.detail, expressions=len(requests))
                continue
            if requests:
                others = others if self.reading.others else []
                yield Annotation(image_id, (instances.name, record), reference, targets, requests, others=others)
        reader.tell_of_crowds()

    def _pictures(self, path: Path, split: str, instances: Instances) -> str:
        """The folder that holds the first pictures, else the first likely one that exists."""
        match = WORD.search(path.stem)
        names: dict[str, None] = dict.fromkeys([match[1] + match[2] if match and match[2] else split, split])
        beside = "" if path.parent == self.root else relative(path.parent, self.root)
        names[path.stem.removeprefix("instances_")] = None  # CVAT's subset, which need not be a split
        likely = [*(f"images/{name}" for name in names), *names, "images", "data", beside, ""]
        first = [row.file_name for row in list(instances.images.values())[:_PROBES]]
        for folder in likely:
            if any(_exists(self.root, folder, name) for name in first):
                return folder
        return first_folder(self.root, tuple(likely))


def _sets_within(root: Path) -> list[Path]:
    """Sub-folders that are sets by themselves, as `stamp-data export --to coco` writes them."""
    return sorted({path.parent.parent for path in root.glob(f"*/{_PATTERNS[0]}")})


def _inner(root: Path) -> Path:
    """The one set within a folder that holds no annotations itself, else the folder."""
    within = [] if _annotation_files(root) else _sets_within(root)
    return within[0] if len(within) == 1 else root


def _annotation_files(root: Path) -> list[Path]:
    return next((files for pattern in _PATTERNS if (files := sorted(root.glob(pattern)))), [])


def _split_word(path: Path, root: Path) -> str:
    """The split that a file's name, or else its folder's, speaks of; "" if neither does."""
    names = [path.stem] if path.parent == root else [path.stem, path.parent.name]
    return next((match[1] for name in names if (match := WORD.search(name))), "")


def _home(file: Path) -> Path:
    """The folder that picture names are relative to."""
    return file.parent.parent if file.parent.name == "annotations" else file.parent


def _exists(root: Path, folder: str, name: str) -> bool:
    try:
        return (root / image_path(folder, name, up=True)).is_file()
    except (RecordFault, OSError):  # OSError: a folder that may not be looked into
        return False
