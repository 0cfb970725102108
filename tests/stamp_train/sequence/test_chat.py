"""Tokens: the checkpoint's own template, and text that stays text."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from stamp_train.backbones.presets import byte_tokenizer
from stamp_train.backbones.processor import StampProcessor
from stamp_train.methods.stamp.settings import StampSettings
from stamp_train.sequence.chat import ChatEncoder
from stamp_train.sequence.errors import StampModelError
from stamp_train.sequence.tokens import add_tokens

CONTROL = [
    "<|seg|>",
    "<|mask|>",
    "<|yes|>",
    "<|no|>",
    "<|image_pad|>",
    "<|im_end|>",
    "<|im_start|>",
    "<|vision_start|>",
]


def user(text: str, *, image: bool = False) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "image"}] * image + [{"type": "text", "text": text}]}


def test_ids_are_those_of_the_checkpoints_template(golden_processor: StampProcessor) -> None:
    messages = [
        user("Segment the red cup, please.", image=True),
        {"role": "assistant", "content": [{"type": "text", "text": "Sure: <|seg|> and <|seg|>."}]},
        user("Why?"),
        {"role": "assistant", "content": "Because."},
    ]
    tokenizer = golden_processor.tokenizer
    for prompt in (False, True):
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)
        expected = tokenizer(text)["input_ids"]
        assert golden_processor.chat.encode(messages, generation_prompt=prompt).ids == expected


def test_a_training_sequence_is_the_generation_prompt_and_then_the_answer(tiny: SimpleNamespace) -> None:
    answer = {"role": "assistant", "content": "\n\nIt is <|seg|>."}
    prompt = tiny.chat.encode([user("Where?", image=True)], generation_prompt=True)
    whole = tiny.chat.encode([user("Where?", image=True), answer])
    assert whole.ids[: len(prompt.ids)] == prompt.ids
    assert not any(whole.answer[: len(prompt.ids)]) and whole.answer[len(prompt.ids)]
    assert whole.ids[whole.image_at] == tiny.chat.image_id


@pytest.mark.parametrize("which", ["bytes", "golden"])
@given(parts=st.lists(st.one_of(st.sampled_from(CONTROL), st.text(max_size=5)), max_size=6))
def test_control_tokens_in_text_stay_text(
    tiny: SimpleNamespace, golden_processor: StampProcessor, which: str, parts: list[str]
) -> None:
    chat = tiny.chat if which == "bytes" else golden_processor.chat
    text = "".join(parts).encode("utf-8", "ignore").decode()
    ids = chat.text_ids(text)
    assert not set(ids) & set(chat.control.values())
    if which == "bytes":
        assert chat.tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text
    encoded = chat.encode([user(text, image=True), {"role": "assistant", "content": "<|seg|>"}])
    assert encoded.ids.count(chat.seg_id) == 1
    assert encoded.ids.count(chat.image_id) == 1


def test_an_assistant_says_seg_yes_and_no_but_nothing_else(tiny: SimpleNamespace) -> None:
    ids = tiny.chat.answer_ids("<|seg|><|yes|><|no|><|mask|><|im_end|><|image_pad|>")
    control = tiny.chat.control
    assert ids[:3] == [control["<|seg|>"], control["<|yes|>"], control["<|no|>"]]
    assert not set(ids[3:]) & set(control.values())


def test_missing_added_tokens_are_named() -> None:
    tokenizer = byte_tokenizer()

    class Without:
        def __call__(self, text: str, **options: object) -> object:
            return tokenizer(text, **options)

        def get_vocab(self) -> dict[str, int]:
            return {k: v for k, v in tokenizer.get_vocab().items() if k not in ("<|mask|>", "<|no|>")}

    with pytest.raises(StampModelError, match=r"has no <\|mask\|>, <\|no\|>.*add_tokens"):
        ChatEncoder(Without()).require(StampSettings.tokens)


def test_added_tokens_come_in_the_published_order(golden_model_path: Path) -> None:
    tokenizer = byte_tokenizer()
    ids = tokenizer.convert_tokens_to_ids(list(StampSettings.tokens))
    assert ids == list(range(ids[0], ids[0] + 4))
    assert add_tokens(tokenizer, StampSettings.tokens) == []
    published = AutoTokenizer.from_pretrained(golden_model_path)
    assert published.convert_tokens_to_ids(list(StampSettings.tokens)) == [430, 431, 432, 433]


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], "without messages"),
        ([{"role": "tool", "content": "x"}], "role 'tool'"),
        ([{"role": "user", "content": [{"type": "video"}]}], "type 'video'"),
        ([{"role": "assistant", "content": [{"type": "image"}]}], "type 'image' in a message of role 'assistant'"),
        ([user("a", image=True), user("b", image=True)], "more than one image"),
    ],
)
def test_messages_that_cannot_be(tiny: SimpleNamespace, messages: Any, message: str) -> None:
    with pytest.raises(StampModelError, match=f"^here: .*{message}"):
        tiny.chat.encode(messages, name="here")


def test_how_a_text_is_cut_does_not_matter(golden_processor: StampProcessor) -> None:
    whole = {"role": "user", "content": "the red cup"}
    cut = {"role": "user", "content": [{"type": "text", "text": part} for part in ("the r", "ed ", "cup")]}
    assert golden_processor.chat.encode([whole]).ids == golden_processor.chat.encode([cut]).ids
