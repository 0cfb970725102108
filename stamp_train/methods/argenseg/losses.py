"""Losses of text and of codes, each in a softmax of its own or both in one."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from stamp_train.methods.losses import Losses, text_count, text_loss
from stamp_train.sequence.errors import StampModelError
from stamp_train.sequence.inputs import Outputs, Targets


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
