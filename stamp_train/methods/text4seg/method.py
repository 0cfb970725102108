"""Masks as text: the language model writes them, row by row, and nothing else of the model knows of masks."""

from __future__ import annotations

import logging
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stamp_data.grid import rle_coverage
from stamp_data.rle import decode
from stamp_schemas import RLE, Record
from stamp_schemas import Grid as Shape
from stamp_schemas.record import FULL, SEG
from stamp_train.methods.contract import Drawing, Label, Listener, Method
from stamp_train.methods.losses import Counts, Losses, text_count, text_loss
from stamp_train.methods.readout import Readout
from stamp_train.methods.text4seg.codec import CLOSE, FIXED, OPEN, enclosed, parse, survives
from stamp_train.methods.text4seg.listener import BEGIN, MaskListener
from stamp_train.methods.text4seg.settings import Text4SegSettings
from stamp_train.sequence.chat import ChatEncoder
from stamp_train.sequence.document import Grid, Seg
from stamp_train.sequence.inputs import MaskPlace, Outputs, Reading, Targets
from stamp_train.sequence.token_sequence import TokenSequence

logger = logging.getLogger(__name__)
_ROOM = 3069  # tokens of an answer, published
_SURE = 10.0  # logit of a cell of the mask: text knows no doubt


class Text4Seg(Method):
    """See the module's text. lost: expressions so far that the published parser would lose, which `object` stands for."""

    settings: Text4SegSettings
    over_cache = False  # a mask is its text, which has been said

    def __init__(self, settings: Text4SegSettings) -> None:
        self.settings = settings
        self.lost: set[str] = set()

    def label(self, record: Record, target: int, grid: Grid, stored: Label | None) -> Label:  # noqa: ARG002 - of another grid
        """The mask squeezed to the settings' grid, 0 or 1; what is to be ignored counts as background."""
        return squeeze(record.targets[target].rle, self.settings.grid, self.settings.sampling)

    def write(self, label: Label, expression: str) -> str:
        """On a line of its own."""
        if self.settings.label == "fixed" or self.is_lost(expression):
            expression = FIXED
        return f"\n{enclosed(label, expression)}"

    def is_lost(self, expression: str) -> bool:
        """Whether a parser would lose a mask of this expression; it is counted, and named the first time."""
        if expression in self.lost:
            return True
        if survives(expression):
            return False
        self.lost.add(expression)
        logger.warning(
            "the expression %r would be lost when its mask is read; %r stands for it (%d such expressions so far)",
            expression,
            FIXED,
            len(self.lost),
        )
        return True

    def lay_out(self, sequence: TokenSequence, seg: Seg, label: Label | None) -> None:
        """Nothing: a mask is in the text."""

    def readout(self, hidden_size: int, vision_size: int) -> Readout:  # noqa: ARG002 - reads nothing
        """None that has any weights."""
        return _Nothing()

    def pictures(self, found: Mapping[str, Tensor], masks: Sequence[MaskPlace]) -> list[Tensor]:  # noqa: ARG002 - nothing is read out
        """None are read from states."""
        return []

    def forced(self, outputs: Outputs, targets: Targets, chat: ChatEncoder) -> list[Tensor]:
        """From the likeliest tokens in the places of the true ones."""
        ids, likeliest = targets.text_ids.tolist(), outputs.text_logits.argmax(-1).tolist()
        texts = []
        for opened, begin, end in _spans([chat.tokenizer.decode([token]) for token in ids]):
            texts.append(chat.tokenizer.decode([*ids[opened:begin], *likeliest[begin:end]]))
        return [self.ideal(parse(text, self.settings.grid, self.settings.parser)) for text in texts]

    def draw(self, batch: Drawing, segs: Sequence[Seg]) -> list[Tensor]:
        """From the text up to each of them, [grid, grid] whatever the image; one that breaks off is read as far as it goes."""
        tokenizer = batch.sequence().chat.tokenizer
        found = []
        for seg in segs:
            text = tokenizer.decode(seg.ids[: seg.at + 1], clean_up_tokenization_spaces=False)
            *complete, rest = text.split(CLOSE)
            if OPEN in rest:
                logger.warning("%s: the answer ended within a mask: raise max_new_tokens", seg.name)
            else:
                rest = complete[-1] if complete else ""  # a token of that name, which only other methods write
            found.append(self.ideal(parse(rest, self.settings.grid, self.settings.parser)))
        return found

    def force(self, begin: str) -> tuple[str, int]:
        """Text up to the first mask, which begins; what follows is the model's."""
        before, found, _ = begin.partition(SEG)
        return (f"{before}{BEGIN}", _ROOM) if found else (begin, 0)

    def listener(self) -> Listener:
        """Hears `<seg>`…`</seg>`."""
        return MaskListener()

    def ideal(self, label: Label) -> Tensor:
        """Sure of every cell."""
        return (torch.from_numpy(label).float() * 2 - 1) * _SURE

    def counts(self, targets: Targets) -> Counts:
        """Weight of the supervised tokens."""
        return {"text": text_count(targets)}

    def losses(self, outputs: Outputs, targets: Targets) -> Losses:
        """Text, in which the masks are."""
        text = text_loss(outputs.text_logits, targets.text_ids, targets.text_weights)
        return {"text": (text, text_count(targets))}


def squeeze(mask: RLE, side: int, sampling: str) -> NDArray[np.uint8]:
    """A mask as uint8 [side, side], 0 or 1: what lies at the cells' centres (`nearest`, as published), or what covers more than
    half of them (`coverage`). Things thinner than a cell may vanish in both."""
    if sampling == "coverage":
        return (rle_coverage(mask, Shape(side, side)) > FULL // 2).astype(np.uint8)
    pixels = decode(mask)
    rows, columns = ((2 * np.arange(side) + 1) * size // (2 * side) for size in pixels.shape)
    return np.ascontiguousarray(pixels[rows][:, columns], np.uint8)


def _spans(tokens: Sequence[str]) -> Iterator[tuple[int, int, int]]:
    """Of each mask in a text of tokens: those where its `<seg>` begins, where its rows begin, and after its `</seg>`."""
    text, ends = "".join(tokens), list(accumulate(map(len, tokens)))
    opened = text.find(OPEN)
    while opened >= 0 and (closed := text.find(CLOSE, opened)) >= 0:
        characters = opened, opened + len(OPEN), closed + len(CLOSE) - 1
        first, begin, last = (bisect_right(ends, character) for character in characters)
        yield first, begin, last + 1
        opened = text.find(OPEN, closed)


class _Nothing(Readout):
    """Reads nothing."""

    def forward(self, reading: Reading) -> dict[str, Tensor]:  # noqa: ARG002 - a mask is its text
        return {}
