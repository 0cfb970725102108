"""Masks that a model proposes for phrases."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from stamp_schemas import StampError
from stamp_train.predict import Request, Segmenter, question
from stamp_train.predict.naming import MOST, names_in
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


@pytest.mark.parametrize(
    ("said", "names"),
    [
        ("a red cup <|seg|>, two dogs <|seg|> and a boat.", ["a red cup", "two dogs", "a boat"]),
        ("In this picture there are: a black and white cat, and a dog", ["a black and white cat", "a dog"]),
        ("1. A cup\n2. a cow\n3. a cup!", ["A cup", "a cow"]),
        ("- red disc\n- **blue box**", ["red disc", "blue box"]),
        ("Sure, here is the segmentation mask for left dog <|seg|>:", ["left dog"]),
        ("The segmentation mask for a cow is shown below: <|seg|>", ["a cow"]),
        ("Sure, <|seg|>.", []),
        ("<|no|>", []),
        ("A man is riding a wave on a surfboard in the ocean while others watch.", []),
        (", ".join(f"thing {number}" for number in range(99)), [f"thing {number}" for number in range(MOST)]),
    ],
)
def test_names_of_things_in_an_answer(said: str, names: list[str]) -> None:
    assert names_in(said) == names


def test_a_name_that_was_cut_off_is_none() -> None:
    assert names_in("a cup, a saucer", ended=False) == ["a cup"]


def test_what_a_model_names_is_what_it_is_asked_to_draw() -> None:
    asked: list[str] = []

    def answers(requests: list[Request], **_: Any) -> Any:
        asked.extend(request.text for request in requests)
        yield SimpleNamespace(content="a cup, a cow", text="a cup, a cow", finish="stop")

    segmenter: Any = SimpleNamespace(segment_all=answers)
    assert Proposer(segmenter).describe(np.asarray(scene())) == ["a cup", "a cow"]
    assert len(asked) == 1 and "Name each thing" in asked[0]


def test_a_model_that_can_only_draw_says_so() -> None:
    silent: Any = SimpleNamespace(
        segment_all=lambda *_, **__: iter([SimpleNamespace(content="<|seg|>.", text=".", finish="stop")])
    )
    with pytest.raises(StampError, match=r"^this model names nothing here; it says '\.'"):
        Proposer(silent).describe(np.asarray(scene()))


def test_any_checkpoint_can_be_asked_what_it_sees() -> None:
    """This one has random weights, and speaks without a comma."""
    proposer, pixels = Proposer(Segmenter(talking_generator())), np.asarray(scene())
    found = proposer.describe(pixels)
    assert found and len(proposer(pixels, found)) == len(found)
