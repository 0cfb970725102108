"""What masks take, of a model that says one wherever it can."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from torch import Tensor, nn

from stamp_train.compare.measure import Watch
from stamp_train.eval.cases import Case, Truth
from stamp_train.generation.generate import StampGenerator

from ..methods.making import tiny
from ..predict.talking import scene


@pytest.mark.parametrize(("name", "tokens", "passes"), [("stamp", 13, 1), ("self1e", 13, 1), ("embedding", 1, 0)])
def test_masks_take_the_same_where_the_words_alone_would_go_on_with_one(name: str, tokens: int, passes: int) -> None:
    one = tiny(name)
    model = copy.deepcopy(one.model)

    def say_seg(module: nn.Module, args: Any, logits: Tensor) -> Tensor:  # noqa: ARG001 - of a hook
        logits[..., one.chat.seg_id] += 1e4
        return logits

    model.lm_head.register_forward_hook(say_seg)
    truth = Truth(np.ones((84, 112), bool), None)
    case = Case("r/d", "disk", [{"role": "user", "content": [{"type": "image"}]}], "It is <|seg|>", [truth])
    found = Watch(StampGenerator(model, one.processor), 2).timed(scene(), case)
    assert found.forced.tokens - found.words.tokens == tokens
    assert found.forced.passes - found.words.passes == passes
