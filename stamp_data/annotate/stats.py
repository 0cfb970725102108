"""What annotating took, what became of proposals, and how far two annotators agree."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, median

import msgspec

from stamp_data import rle
from stamp_data.annotate.store import SUFFIX, load_document
from stamp_data.inspect.record_stats import normalised
from stamp_data.sources.finding import walk
from stamp_schemas import RLE, StampError, UsageFault
from stamp_schemas.annotated import AnnotatedImage, SaidPhrase

AGREED = 0.5  # IoU from which two masks are of the same thing


class Proposals(msgspec.Struct):
    """Of one model, masks. unchanged, fixed: accepted, as proposed or after changes. open: not decided.

    iou: of what was fixed with what was proposed, on average; None without any. worded, reworded: phrases that it worded and
    that were accepted, in its words or in others.
    """

    unchanged: int
    fixed: int
    rejected: int
    open: int
    iou: float | None
    worded: int = 0
    reworded: int = 0

    @property
    def rate(self) -> float | None:
        """The part of decided proposals that was accepted unchanged."""
        decided = self.unchanged + self.fixed + self.rejected
        return self.unchanged / decided if decided else None


class AnnotateStats(msgspec.Struct):
    """Of one folder. statuses: phrases by status. nothing: accepted phrases that name nothing. masks: all but rejected ones.
    dialogues: accepted ones.

    seconds_per_mask, seconds_per_phrase: of work, median over those that took any; None without. by: accepted phrases by
    annotator. damaged: files that cannot be read, with why.
    """

    folder: str
    images: int
    statuses: dict[str, int]
    nothing: int
    masks: int
    dialogues: int
    seconds: float
    seconds_per_mask: float | None
    seconds_per_phrase: float | None
    by: dict[str, int]
    proposals: dict[str, Proposals]
    damaged: list[str]


class Pair(msgspec.Struct):
    """A phrase that two annotators have, by its normalised words. iou: where both name nothing 1, where one does 0."""

    image: str
    phrase: str
    iou: float


class Agreement(msgspec.Struct):
    """Of two folders, over accepted phrases that say the same of the same picture.

    iou: mean. agreed: the part with an IoU of at least one half. pairs: each phrase, the worst first.
    """

    phrases: int
    iou: float | None
    agreed: float | None
    only_first: int
    only_second: int
    pairs: list[Pair]


def annotate_stats(folder: Path) -> AnnotateStats:
    """Statistics of a folder of annotations. UsageFault if it holds none."""
    damaged: list[str] = []
    found = list(documents(folder, damaged))
    phrases = [phrase for document in found for phrase in document.phrases]
    masks = [mask for document in found for mask in document.masks if mask.role != "rejected"]
    dialogues = [dialogue for document in found for dialogue in document.dialogues]
    spent = [*(one.made for one in phrases), *(one.made for one in masks), *(one.made for one in dialogues)]
    accepted = [phrase for phrase in phrases if phrase.status == "accepted"]
    return AnnotateStats(
        str(folder),
        len(found),
        _counted([phrase.status for phrase in phrases]),
        sum(phrase.nothing is not None for phrase in accepted),
        len(masks),
        sum(dialogue.status == "accepted" for dialogue in dialogues),
        round(sum(made.seconds for made in spent), 1),
        _median([mask.made.seconds for mask in masks]),
        _median([phrase.made.seconds for phrase in phrases]),
        _counted([phrase.made.by for phrase in accepted]),
        _proposals(found),
        damaged,
    )


def agreement(first: Path, second: Path) -> Agreement:
    """How far two folders of the same pictures say the same; faults as `annotate_stats`."""
    one, other = _accepted(first), _accepted(second)
    pairs = [Pair(*key, _iou(one[key], other[key])) for key in one.keys() & other.keys()]
    pairs.sort(key=lambda pair: (pair.iou, pair.image, pair.phrase))
    return Agreement(
        len(pairs),
        mean(pair.iou for pair in pairs) if pairs else None,
        mean(pair.iou >= AGREED for pair in pairs) if pairs else None,
        len(one) - len(pairs),
        len(other) - len(pairs),
        pairs,
    )


def documents(folder: Path, damaged: list[str]) -> Iterator[AnnotatedImage]:
    """The files of a folder of annotations; what cannot be read is told in `damaged`. UsageFault if it holds none."""
    if not folder.is_dir():
        raise UsageFault(f"{folder} is no folder", "name a folder that `annotate` wrote")
    found = False
    for inner, names in walk(folder):
        for path in (folder / inner / name for name in names if name.endswith(SUFFIX)):
            try:
                document = load_document(path)
            except StampError as fault:
                damaged.append(str(fault))
                continue
            found = True
            yield document
    if not found and not damaged:
        raise UsageFault(f"{folder} holds no annotations", "name a folder that `annotate` wrote")


def _proposals(found: list[AnnotatedImage]) -> dict[str, Proposals]:
    counts: dict[str, Proposals] = defaultdict(lambda: Proposals(0, 0, 0, 0, None))
    fixed: dict[str, list[float]] = {}
    for document in found:
        accepted = {name for phrase in document.phrases if phrase.status == "accepted" for name in phrase.masks}
        for mask in document.masks:
            if mask.proposal is None:
                continue
            of = counts[mask.proposal.model]
            if mask.role == "rejected":
                of.rejected += 1
            elif mask.id not in accepted:
                of.open += 1
            elif mask.rle == mask.proposal.rle:
                of.unchanged += 1
            else:
                of.fixed += 1
                fixed.setdefault(mask.proposal.model, []).append(rle.iou(mask.rle, mask.proposal.rle))
        words = _proposed_words(document)
        for phrase in document.phrases:
            if phrase.status == "accepted" and phrase.id in words:
                model, text = words[phrase.id]
                counts[model].worded += phrase.text == text
                counts[model].reworded += phrase.text != text
    for model, ious in fixed.items():
        counts[model].iou = mean(ious)
    return counts


def _proposed_words(document: AnnotatedImage) -> dict[str, tuple[str, str]]:
    """By phrase: the model or the built set that proposed it, and in which words."""
    records = document.reviewed.records if document.reviewed else []
    said = {one.phrase: (record.set, one.text) for record in reversed(records) for one in reversed(record.phrases)}
    return said | {one.id: (one.proposal.model, one.proposal.text) for one in document.phrases if one.proposal}


def _accepted(folder: Path) -> dict[tuple[str, str], RLE]:
    """The mask of each accepted phrase by picture and words; of those that say the same all together, as a build has them."""
    found: dict[tuple[str, str], list[RLE]] = {}
    for document in documents(folder, []):
        masks = {mask.id: mask.rle for mask in document.masks}
        for phrase in document.phrases:
            if phrase.status == "accepted":
                key = document.image.path, normalised(phrase.text)
                found.setdefault(key, []).append(_named(phrase, masks, document))
    return {key: rle.union(parts) for key, parts in found.items()}


def _named(phrase: SaidPhrase, masks: dict[str, RLE], document: AnnotatedImage) -> RLE:
    if phrase.nothing:
        return rle.empty(document.image.height, document.image.width)
    return rle.union([masks[name] for name in phrase.masks])


def _iou(one: RLE, other: RLE) -> float:
    return rle.iou(one, other) if one.size == other.size else 0.0


def _median(seconds: list[float]) -> float | None:
    taken = [one for one in seconds if one]
    return round(median(taken), 1) if taken else None


def _counted(names: list[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))
