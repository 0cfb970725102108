"""What is known of one record, in plain numbers: computed once, read by flags, filters, statistics and renderers."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import msgspec
import numpy as np

from stamp_data import rle as rles
from stamp_data.draw.palette import colours
from stamp_data.grid import rle_coverage
from stamp_data.inspect.flags import Finding
from stamp_data.rle import UInt8
from stamp_data.shards.index import IndexRow
from stamp_schemas import Dialogue, Grid, Manifest, Record
from stamp_schemas.record import CHARACTERS_PER_TOKEN, FULL, IGNORE

NO_TARGET = "none"  # id of the target that no-target expressions point at

LARGEST = 1 << 62  # pixels; what a damaged record claims may be more than any float
_PASS = re.compile(r"-p\d+$")
_PUNCTUATION = re.compile(r"[^\w\s]")


@dataclass(frozen=True)
class TargetStats:
    """area: share of the picture's pixels, 0–1. patches: grid patches at least half covered.

    iou: of the mask against those patches at full size (both empty: 1), ignored patches left out.
    """

    area: float
    patches: int
    iou: float


@dataclass(frozen=True, slots=True)
class DialogueStats:
    """kind: single, multi, no_target, rounds where several requests were joined, or chat where nothing is to be segmented.

    area: summed over its targets, 0–1. text: the expression, or those of all rounds; of a chat the first question.
    text_tokens: counted, or estimated from characters.
    masks: `<|seg|>` in the answers. iou: lowest of its targets with a mask; 1 if none has one. twin: the dialogue of an
    earlier pass that says the same, itself if there is none.
    """

    index: int
    kind: str
    text: str
    targets: tuple[int, ...]
    turns: int
    masks: int
    chars: int
    text_tokens: float
    total_tokens: float
    area: float
    patches: int
    iou: float
    twin: int


@dataclass
class RecordStats:
    """One record with what follows from it.

    labels: uint8 [targets, grid height, grid width], None without targets. side: labels along a patch's side of the model
    that is to learn from them. findings, shown (the dialogues that were asked for): filled in by who reads the record.
    """

    number: int
    manifest: Manifest
    row: IndexRow
    record: Record
    labels: UInt8 | None
    findings: list[Finding] = field(default_factory=list)
    side: int = 1
    shown: list[DialogueStats] = field(default_factory=list)

    @cached_property
    def targets(self) -> list[TargetStats]:
        """One entry per target of the record."""
        count = len(self.record.targets)
        patches, ious = [0] * count, [0.0] * count
        if self.labels is not None and len(self.labels) == count:
            patches, ious = patch_quality(self.labels)
        return [TargetStats(self._area(index), patches[index], ious[index]) for index in range(count)]

    def learnt(self, index: int) -> tuple[int, float]:
        """(labels at least half covered, IoU of the mask with them) of a target, in the model's own labels."""
        coarse, target, image = self.targets[index], self.record.targets[index], self.record.image
        if self.side == 1 or self.labels is None or image is None:
            return coarse.patches, coarse.iou
        height, width = self.labels.shape[-2:]
        try:  # a mask is believed to be as large as the picture only once that is seen
            mask = rles.checked(image.height, image.width, target.rle.size, target.rle.counts)
            ignored = target.ignore_rle
            if ignored:
                ignored = rles.checked(image.height, image.width, ignored.size, ignored.counts)
            fine = rle_coverage(mask, Grid(height * self.side, width * self.side), ignored)
        except (ValueError, OverflowError, LookupError):  # a broken mask, which has flags of its own
            return coarse.patches, coarse.iou
        (cells,), (iou,) = patch_quality(fine[None])
        return cells, iou

    def _area(self, index: int) -> float:
        image = self.record.image
        if image is None:
            return 0.0
        return min(self.record.targets[index].area, LARGEST) / min(max(image.width * image.height, 1), LARGEST)

    @cached_property
    def dialogues(self) -> list[DialogueStats]:
        """One entry per dialogue of the record."""
        row = self.row
        first: dict[str, int] = {}
        aims: dict[tuple[int, ...], tuple[tuple[int, ...], str, float, int, float]] = {}
        found = []
        for index, dialogue in enumerate(self.record.dialogues):
            wanted = tuple(dialogue.targets)
            aim = aims.get(wanted) or aims.setdefault(wanted, self._aim(wanted))
            targets, kind, area, patches, iou = aim
            masks, chars = dialogue.masks, row.text_chars[index]
            kind = kind if dialogue.rounds is msgspec.UNSET else "rounds"
            tokens = float(row.text_tokens[index]) if row.text_tokens else chars / CHARACTERS_PER_TOKEN
            found.append(
                DialogueStats(
                    index=index,
                    kind=kind if targets or masks else "chat",
                    text="; ".join(dialogue.expressions) or _said(dialogue, "user"),
                    targets=targets,
                    turns=len(dialogue.messages),
                    masks=masks,
                    chars=chars,
                    text_tokens=tokens,
                    total_tokens=row.image_tokens * (1 + masks) + tokens,
                    area=area,
                    patches=patches,
                    iou=iou,
                    twin=first.setdefault(_PASS.sub("", dialogue.id), index),
                )
            )
        return found

    def _aim(self, wanted: tuple[int, ...]) -> tuple[tuple[int, ...], str, float, int, float]:
        """What follows from the targets of a dialogue alone, as it has them: targets, kind, area, patches and iou."""
        targets = tuple(dict.fromkeys(target for target in wanted if 0 <= target < len(self.record.targets)))
        stats = [self.targets[target] for target in targets]
        several = len(targets) > 1 or any(len(self.record.targets[target].instances) > 1 for target in targets)
        kind = "no_target" if not any(fact.area for fact in stats) else "multi" if several else "single"
        iou = min((fact.iou for fact in stats if fact.area), default=1.0)
        return targets, kind, sum(fact.area for fact in stats), sum(fact.patches for fact in stats), iou

    @cached_property
    def colours(self) -> list[str]:
        """#rrggbb of each target."""
        return colours([target.id for target in self.record.targets])

    def categories(self, dialogue: DialogueStats) -> tuple[str, ...]:
        """Of the dialogue's targets, in the order of the alphabet."""
        return tuple(sorted({name for target in dialogue.targets for name in self.record.targets[target].categories}))

    def answer(self, dialogue: DialogueStats) -> str:
        """What the assistant says first."""
        return _said(self.record.dialogues[dialogue.index], "assistant")

    def names(self, finding: Finding) -> tuple[str, str]:
        """Ids of the dialogue and of the target that a finding concerns, "" for none."""
        dialogue = self.record.dialogues[finding.dialogue].id if finding.dialogue >= 0 else ""
        return dialogue, self.record.targets[finding.target].id if finding.target >= 0 else ""

    def concerning(self, dialogues: list[DialogueStats]) -> list[Finding]:
        """Findings of dialogues: their own (a later pass shares its twin's), their targets', the record's."""
        indices = {index for one in dialogues for index in (one.index, one.twin)}
        targets = {target for one in dialogues for target in one.targets}
        return [
            finding
            for finding in self.findings
            if (finding.dialogue < 0 or finding.dialogue in indices)
            and (finding.target < 0 or finding.target in targets)
        ]

    def codes(self, dialogue: DialogueStats) -> list[str]:
        """Flag codes that concern a dialogue."""
        return sorted({finding.code for finding in self.concerning([dialogue])})


def patch_quality(labels: UInt8) -> tuple[list[int], list[float]]:
    """(patches at least half covered, IoU of the mask with those patches at full size) per target.

    labels: uint8 [targets, grid height, grid width]. The covered fractions give the overlap of mask and patches without
    the mask itself, exactly up to their rounding (1/508 of a patch each).
    """
    counted = labels != IGNORE
    covered = np.where(counted, labels, 0).astype(np.int32)
    positive = covered * 2 >= FULL
    inside = np.where(positive, covered, 0).sum((1, 2))
    patches = positive.sum((1, 2))
    union = covered.sum((1, 2)) + FULL * patches - inside
    ious = np.where(union > 0, inside / np.maximum(union, 1), 1.0)
    return patches.tolist(), ious.tolist()


@lru_cache(maxsize=4096)
def normalised(text: str) -> str:
    """`text` as compared for sameness: no case, no punctuation, single spaces."""
    return " ".join(_PUNCTUATION.sub(" ", text.casefold()).split())


def _said(dialogue: Dialogue, role: str) -> str:
    """The first text that `role` says."""
    for message in dialogue.messages:
        if message.role == role:
            return " ".join(content.text for content in message.content if content.text)
    return ""
