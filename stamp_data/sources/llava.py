"""LLaVA-1.5 mix665k and conversations in its format: a list of dialogues, most about one picture.

Layout: `llava_v1_5_mix665k.json` in the root, pictures below the root under the names that the records give. The root may
also be another file of this format, JSON or a JSON object a line, whose pictures then lie beside it, or in `images` or `data`.

Variants that other tools write are read too: turns as `messages` with `role` and `content`, contents as lists of parts, the
picture in `images`. What a record talks about has to be there: one that is about a film, a sound or several pictures, or
that points at a picture without naming one, is refused.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import msgspec

from stamp_data import numbers
from stamp_data.shards.rejects import RejectLog, storable
from stamp_data.sources.base import AS_USUAL, Reading, Source
from stamp_data.sources.faults import RecordFault
from stamp_data.sources.jsonfile import as_utf8, decode, decode_row, read_buffer
from stamp_schemas import Annotation, ImageRef, StampError, Turn

FILE = "llava_v1_5_mix665k.json"
MARKER = "<image>"
BY_STEM = "ocr_vqa/images"  # its downloads come under other suffixes than the records say
SUFFIXES = (".jpg", ".png", ".gif", ".jpeg")
LINES = (".jsonl", ".ndjson")
ID_LIMIT = 200  # characters

Place = Literal["", "before", "after"]
NOWHERE: Place = ""

_OTHER_MEDIA = re.compile(r"<\|?(?:video|audio)(?:_pad)?[ _-]?\d*\|?>", re.IGNORECASE)
_PICTURE = re.compile(
    r"<\|?(?:image(?:[ _-]?(?:\d+|pad|placeholder|patch|token|here|start))?|im_patch|vision_start)\s*\|?>|<img>[^<]*</img>",
    re.IGNORECASE,
)
"""`<image>`, and what others write for it: `<image 1>`, `<|image_1|>`, `<|image_pad|>`, `<ImageHere>`, `<img>a.jpg</img>`."""
_NEXT_LINE = re.compile(rb"\s*\{[^\n]*\}\s*\n\s*\{")
"""The first line ends an object and the next begins one, which is not so where an object has lines of its own."""
_PROBE = 1 << 20  # bytes within which a file of lines has its second line


class _Part(msgspec.Struct):
    """A piece of a turn that is a list. image: its path, where that stands here."""

    type: str = ""
    text: str = ""
    image: str = ""
    image_url: str | dict[str, Any] = ""

    @property
    def path(self) -> str:
        url = self.image_url
        return self.image or (url if isinstance(url, str) else str(url.get("url", "")))

    @property
    def kind(self) -> str:
        return self.type or ("image" if self.path else "text")


class _Turn(msgspec.Struct):
    """One turn, in either pair of words."""

    speaker: str = msgspec.field(name="from", default="")
    value: str | list[_Part] | None = None
    role: str = ""
    content: str | list[_Part] | None = None

    @property
    def parts(self) -> list[_Part]:
        said = self.content if self.value is None else self.value
        if said is None:
            raise RecordFault("bad-conversation", "a turn has no text")
        return [_Part(text=said)] if isinstance(said, str) else said


class _Record(msgspec.Struct):
    conversations: list[_Turn] | None = None
    messages: list[_Turn] | None = None
    id: int | float | str | None = None
    image: str | list[str] | None = None
    images: str | list[str] | None = None
    video: Any = None
    videos: Any = None
    audio: Any = None
    audios: Any = None
    system: str | None = None
    system_prompt: str | None = None

    @property
    def turns(self) -> list[_Turn]:
        turns = self.conversations if self.conversations is not None else self.messages
        if turns is None:
            raise RecordFault("bad-conversation", "neither conversations nor messages")
        return turns

    @property
    def pictures(self) -> list[str]:
        """Names of all its pictures; those that a turn, or the other key, repeats count once."""
        one, other = ([value] if isinstance(value, str) else value or [] for value in (self.image, self.images))
        names = [name for name in (one if one == other else one + other) if name]
        parts = [part.path for turn in self.turns for part in turn.parts if part.path]
        return names + [path for path in parts if path not in names]


_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant"}


class LLaVA(Source):
    dataset = "llava"
    licence = "CC BY 4.0 and OpenAI's terms of use (LLaVA-Instruct); pictures under their sources' terms"
    homepage = "https://huggingface.co/datasets/liuhaotian/LLaVA-Instruct-150K"
    format = "conversations as LLaVA has them"

    def __init__(self, root: Path, split_by: str = "", reading: Reading = AS_USUAL) -> None:
        super().__init__(root.parent if root.is_file() else root, split_by, reading)
        self.file = root.name if root.is_file() else FILE
        self.usual_folders = () if self.file == FILE else ("", "images", "data")
        self._rows: list[msgspec.Raw] = []
        self._by_stem: set[str] | None = None

    @classmethod
    def find(cls, root: Path) -> list[str]:
        return [""] if (root / FILE).is_file() else []

    @property
    def inputs(self) -> list[Path]:
        path = self.root / self.file
        if not path.is_file():
            raise StampError(f"{path} does not exist", "name the file itself, or put it there")
        return [path]

    def load(self) -> None:
        path = self.inputs[0]
        data = as_utf8(read_buffer(path), path, self.reading.encoding)
        is_list = bytes(data[:_PROBE]).lstrip()[:1] == b"["
        if not is_list and (path.suffix.lower() in LINES or _NEXT_LINE.match(data[:_PROBE])):
            self._rows = [msgspec.Raw(line) for line in bytes(data).split(b"\n") if line and not line.isspace()]
        else:
            self._rows = decode(data, path, list[msgspec.Raw])

    def splits(self) -> list[str]:
        return ["train"]

    def annotations(self, split: str, rejects: RejectLog) -> Iterator[Annotation]:
        if split != "train":
            return
        width, name = max(6, len(str(len(self._rows)))), storable(self.file)
        for position, raw in enumerate(self._rows):
            record = f"[{position:0{width}d}]"
            try:
                row = decode_row(raw, _Record, "bad-conversation")
                image = self._image(row)
                turns, stray = conversation(row, image is not None)
            except RecordFault as fault:
                rejects.add(name, record, fault.reason, fault.detail, expressions=1)
                continue
            if stray:
                rejects.add(name, record, "image-marker", f"{MARKER} taken out of {stray}", action="cleaned")
            identity = f"{position:0{width}d}" if row.id is None or row.id == "" else numbers.name(row.id)[:ID_LIMIT]
            yield Annotation(identity, (name, record), image, conversation=turns)

    def _image(self, row: _Record) -> ImageRef | None:
        for medium in (row.video, row.videos, row.audio, row.audios):
            if medium:
                raise RecordFault("other-media", f"the conversation is about {str(medium)[:80]}, which is no picture")
        names = row.pictures
        if len(names) > 1:
            raise RecordFault("several-images", f"{len(names)} pictures in one conversation")
        if not names:
            return None
        image = self.image_ref("", names[0])
        if image.root == 0 and image.path.startswith(f"{BY_STEM}/"):
            image.path = self._with_suffix(image.path)
        return image

    def _with_suffix(self, path: str) -> str:
        """The picture under the suffix that it has on disk; the folder is listed once, not asked once per record."""
        if self._by_stem is None:
            folder = self.root / BY_STEM
            self._by_stem = set(os.listdir(folder)) if folder.is_dir() else set()  # noqa: PTH208 - 200,000 names
        plain = PurePosixPath(path)
        names = (plain.name, *(plain.stem + suffix for suffix in SUFFIXES))
        name = next((name for name in names if name in self._by_stem), None)
        if name is None and self.reading.images:
            return path  # which is looked for there
        if name is None:
            raise RecordFault("picture-missing", f"{path} is not on disk, under no usual suffix")
        return f"{BY_STEM}/{name}"


def conversation(row: _Record, has_image: bool) -> tuple[list[Turn], str]:
    """Turns of a record, and in which turn a marker was taken out where no picture can stand ("" if none was).

    The picture stands where the marker is, at the start or the end of the first human turn, else before that turn. Turns
    have to alternate, beginning with the human and ending with the answer; a system turn may come first.
    """
    spoken = [(turn.speaker or turn.role, _text(turn)) for turn in row.turns]
    turns: list[Turn] = []
    system = row.system_prompt or row.system or ""
    if not system and spoken and spoken[0][0] == "system":
        (_, system), *spoken = spoken
    stray = []
    if system:
        text, found = _without_markers(system)
        turns.append(Turn("system", text))
        if found:
            stray.append("the system prompt")
    if not spoken or len(spoken) % 2:
        raise RecordFault("bad-conversation", f"{len(spoken)} turns: not pairs of question and answer")
    for number, (speaker, said) in enumerate(spoken):
        role = "assistant" if number % 2 else "user"
        if _ROLES.get(speaker) != role:
            raise RecordFault("bad-conversation", f"turn {number} is from {speaker[:40]!r}, not the {role}")
        if role == "user":
            _check_pointers(said, number, has_image)
        said, place = _place(said) if has_image and number == 0 else (said, NOWHERE)
        text, found = _without_markers(said)
        if found:
            stray.append(f"turn {number}")
        turns.append(Turn("assistant", text) if number % 2 else Turn("user", text, place))
    return turns, ", ".join(stray[:5])


def _text(turn: _Turn) -> str:
    """What is said in a turn, with a marker where a part of it is a picture."""
    pieces = []
    for part in turn.parts:
        if part.kind not in ("text", "image", "image_url"):
            raise RecordFault("other-media", f"a turn holds a part of type {part.kind[:40]!r}")
        pieces.append(part.text if part.kind == "text" else MARKER)
    return "".join(pieces)


def _check_pointers(said: str, number: int, has_image: bool) -> None:
    """RecordFault if a question points at what is not there: its answer would be one about something unseen."""
    if medium := _OTHER_MEDIA.search(said):
        raise RecordFault("other-media", f"turn {number} speaks of {medium[0]}")
    if not has_image and (marker := _PICTURE.search(said)):
        raise RecordFault("no-picture", f"turn {number} speaks of {marker[0][:40]}, the record names no picture")


def _place(text: str) -> tuple[str, Place]:
    """The first human turn without the marker at its start or end, and which of the two it was."""
    plain = text.strip()
    if plain.startswith(MARKER):
        return plain.removeprefix(MARKER).lstrip(), "before"
    if plain.endswith(MARKER):
        return plain.removesuffix(MARKER).rstrip(), "after"
    return text, "before"


def _without_markers(text: str) -> tuple[str, bool]:
    """The text without any marker, and whether it had one. No two spaces are left, nor are halves of another joined."""
    first, *rest = text.split(MARKER)
    if not rest:
        return text, False
    pieces = [first.rstrip(" \t")]
    for part in rest:
        plain = part.strip(" \t") if part is not rest[-1] else part.lstrip(" \t")
        is_apart = not pieces[-1] or pieces[-1].endswith("\n") or plain.startswith("\n")
        if plain:
            pieces += [plain] if is_apart else [" ", plain]
    return "".join(pieces).strip(), True
