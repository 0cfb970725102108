"""Codes in a dialogue: made while an answer is written, seen by what follows, and the same in one pass."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stamp_train.backbones.load import load_checkpoint
from stamp_train.backbones.processor import PixelBatch
from stamp_train.generation.generate import StampGenerator
from stamp_train.generation.sampling import GenerationOptions
from stamp_train.methods.argenseg.files import save_residual
from stamp_train.methods.argenseg.residual import ResidualCodec
from stamp_train.methods.argenseg.settings import ArgensegSettings
from stamp_train.methods.losses import total
from stamp_train.predict.opening import open_checkpoint
from stamp_train.recipes import resolve
from stamp_train.sequence.chat import Message
from stamp_train.sequence.document import Document, Put
from stamp_train.sequence.errors import StampModelError
from stamp_train.sequence.examples import DialogueExample, ImageExample
from stamp_train.sequence.layout import Layout
from stamp_train.train.network import build_network

from ...predict.runs import adapter_run, base_model
from ..making import ONE, TURNS, TWO, example, record, tiny

NAMES = ["argenseg", "argenseg-scales"]
GRID = (3, 4)
PIXELS = torch.randn(4 * GRID[0] * GRID[1], 1176, generator=torch.Generator().manual_seed(5))
IMAGE = PixelBatch(PIXELS, (1, 2 * GRID[0], 2 * GRID[1]))


def user(text: str, image: bool = True) -> Message:
    return {"role": "user", "content": [{"type": "image"}] * image + [{"type": "text", "text": text}]}


def said(text: str) -> Message:
    return {"role": "assistant", "content": [{"type": "text", "text": text}]}


@pytest.fixture
def codes(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """The codes that are made while the test runs, in the order of their making."""
    made: list[np.ndarray] = []
    for name in NAMES:
        method: Any = tiny(name).method
        say = method.say

        def noted(batch: Any, segs: Any, say: Any = say) -> Any:
            found = say(batch, segs)
            made.extend(found)
            return found

        monkeypatch.setattr(method, "say", noted)
    return made


@pytest.mark.parametrize("name", NAMES)
def test_answers_and_codes_are_the_likeliest_of_one_pass_over_them(name: str, codes: list[np.ndarray]) -> None:
    one = tiny(name)
    generator = StampGenerator(one.model, one.processor)
    options = GenerationOptions(max_new_tokens=5, begin="One <|seg|> and <|seg|> so", stop_ids=())
    [[answer]] = generator.generate([IMAGE], [["which?"]], options)
    begin = one.chat.answer_ids(options.begin)
    assert list(answer.ids[: len(begin)]) == begin and len(codes) == len(answer.masks) == 2
    pack = Layout(one.chat, one.method)(
        [ImageExample([DialogueExample("x", [user("which?"), said(options.begin)], codes)], PIXELS, IMAGE.grid_thw)]
    )
    with torch.no_grad():
        output = one.model(inputs=pack.inputs)
    assert output.read["codes"].argmax(-1).tolist() == np.concatenate(codes).tolist()
    for found, wanted in zip(answer.masks, one.method.pictures(output.read, output.masks), strict=True):
        assert torch.equal(found, wanted)
    assert int(output.text_logits[-1].argmax()) == answer.ids[len(begin)]  # what follows the words that were given


@pytest.mark.parametrize("name", NAMES)
def test_later_text_sees_the_codes_and_nothing_earlier_does(name: str) -> None:
    one = tiny(name)
    logits = []
    for fill in (0, 1):
        label = np.full(one.method.scales.cells, fill, np.int16)
        dialogue = DialogueExample("x", [user("a"), said("b <|seg|> c")], [label])
        pack = Layout(one.chat, one.method)([ImageExample([dialogue], PIXELS, IMAGE.grid_thw)])
        model = one.model
        with torch.no_grad():
            head = model.classifier
            kept = head.word_embed.weight.clone()
            head.word_embed.weight.normal_(generator=torch.Generator().manual_seed(0))
            logits.append(model(inputs=pack.inputs).text_logits)
            head.word_embed.weight.copy_(kept)
    before = one.chat.answer_ids("b <|seg|>")
    assert torch.equal(logits[0][: len(before)], logits[1][: len(before)])
    assert not torch.allclose(logits[0][len(before) :], logits[1][len(before) :])


@pytest.mark.parametrize("name", NAMES)
def test_turns_of_a_conversation_are_those_of_the_same_messages(name: str) -> None:
    one = tiny(name)
    generator = StampGenerator(one.model, one.processor)
    options = GenerationOptions(max_new_tokens=0)
    conversation = generator.conversation(IMAGE, options)
    first = conversation.ask("one", begin="See <|seg|>, and <|seg|>")
    second = conversation.ask("two", begin="Or <|seg|> so")
    messages = [user("one"), said(first.content), user("two", image=False), said("Or <|seg|> so")]
    [[again]] = generator.generate([IMAGE], [[messages]], options)
    assert len(first.masks) == 2 and again.ids == second.ids
    assert len(again.masks) == len(second.masks) == 1
    assert torch.equal(again.masks[0], second.masks[0])


def test_answers_of_one_batch_are_those_of_each_alone() -> None:
    one = tiny("argenseg")
    generator = StampGenerator(one.model, one.processor)
    asked = [[user("a"), said("<|seg|>")], [user("b"), said("At <|seg|> and <|seg|>.")], [user("c")]]
    options = GenerationOptions(max_new_tokens=4, stop_ids=())
    [together] = generator.generate([IMAGE], [asked], options)
    for prompt, answer in zip(asked, together, strict=True):
        [[alone]] = generator.generate([IMAGE], [[prompt]], options)
        assert alone.ids == answer.ids and len(alone.masks) == len(answer.masks)
        assert all(torch.equal(*pair) for pair in zip(alone.masks, answer.masks, strict=True))


def test_a_mask_is_told_as_soon_as_it_is_made_and_its_tokens_are_not() -> None:
    one = tiny("argenseg")
    generator = StampGenerator(one.model, one.processor)
    options = GenerationOptions(max_new_tokens=3, stop_ids=(), begin="It is <|seg|>")
    events = list(generator.stream([IMAGE], [["which?"]], options))
    kinds = [kind for kind, _ in groupby(event.kind for event in events)]
    assert kinds[:3] == ["text", "control", "mask"] and kinds[-1] == "answer"
    answer = events[-1].answer
    assert answer is not None and len(answer.ids) == len(one.chat.answer_ids("It is <|seg|>")) + 3
    assert answer.text.startswith("It is ")


def test_a_batch_that_memory_does_not_suffice_for_is_begun_again_in_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    one = tiny("argenseg")
    generator = StampGenerator(one.model, one.processor)
    asked = [[user("a"), said("It <|seg|>, <|seg|>")], [user("b"), said("So <|seg|>")]]
    options = GenerationOptions(max_new_tokens=2, stop_ids=())
    wanted = generator.generate([IMAGE], [asked], options)
    method: Any = one.method
    say, left = method.say, [2]  # fails in its second call, when some of the answers have a mask

    def failing(batch: Any, segs: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            batch.keep(some_tokens(batch, segs[0]))
            raise torch.OutOfMemoryError("out of memory")
        return say(batch, segs)

    monkeypatch.setattr(method, "say", failing)
    found = generator.generate([IMAGE], [asked], options)
    assert left[0] < 0
    for one_answer, other in zip(found[0], wanted[0], strict=True):
        assert one_answer.ids == other.ids
        assert all(torch.equal(*pair) for pair in zip(one_answer.masks, other.masks, strict=True))


def test_a_conversation_goes_on_after_a_fault_in_the_making_of_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The `<|seg|>` is in the cache by then, and the dialogue stays as it is."""
    one = tiny("argenseg")
    conversation = StampGenerator(one.model, one.processor).conversation(IMAGE, GenerationOptions(max_new_tokens=0))
    begins = ("See <|seg|> so", "Or <|seg|>")
    wanted = [conversation.ask(begin, begin=begin) for begin in begins]
    method: Any = one.method
    conversation = StampGenerator(one.model, one.processor).conversation(IMAGE, GenerationOptions(max_new_tokens=0))
    with monkeypatch.context() as patched:

        def failing(batch: Any, segs: Any) -> Any:
            batch.keep(some_tokens(batch, segs[0]))
            raise torch.OutOfMemoryError("out of memory")

        patched.setattr(method, "say", failing)
        with pytest.raises(StampModelError, match="out of memory"):
            conversation.ask(begins[0], begin=begins[0])
    found = conversation.ask(begins[1], begin=begins[1])
    assert found.ids == wanted[1].ids and torch.equal(found.masks[0], wanted[1].masks[0])


def some_tokens(batch: Any, seg: Any) -> Any:
    """Some tokens behind a `<|seg|>`, which a pass that fails later leaves in the cache."""
    sequence = batch.sequence()
    sequence.put(seg.document.text([1, 2], seg.branch, seg.at + 1))
    return sequence


def test_an_answer_ends_where_no_further_mask_would_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    one = tiny("argenseg")
    generator = StampGenerator(one.model, one.processor)
    limit = one.method.scales.cells * 2 + 120
    monkeypatch.setattr(one.model.config.text_config, "max_position_embeddings", limit)
    options = GenerationOptions(max_new_tokens=1000, stop_ids=(), begin="<|seg|>")
    [[answer]] = generator.generate([IMAGE], [["a"]], options)
    assert answer.finish == "length" and len(answer.masks) >= 1 and len(answer.ids) < 120
    with pytest.raises(StampModelError, match="past the model's range"):
        generator.generate([IMAGE], [["a"]], GenerationOptions(max_new_tokens=1, begin="<|seg|><|seg|><|seg|>"))


def test_positions_over_the_plane_lie_in_the_images_grid_and_text_goes_on_behind() -> None:
    method: Any = ArgensegSettings(positions="plane").method()
    stretch = method.stretch((10, 20), {"<|seg_end|>": 7})
    document = Document(1, (1, 2, 3), (10, 20))
    assert stretch.positions[0, :4].tolist() == [1, 1, 1, 1]  # the second scale, 2x2
    assert stretch.positions[1:, :4].T.tolist() == [[3, 6], [3, 16], [8, 6], [8, 16]]
    assert stretch.positions[1].max() <= 21 and stretch.advance == stretch.positions[:, -1].max()
    ids = [5, 6, 4, *stretch.ids, 9]
    span = document.text(ids, 1, puts=[Put(2, stretch, np.zeros(method.scales.cells, np.int64))])
    at = document.text_starts + 2
    assert span.positions[:, -1].tolist() == [at + stretch.advance + 1] * 3
    assert (np.diff(span.order) > 0).all()


def test_a_mask_of_a_scale_sees_its_scale_alone() -> None:
    method: Any = ArgensegSettings(attention="scales").method()
    stretch = method.stretch(GRID, {"<|seg_end|>": 7})
    order = stretch.order
    assert order[:4].tolist() == [4] * 4 and order[4:20].tolist() == [20] * 16
    assert order[-1] == len(order) and (np.diff(order) >= 0).all()


def test_labels_are_made_of_masks_and_drawn_as_those(codes: list[np.ndarray]) -> None:
    one = tiny("argenseg")
    scene = record([TWO, ONE], seed=3)
    label = one.method.label(scene, 0, GRID, None)
    assert label.dtype == np.int16 and label.shape == (341,)
    assert not codes


@pytest.mark.parametrize("name", NAMES)
def test_every_backend_sees_what_the_rule_says(name: str) -> None:
    one = tiny(name)
    pack = Layout(one.chat, one.method)([example(one.method, record([TWO, TURNS]), GRID)])
    with torch.no_grad():
        wanted = one.model(inputs=pack.inputs, attention="sdpa")
        for attention in ("segments", "flex"):
            found = one.model(inputs=pack.inputs, attention=attention)
            assert found.backend == attention
            torch.testing.assert_close(found.read["codes"], wanted.read["codes"], atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(found.text_logits, wanted.text_logits, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_every_weight_takes_part_in_a_pass_without_any_mask(name: str) -> None:
    """In shards, processes whose packs have masks would wait for ever for one whose pack has none."""
    one = tiny(name)
    dialogue = DialogueExample("x", [user("a", image=False), said("b")])
    pack = Layout(one.chat, one.method)([ImageExample([dialogue])])
    one.model.train()
    try:
        losses = one.method.losses(one.model(inputs=pack.inputs), pack.targets)
        assert float(losses["codes"][0].detach()) == losses["codes"][1] == 0
        weights = list(one.model.classifier.parameters())
        found = torch.autograd.grad(total(losses), weights)
        assert all(bool(gradient.isfinite().all()) for gradient in found)
        if one.method.settings.softmax == "separate":
            assert not any(bool(gradient.any()) for gradient in found)
    finally:
        one.model.eval()


def test_a_checkpoint_in_half_precision_draws_the_same_codes_alike(tmp_path: Path) -> None:
    one = tiny("argenseg")
    one.model.save_pretrained(tmp_path)
    one.processor.save_pretrained(tmp_path)
    half = load_checkpoint(tmp_path, dtype=torch.bfloat16).eval()
    label = one.method.label(record([ONE]), 0, GRID, None)
    assert np.array_equal(half.method.label(record([ONE]), 0, GRID, None), label)
    assert torch.equal(half.method.ideal(label), one.method.ideal(label))


def test_the_codec_of_an_adapter_is_the_one_that_it_was_trained_with(tmp_path: Path) -> None:
    """peft copies the readout, and keeps the one before, which has other codebooks where the adapter is opened."""
    path = tmp_path / "codec.safetensors"
    save_residual(ResidualCodec({"scales": (1, 2, 4), "vocabulary": 8}, torch.rand(3, 8, 16).bfloat16().float()), path)
    base = base_model(tmp_path / "base", tied=True)
    start = ("model.preset=", f"model.start={base}", "model.head_width=null")
    run = adapter_run(tmp_path / "run", *start, f"method={{name: argenseg, file: {path}}}")
    trained = run.network.get_base_model().method.codec.quantiser.books
    opened, _ = open_checkpoint(run.checkpoint)
    method: Any = opened.method
    assert trained.any() and torch.equal(opened.classifier.codec.quantiser.books, trained)
    assert method.codec is opened.classifier.codec
    save_residual(ResidualCodec({"scales": (1, 2, 4), "vocabulary": 8}), path)
    again, _ = build_network(resolve(str(tmp_path / "run/recipe.yaml")).recipe, run.checkpoint)
    assert torch.equal(again.get_base_model().method.codec.quantiser.books, trained)
