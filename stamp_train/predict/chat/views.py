"""Conversations as the page draws them."""

from __future__ import annotations

import msgspec
import numpy as np

from stamp_data.inspect.trace import mask_path
from stamp_train.predict.chat.conversations import Conversation
from stamp_train.predict.chat.transcript import SavedImage, mask_colours, pieces


class MaskView(msgspec.Struct):
    """A mask. number: within its answer, from 1; path: SVG, in pixels; colour: #rrggbb; area: share of the picture."""

    id: str
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
    """A conversation as it stands."""

    id: str
    model: str
    image: SavedImage
    rounds: list[RoundView]


def view(conversation: Conversation, model: str) -> State:
    """A conversation as it stands. model: its name."""
    chat = conversation.chat
    assert chat.picture is not None  # pages talk about pictures
    colours = mask_colours(chat.history)
    rounds = [
        RoundView(
            turn.question,
            turn.answer.text,
            pieces(turn),
            turn.answer.finish,
            _masks(conversation, place, colours[place]),
        )
        for place, turn in enumerate(chat.history)
    ]
    image = SavedImage(conversation.name, chat.picture.width, chat.picture.height)
    return State(conversation.id, model, image, rounds)


def _masks(conversation: Conversation, place: int, colours: list[str]) -> list[MaskView]:
    """The masks of a round, by its place in the history."""
    turn = conversation.chat.history[place]
    masks = turn.answer.masks
    if turn not in conversation.outlines:
        conversation.outlines[turn] = [mask_path(mask.astype(np.uint8)) for mask in masks]
    paths = conversation.outlines[turn]
    return [
        MaskView(f"{place}-{i}", i + 1, path, colour, float(mask.mean()))
        for i, (path, mask, colour) in enumerate(zip(paths, masks, colours, strict=True))
    ]
