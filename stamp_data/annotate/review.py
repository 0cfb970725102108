"""What a review has changed of built records, as a patch for `build --patch` (docs/annotate.md)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import msgspec

from stamp_data import rle
from stamp_data.annotate.stats import documents
from stamp_data.frame import STORED, turned
from stamp_data.patches import mask_digest, phrase_digest
from stamp_data.writing import write_atomic
from stamp_schemas import RLE, StampError
from stamp_schemas.annotated import AnnotatedImage, Reviewed, ReviewedRecord, SaidPhrase
from stamp_schemas.patch import PATCH_SCHEMA, IgnoreChange, PhraseChange, RecordPatch, TargetChange

PATCH = "patch.jsonl"  # within a folder of annotations: where the page writes it


@dataclass
class Changes:
    """What became of a review. reviewed: pictures. patches: of records that changed. open: pictures, by name, with changes that
    nobody has accepted, which are left out. damaged: files that cannot be read, with why.
    """

    reviewed: int = 0
    patches: list[RecordPatch] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)


def changes(folder: Path) -> Changes:
    """What a folder of annotations says otherwise than the sets that it was begun from. UsageFault if it holds none."""
    found = Changes()
    for document in documents(folder, found.damaged):
        if document.reviewed is None:
            continue
        found.reviewed += 1
        review = _Review(document, document.reviewed)
        if review.is_open():
            found.open.append(document.image.path)
        else:
            found.patches += review.patches()
    found.patches.sort(key=lambda one: (one.set, one.record))
    return found


def write_patch(folder: Path, out: Path) -> Changes:
    """Write `changes` as a patch. StampError if there is none to write."""
    found = changes(folder)
    if not found.patches:
        if not found.reviewed:
            why, hint = "no picture of a review", "`stamp-data annotate IMAGES --from SETS` begins one"
        elif found.open:
            why = f"nobody has accepted what is changed of {len(found.open):,} pictures, as of {found.open[0]}"
            hint = "accept each phrase that is changed, or whose mask is"
        else:
            why, hint = f"nothing was changed of {found.reviewed:,} pictures", "accept what you change"
        raise StampError(f"{folder}: {why}", hint)
    write_atomic(out, msgspec.json.Encoder().encode_lines(found.patches))
    return found


class _Review:
    """One picture, what sets said of it, and what of that is otherwise now."""

    def __init__(self, document: AnnotatedImage, reviewed: Reviewed) -> None:
        self.phrases = {phrase.id: phrase for phrase in document.phrases}
        self.masks = {mask.id: mask for mask in document.masks if mask.role == "target"}
        self.reviewed = reviewed
        self._texts: dict[str, str] = {}  # of phrases as they were shown: the first of those that one stands for
        self._named: dict[str, set[str]] = {}  # and their masks
        was: dict[str, str] = {}
        for record in reviewed.records:
            shown = {target.id: target.mask for target in record.targets}
            was |= {target.mask: target.was for target in record.targets}
            for one in record.phrases:
                self._texts.setdefault(one.phrase, one.text)
                self._named.setdefault(one.phrase, {shown[name] for name in one.targets} - {""})
        self.redrawn = {  # masks of the sets that look otherwise
            name for name, mask in self.masks.items() if was.get(name, "") not in ("", self.digest(mask.rle))
        }
        ignored = [mask.rle for mask in document.masks if mask.role == "ignore"]
        self.ignored = rle.union(ignored) if ignored else None

    def is_open(self) -> bool:
        """Whether anything is changed that nobody has accepted, or that a set cannot say."""
        return any(self._is_open(phrase) for phrase in self.phrases.values())

    def patches(self) -> Iterator[RecordPatch]:
        """Of each record that changed. What was added is of the first."""
        added = [phrase for phrase in self.phrases.values() if phrase.id not in self._texts]
        begun = self.reviewed.ignored
        ignores_other = (self.digest(self.ignored) if self.ignored else "") != begun
        for record in self.reviewed.records:
            patch = _RecordReview(self, record).patch(added)
            patch.ignore = IgnoreChange(record.ignored, self.ignored) if ignores_other else None
            added = []
            if patch.targets or patch.phrases or patch.ignore:
                yield patch

    def digest(self, mask: RLE) -> str:
        """What names a mask in the sets."""
        return mask_digest(turned(mask, STORED, self.reviewed.orientation))

    def text(self, phrase: SaidPhrase, before: str) -> str:
        """The words of a phrase that said `before` in a set; other phrases of the set may look the same."""
        return before if phrase.text == self._texts[phrase.id] else phrase.text

    def is_relinked(self, phrase: SaidPhrase) -> bool:
        """Whether a phrase names other masks than it did, however these look."""
        return set(phrase.masks) != self._named[phrase.id]

    def _is_open(self, phrase: SaidPhrase) -> bool:
        if phrase.status == "accepted":
            return not self.masks.keys() >= set(phrase.masks)  # it names what is to be ignored
        if phrase.id not in self._texts or phrase.text != self._texts[phrase.id] or self.is_relinked(phrase):
            return True
        return not self.redrawn.isdisjoint(phrase.masks)


class _RecordReview:
    """One record of the picture."""

    def __init__(self, review: _Review, record: ReviewedRecord) -> None:
        self._review, self._record = review, record
        self._targets = {
            target.mask: target.id for target in reversed(record.targets)
        }  # of those that look the same the first
        self._added: dict[tuple[str, ...], TargetChange] = {}

    def patch(self, added: list[SaidPhrase]) -> RecordPatch:
        """What is otherwise. added: phrases that no record had."""
        was = {target.id: target.was for target in self._record.targets}
        phrases = []
        used = set[str]()
        for one in self._record.phrases:
            phrase, digest = (
                self._review.phrases.get(one.phrase),
                phrase_digest(one.text, [was[name] for name in one.targets]),
            )
            if phrase is None:
                phrases.append(PhraseChange(one.id, digest))
                continue
            targets = self._aim(phrase) if self._review.is_relinked(phrase) else one.targets
            text = self._review.text(phrase, one.text)
            used.update(targets)
            if (text, targets) != (one.text, one.targets):
                phrases.append(PhraseChange(one.id, digest, text, targets))
        names = _unused({one.id for one in self._record.phrases})
        for phrase in added:
            targets = self._aim(phrase)
            used.update(targets)
            phrases.append(PhraseChange(next(names), text=phrase.text, targets=targets))
        redrawn = [
            TargetChange(one.id, self._review.masks[one.mask].rle, one.was)
            for one in self._record.targets
            if one.id in used and one.mask in self._review.redrawn
        ]
        changed = [*redrawn, *self._added.values()]
        return RecordPatch(PATCH_SCHEMA, self._record.set, self._record.record, changed, phrases)

    def _aim(self, phrase: SaidPhrase) -> list[str]:
        """The one target that a phrase names now, [] if it names nothing: of the record, or a new one."""
        if not phrase.masks:
            return []
        if len(phrase.masks) == 1 and (known := self._targets.get(phrase.masks[0])):
            return [known]
        key = tuple(sorted(phrase.masks))
        if key not in self._added:
            masks = [self._review.masks[name] for name in key]
            taken = {target.id for target in self._record.targets} | {one.id for one in self._added.values()}
            categories = [name for mask in masks for name in mask.categories]
            self._added[key] = TargetChange(
                next(_unused(taken)),
                rle.union([mask.rle for mask in masks]),
                instances=[self._targets.get(mask.id, mask.id) for mask in masks],
                categories=list(dict.fromkeys(categories)),
            )
        return [self._added[key].id]


def _unused(taken: set[str]) -> Iterator[str]:
    """Names of what is added, which nothing in the record has."""
    return (name for number in count(1) if (name := f"added-{number}") not in taken)
