"""Conversations as the page draws them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import msgspec
import numpy as np
from torch import Tensor

from stamp_data.draw.outline import mask_path
from stamp_data.draw.palette import COLOURS
from stamp_train.methods.upsample import to_mask
from stamp_train.predict.chat.conversations import Conversation
from stamp_train.predict.chat.transcript import SavedImage, pieces
from stamp_train.predict.segmentation import Segmentation


class MaskView(msgspec.Struct):
    """A mask. number: within the conversation, from 1; path: SVG, in pixels; colour: #rrggbb; area: fraction of the picture."""

    number: int
    path: str
    colour: str
    area: float


class RoundView(msgspec.Struct):
    """A round. answer: its words; pieces: text, and the indices of masks in their places."""

    question: str
    answer: str
    pieces: list[str | int]
    finish: str
    masks: list[MaskView]


class State(msgspec.Struct):
    """A conversation as it stands. models: that can be chosen; temperature: of its answers."""

    id: str
    model: str
    models: list[str]
    temperature: float
    image: SavedImage
    rounds: list[RoundView]


def view(conversation: Conversation, models: list[str]) -> State:
    """A conversation as it stands. models: that can be chosen."""
    chat, image = conversation.chat, conversation.image
    numbers = count(1)
    rounds = [
        RoundView(
            question=answer.question,
            answer=answer.text,
            pieces=pieces(answer),
            finish=answer.finish,
            masks=_masks(conversation, answer, numbers),
        )
        for answer in chat.history
    ]
    picture = SavedImage(conversation.name, image.width, image.height)
    return State(conversation.id, conversation.model, models, chat.temperature, picture, rounds)


def early_mask(conversation: Conversation, logits: Tensor, before: int) -> MaskView:
    """A mask of a round that is still being said, after `before` others of it. logits: [h, w]."""
    mask = to_mask(logits, conversation.image.height, conversation.image.width)
    number = 1 + before + sum(len(answer.masks) for answer in conversation.chat.history)
    return MaskView(number, mask_path(mask.astype(np.uint8)), COLOURS[(number - 1) % len(COLOURS)], float(mask.mean()))


def _masks(conversation: Conversation, answer: Segmentation, numbers: Iterator[int]) -> list[MaskView]:
    """The masks of a round; those that follow one another differ in colour."""
    masks = answer.masks
    if answer not in conversation.outlines:
        conversation.outlines[answer] = [mask_path(mask.astype(np.uint8)) for mask in masks]
    return [  # `numbers` come last, where zip takes none too many
        MaskView(number, path, COLOURS[(number - 1) % len(COLOURS)], float(mask.mean()))
        for path, mask, number in zip(conversation.outlines[answer], masks, numbers, strict=False)
    ]
