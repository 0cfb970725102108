"""Label Studio: tasks with predictions, so that people begin with what is there and mend it.

    <set>/<split>.json             tasks to import
    <set>/<split>/KEY.jpg          the pictures
    <set>/label_config.xml         the labelling interface that the tasks are made for

A region is a brush (or, as outlines, a polygon each), labelled with its target's category; its phrases are a text of the
region. What names nothing is in the text field `no_target` of the picture; a region labelled `__ignore__` counts neither for
nor against anything. Pictures are addressed as local files below the set's folder.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from stamp_data.export.base import PARTED, JsonList, Place, write_picture
from stamp_data.export.outline import polygons
from stamp_data.export.phrases import UNNAMED, Page, PhraseFormat, label
from stamp_data.export.report import Tally
from stamp_data.shards.reader import Loaded
from stamp_data.sources.formats.brush import painted
from stamp_data.sources.formats.label_studio import OURS
from stamp_data.sources.phrases import IGNORE, NO_TARGET
from stamp_schemas import RLE

LABELS, PHRASE = "label", "phrase"  # names in the labelling interface
_CONFIG = """<View>
  <Image name="image" value="$image" zoom="true"/>
  <{kind} name="label" toName="image">
{labels}
  </{kind}>
  <TextArea name="phrase" toName="image" perRegion="true" editable="true"/>
  <TextArea name="no_target" toName="image" editable="true"/>
</View>
"""


class LabelStudio(PhraseFormat):
    name = "label_studio"
    notes = (
        "questions and answers around the expressions are left out: `stamp-data build label_studio` draws them anew",
        "of several categories of a target the first is kept",
        "Label Studio wants LOCAL_FILES_SERVING_ENABLED=true and, in LOCAL_FILES_DOCUMENT_ROOT, the set's folder",
        PARTED,
    )
    place = "a region"
    upright = True

    def __init__(self, out: Path, tally: Tally, polygons: bool) -> None:
        super().__init__(out, tally, polygons)
        self._labels: dict[str, dict[str, None]] = {}

    def begin(self, place: Place) -> None:
        self._folder, self._split = self.out / place.dataset, place.split
        (self._folder / place.split).mkdir(parents=True)
        self._known = self._labels.setdefault(place.dataset, {})
        self._tasks = JsonList(self._folder / f"{place.split}.json")

    def write(self, page: Page, loaded: Loaded) -> None:
        picture = f"{self._split}/{write_picture(loaded, self._folder / self._split)}"
        result: list[dict[str, object]] = []
        for number, phrases in page.named.items():
            target = page.targets[number]
            name = "".join(letter for letter in label(target) if letter.isprintable())  # the rest is none of XML's
            result += self._regions(page, target.rle, name or UNNAMED, str(number), phrases)
        if page.ignored:
            result += self._regions(page, page.ignored, IGNORE, "ignore", [])
        if page.nothing:
            result.append(_texts("nothing", NO_TARGET, page.nothing))
        data = {"image": f"/data/local-files/?d={quote(picture)}", "key": page.key}
        self._tasks.append({"data": data, "predictions": [{"model_version": OURS, "result": result}]})

    def _regions(self, page: Page, mask: RLE, name: str, identity: str, phrases: list[str]) -> list[dict[str, object]]:
        """The results of one mask: its parts, each with its phrases."""
        self._known[name] = None
        width, height = page.image.width, page.image.height
        values: list[dict[str, object]]
        if self.polygons:
            rings = (zip(ring[::2], ring[1::2], strict=True) for ring in polygons(mask))
            values = [
                {"points": [[x * 100 / width, y * 100 / height] for x, y in ring], "closed": True} for ring in rings
            ]
        else:
            values = [{"format": "rle", "rle": painted(mask)}]
        results = []
        for part, value in enumerate(values):
            region = f"{identity}-{part}"
            results.append(
                {
                    "id": region,
                    "type": self._kind.lower(),
                    "from_name": LABELS,
                    "to_name": "image",
                    "original_width": width,
                    "original_height": height,
                    "image_rotation": 0,
                    "value": value | {self._kind.lower(): [name]},
                }
            )
            if phrases:
                results.append(_texts(region, PHRASE, phrases))
        return results

    @property
    def _kind(self) -> str:
        return "PolygonLabels" if self.polygons else "BrushLabels"

    def end(self) -> None:
        self._tasks.close()

    def finish(self) -> None:
        """Write the labelling interface of each set, with all labels of its splits."""
        for dataset, names in self._labels.items():
            labels = "\n".join(f"    <Label value={quoteattr(name)}/>" for name in names)
            text = _CONFIG.format(kind=self._kind, labels=labels)
            (self.out / dataset / "label_config.xml").write_text(text, encoding="utf-8")


def _texts(region: str, name: str, texts: list[str]) -> dict[str, object]:
    return {"id": region, "type": "textarea", "from_name": name, "to_name": "image", "value": {"text": texts}}
