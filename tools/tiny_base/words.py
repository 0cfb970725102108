"""The tokenizer: bytes, and the words of everything that synthetic scenes are spoken of with, there and in training on them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from stamp_data.instructions import wording
from stamp_data.synth.coco import Entry
from stamp_data.synth.llava import picture_record, text_record
from stamp_data.synth.phrases import Form, Query, describe, kinds_present, members
from stamp_data.synth.plan import Slot
from stamp_data.synth.riddles import RIDDLES
from stamp_data.synth.scene import COLOURS, Stream, generator, sample_scene
from stamp_data.synth.shapes import SHAPES
from stamp_data.synth.wording import listed, long, several, short
from stamp_train.backbones.presets import byte_tokenizer
from stamp_train.methods.text4seg.settings import Text4SegSettings
from stamp_train.sequence.chat import ASSISTED
from tools.tiny_base.questions import ask
from tools.tiny_base.recipe import Recipe

PLAIN = Text4SegSettings()  # the method that adds neither token nor weight: the network stays a plain Qwen2-VL
_FORMS: tuple[tuple[Form, ...], ...] = (("kind",), ("side",), ("place",), ("size",), ("corner",), ("beside",))
_PLACES = ("top", "bottom", "left", "right", "center")
_SCENES = 150


def make_tokenizer(recipe: Recipe) -> Any:
    """A tokenizer of the recipe's vocabulary, with the control tokens of Qwen2-VL."""
    # A pair that is seen once is never merged.
    texts = [*dict.fromkeys(_texts(recipe)), *ASSISTED.frame, *ASSISTED.frame]
    start: Any = byte_tokenizer(PLAIN)
    return start.train_new_from_iterator([texts], vocab_size=recipe.vocabulary, show_progress=False)


def written(tokenizer: Any) -> str:
    """A tokenizer as JSON: trained anew by another version, it might give words other numbers."""
    text: str = tokenizer.backend_tokenizer.to_str()
    return text


def read(text: str) -> Any:
    """The tokenizer that `written` has written."""
    core = Tokenizer.from_str(text)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # transformers leaves it untyped
        tokenizer_object=core, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )


def _texts(recipe: Recipe) -> Iterator[str]:
    for name in ("paper", "published"):
        for templates in (
            wording(name).phrase,
            wording(name).description,
            wording(name).question,
            wording(name).explanation,
        ):
            yield from (*templates.questions, *templates.answers)
    for riddle in RIDDLES:
        yield from (*riddle.questions, *riddle.phrases, riddle.answer)
    for word in (*COLOURS, *SHAPES, *(shape.plural for shape in SHAPES.values()), *_PLACES):
        yield from (word, f"{word}.", f"the {word},")
    for number in range(_SCENES):
        yield from _of_scene(recipe, number)


def _of_scene(recipe: Recipe, number: int) -> Iterator[str]:
    seed = recipe.scenes.train_seed
    scene = sample_scene(generator(seed, Stream.SCENE, number), recipe.scenes.size)
    rng = generator(seed, Stream.REFCOCO, number)
    for question in ask(scene, rng):
        yield from (question.text, question.answer)
    for target in range(len(scene.things)):
        query = describe(scene, target, rng, _FORMS)
        if query is not None:
            yield from (short(query, rng), long(query, rng), short(query, rng).capitalize() + ".")
    for kind in kinds_present(scene):
        if (count := len(members(scene, kind))) > 1:
            yield from (several(Query(kind), count, rng), listed([kind] * count))
    for role in ("coco/train2017", "gqa/images"):
        slot = Slot(number, "llava", role, number, str(number), str(number))
        for record in (picture_record(Entry(slot, scene, ()), rng), text_record(rng)):
            yield from (turn["value"] for turn in record["conversations"])
