"""Masks as text in sequences and in answers."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from random import Random
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from stamp_train.backbones.lora import merge_adapter
from stamp_train.backbones.presets import build_preset
from stamp_train.backbones.processor import PixelBatch
from stamp_train.generation.generate import StampGenerator
from stamp_train.generation.replies import Answer, Event, Reply
from stamp_train.generation.sampling import GenerationOptions, TextStream
from stamp_train.methods.losses import total
from stamp_train.methods.text4seg.codec import encode
from stamp_train.methods.text4seg.method import Text4Seg
from stamp_train.methods.text4seg.settings import Text4SegSettings
from stamp_train.recipes import resolve
from stamp_train.sequence.document import Document, Seg
from stamp_train.sequence.examples import ImageExample
from stamp_train.sequence.inputs import Outputs
from stamp_train.sequence.layout import Layout
from stamp_train.sequence.token_sequence import TokenSequence
from stamp_train.train.network import build_network, save_network

from ..making import ONE, TWO, example, record, tiny

ADAPTED = """
about: an adapter on what writes masks
model: {preset: tiny, precision: float32, tuning: lora, lora: {rank: 4, alpha: 8}}
method: text4seg
data: {root: nowhere, min_tokens: 4, max_tokens: 16, threads: 0}
stages: [{name: only, steps: 3, sets: [{set: refcoco-unc/train}]}]
"""
GRID = (2, 3)


def made(name: str = "text4seg") -> ImageExample:
    return example(tiny(name).method, record([ONE, TWO]), GRID)


def answers(name: str, image: ImageExample, options: GenerationOptions) -> tuple[Answer, list[Event]]:
    one = tiny(name)
    prompt = image.dialogues[0].messages[:1]
    pixels = PixelBatch(image.pixel_values, image.grid_thw)
    events = list(StampGenerator(one.model, one.processor).stream([pixels], [[prompt]], options))
    return events[-1].answer, events


@pytest.mark.parametrize("name", ["text4seg", "text4seg-fixed"])
def test_a_dialogue_is_laid_out_with_its_masks_written_out(name: str) -> None:
    one, image = tiny(name), made(name)
    pack = Layout(one.chat, one.method)([image])
    assert not pack.inputs.masks and pack.targets.labels.numel() == 0
    said = one.processor.tokenizer.decode(pack.targets.text_ids).split("<|im_end|>")
    label = "thing {}" if name == "text4seg" else "object"
    for number, (dialogue, text) in enumerate(zip(image.dialogues, said, strict=False)):
        masks = [f"\n<seg>{encode(mask, label.format(number))}</seg>" for mask in dialogue.labels]
        words = ["Sure: ", ""] if number == 0 else ["One ", " and ", " there."]
        assert text == "".join(part for pair in zip(words, [*masks, ""], strict=True) for part in pair)


@pytest.mark.parametrize("name", ["text4seg", "text4seg-fixed"])
def test_a_forced_answer_decodes_to_the_masks_own_grids(name: str) -> None:
    one, image = tiny(name), made(name)
    masks = image.dialogues[1].labels
    first, second = (one.method.write(mask, "left dog") for mask in masks)
    begin = f"One{first} and{second} there."
    found, _ = answers(name, image, GenerationOptions(begin=begin, max_new_tokens=0))
    assert (found.text, found.content, found.said) == ("One and there.", "One<|seg|> and<|seg|> there.", begin)
    for picture, mask in zip(found.masks, masks, strict=True):
        assert np.array_equal((picture > 0).numpy(), mask != 0)


def test_a_mask_appears_before_what_is_said_after_it() -> None:
    image = made()
    text = tiny("text4seg").method.write(image.dialogues[0].labels[0], "dog")
    found, events = answers("text4seg", image, GenerationOptions(begin=f"It is{text} and", max_new_tokens=5))
    kinds = [event.kind for event in events]
    assert kinds.count("mask") == 1 and kinds.index("mask") < len(kinds) - 2
    mask = events[kinds.index("mask")].mask
    assert mask is not None and torch.equal(mask, found.masks[0])


def test_an_answer_that_ends_within_a_mask_says_so(caplog: pytest.LogCaptureFixture) -> None:
    image = made()
    begin = "It is\n<seg>others *16\n others *4| dog *12\n oth"
    found, _ = answers("text4seg", image, GenerationOptions(begin=begin, max_new_tokens=0))
    assert found.finish == "length" and found.content == "It is<|seg|>" and len(found.masks) == 1
    assert "the answer ended within a mask" in caplog.text


def test_a_mask_that_is_asked_for_is_begun_and_has_room() -> None:
    image, method = made(), tiny("text4seg").method
    options = GenerationOptions(begin="It is <|seg|> so.", max_new_tokens=0, stop_ids=tuple(range(270)))
    found, events = answers("text4seg", image, options)
    assert found.said == "It is \n<seg>" and found.finish == "stop" and len(found.ids) == 13
    assert [event.kind for event in events if event.kind != "text"] == ["control", "mask", "answer"]
    assert method.force("It is <|seg|> so.") == ("It is \n<seg>", 3069)
    assert method.force("It is so.") == ("It is so.", 0)


def test_expressions_that_would_be_lost_take_the_fixed_label_and_are_named(caplog: pytest.LogCaptureFixture) -> None:
    method = Text4Seg(Text4SegSettings())
    label = np.eye(16, dtype=np.uint8)
    fixed = f"\n<seg>{encode(label, 'object')}</seg>"
    with caplog.at_level(logging.WARNING):
        assert method.write(label, "left dog") == f"\n<seg>{encode(label, 'left dog')}</seg>"
        assert [method.write(label, lost) for lost in ("a|b", "others", "a|b")] == [fixed] * 3
    assert method.lost == {"a|b", "others"}
    assert ["'a|b'" in line.message for line in caplog.records] == [True, False]
    assert "2 such expressions so far" in caplog.records[1].message


def test_masks_of_a_true_answer_are_those_of_the_likeliest_tokens() -> None:
    one, image = tiny("text4seg"), made()
    pack = Layout(one.chat, one.method)([image])
    logits = torch.nn.functional.one_hot(pack.targets.text_ids, 300).float()
    outputs = Outputs(logits, {}, (), "none")
    found = one.method.forced(outputs, pack.targets, one.chat)
    labels = [label for dialogue in image.dialogues for label in dialogue.labels]
    assert len(found) == len(labels) == 3
    for picture, label in zip(found, labels, strict=True):
        assert torch.equal(picture, one.method.ideal(label))
    logits[:, one.chat.text_ids("|")[0]] = 2  # what is likeliest is no mask at all
    assert all((picture < 0).all() for picture in one.method.forced(outputs, pack.targets, one.chat))


def test_what_is_to_be_ignored_is_background() -> None:
    one = record([ONE])
    one.targets[0].ignore_rle = one.targets[0].rle
    for sampling in ("nearest", "coverage"):
        method = Text4Seg(Text4SegSettings(sampling=sampling))
        assert set(np.unique(method.label(one, 0, GRID, None))) == {0, 1}  # there is no third kind
    assert any("ignored" in remark for remark in Text4SegSettings().remarks)


def test_masks_are_never_cut(caplog: pytest.LogCaptureFixture) -> None:
    one, image = tiny("text4seg"), made()
    layout = Layout(one.chat, one.method, max_position=600)
    with caplog.at_level(logging.WARNING):
        pack = layout([image])
    assert pack.dropped == ("r0/d1",) and pack.dialogues == ("r0/d0",)
    assert "r0/d1 is left out" in caplog.text and "1 such dialogues" in caplog.text
    alone = Layout(one.chat, one.method)([replace(image, dialogues=image.dialogues[:1])])
    assert torch.equal(alone.inputs.input_ids, pack.inputs.input_ids)
    nothing = layout([replace(image, dialogues=image.dialogues[1:])])
    assert nothing.dropped == ("r0/d1",) and not len(nothing.targets.text_ids) and layout.dropped == 2


def test_an_adapter_is_trained_though_no_token_is_new(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(ADAPTED)
    recipe = resolve(str(path)).recipe
    network, processor = build_network(recipe)
    method = network.get_base_model().method
    pack = Layout(processor.chat, method)([example(method, record([ONE]), GRID)])
    total(method.losses(network(inputs=pack.inputs), pack.targets)).backward()
    trained = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
    assert trained and all("lora_" in name and weight.grad is not None for name, weight in trained.items())
    with torch.no_grad():
        for weight in trained.values():
            weight += 0.1
    save_network(network, processor, tmp_path)
    again = build_network(recipe, tmp_path)[0]
    trained_logits, logits = (one.eval()(inputs=pack.inputs).text_logits for one in (network, again))
    assert torch.equal(trained_logits, logits)
    assert torch.allclose(merge_adapter(again)(inputs=pack.inputs).text_logits, logits, atol=1e-4)


def test_a_token_of_another_method_is_an_empty_mask() -> None:
    one = tiny("text4seg")
    segs = [Seg("odd", Document(1), 1, one.chat.text_ids(text), len(text) - 1) for text in ("ab", "<seg>o *9\n</seg>")]
    drawing = SimpleNamespace(sequence=lambda: TokenSequence(one.chat))
    empty, whole = one.method.draw(drawing, segs)
    assert empty.shape == whole.shape == (16, 16) and bool((empty < 0).all())


def test_an_answer_that_was_cut_off_within_a_mask_is_no_part_of_the_next() -> None:
    one = tiny("text4seg")
    reply = Reply(0, 0, "cut", None, (), frozenset(), TextStream(one.chat), Random(0), one.method.listener())
    reply.begin([], one.chat.answer_ids("Here:\n<seg>others *2"), 9)
    assert reply.pieces == [("text", letter) for letter in "Here:"] and reply.finish is None
    reply.begin([], one.chat.answer_ids("Well"), 9)
    assert reply.pieces == [("text", letter) for letter in "Well"]


@pytest.mark.slow
def test_a_tiny_model_learns_to_write_a_mask() -> None:
    """Half a minute of one dialogue: then the answer that it gives by itself is the mask."""
    model, processor = build_preset("tiny", method=Text4SegSettings(label="fixed"))
    image = example(model.method, record([ONE]), GRID)
    pack = Layout(processor.chat, model.method)([image])
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    model.train()
    losses = []
    for _ in range(180):
        loss = total(model.method.losses(model(inputs=pack.inputs), pack.targets))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 5 and losses[-1] < 0.1
    generator = StampGenerator(model.eval(), processor)
    prompt = image.dialogues[0].messages[:1]
    [[found]] = generator.generate([PixelBatch(image.pixel_values, image.grid_thw)], [[prompt]])
    assert found.finish == "stop" and found.text == "Sure: "
    assert np.array_equal((found.masks[0] > 0).numpy(), image.dialogues[0].labels[0] != 0)
