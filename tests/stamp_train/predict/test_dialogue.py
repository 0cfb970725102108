"""Conversations: as the generator's own, with rounds that can be taken back, stopped and saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stamp_data import rle
from stamp_schemas import RLE, StampError
from stamp_train.generation.sampling import GenerationOptions
from stamp_train.predict import Chat, Segmenter
from stamp_train.predict.chat.transcript import save

from .talking import SEG, TEXTS, scene, talking_generator

ROOM = 14


@pytest.fixture
def chat() -> Chat:
    return Segmenter(talking_generator()).chat(scene(), max_new_tokens=ROOM)


def said(*turns: str) -> list[Any]:
    """The generator's answers to these questions, one after another."""
    conversation = talking_generator().conversation(scene(), GenerationOptions(max_new_tokens=ROOM))
    return [conversation.ask(turn) for turn in turns]


def test_rounds_are_the_generators(chat: Chat) -> None:
    expected = said(*TEXTS)
    for text, answer in zip(TEXTS, expected, strict=True):
        found = chat.say(text)
        assert (found.text, found.content, found.finish) == (answer.text, answer.content, answer.finish)
        assert [mask.shape for mask in found.masks] == [(84, 112)] * len(answer.masks)
        for ours, theirs in zip(found.logits, answer.masks, strict=True):
            np.testing.assert_array_equal(ours, theirs.numpy())
    assert [turn.question for turn in chat.history] == list(TEXTS)
    assert any(turn.masks for turn in chat.history)


def test_a_round_can_be_watched(chat: Chat) -> None:
    events = list(chat.stream(TEXTS[0]))
    assert {event.kind for event in events} <= {"text", "control"}
    assert "".join(event.text for event in events) == chat.history[-1].content
    assert {event.text for event in events if event.kind == "control"} <= {SEG, "<|yes|>", "<|no|>"}
    assert all(event.answer is None for event in events[:-1])


def test_how_an_answer_begins(chat: Chat) -> None:
    assert chat.say("x").content == said("x")[0].content
    found = chat.say("y", begin=f"Look: {SEG}")
    assert found.content.startswith(f"Look: {SEG}") and found.masks


def test_a_round_taken_back_leaves_no_trace(chat: Chat) -> None:
    assert chat.undo() is None
    chat.say(TEXTS[0])
    taken = chat.say(TEXTS[1])
    assert chat.undo() is taken
    again = chat.say(TEXTS[2])
    assert again.content == said(TEXTS[0], TEXTS[2])[1].content
    chat.undo()
    chat.undo()
    assert chat.history == []
    assert chat.say(TEXTS[3]).content == said(TEXTS[3])[0].content


@pytest.mark.parametrize("how", ["closed", "interrupted"])
def test_an_answer_that_is_stopped_stays_as_far_as_it_came(
    chat: Chat, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat.say(TEXTS[0])
    events = chat.stream(TEXTS[1])
    seen = [next(events).text for _ in range(3)]
    if how == "closed":
        events.close()
    else:
        model = talking_generator().model.model.language_model

        def interrupt(*_: Any, **__: Any) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(model, "forward", interrupt)
            with pytest.raises(KeyboardInterrupt):
                list(events)
    cut = chat.history[-1]
    assert cut.finish == "stopped" and cut.masks == () and cut.content
    assert cut.content.startswith("".join(seen))
    told = [*chat.messages, {"role": "user", "content": TEXTS[2]}]
    fresh = talking_generator().ask(scene(), told, GenerationOptions(max_new_tokens=ROOM))
    assert chat.say(TEXTS[2]).content == fresh.content


def test_a_question_that_is_too_long_leaves_the_conversation_as_it_was(chat: Chat) -> None:
    chat.say(TEXTS[0])
    with pytest.raises(StampError, match="past the model's range"):
        chat.say("a" * 9000)
    assert len(chat.history) == 1
    assert chat.say(TEXTS[1]).content == said(TEXTS[0], TEXTS[1])[1].content


def test_text_alone() -> None:
    chat = Segmenter(talking_generator()).chat(None, max_new_tokens=ROOM)
    chat.say("hello")
    chat.undo()
    expected = talking_generator().ask(None, "hello", GenerationOptions(max_new_tokens=ROOM))
    found = chat.say("hello")
    assert found.content == expected.content and found.masks == () and found.image_size is None


def test_a_picture_that_cannot_be() -> None:
    with pytest.raises(StampError, match="aspect ratio"):
        Segmenter(talking_generator()).chat(Image.new("RGB", (3000, 10)))


def test_saving(chat: Chat, tmp_path: Path) -> None:
    path = tmp_path / "talks" / "talk.json"
    with pytest.raises(StampError, match="nothing has been said"):
        save(chat, path, "model", "scene.png")
    chat.say(TEXTS[0], begin=f"{SEG} and {SEG}")
    chat.say(TEXTS[1])
    save(chat, path, "model", "scene.png")
    saved = json.loads(path.read_bytes())
    width, height = scene().size
    assert (saved["model"], saved["image"]) == ("model", {"name": "scene.png", "width": width, "height": height})
    assert [row["prompt"] for row in saved["rounds"]] == list(TEXTS[:2])
    for number, (row, answer) in enumerate(zip(saved["rounds"], chat.history, strict=True), start=1):
        assert (row["content"], row["text"], row["finish"]) == (answer.content, answer.text, answer.finish)
        masks = [rle.decode(RLE(tuple(one["size"]), one["counts"])) for one in row["masks"]]
        assert len(masks) == len(answer.masks) and all(map(np.array_equal, masks, answer.masks))
        assert row["overlay"] == (f"talk-{number}.jpg" if answer.masks else None)
        assert not answer.masks or Image.open(path.with_name(row["overlay"])).size == (width, height)
    with pytest.raises(StampError, match="is there already"):
        save(chat, path, "model", "scene.png")
