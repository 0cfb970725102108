"""From logits to tokens, and from tokens to text that can be shown while it is being made."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stamp_train.sequence.chat import SPEAKABLE, ChatEncoder
from stamp_train.sequence.errors import StampModelError

_BROKEN = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True)
class GenerationOptions:
    """How answers are generated.

    max_new_tokens: most tokens that are decoded; with 0 an answer is what `begin` says. begin: how the answer to a prompt
    begins, such as `It is <|seg|>`; `<|seg|>` in it is the token. temperature: 0 takes the likeliest token. top_p: sample from
    the fewest tokens that have this much probability together. seed: of sampling; each dialogue has its own stream, whatever
    else is in the batch. repetition_penalty: as in transformers; stop_ids: tokens that end an answer; None takes the
    checkpoint's generation config. batch_size: most dialogues at a time. mask_tokens: most tokens of masks in one pass; a
    single larger mask still gets its pass. attention: backend of the first pass, see `stamp_train.attention.BACKENDS`.
    """

    max_new_tokens: int = 1024
    begin: str = ""
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    repetition_penalty: float | None = None
    stop_ids: tuple[int, ...] | None = None
    batch_size: int = 16
    mask_tokens: int = 20480
    attention: str = "auto"

    def __post_init__(self) -> None:
        wanted = {
            "max_new_tokens": (self.max_new_tokens >= 0, "at least 0"),
            "temperature": (self.temperature >= 0, "at least 0"),
            "top_p": (0 < self.top_p <= 1, "above 0 and at most 1"),
            "repetition_penalty": (self.repetition_penalty is None or self.repetition_penalty > 0, "above 0"),
            "batch_size": (self.batch_size >= 1, "at least 1"),
            "mask_tokens": (self.mask_tokens >= 1, "at least 1"),
        }
        for field, (fine, bounds) in wanted.items():
            if not fine:
                raise StampModelError(f"{field}={getattr(self, field)}", fix=f"choose a number {bounds}")

    def random(self, image: int, prompt: int) -> random.Random:
        """The random stream of one dialogue."""
        return random.Random(f"{self.seed}/{image}/{prompt}")


def penalise(logits: Tensor, seen: Sequence[Collection[int]], penalty: float) -> Tensor:
    """Make tokens that are already there less likely, in logits float32 [B, V].

    seen: per row, the tokens of prompt and answer. penalty: positive logits are divided by it, negative ones multiplied (Keskar
    et al. 2019, as transformers does).
    """
    if penalty == 1:
        return logits
    changed = logits.clone()
    for row, ids in zip(changed, seen, strict=True):
        rows = torch.tensor(sorted(set(ids)), device=logits.device)
        row[rows] = torch.where(row[rows] < 0, row[rows] * penalty, row[rows] / penalty)
    return changed


def choose(logits: Tensor, draws: Sequence[float], temperature: float, top_p: float) -> list[int]:
    """The next token of each row of logits float32 [B, V]; temperature, top_p: see `GenerationOptions`.

    draws: a number in [0, 1) per row, what sampling takes its choice by.
    """
    if temperature == 0:
        return [int(i) for i in logits.argmax(-1).tolist()]
    likely, order = (logits / temperature).softmax(-1).sort(-1, descending=True)
    below = likely.cumsum(-1)
    kept = torch.where(below - likely < top_p, likely, 0.0)  # a token stays if those before it do not suffice
    reached = kept.cumsum(-1)
    marks = torch.tensor(draws, dtype=reached.dtype, device=reached.device)[:, None] * reached[:, -1:]
    places = torch.searchsorted(reached, marks, right=True).clamp_max((kept > 0).sum(-1, keepdim=True) - 1)
    return [int(i) for i in order.gather(-1, places)[:, 0].tolist()]


class TextStream:
    """Tokens of an answer, one by one, as pieces of text; characters spread over tokens come out whole."""

    def __init__(self, chat: ChatEncoder) -> None:
        self._tokenizer: Any = chat.tokenizer
        self._shown_controls = {chat.control[token]: token for token in SPEAKABLE if token in chat.control}
        added = chat.tokenizer.added_tokens_decoder
        self._controls = {i for i, token in added.items() if token.special} | set(chat.control.values())
        self._waiting: list[int] = []
        self._shown = 0

    def push(self, token: int) -> list[tuple[str, str]]:
        """Pieces that a token completes: ("text", ...) and, for `<|seg|>`, `<|yes|>`, `<|no|>`, ("control", token)."""
        if token in self._controls:
            pieces = self.flush()
            if token in self._shown_controls:
                pieces.append(("control", self._shown_controls[token]))
            return pieces
        self._waiting.append(token)
        text = self._text()
        # A character whose last bytes are still to come reads as broken, and is always the last one.
        ready = text[:-1] if text.endswith(_BROKEN) else text
        piece, self._shown = ready[self._shown :], len(ready)
        if ready is text:
            self._waiting, self._shown = [], 0
        return [("text", piece)] if piece else []

    def flush(self) -> list[tuple[str, str]]:
        """What is left, broken characters as such."""
        piece = self._text()[self._shown :]
        self._waiting, self._shown = [], 0
        return [("text", piece)] if piece else []

    def _text(self) -> str:
        text: str = self._tokenizer.decode(self._waiting, clean_up_tokenization_spaces=False)
        return text
