"""LLaVA-1.5 mix665k and conversations in its format: a list of dialogues, most about one picture.

Layout: `llava_v1_5_mix665k.json` in the root, pictures below the root under the names that the records give. The root may
also be another JSON file of this format, whose pictures then lie beside it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Literal

import msgspec

from stamp_data.rejects import RejectLog
from stamp_data.sources.base import AS_USUAL, Reading, Source
from stamp_data.sources.faults import RecordFault
from stamp_data.sources.jsonfile import decode_row, load_json
from stamp_data.sources.paths import image_path
from stamp_schemas import Annotation, ImageRef, StampError, Turn

FILE = "llava_v1_5_mix665k.json"
MARKER = "<image>"
BY_STEM = "ocr_vqa/images"  # its downloads come under other suffixes than the records say
SUFFIXES = (".jpg", ".png", ".gif", ".jpeg")
ID_LIMIT = 200  # characters

Place = Literal["", "before", "after"]
NOWHERE: Place = ""


class _Turn(msgspec.Struct):
    speaker: str = msgspec.field(name="from")
    value: str


class _Record(msgspec.Struct):
    conversations: list[_Turn]
    id: int | str | None = None
    image: str | list[str] | None = None
    system_prompt: str | None = None


_RECORD = msgspec.json.Decoder(_Record)
_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant"}


class LLaVA(Source):
    dataset = "llava"
    licence = "CC BY 4.0 and OpenAI's terms of use (LLaVA-Instruct); pictures under their sources' terms"
    homepage = "https://huggingface.co/datasets/liuhaotian/LLaVA-Instruct-150K"

    def __init__(self, root: Path, split_by: str = "", reading: Reading = AS_USUAL) -> None:
        super().__init__(root.parent if root.is_file() else root, split_by, reading)
        self.file = root.name if root.is_file() else FILE
        self._rows: list[msgspec.Raw] = []
        self._by_stem: set[str] | None = None

    @classmethod
    def find(cls, root: Path) -> list[str]:
        return [""] if (root / FILE).is_file() else []

    @property
    def inputs(self) -> list[Path]:
        path = self.root / self.file
        if not path.is_file():
            raise StampError(f"{path} does not exist", "see stamp-data doctor")
        return [path]

    def load(self) -> None:
        self._rows = load_json(self.inputs[0], list[msgspec.Raw], encoding=self.reading.encoding)

    def splits(self) -> list[str]:
        return ["train"]

    def annotations(self, split: str, rejects: RejectLog) -> Iterator[Annotation]:
        if split != "train":
            return
        width = max(6, len(str(len(self._rows))))
        for position, raw in enumerate(self._rows):
            record = f"[{position:0{width}d}]"
            try:
                row = decode_row(raw, _RECORD, "bad-conversation")
                image = self._image(row)
                turns, stray = conversation(row, image is not None)
            except RecordFault as fault:
                rejects.add(self.file, record, fault.reason, fault.detail, expressions=1)
                continue
            if stray:
                rejects.add(self.file, record, "image-marker", f"{MARKER} taken out of {stray}", action="cleaned")
            identity = f"{position:0{width}d}" if row.id is None or row.id == "" else str(row.id)[:ID_LIMIT]
            yield Annotation(identity, (self.file, record), image, conversation=turns)

    def _image(self, row: _Record) -> ImageRef | None:
        names = [row.image] if isinstance(row.image, str) else row.image or []
        if len(names) > 1:
            raise RecordFault("several-images", f"{len(names)} pictures in one conversation")
        if not names or not names[0]:
            return None
        path = image_path("", names[0])
        return ImageRef(self._with_suffix(path) if path.startswith(f"{BY_STEM}/") else path)

    def _with_suffix(self, path: str) -> str:
        """The picture under the suffix that it has on disk; the folder is listed once, not asked once per record."""
        if self._by_stem is None:
            folder = self.root / BY_STEM
            self._by_stem = set(os.listdir(folder)) if folder.is_dir() else set()  # noqa: PTH208 - 200,000 names
        plain = PurePosixPath(path)
        names = (plain.name, *(plain.stem + suffix for suffix in SUFFIXES))
        name = next((name for name in names if name in self._by_stem), None)
        if name is None:
            raise RecordFault("picture-missing", f"{path} is not on disk, under no usual suffix")
        return f"{BY_STEM}/{name}"


def conversation(row: _Record, has_image: bool) -> tuple[list[Turn], str]:
    """Turns of a record, and in which turn a marker was taken out where no picture can stand ("" if none was).

    The picture stands where the marker is, at the start or the end of the first human turn, else before that turn. Turns
    have to alternate, beginning with the human and ending with the answer; a system turn may come first.
    """
    spoken = list(row.conversations)
    turns: list[Turn] = []
    system = row.system_prompt or (spoken.pop(0).value if spoken and spoken[0].speaker == "system" else "")
    stray = []
    if system:
        text, found = _without_markers(system)
        turns.append(Turn("system", text))
        if found:
            stray.append("the system prompt")
    if not spoken or len(spoken) % 2:
        raise RecordFault("bad-conversation", f"{len(spoken)} turns: not pairs of question and answer")
    for number, turn in enumerate(spoken):
        role = "assistant" if number % 2 else "user"
        if _ROLES.get(turn.speaker) != role:
            raise RecordFault("bad-conversation", f"turn {number} is from {turn.speaker[:40]!r}, not the {role}")
        said, place = _place(turn.value) if has_image and number == 0 else (turn.value, NOWHERE)
        text, found = _without_markers(said)
        if found:
            stray.append(f"turn {number}")
        turns.append(Turn("assistant", text) if number % 2 else Turn("user", text, place))
    return turns, ", ".join(stray[:5])


def _place(text: str) -> tuple[str, Place]:
    """The first human turn without the marker at its start or end, and which of the two it was."""
    plain = text.strip()
    if plain.startswith(MARKER):
        return plain.removeprefix(MARKER).lstrip(), "before"
    if plain.endswith(MARKER):
        return plain.removesuffix(MARKER).rstrip(), "after"
    return text, "before"


def _without_markers(text: str) -> tuple[str, bool]:
    """The text without any marker, and whether it had one. A space is left, so that no halves of another are joined."""
    return (text.replace(MARKER, " ").strip(), True) if MARKER in text else (text, False)
