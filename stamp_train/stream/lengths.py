"""How many tokens a group takes in a sequence, from the index alone: packing is planned before anything is read."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from stamp_data.grid import patch_grid
from stamp_data.shards.set_index import ShardRows
from stamp_schemas.manifest import PATCH
from stamp_schemas.record import CHARACTERS_PER_TOKEN, SEG
from stamp_train.launch import is_first
from stamp_train.stream.order import Group

if TYPE_CHECKING:
    from stamp_train.stream.plan import Plan

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GroupTokens:
    """Tokens of a group. shared: of the image and what stands before it, once. own: of each dialogue with its masks."""

    shared: int
    own: tuple[int, ...]

    @property
    def total(self) -> int:
        """All of them."""
        return self.shared + sum(self.own)


@dataclass(frozen=True)
class TokenCosts:
    """Tokens of a sequence that no text accounts for; the defaults are those of Qwen2-VL's tokenizer.

    system: the default system turn in front of a dialogue. turn: start, role, end and line break of a turn. header: those of a
    turn that precede its content; before the image, dialogues share them. vision: start and end of the image. characters: per
    token, where the build counted no tokens. counted: whether its counts are of this tokenizer. factor: side of a merged patch
    in pixels. mask: tokens that a mask adds in an image of so many merged patches, by the method. apart: whether each dialogue
    has the image to itself, see `methods.contract.Settings.looks_ahead`.
    """

    system: int = 11
    turn: int = 5
    header: int = 3
    vision: int = 2
    characters: float = CHARACTERS_PER_TOKEN
    counted: bool = True
    factor: int = PATCH
    mask: Callable[[int], int] = int
    apart: bool = False

    def text(self, characters: int, masks: int) -> int:
        """Tokens of a dialogue's texts, estimated; every `<|seg|>` is one."""
        return masks + round((characters - len(SEG) * masks) / self.characters)

    def group(self, image: int, texts: Sequence[int], turns: Sequence[int], masks: Sequence[int]) -> GroupTokens:
        """Tokens of a group. image: its merged patches, 0 without one; the rest: of each dialogue."""
        shared = self.system + self.header + self.vision + image if image else 0
        alone, mask_tokens = (-self.header, self.mask(image)) if image else (self.system, 0)
        own = [
            alone + self.turn * turn + text + mask_tokens * mask
            for text, turn, mask in zip(texts, turns, masks, strict=True)
        ]
        if self.apart:
            return GroupTokens(0, tuple(shared + tokens for tokens in own))
        return GroupTokens(shared, tuple(own))


class Lengths:
    """Tokens of the groups of a plan.

    Exact where the index has token counts from the model's own tokenizer, dialogues begin with their image, and grids
    are those of the build; otherwise an estimate, which the log says once.
    """

    def __init__(self, plan: Plan, costs: TokenCosts | None = None) -> None:
        self._plan = plan
        self._costs = costs or TokenCosts()

    def __call__(self, groups: tuple[Group, ...]) -> list[GroupTokens]:
        """Tokens of each group."""
        rows = self._rows(groups)
        return [self._measure(group, rows[group.source, group.shard]) for group in groups]

    def _measure(self, group: Group, rows: ShardRows) -> GroupTokens:
        """With grids as the build has them, or as it would have them for the model's patches."""
        settings, image = self._plan.sets[group.source].manifest.settings, None
        if settings.pixels_per_patch != self._costs.factor and rows.image_tokens[group.row]:
            width, height = rows.sizes[group.row].tolist()
            image = patch_grid(height, width, settings.min_tokens, settings.max_tokens, self._costs.factor).tokens
        return measure(rows, group.row, group.dialogues, self._costs, image)

    def _rows(self, groups: tuple[Group, ...]) -> dict[tuple[int, int], ShardRows]:
        """The rows of every shard that the groups are of; those of one set are read together."""
        wanted: dict[int, dict[int, None]] = {}
        for group in groups:
            wanted.setdefault(group.source, {})[group.shard] = None
        return {
            (source, shard): rows
            for source, shards in wanted.items()
            for shard, rows in zip(shards, self._plan.sets[source].shard_rows(list(shards)), strict=True)
        }


def measure(
    rows: ShardRows, row: int, dialogues: Sequence[int], costs: TokenCosts, image: int | None = None
) -> GroupTokens:
    """Tokens of some dialogues of a record. image: of its merged patches, if not those of the build."""
    at = [int(rows.starts[row]) + dialogue for dialogue in dialogues]
    masks = rows.masks[at].tolist()
    if rows.tokens is not None and costs.counted:
        texts = rows.tokens[at].tolist()
    else:
        if is_first() and costs.counted:
            _tell_estimate(costs.characters)
        texts = [costs.text(count, mask) for count, mask in zip(rows.characters[at].tolist(), masks, strict=True)]
    return costs.group(int(rows.image_tokens[row]) if image is None else image, texts, rows.turns[at].tolist(), masks)


@cache
def _tell_estimate(characters: float) -> None:
    """Once in a process, however many sets and stages there are: one build can count the tokens of them all."""
    _log.warning(
        "sets were built without a tokenizer: lengths are estimated at %s characters a token, and packs may be uneven; "
        "`stamp-data build … --tokenizer FOLDER` counts them",
        characters,
    )
