"""What a run knows of its sets before it begins: their records, and a tokenizer trained on the texts in them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from transformers import AutoTokenizer

from stamp_data.shards.reader import ShardSet
from stamp_schemas import Record
from stamp_schemas.recipe import Recipe
from stamp_train.backbones.presets import byte_tokenizer
from stamp_train.sequence.chat import ASSISTED
from stamp_train.sequence.tokens import add_tokens
from stamp_train.stream.stages import open_set


def records_of(recipe: Recipe) -> Iterator[Record]:
    """Every record of the sets of all stages, once."""
    for name in dict.fromkeys(use.set for stage in recipe.stages for use in stage.sets):
        with ShardSet(open_set(recipe.data, name)) as records:
            yield from map(records.record, records.rows)


def new_tokenizer(recipe: Recipe) -> Any:
    """The tokenizer that a recipe without pretrained weights names, trains, or falls back to (single bytes)."""
    model = recipe.model
    if model.tokenizer:
        tokenizer = AutoTokenizer.from_pretrained(model.tokenizer)
        add_tokens(tokenizer, recipe.method.tokens)
        return tokenizer
    start: Any = byte_tokenizer(recipe.method)
    if not model.vocabulary:
        return start
    frame = 2 * ASSISTED.frame  # a pair that is seen once is never merged
    texts = [*dict.fromkeys(_texts(recipe)), *recipe.method.words(), *frame]
    return start.train_new_from_iterator([texts], vocab_size=model.vocabulary, show_progress=False)


def _texts(recipe: Recipe) -> Iterator[str]:
    for record in records_of(recipe):
        for dialogue in record.dialogues:
            for message in dialogue.messages:
                yield from (part.text for part in message.content if part.text)
