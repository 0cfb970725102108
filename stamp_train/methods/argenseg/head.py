"""The readout: from states to logits of codes, from codes to what the language model is given in their places, its losses."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import initialization as init

from stamp_train.methods.argenseg.codec import Codec
from stamp_train.methods.losses import Losses, text_count, text_loss
from stamp_train.methods.readout import Readout
from stamp_train.sequence.errors import StampModelError
from stamp_train.sequence.inputs import Outputs, Reading, Targets


class CodeHead(Readout):
    """A head of its own for codes, so that no vocabulary grows; embeddings of what is known before each code.

    joint: one softmax over words and codes is learned, see `code_losses`.
    """

    def __init__(self, hidden_size: int, codec: Codec, *, joint: bool) -> None:
        super().__init__()
        self.codec, self.joint = codec, joint
        scales, width = codec.scales, codec.quantiser.books.shape[-1]
        self.out = nn.Linear(hidden_size, codec.vocabulary, bias=False)
        self.word_embed = nn.Linear(width, hidden_size)
        self.levels = nn.Parameter(torch.zeros(len(scales), hidden_size))
        self.places = nn.Parameter(torch.zeros(scales.cells, hidden_size))

    def begin(self) -> None:
        """Levels and places are learned from nothing, as published."""
        init.zeros_(self.levels)
        init.zeros_(self.places)

    def forward(self, reading: Reading) -> dict[str, Tensor]:
        """`codes`: logits [R, V] of all masks' codes, mask after mask.

        Jointly learned, what the other head has to say too: `words`, log of the sum of exponentials of all words' logits at the
        codes' states [R], and `codes_in_text`, that of the codes' logits at the text's states [T].
        """
        found = {"codes": self.out(reading.states)}
        if self.joint and reading.text is not None and reading.words is not None:
            found["words"] = reading.words(reading.states).float().logsumexp(-1)
            found["codes_in_text"] = self.out(reading.text).float().logsumexp(-1)
        return found

    def embed(self, numbers: Tensor, of: Tensor) -> Tensor:
        """See `Readout`; numbers: codes [K, N]. Token j of a mask is given what is known before its code j + 1."""
        codes = numbers if len(numbers) else numbers.new_zeros(0, self.codec.scales.cells)
        known = self.codec.embed(codes)[of[:, 0], of[:, 1]].to(self.word_embed.weight.dtype)
        places = of[:, 1] + 1
        levels = torch.bucketize(places, torch.tensor(self.codec.scales.ends, device=places.device), right=True)
        embedded: Tensor = self.word_embed(known) + self.levels[levels] + self.places[places]
        return embedded


def code_losses(outputs: Outputs, targets: Targets) -> Losses:
    """Cross-entropy of the next token of text, and of codes, each over its own places.

    Where the readout has found `words` and `codes_in_text`, words and codes share one softmax, as published: each loss is then
    larger by what the other's classes have of its probability. StampModelError: other codes than were learned for.
    """
    logits, codes = outputs.read["codes"].float(), targets.labels[:, 0].long()
    if len(logits) != len(codes):
        raise StampModelError(
            f"logits of {len(logits)} codes, {len(codes)} are to be learned",
            fix="lay out by the model's own method: Layout(chat, model.method)",
        )
    text = text_loss(outputs.text_logits, targets.text_ids, targets.text_weights)
    found = F.cross_entropy(logits, codes, reduction="sum")
    if "words" in outputs.read:
        found = found + _lost(logits, outputs.read["words"]).sum()
        text = text + (_lost(outputs.text_logits.float(), outputs.read["codes_in_text"]) * targets.text_weights).sum()
    return {"text": (text, text_count(targets)), "codes": (found, float(len(codes)))}


def _lost(logits: Tensor, other: Tensor) -> Tensor:
    """By how much a cross-entropy grows when classes join whose log-sum of exponentials is `other`."""
    own = logits.logsumexp(-1)
    return torch.logaddexp(own, other) - own
