"""Generation: against transformers' own, against the packed pass without a cache, and against the published numbers."""

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import RepetitionPenaltyLogitsProcessor, TopPLogitsWarper

from stamp_train.attention.dense import DensePlan
from stamp_train.backbones.load import load_checkpoint
from stamp_train.backbones.modeling import model_class
from stamp_train.backbones.presets import build_preset, preset_config
from stamp_train.backbones.processor import PixelBatch, StampProcessor
from stamp_train.generation.cache import CachedPlan, in_halves
from stamp_train.generation.generate import StampGenerator
from stamp_train.generation.prompts import open_reply
from stamp_train.generation.replies import Answer, Event
from stamp_train.generation.sampling import GenerationOptions, TextStream, choose, penalise
from stamp_train.sequence.chat import ChatEncoder
from stamp_train.sequence.errors import StampModelError
from stamp_train.sequence.examples import DialogueExample, ImageExample
from stamp_train.sequence.layout import Layout

from .. import stamping
from ..conftest import near, noise
from ..stamping import PUBLISHED

FORMS = {
    "patch": ("tiny", PUBLISHED),
    "fine": ("tiny", stamping.settings()),
    "qwen2.5": ("qwen2.5-tiny", stamping.settings()),
    "qwen3": ("qwen3-tiny", stamping.settings()),
    "qwen3 without deepstack": ("qwen3-tiny", stamping.settings(deepstack=False)),
}
SEG = "<|seg|>"


@cache
def lively(form: str) -> SimpleNamespace:
    """A model that does not repeat itself: loud layers, an output matrix of its own, and a taste for `<|seg|>`."""
    preset, stamp = FORMS[form]
    processor = build_preset(preset)[1]
    config: Any = preset_config(preset, processor.tokenizer, stamp)
    config.tie_word_embeddings = config.text_config.tie_word_embeddings = False
    torch.manual_seed(3)
    model: Any = model_class(config.model_type)._from_config(config).eval()
    with torch.no_grad():
        for weight in model.model.parameters():
            weight.mul_(4 if weight.ndim > 1 else 1)
        model.lm_head.weight.normal_()
    model.generation_config.eos_token_id = processor.chat.control["<|im_end|>"]
    generator = StampGenerator(model, processor)
    images = images_of(processor.backbone.patch)
    said = Counter(i for answer in flat(generator.generate(images, PROMPTS, SHORT)) for i in answer.ids[4:])
    with torch.no_grad():  # wherever it would say its favourite token, it now says <|seg|>
        model.lm_head.weight[processor.chat.seg_id] = 1.1 * model.lm_head.weight[said.most_common(1)[0][0]]
    stock = getattr(transformers, processor.backbone.classes[1])(config).eval()
    stock.load_state_dict(model.state_dict(), strict=False)
    stock.generation_config.eos_token_id = model.generation_config.eos_token_id
    return SimpleNamespace(
        model=model, stock=stock, processor=processor, chat=processor.chat, generator=generator, images=images
    )


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> SimpleNamespace:
    return lively(request.param)


@pytest.fixture
def fine() -> SimpleNamespace:
    return lively("fine")


@cache
def images_of(patch: int) -> list[PixelBatch]:
    return [PixelBatch(*noise(grid, seed, patch)) for grid, seed in (((2, 3), 1), ((4, 2), 2), ((3, 5), 3))]


IMAGES = images_of(14)
PROMPTS = [["the cup", "a much longer question about two dogs", "x", ""], ["the left one"], ["why", "the boat, please"]]
SHORT = GenerationOptions(max_new_tokens=12)
MASK_ALONE = GenerationOptions(begin=SEG, max_new_tokens=0)


class Verbatim(ChatEncoder):
    """Takes an assistant's text as the ids it lists, so that any generated ids can be laid out again."""

    def answer_ids(self, text: str) -> list[int]:
        return [int(i) for i in text.split()]


def user(text: str, image: bool = True) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "image"}] * image + [{"type": "text", "text": text}]}


def assistant(ids: Sequence[int]) -> dict[str, Any]:
    return {"role": "assistant", "content": " ".join(map(str, ids))}


def uncached(form: SimpleNamespace, image: PixelBatch, messages: Sequence[Any], segs: int) -> list[Tensor]:
    """Masks of a dialogue alone, by one packed pass through the layout."""
    most = form.model.config.text_config.max_position_embeddings
    shape = tuple(form.model.method.side * n // 2 for n in image.grid_thw[1:])
    dialogue = DialogueExample("d", messages, [np.zeros(shape, np.uint8)] * segs)
    layout = Layout(Verbatim(form.processor.tokenizer, form.chat.layout), form.model.method, most)
    batch = layout([ImageExample([dialogue], image.pixel_values, image.grid_thw)])
    with torch.no_grad():
        output = form.model(inputs=batch.inputs, attention="sdpa")
    return form.model.method.pictures(output.read, output.masks)  # type: ignore[no-any-return]


def own_generation(
    form: SimpleNamespace, image: PixelBatch | None, ids: Sequence[int], model: Any = None, **options: Any
) -> list[int]:
    """What transformers' own `generate` answers to a prompt's ids, on its own class or on the `model` given."""
    patches = image.pixel_values.shape[0] // 4 if image else 0
    chat = form.chat
    full = torch.tensor([[i for token in ids for i in [token] * (patches if token == chat.image_id else 1)]])
    given: dict[str, Any] = {"input_ids": full, "attention_mask": torch.ones_like(full)}
    if image:
        grid = torch.tensor([image.grid_thw])
        given |= {"pixel_values": image.pixel_values, "image_grid_thw": grid}
        given["mm_token_type_ids"] = (full == chat.image_id).int()
    with torch.no_grad():
        out = (model or form.stock).generate(**given, do_sample=False, **options)
    return [int(i) for i in out[0, full.shape[1] :].tolist()]


def test_our_class_still_generates_as_transformers_own_does(form: SimpleNamespace) -> None:
    """Its argument check refuses pictures unless `forward` names them."""
    for image in (form.images[0], None):
        ids = form.chat.encode([user("the cup", image is not None)], generation_prompt=True).ids
        ours = own_generation(form, image, ids, form.model, max_new_tokens=8)
        assert ours == own_generation(form, image, ids, max_new_tokens=8)


class Watch:
    """Counts what goes through a model, by torch's own hooks; `limit` makes memory run out above so many tokens."""

    def __init__(self, model: Any, limit: int | None = None, images: int | None = None) -> None:
        self.seen_images, self.passes = 0, list[int]()
        self.limit, self.images = limit, images
        self.handles = [
            model.model.visual.register_forward_pre_hook(self.vision, with_kwargs=True),
            model.model.language_model.register_forward_pre_hook(self.language, with_kwargs=True),
        ]

    def __enter__(self) -> "Watch":
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self.handles:
            handle.remove()

    def vision(self, _module: Any, _args: Any, kwargs: Any) -> None:
        count = len(kwargs["grid_thw"])
        if self.images is not None and count > self.images:
            raise torch.OutOfMemoryError("injected")
        self.seen_images += count

    def language(self, _module: Any, _args: Any, kwargs: Any) -> None:
        count = kwargs["inputs_embeds"].shape[1]
        if self.limit is not None and count > self.limit:
            raise torch.OutOfMemoryError("injected")
        self.passes.append(count)


def assert_same(found: Answer, expected: Answer) -> None:
    assert (found.text, found.ids, found.finish) == (expected.text, expected.ids, expected.finish)
    assert len(found.masks) == len(expected.masks)
    for one, other in zip(found.masks, expected.masks, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=0)


def answers_of(events: Sequence[Event]) -> list[list[Answer]]:
    found = {(event.image, event.prompt): event.answer for event in events if event.answer is not None}
    return [[found[i, j] for j in range(len(asked))] for i, asked in enumerate(PROMPTS)]


def flat(nested: Sequence[Sequence[Any]]) -> list[Any]:
    return [item for items in nested for item in items]


# Text


def test_greedy_text_is_transformers_own_token_by_token(form: SimpleNamespace) -> None:
    answers = form.generator.generate(form.images, PROMPTS, GenerationOptions(max_new_tokens=24))
    for image, prompts, found in zip(form.images, PROMPTS, answers, strict=True):
        for prompt, answer in zip(prompts, found, strict=True):
            ids = form.chat.encode([user(prompt)], generation_prompt=True).ids
            assert list(answer.ids) == own_generation(form, image, ids, max_new_tokens=24)
    assert len({answer.ids for answer in flat(answers)}) == 7  # else the model would not listen, and prove nothing
    assert max(len(set(answer.ids)) for answer in flat(answers)) > 6


def test_stop_tokens_and_repetition_penalty_are_transformers_own(fine: SimpleNamespace) -> None:
    ids = fine.chat.encode([user("the cup")], generation_prompt=True).ids
    free = own_generation(fine, IMAGES[0], ids, max_new_tokens=20)
    stop = [free[9], free[4]]
    options = GenerationOptions(max_new_tokens=20, stop_ids=tuple(stop))
    answer = fine.generator.ask(IMAGES[0], "the cup", options)
    assert list(answer.ids) == own_generation(fine, IMAGES[0], ids, max_new_tokens=20, eos_token_id=stop)
    assert answer.finish == "stop"
    assert len(answer.ids) <= 5
    answer = fine.generator.ask(IMAGES[0], "the cup", GenerationOptions(max_new_tokens=20, repetition_penalty=1.8))
    assert list(answer.ids) == own_generation(fine, IMAGES[0], ids, max_new_tokens=20, repetition_penalty=1.8) != free


def test_text_alone_and_text_beside_images(fine: SimpleNamespace) -> None:
    images, prompts = [None, IMAGES[0], None], [["hello", "and you"], ["the cup"], ["hello"]]
    answers = fine.generator.generate(images, prompts, SHORT)
    for prompt, answer in zip(prompts[0], answers[0], strict=True):
        ids = fine.chat.encode([user(prompt, image=False)], generation_prompt=True).ids
        assert list(answer.ids) == own_generation(fine, None, ids, max_new_tokens=12)
        assert answer.masks == ()
    assert answers[2][0].ids == answers[0][0].ids
    assert_same(answers[1][0], fine.generator.ask(IMAGES[0], "the cup", SHORT))


# Masks


@pytest.mark.parametrize("case", ["single_nonsquare", "two_segs", "downscaled_image"])
def test_published_cached_masks(case: str, golden_cases_path: Path, golden_model_path: Path) -> None:
    facts = json.loads((golden_cases_path / f"{case}.json").read_text(encoding="utf-8"))["texts"][0]
    model, processor = load_checkpoint(golden_model_path).eval(), StampProcessor.from_pretrained(golden_model_path)
    with np.load(golden_cases_path / f"{case}.npz") as data:
        image = PixelBatch(torch.from_numpy(data["pixel_values"]), tuple(data["image_grid_thw"][0].tolist()))
        options = GenerationOptions(begin=facts["answer"], max_new_tokens=0)
        answer = StampGenerator(model, processor).ask(image, facts["question"], options)
        assert answer.content == facts["answer"]
        assert len(answer.masks) == facts["answer"].count(SEG) > 0
        for number, mask in enumerate(answer.masks):
            near(mask.flatten(), data[f"infer{number}_bi_logits"])
            np.testing.assert_array_equal(mask > 0, data[f"infer{number}_prediction"])


def test_cached_masks_are_those_of_the_packed_pass(form: SimpleNamespace) -> None:
    """Seven dialogues of three images at once, each against itself alone without a cache, whatever it has said."""
    answers = form.generator.generate(form.images, PROMPTS, GenerationOptions(max_new_tokens=24))
    assert sum(len(answer.masks) for answer in flat(answers)) > 7
    for image, prompts, found in zip(form.images, PROMPTS, answers, strict=True):
        for prompt, answer in zip(prompts, found, strict=True):
            segs = answer.ids.count(form.chat.seg_id)
            expected = uncached(form, image, [user(prompt), assistant(answer.ids)], segs)
            assert len(answer.masks) == segs
            for one, other in zip(answer.masks, expected, strict=True):
                torch.testing.assert_close(one, other, atol=1e-4, rtol=0)


@settings(max_examples=12)
@example(shape=[(0, [0, 4, 1, 5]), (2, [2, 3])], form_name="fine", batch_size=16, mask_tokens=10_000)
@given(
    shape=st.lists(st.tuples(st.integers(0, 2), st.lists(st.integers(0, 5), min_size=1, max_size=4)), max_size=3),
    form_name=st.sampled_from(sorted(FORMS)),
    batch_size=st.sampled_from([1, 3, 16]),
    mask_tokens=st.sampled_from([1, 17, 10_000]),
)
def test_forced_answers_of_any_shape(
    shape: list[tuple[int, list[int]]], form_name: str, batch_size: int, mask_tokens: int
) -> None:
    """1 to 4 prompts on 1 to 3 images, several turns and `<|seg|>`, in any portions: masks as without a cache."""
    form = lively(form_name)
    dialogues = [
        ([user("a cup")], f"{SEG}"),
        ([user("two"), {"role": "assistant", "content": f"one {SEG}"}, user("the other", image=False)], f"It: {SEG}."),
        ([user("all of them")], f"{SEG} and {SEG}, {SEG}"),
        ([user("what")], "nothing"),
        ([{"role": "system", "content": "Be brief."}, user("a cup")], f"{SEG}"),
        ([user(f"the text {SEG} is not a token")], f"so {SEG}"),
    ]
    chosen = [[dialogues[kind] for kind in kinds] for _, kinds in shape]
    prompts = [[[*said, {"role": "assistant", "content": begin}] for said, begin in some] for some in chosen]
    images = [form.images[number] for number, _ in shape]
    options = GenerationOptions(max_new_tokens=0, batch_size=batch_size, mask_tokens=mask_tokens)
    answers = form.generator.generate(images, prompts, options)
    for image, some, given_ in zip(images, chosen, answers, strict=True):
        for (said, begin), answer in zip(some, given_, strict=True):
            listed = [assistant(form.chat.answer_ids(m["content"])) if m["role"] == "assistant" else m for m in said]
            history = sum(str(m["content"]).count(SEG) for m in said if m["role"] == "assistant")
            ids = form.chat.answer_ids(begin)
            expected = uncached(form, image, [*listed, assistant(ids)], history + begin.count(SEG))[history:]
            assert len(answer.masks) == begin.count(SEG)
            for one, other in zip(answer.masks, expected, strict=True):
                torch.testing.assert_close(one, other, atol=1e-4, rtol=0)


def test_a_seg_that_the_limit_leaves_last_is_seen_by_its_mask(fine: SimpleNamespace) -> None:
    free = fine.generator.ask(IMAGES[0], "the cup", GenerationOptions(max_new_tokens=24))
    last = free.ids.index(fine.chat.seg_id)
    cut = fine.generator.ask(IMAGES[0], "the cup", GenerationOptions(max_new_tokens=last + 1))
    assert cut.ids == free.ids[: last + 1]
    assert cut.finish == "length"
    torch.testing.assert_close(cut.masks[0], free.masks[0], atol=1e-4, rtol=0)


def test_masks_without_decoding(fine: SimpleNamespace) -> None:
    with Watch(fine.model) as watch:
        answers = fine.generator.generate(IMAGES, PROMPTS, MASK_ALONE)
    assert len(watch.passes) == 2  # one over all prompts, one over all masks
    assert [answer.content for answer in flat(answers)] == [SEG] * 7
    expected = uncached(fine, IMAGES[1], [user(PROMPTS[1][0]), assistant([fine.chat.seg_id])], 1)
    torch.testing.assert_close(answers[1][0].masks[0], expected[0], atol=1e-4, rtol=0)


def test_mask_passes_keep_to_their_budget(fine: SimpleNamespace) -> None:
    whole = fine.generator.generate(IMAGES, PROMPTS, MASK_ALONE)
    with Watch(fine.model) as watch:
        options = GenerationOptions(begin=SEG, max_new_tokens=0, mask_tokens=14)
        portions = fine.generator.generate(IMAGES, PROMPTS, options)
    assert watch.passes[1:] == [12, 12, 8, 15, 15]  # four of 6 patches, one of 8, two of 15 that go over it alone
    for one, other in zip(flat(portions), flat(whole), strict=True):
        assert_same(one, other)


def test_seg_in_a_question_is_text(fine: SimpleNamespace) -> None:
    options = GenerationOptions(begin="nothing", max_new_tokens=0)
    answer = fine.generator.ask(IMAGES[0], f"what does {SEG} mean", options)
    assert answer.masks == ()


# What is computed


def test_batched_is_single_and_nothing_is_computed_twice(form: SimpleNamespace) -> None:
    with Watch(form.model) as watch:
        answers = form.generator.generate(form.images, PROMPTS, SHORT)
    assert watch.seen_images == 3
    asked = 0
    for image, prompts in zip(form.images, PROMPTS, strict=True):
        shared = form.chat.encode([user(prompts[0])]).image_at + 2
        asked += shared - 1 + image.pixel_values.shape[0] // 4
        asked += sum(len(form.chat.encode([user(p)], generation_prompt=True).ids) - shared for p in prompts)
    assert watch.passes[0] == asked  # the prefix of an image once, however many prompts
    masks = sum(mask.numel() // form.model.classifier.side**2 for a in flat(answers) for mask in a.masks)
    assert sum(watch.passes[1:]) <= 7 * 12 + masks  # every decoded token and every mask token at most once
    assert masks == watch.passes[-1] > 0  # all masks in one pass
    for image, prompts, found in zip(form.images, PROMPTS, answers, strict=True):
        for prompt, answer in zip(prompts, found, strict=True):
            assert_same(answer, form.generator.ask(image, prompt, SHORT))


def test_plan_over_a_cache_is_the_rule(pack: Callable[..., Any]) -> None:
    """New tokens in any order, of several documents, text and mask blocks, against the brute-force mask."""
    key = pack([((2, 3), [0, 3, 4]), (None, [2]), ((3, 5), [1, 0])]).inputs.structure
    order = torch.randperm(len(key), generator=torch.Generator().manual_seed(0))
    for rows in (order[: len(key) // 2], order[:1], (key.block == 2).nonzero()[:, 0], torch.arange(len(key))):
        query = key[rows]
        q, k, v = (torch.randn(1, h, n, 16) for h, n in ((4, len(query)), (2, len(key)), (2, len(key))))
        expected = DensePlan(query, key).attend(q, k, v, 0.25)
        torch.testing.assert_close(CachedPlan(query, key, "cpu").attend(q, k, v, 0.25), expected, atol=1e-5, rtol=0)


def test_small_batches_see_each_image_once(fine: SimpleNamespace) -> None:
    whole = fine.generator.generate(IMAGES, PROMPTS, SHORT)
    with Watch(fine.model) as watch:
        small = fine.generator.generate(IMAGES, PROMPTS, GenerationOptions(max_new_tokens=12, batch_size=2))
    assert watch.seen_images == 3
    for one, other in zip(flat(small), flat(whole), strict=True):
        assert_same(one, other)


@pytest.mark.parametrize("backend", ["sdpa", "segments", "flex"])
def test_backends_of_the_first_pass_agree(fine: SimpleNamespace, backend: str) -> None:
    reference = fine.generator.generate(IMAGES[:2], PROMPTS[:2], SHORT)
    options = GenerationOptions(max_new_tokens=12, attention=backend)
    for one, other in zip(
        flat(fine.generator.generate(IMAGES[:2], PROMPTS[:2], options)), flat(reference), strict=True
    ):
        assert_same(one, other)


def test_half_precision() -> None:
    model, processor = build_preset("tiny", dtype=torch.bfloat16)
    exact, _ = build_preset("tiny")
    answers = [StampGenerator(m, processor).generate(IMAGES, PROMPTS, MASK_ALONE) for m in (model, exact)]
    for one, other in zip(*map(flat, answers), strict=True):
        assert one.masks[0].dtype == torch.float32
        torch.testing.assert_close(one.masks[0], other.masks[0], atol=0.02, rtol=0)


# Turns


def test_a_conversation_reads_only_what_is_new(form: SimpleNamespace) -> None:
    image, seg = form.images[2], form.chat.seg_id
    conversation = form.generator.conversation(image, GenerationOptions(max_new_tokens=9))
    first = conversation.ask("the cup")
    with Watch(form.model) as watch:
        second = conversation.ask("and the other", begin=f"Here {SEG}")
    assert watch.seen_images == 0
    turn = form.chat.encode([user("x", image=False)], generation_prompt=True).ids
    if system := form.chat.layout.system:
        turn = turn[len(form.chat.encode([{"role": "system", "content": system}]).ids) :]
    assert watch.passes[0] <= len(turn) + len("and the other") + len("Here ") + 4  # + <|seg|>, an unread one, an end
    messages = [user("the cup"), assistant(first.ids), user("and the other", image=False)]
    ids = Verbatim(form.processor.tokenizer, form.chat.layout).encode(messages, generation_prompt=True).ids
    said = form.chat.answer_ids(f"Here {SEG}")
    assert list(second.ids) == said + own_generation(form, image, [*ids, *said], max_new_tokens=9)
    counts = [first.ids.count(seg), second.ids.count(seg)]
    expected = uncached(form, image, [*messages, assistant(second.ids)], sum(counts))
    assert [len(first.masks), len(second.masks)] == counts
    for one, other in zip([*first.masks, *second.masks], expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=0)


def test_a_conversation_that_stops_by_itself_goes_on_as_messages_do(fine: SimpleNamespace) -> None:
    """Ended by a stop token and told as messages: the same dialogue either way."""
    answer = "Here it is."
    conversation = fine.generator.conversation(None, GenerationOptions(max_new_tokens=0))
    assert conversation.ask("hello", begin=answer).text == answer
    events = list(conversation.stream("and then", begin="Well"))
    assert [event.prompt for event in events] == [1] * len(events)
    told = [user("hello", image=False), {"role": "assistant", "content": answer}, user("and then", image=False)]
    expected = fine.generator.ask(None, told, SHORT)
    going = fine.generator.conversation(None, SHORT)
    assert_same(going.ask(told), expected)
    with pytest.raises(StampModelError, match="dialogue that has begun"):
        going.ask(told)


# Streams


def test_events_are_the_answers_bit_by_bit(fine: SimpleNamespace) -> None:
    options = GenerationOptions(max_new_tokens=24, begin="Früh ")
    events = list(fine.generator.stream(IMAGES, PROMPTS, options))
    answers = answers_of(events)
    for i, found in enumerate(answers):
        for j, answer in enumerate(found):
            mine = [event for event in events if (event.image, event.prompt) == (i, j)]
            assert "".join(event.text for event in mine if event.kind == "text") == answer.text
            assert "".join(event.text for event in mine) == answer.content
            assert answer.text.startswith("Früh ")
            assert [event.text for event in mine if event.kind == "control"].count(SEG) == len(answer.masks)
            assert mine[-1].answer is answer
            assert "<|" not in answer.text
    assert any(answer.masks for answer in flat(answers))


@given(text=st.text(max_size=12), cut=st.integers(0, 40))
def test_text_comes_in_whole_characters(text: str, cut: int) -> None:
    """One byte a token: every prefix of the stream is a prefix of the text, and what is broken comes at the end."""
    chat = lively("fine").chat
    ids = chat.text_ids(text)
    stream, shown = TextStream(chat), ""
    for token in ids[:cut]:
        for kind, piece in stream.push(token):
            assert kind == "text"
            shown += piece
            assert text.startswith(shown)
    rest = "".join(piece for _, piece in stream.flush())
    assert shown + rest == text.encode()[:cut].decode(errors="replace")
    if cut >= len(ids):
        assert shown + rest == text


def test_a_character_cut_off_by_the_end_is_still_shown(fine: SimpleNamespace) -> None:
    half, stop = fine.chat.text_ids("é")[0], fine.chat.control["<|im_end|>"]
    for room, tokens in ((1, [half]), (5, [half, stop])):
        options = GenerationOptions(max_new_tokens=room, stop_ids=(stop,))
        reply = open_reply(fine.model, fine.chat, None, (0, 0), "x", options)
        assert [piece for token in tokens for piece in reply.take(token)] == [("text", "\ufffd")]
        assert reply.answer().answer.text == "\ufffd"


def test_control_tokens_are_events_or_nothing(fine: SimpleNamespace) -> None:
    chat, stream = fine.chat, TextStream(fine.chat)
    broken = chat.text_ids("é")[:1]
    ids = [*chat.text_ids("a"), *broken, chat.seg_id, chat.control["<|im_start|>"], chat.control["<|mask|>"], 380]
    pieces = [piece for token in [*ids, *chat.answer_ids("b<|yes|>")] for piece in stream.push(token)]
    assert pieces == [("text", "a"), ("text", "\ufffd"), ("control", SEG), ("text", "b"), ("control", "<|yes|>")]


# Sampling


def test_sampling_depends_on_seed_and_dialogue_alone(fine: SimpleNamespace) -> None:
    def sample(seed: int, batch_size: int = 16) -> list[list[Answer]]:
        options = GenerationOptions(max_new_tokens=10, temperature=3.0, top_p=0.95, seed=seed, batch_size=batch_size)
        return fine.generator.generate(IMAGES, PROMPTS, options)

    one, again, apart, other = sample(1), sample(1), sample(1, batch_size=1), sample(2)
    assert [a.ids for a in flat(one)] == [a.ids for a in flat(again)] == [a.ids for a in flat(apart)]
    assert all(a.ids != b.ids for a, b in zip(flat(one), flat(other), strict=True))
    options = GenerationOptions(max_new_tokens=10, temperature=3.0)
    twice = fine.generator.generate(IMAGES[:1], [["the cup", "the cup"]], options)[0]
    assert twice[0].ids != twice[1].ids


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 0.6), (2.0, 0.9), (1.0, 1e-9)])
def test_sampling_has_the_wanted_distribution(temperature: float, top_p: float) -> None:
    logits = torch.randn(1, 12, generator=torch.Generator().manual_seed(0)) * 2
    wanted = TopPLogitsWarper(top_p)(None, logits / temperature).softmax(-1)[0]
    draws = [(i + 0.5) / 4000 for i in range(4000)]
    counts = Counter(choose(logits.expand(4000, -1), draws, temperature, top_p))
    found = torch.tensor([counts[i] / 4000 for i in range(12)])
    torch.testing.assert_close(found, wanted, atol=1e-3, rtol=0)


def test_penalty_is_transformers_own() -> None:
    logits = torch.randn(2, 9, generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([[1, 1, 4], [0, 8, 3]])
    expected = RepetitionPenaltyLogitsProcessor(1.3)(ids, logits.clone())
    torch.testing.assert_close(penalise(logits, ids.tolist(), 1.3), expected)


# Memory


def test_halving_goes_on_with_what_fits(caplog: pytest.LogCaptureFixture) -> None:
    sizes: list[int] = []

    def work(items: Sequence[int]) -> Iterator[int]:
        sizes.append(len(items))
        if len(items) > 2:
            raise torch.OutOfMemoryError("injected")
        yield from items

    with caplog.at_level(logging.WARNING):
        assert list(in_halves(range(7), work)) == list(range(7))
    assert sizes == [7, 4, 2, 2, 3, 2, 1]
    assert [record.getMessage() for record in caplog.records] == [
        f"out of memory with a batch of {n}; going on with {half}" for n, half in ((7, 4), (4, 2), (3, 2))
    ]


@pytest.mark.parametrize(
    "fault",
    [
        torch.OutOfMemoryError("injected"),
        RuntimeError("MPS backend out of memory (MPS allocated: 17 GB)"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."),
    ],
)
def test_one_item_that_does_not_fit_is_named(fault: RuntimeError) -> None:
    def work(items: Sequence[str]) -> Iterator[str]:
        if "b" in items:
            raise fault
        yield from items

    with pytest.raises(StampModelError, match=r"^item b: out of memory"):
        list(in_halves(["a", "b"], work, lambda item: f"item {item}"))
    with pytest.raises(type(fault)):
        list(in_halves(["a", "b"], work))


def test_other_errors_are_not_for_want_of_memory() -> None:
    def broken(_: Sequence[str]) -> Iterator[str]:
        raise RuntimeError("shapes do not agree")
        yield

    with pytest.raises(RuntimeError, match="shapes"):
        list(in_halves(["a", "b"], broken, str))


@pytest.mark.parametrize("limit", [115, 180, 260])
def test_generation_goes_on_when_memory_runs_out(
    fine: SimpleNamespace, caplog: pytest.LogCaptureFixture, limit: int
) -> None:
    """Passes above so many tokens fail, prompts and masks alike: the answers stay, and nothing is told twice."""
    expected = fine.generator.generate(IMAGES, PROMPTS, SHORT)
    with caplog.at_level(logging.WARNING), Watch(fine.model, limit=limit, images=2) as watch:
        events = list(fine.generator.stream(IMAGES, PROMPTS, SHORT))
    answers = answers_of(events)
    assert watch.seen_images == 3
    assert len(caplog.records) >= 2  # the tower's and the language model's
    for one, other in zip(flat(answers), flat(expected), strict=True):
        assert_same(one, other)
    shown = Counter((event.image, event.prompt, event.kind) for event in events)
    assert all(shown[i, j, "answer"] == 1 for i, prompts in enumerate(PROMPTS) for j in range(len(prompts)))
    assert "".join(e.text for e in events if (e.image, e.prompt) == (0, 1)) == expected[0][1].content


def test_running_out_while_decoding_keeps_what_was_said(fine: SimpleNamespace) -> None:
    expected = fine.generator.generate(IMAGES, PROMPTS, SHORT)
    steps = 0

    def fail_once(*_: Any) -> None:
        nonlocal steps
        steps += 1
        if steps == 6:
            raise torch.OutOfMemoryError("injected")

    handle = fine.model.model.language_model.register_forward_pre_hook(fail_once)
    try:
        events = list(fine.generator.stream(IMAGES, PROMPTS, SHORT))
    finally:
        handle.remove()
    answers = answers_of(events)
    for one, other in zip(flat(answers), flat(expected), strict=True):
        assert_same(one, other)
    assert "".join(e.text for e in events if (e.image, e.prompt) == (2, 0)) == expected[2][0].content


def test_a_dialogue_that_does_not_fit_alone_is_named(fine: SimpleNamespace) -> None:
    with Watch(fine.model, limit=10), pytest.raises(StampModelError, match=r"^image 0, prompt 0: out of memory"):
        fine.generator.generate(IMAGES, PROMPTS, SHORT)
    with Watch(fine.model, images=0), pytest.raises(StampModelError, match=r"^image 0: out of memory"):
        fine.generator.generate(IMAGES, PROMPTS, SHORT)


# Faults


def refused(generator: StampGenerator, image: Any, prompt: Any, words: str, **options: Any) -> None:
    with pytest.raises(StampModelError, match=words):
        generator.generate(
            [IMAGES[0], image], [["fine"], [prompt]], GenerationOptions(**{"max_new_tokens": 2} | options)
        )


def test_faults_name_the_dialogue(fine: SimpleNamespace) -> None:
    good = IMAGES[1]
    broken = PixelBatch(good.pixel_values.clone().fill_(float("nan")), good.grid_thw)
    refused(fine.generator, broken, "x", r"^image 1: pixel values are not finite")
    refused(fine.generator, PixelBatch(good.pixel_values, (1, 4, 4)), "x", r"^image 1: grid \(1, 4, 4\) disagrees")
    refused(fine.generator, good, [user("x", image=False)], r"^image 1, prompt 0: messages and images disagree")
    refused(fine.generator, None, [user("x")], r"^image 1, prompt 0: messages and images disagree")
    refused(fine.generator, good, [], r"^image 1, prompt 0: a dialogue without messages")
    refused(fine.generator, good, "x" * 9000, r"^image 1, prompt 0: position \d+ is past the model's range of 8192")
    image_answer = {"role": "assistant", "content": [{"type": "image"}]}
    refused(fine.generator, good, [user("x"), image_answer], r"^image 1, prompt 0: an answer that begins with")
    with pytest.raises(StampModelError, match="1 images but 2 lists"):
        fine.generator.generate([good], [["a"], ["b"]])


@pytest.mark.parametrize(
    "option", [{"temperature": -1.0}, {"top_p": 0.0}, {"max_new_tokens": -1}, {"batch_size": 0}, {"mask_tokens": 0}]
)
def test_options_out_of_range_are_refused(option: dict[str, Any]) -> None:
    with pytest.raises(StampModelError, match=next(iter(option))):
        GenerationOptions(**option)


def test_answers_end_where_positions_do(fine: SimpleNamespace) -> None:
    """A mask after the last token must still have positions."""
    length = 8192 - len(fine.chat.encode([user("")], generation_prompt=True).ids) - 5 - 10
    answer = fine.generator.ask(IMAGES[0], "x" * length, GenerationOptions(max_new_tokens=100, stop_ids=()))
    assert answer.finish == "length"
    assert 0 < len(answer.ids) < 20


def test_broken_weights_are_named_not_spoken() -> None:
    model, processor = build_preset("tiny")
    torch.nn.init.constant_(model.classifier.out.bias, float("nan"))
    generator = StampGenerator(model, processor)
    with pytest.raises(StampModelError, match=r"^image 0, prompt 0: mask logits are not numbers"):
        generator.ask(IMAGES[0], "x", MASK_ALONE)
    torch.nn.init.constant_(model.model.language_model.norm.weight, float("nan"))
    with pytest.raises(StampModelError, match=r"^image 0, prompt 0: text logits are not numbers"):
        generator.ask(IMAGES[0], "x", SHORT)


def test_a_model_that_cannot_generate_is_refused() -> None:
    model, processor = build_preset("tiny")
    with pytest.raises(StampModelError, match="training mode"):
        StampGenerator(model.train(), processor).ask(IMAGES[0], "x")
    model.resize_token_embeddings(270)
    with pytest.raises(StampModelError, match=r"270 embedding rows, none for .*<.seg.>"):
        StampGenerator(model, processor)
