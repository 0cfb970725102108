"""How many tokens a group takes in a sequence, from the index alone: packing is planned before anything is read."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from stamp_schemas.record import SEG
from stamp_train.launch import is_first
from stamp_train.stream.index import ShardRows
from stamp_train.stream.order import Group

if TYPE_CHECKING:
    from stamp_train.stream.plan import Plan

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GroupTokens:
    """Tokens of a group. shared: of the picture and what stands before it, once. own: of each dialogue with its masks."""

    shared: int
    own: tuple[int, ...]

    @property
    def total(self) -> int:
        """All of them."""
        return self.shared + sum(self.own)


@dataclass(frozen=True)
class TokenCosts:
    """Tokens of a sequence that no text accounts for; the defaults are those of Qwen2-VL's tokenizer.

    Attributes:
        system: the default system turn that stands in front of a dialogue.
        turn: start, role, end and line break of a turn.
        header: those of a turn that precede its content; before the picture, dialogues share them.
        vision: start and end of the picture.
        characters: characters per token, for sets that were built without a tokenizer.
    """

    system: int = 11
    turn: int = 5
    header: int = 3
    vision: int = 2
    characters: float = 3.5

    def text(self, characters: int, masks: int) -> int:
        """Tokens of a dialogue's texts, estimated; every `<|seg|>` is one."""
        return masks + round((characters - len(SEG) * masks) / self.characters)

    def group(self, picture: int, texts: Sequence[int], turns: Sequence[int], masks: Sequence[int]) -> GroupTokens:
        """Tokens of a group. picture: its merged patches, 0 without one; the rest: of each dialogue."""
        shared = self.system + self.header + self.vision + picture if picture else 0
        alone = -self.header if picture else self.system
        own = (
            alone + self.turn * turn + text + picture * mask
            for text, turn, mask in zip(texts, turns, masks, strict=True)
        )
        return GroupTokens(shared, tuple(own))


class Lengths:
    """Tokens of the groups of a plan.

    Exact where the index has token counts from the model's own tokenizer, dialogues begin with their picture, and grids
    are those of the build; otherwise an estimate, which the log says once.
    """

    def __init__(self, plan: Plan, costs: TokenCosts | None = None) -> None:
        self._plan = plan
        self._costs = costs or TokenCosts()

    def __call__(self, groups: tuple[Group, ...]) -> list[GroupTokens]:
        """Tokens of each group."""
        rows = self._rows(groups)
        return [self._measure(group, rows[group.source, group.shard]) for group in groups]

    def _rows(self, groups: tuple[Group, ...]) -> dict[tuple[int, int], ShardRows]:
        """The rows of every shard that the groups are of; those of one set are read together."""
        wanted: dict[int, dict[int, None]] = {}
        for group in groups:
            wanted.setdefault(group.source, {})[group.shard] = None
        return {
            (source, shard): rows
            for source, shards in wanted.items()
            for shard, rows in zip(shards, self._plan.sets[source].rows(list(shards)), strict=True)
        }

    def _measure(self, group: Group, rows: ShardRows) -> GroupTokens:
        at = [int(rows.starts[group.row]) + dialogue for dialogue in group.dialogues]
        masks = rows.masks[at].tolist()
        texts = rows.tokens[at].tolist() if rows.tokens is not None else self._estimate(rows, at, masks)
        return self._costs.group(int(rows.image_tokens[group.row]), texts, rows.turns[at].tolist(), masks)

    def _estimate(self, rows: ShardRows, at: list[int], masks: list[int]) -> list[int]:
        if is_first():
            _tell_estimate(self._costs.characters)
        characters = rows.characters[at].tolist()
        return [self._costs.text(count, mask) for count, mask in zip(characters, masks, strict=True)]


@cache
def _tell_estimate(characters: float) -> None:
    """Once in a process, however many sets and stages there are: one build can count the tokens of them all."""
    _log.warning(
        "sets were built without a tokenizer: lengths are estimated at %s characters a token, and packs may be uneven; "
        "`stamp-data build … --tokenizer FOLDER` counts them",
        characters,
    )
