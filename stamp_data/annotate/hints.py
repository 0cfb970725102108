"""What `inspect` would say of a picture as it stands, told while somebody is at it; and a mask as the model's patches see it.

The phrases are made a record in memory, and the flags are those of sets (`stamp-data explain CODE` says more of each).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import msgspec
import numpy as np

from stamp_data import rle
from stamp_data.grid import patch_grid, rle_coverage, rle_coverages
from stamp_data.inspect.checks import check
from stamp_data.inspect.flags import FLAGS
from stamp_data.inspect.record_stats import NO_TARGET, RecordStats, patch_quality
from stamp_data.shards.row import IndexRow
from stamp_data.text import EXPRESSION_LIMIT, TextFault, clean
from stamp_schemas import Content, Dialogue, Grid, ImageInfo, Message, Record, SourceInfo, StampError, TargetInfo
from stamp_schemas.annotated import AnnotatedImage, DrawnMask, SaidPhrase
from stamp_schemas.manifest import PATCH
from stamp_schemas.record import CHARACTERS_PER_TOKEN, RECORD_SCHEMA, SEG

if TYPE_CHECKING:
    from stamp_data.build.tokens import TokenCounter
    from stamp_schemas import Manifest

EMPTY = "STP-E005"


@dataclass(frozen=True)
class Model:
    """How the model that is to learn from this will see it, as options of `build` and `inspect` say it. side: labels along a
    patch's side. counter: of text tokens; without one they are estimated.
    """

    min_tokens: int = 1024
    max_tokens: int = 1280
    factor: int = PATCH
    side: int = 4
    counter: TokenCounter | None = None


class Flag(msgspec.Struct):
    """phrase, mask: ids of what it concerns, or ""."""

    code: str
    title: str
    detail: str
    phrase: str = ""
    mask: str = ""


class Patches(msgspec.Struct):
    """A mask in labels. labels: 0 (none of it) to 254 (all), row by row. solid: how many are at least half covered. iou: of the
    mask with these: what the grid can keep of it.
    """

    grid: tuple[int, int]
    labels: list[int]
    solid: int
    iou: float


class Hints(msgspec.Struct):
    """tokens: of each phrase, by id; exact: counted, not estimated. image_tokens: of the picture. patches: of one mask."""

    flags: list[Flag]
    tokens: dict[str, int]
    exact: bool
    image_tokens: int
    patches: Patches | None = None


def hints(document: AnnotatedImage, phrases: Sequence[SaidPhrase], mask: str, model: Model) -> Hints:
    """What is to be said of the phrases as they are being written, and of one of the document's masks, "" for none.

    StampError where a phrase names a mask that the document does not have.
    """
    image = document.image
    try:
        grid = patch_grid(image.height, image.width, model.min_tokens, model.max_tokens, model.factor)
    except ValueError as fault:
        raise StampError(str(fault)) from None
    by_id = {one.id: one for one in document.masks}
    if any(name not in by_id for phrase in phrases for name in phrase.masks):
        raise StampError("a phrase names a mask that is not there")
    told = [phrase for phrase in phrases if phrase.masks or phrase.nothing or not phrase.text.strip()]
    targets = {phrase.id: _target(phrase, by_id, document) for phrase in told}
    stats = _stats(document, told, targets, grid, model)
    found = [
        Flag(
            one.code,
            FLAGS[one.code].title,
            one.detail,
            told[one.dialogue].id if one.dialogue >= 0 else told[one.target].id,
        )
        for one in check(stats)
    ]
    found += _also_empty(phrases, {flag.phrase for flag in found if flag.code == EMPTY})
    tokens = {phrase.id: _tokens(phrase.text, model) for phrase in phrases}
    seen = _patches(by_id[mask], grid, model.side) if mask in by_id else None
    return Hints(found, tokens, model.counter is not None, grid.tokens, seen)


def _also_empty(phrases: Sequence[SaidPhrase], known: set[str]) -> list[Flag]:
    """Texts that a build would change or refuse, which the flags above have not told of."""
    told = {one.id: _cleaned(one.text) for one in phrases if one.id not in known and one.text.strip()}
    return [Flag(EMPTY, FLAGS[EMPTY].title, detail, phrase) for phrase, detail in told.items() if detail]


def _cleaned(text: str) -> str:
    """What a build says of a text, "" if it takes it as it is."""
    try:
        _, removed = clean(text, EXPRESSION_LIMIT, one_line=True)
    except TextFault as fault:
        return f"a build refuses it: {fault}"
    return f"a build takes {removed[0]} out" if removed else ""


def _target(phrase: SaidPhrase, masks: dict[str, DrawnMask], document: AnnotatedImage) -> TargetInfo:
    image, named = document.image, [masks[name] for name in phrase.masks]
    whole = rle.union([one.rle for one in named]) if named else rle.empty(image.height, image.width)
    ignored = [one.rle for one in document.masks if one.role == "ignore"]
    categories = [name for one in named for name in one.categories]
    identity = "-".join(phrase.masks) or NO_TARGET
    ignore = rle.union(ignored) if ignored else None
    return TargetInfo(identity, whole, rle.area(whole), rle.bbox(whole), [*phrase.masks], categories, ignore)


def _stats(
    document: AnnotatedImage, phrases: list[SaidPhrase], targets: dict[str, TargetInfo], grid: Grid, model: Model
) -> RecordStats:
    image, key = document.image, "picture"
    answer = [Message("assistant", [Content("text", SEG)])]
    dialogues = [Dialogue(one.id, one.text, [place], answer) for place, one in enumerate(phrases)]
    info = ImageInfo(image.path, image.width, image.height)
    held = [targets[phrase.id] for phrase in phrases]
    record = Record(RECORD_SCHEMA, key, SourceInfo("annotations", "", "", image.path), info, grid, held, dialogues)
    labels = rle_coverages([one.rle for one in held], grid, [one.ignore_rle for one in held]) if held else None
    ones, characters = [1] * len(held), [len(phrase.text) for phrase in phrases]
    row = IndexRow(
        "", 0, key, "", 0, 0, 0, 0, 0, 0, 0, 0, 0, image.width, image.height, grid.height, grid.width, grid.tokens,
        len(held), len(held), 0.0, ones, ones, characters, None,
    )  # fmt: skip
    return RecordStats(0, cast("Manifest", None), row, record, labels, side=model.side)  # no check looks at a manifest


def _tokens(text: str, model: Model) -> int:
    if model.counter is None:
        return max(round(len(text) / CHARACTERS_PER_TOKEN), int(bool(text)))
    return model.counter.count(Dialogue("", text, [], [Message("user", [Content("text", text)])]))


def _patches(mask: DrawnMask, grid: Grid, side: int) -> Patches:
    fine = Grid(grid.height * side, grid.width * side)
    labels = np.asarray(rle_coverage(mask.rle, fine))
    (solid,), (iou,) = patch_quality(labels[None])
    return Patches((fine.height, fine.width), labels.ravel().tolist(), solid, round(iou, 4))
