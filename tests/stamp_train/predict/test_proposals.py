"""Masks that a model proposes for phrases."""

from __future__ import annotations

import numpy as np

from stamp_train.predict import Request, Segmenter, question
from stamp_train.predict.proposals import TOKENS, Proposer

from .talking import scene, talking_generator


def test_the_union_of_what_the_model_draws_or_nothing() -> None:
    segmenter = Segmenter(talking_generator())
    phrases = [f"the thing {number}" for number in range(6)]
    picture = scene()
    answers = segmenter.segment_all([Request(picture, question(one)) for one in phrases], max_new_tokens=TOKENS)
    expected = [np.any(answer.masks, axis=0) if answer.masks else np.zeros((84, 112), bool) for answer in answers]
    found = Proposer(segmenter)(np.asarray(picture), phrases)
    for mask, wanted in zip(found, expected, strict=True):
        assert (mask is None) == (not wanted.any())
        assert mask is None or (mask.dtype == bool and np.array_equal(mask, wanted))
    assert any(mask is not None for mask in found)
