"""Annotations to begin with: what built sets say of the same pictures, as proposals for people to look at.

Pictures are told by their bytes, not by their names. A picture of which anything is said already stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from xxhash import xxh3_64_intdigest

from stamp_data import rle
from stamp_data.annotate.change import Change
from stamp_data.annotate.hints import Model, hints
from stamp_data.annotate.images import Images
from stamp_data.annotate.store import Store
from stamp_data.frame import UPRIGHT, turned
from stamp_data.inspect.record_stats import normalised
from stamp_data.shards.manifest import find_sets
from stamp_data.shards.reader import ShardSet
from stamp_data.shards.stores import Location
from stamp_schemas import RLE, Dialogue, Record, StampError, TargetInfo
from stamp_schemas.annotated import DrawnMask, ImageFile, Proposal, Reason, SaidPhrase
from stamp_schemas.record import SEG


@dataclass
class Begun:
    """How many pictures are in the sets, and of how many of them nothing had been said, so that they were begun."""

    known: int = 0
    begun: int = 0


def begin_from(places: Sequence[Location], images: Images, store: Store) -> Begun:
    """Write what sets say of the pictures into a store. UsageFault if there is no set; StampError as of reading one."""
    numbers = _by_digest(images)
    drafts: dict[int, _Draft] = {}
    for place in find_sets(*places):
        with ShardSet(place) as records:
            for row in records.rows:
                for number in numbers.get(row.image_xxh3, ()):
                    draft = drafts.setdefault(number, _Draft(images.orientation(number)))
                    draft.add(records.record(row), records.name)
    told = Begun(len(drafts))
    for number, draft in sorted(drafts.items()):
        if _is_untouched(images.file(number), store):
            store.change(images.file(number), 0, draft.change())
            told.begun += 1
    return told


def _is_untouched(image: ImageFile, store: Store) -> bool:
    try:
        return store.open(image).document.revision == 0
    except StampError:  # a damaged file, which is named when its picture is opened
        return False


def flagged(images: Images, store: Store, model: Model) -> list[str]:
    """The pictures of which something is flagged in what is said of them."""
    return [name for name in images.names if _is_flagged(name, store, model)]


def _is_flagged(name: str, store: Store, model: Model) -> bool:
    try:
        document = store.peek(name)
        return document is not None and bool(hints(document, document.phrases, "", model).flags)
    except StampError:
        return True  # what cannot be read is to be seen


def _by_digest(images: Images) -> dict[int, list[int]]:
    """Numbers of pictures by the hash of their bytes, which several may share; one that cannot be read is left out, and says
    why when it is opened.
    """
    found: dict[int, list[int]] = {}
    for number in range(len(images.names)):
        try:
            found.setdefault(xxh3_64_intdigest(images.bytes(number)), []).append(number)
        except StampError:
            continue
    return found


class _Draft:
    """What the records of one picture say. orientation: its EXIF's, by which masks are turned upright."""

    def __init__(self, orientation: int) -> None:
        self._orientation = orientation
        self._masks: dict[str, DrawnMask] = {}
        self._phrases: dict[str, SaidPhrase] = {}
        self._ignored: list[RLE] = []

    def add(self, record: Record, name: str) -> None:
        """name: of the set, whose proposals these are."""
        for text, targets in (said for dialogue in record.dialogues for said in _said(dialogue)):
            named = [
                self._mask(record.targets[index], name)
                for index in dict.fromkeys(targets)
                if record.targets[index].area
            ]
            nothing: Reason | None = None if named else "other"
            phrase = SaidPhrase(f"p{len(self._phrases) + 1}", text, list(dict.fromkeys(named)), nothing, "proposed")
            self._phrases.setdefault(f"{normalised(text)} {phrase.masks}", phrase)  # later passes say the same
        self._ignored += [self._upright(target.ignore_rle) for target in record.targets if target.ignore_rle]

    def change(self) -> Change:
        masks = {mask.id: mask for mask in self._masks.values()}
        if self._ignored:
            masks["ignored"] = DrawnMask("ignored", rle.union(self._ignored), "ignore")
        return Change({phrase.id: phrase for phrase in self._phrases.values()}, dict(masks))

    def _mask(self, target: TargetInfo, name: str) -> str:
        """The id of a target's mask; of targets with the same pixels there is one."""
        held = self._upright(target.rle)
        fresh = DrawnMask(
            f"m{len(self._masks) + 1}", held, categories=_distinct(target.categories), proposal=Proposal(name, held)
        )
        return self._masks.setdefault(held.counts, fresh).id

    def _upright(self, mask: RLE) -> RLE:
        return turned(mask, UPRIGHT, self._orientation)


def _said(dialogue: Dialogue) -> Iterator[tuple[str, list[int]]]:
    """Each expression with its targets; nothing of conversations, which ask for none."""
    answers = [message for message in dialogue.messages if message.role == "assistant"]
    rest = list(dialogue.targets)
    for text, answer in zip(dialogue.expressions, answers, strict=False):
        count = sum(content.text.count(SEG) for content in answer.content)
        yield text, rest[:count]
        del rest[:count]


def _distinct(names: list[str]) -> list[str]:
    return list(dict.fromkeys(name[:200] for name in names))[:20]
