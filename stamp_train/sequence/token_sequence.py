"""A packed sequence in the making: columns that grow by whole spans of tokens, and what is read and learned of it."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stamp_train.sequence.chat import ChatEncoder
from stamp_train.sequence.document import Ints, Seg, TokenSpan
from stamp_train.sequence.inputs import MaskPlace, StampInputs
from stamp_train.sequence.structure import AttentionStructure

_COLUMNS = ("ids", "positions", "features", "order", "document", "branch", "block", "looks", "shown")


class TokenSequence:
    """Tokens that go through the model together."""

    def __init__(self, chat: ChatEncoder) -> None:
        self.chat = chat
        self.length = 0
        self.highest = -1  # of the positions
        self.blocks = 0
        self.masks: list[MaskPlace] = []
        self.labels: list[Tensor] = []
        self.sizes: list[tuple[int, ...]] = []
        self._columns: dict[str, list[Ints]] = {name: [] for name in _COLUMNS}
        self._read: list[Ints] = [np.zeros(0, np.int64)]
        self._numbers: list[Ints] = []
        self._given_rows: list[Ints] = [np.zeros(0, np.int64)]
        self._given_of: list[Ints] = [np.zeros((0, 2), np.int64)]

    def put(self, span: TokenSpan) -> Ints:
        """Append tokens; their rows."""
        count = len(span.ids)
        for name, values in self._columns.items():
            found = getattr(span, name)
            values.append(np.full(count, found, np.int64) if isinstance(found, int) else found)
        rows = self.length + np.arange(count)
        for one in span.given:
            self._given_rows.append(rows[one.rows])
            self._given_of.append(np.stack([np.full_like(one.places, len(self._numbers)), one.places], 1))
            self._numbers.append(one.numbers)
        self.length += count
        if count:
            self.highest = max(self.highest, int(span.positions.max()))
        return rows

    def new_block(self) -> int:
        """A number for tokens that see one another whatever their order, and that nobody else sees."""
        self.blocks += 1
        return self.blocks

    def read(self, seg: Seg, rows: Ints | list[int]) -> None:
        """The states of these rows are the readout's for the mask of that `<|seg|>`."""
        self.masks.append(MaskPlace(seg, len(rows)))
        self._read.append(np.asarray(rows, np.int64))

    def learn(self, label: Tensor, size: tuple[int, ...] = ()) -> None:
        """What is learned for the mask that was read last: rows of numbers, as many columns as those of other masks.

        size: of a picture of which they are all the pixels, for methods whose masks differ in it.
        """
        self.labels.append(label)
        self.sizes.append(size)

    def structure(self) -> AttentionStructure:
        """Who may attend to whom."""
        return AttentionStructure(*(self._joined(fact.name) for fact in fields(AttentionStructure)))

    def inputs(self, text_rows: list[int] | None = None, **images: Any) -> StampInputs:
        """What the model takes; images: `pixel_values` and `image_grid_thw`."""
        return StampInputs(
            input_ids=self._joined("ids")[None],
            position_ids=self._joined("positions")[:, None],
            structure=self.structure(),
            feature_rows=self._joined("features"),
            text_rows=torch.tensor(text_rows or [], dtype=torch.int64),
            mask_rows=torch.from_numpy(np.concatenate(self._read)),
            masks=tuple(self.masks),
            numbers=torch.from_numpy(np.stack(self._numbers) if self._numbers else np.zeros((0, 0), np.int64)),
            given_rows=torch.from_numpy(np.concatenate(self._given_rows)),
            given_of=torch.from_numpy(np.concatenate(self._given_of)),
            **images,
        )

    def _joined(self, name: str) -> Tensor:
        return torch.from_numpy(np.concatenate(self._columns[name], axis=-1))
