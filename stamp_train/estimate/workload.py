"""How much there is to compute in a stage, from the sets' indexes alone."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from stamp_data.grid import patch_grid
from stamp_data.shards.index import read_table
from stamp_data.shards.manifest import read_manifest
from stamp_data.shards.stores import Store
from stamp_schemas import StampError
from stamp_schemas.recipe import Recipe, Stage
from stamp_train.stream.stages import open_set

CHARS_PER_TOKEN = 4.0  # English under Qwen's tokenizer, where the index holds no counts
_ASKED = 16  # shards whose size is asked for at a time, of a store that is far away
_TURN_TOKENS = 5  # header and end of a turn
_COLUMNS = ["width", "height", "turns", "masks", "text_chars", "text_tokens"]


@dataclass(frozen=True)
class Work:
    """Tokens of the language model and visits to the vision tower, over one epoch or over a stage.

    Attributes:
        dialogues: how many are seen.
        visits: pictures encoded; one for up to `dialogues_per_image` dialogues.
        text: tokens of text.
        image: image placeholders, equal to the merged patches that the vision tower encodes.
        mask: mask tokens.
        longest: tokens of the largest visit, which a pack has to hold.
    """

    dialogues: float = 0
    visits: float = 0
    text: float = 0
    image: float = 0
    mask: float = 0
    longest: int = 0

    @property
    def tokens(self) -> float:
        """All tokens of the language model."""
        return self.text + self.image + self.mask

    def __add__(self, other: Work) -> Work:
        return Work(
            self.dialogues + other.dialogues,
            self.visits + other.visits,
            self.text + other.text,
            self.image + other.image,
            self.mask + other.mask,
            max(self.longest, other.longest),
        )

    def times(self, factor: float) -> Work:
        """The same mixture, `factor` times as much of it."""
        return Work(
            self.dialogues * factor,
            self.visits * factor,
            self.text * factor,
            self.image * factor,
            self.mask * factor,
            self.longest,
        )


@dataclass(frozen=True)
class StageWork:
    """One stage: `steps` optimizer steps that do `work` in all."""

    name: str
    steps: int
    work: Work


def stage_work(recipe: Recipe, stage: Stage, bytes_as_tokens: bool = False) -> StageWork:
    """Steps and work of a stage.

    Args:
        recipe: the whole recipe.
        stage: one of its stages.
        bytes_as_tokens: the tokenizer is the presets' own, whose tokens are bytes.

    Raises:
        StampError: a set is not there, or is not complete.
    """
    epoch = Work()
    for use in stage.sets:
        epoch += set_work(open_set(recipe.data, use.set), recipe, bytes_as_tokens).times(use.passes)
    if not epoch.dialogues:
        raise StampError(f"stage {stage.name}: its sets hold no dialogue")
    steps = stage.steps or math.ceil(stage.epochs * epoch.dialogues / recipe.batch.dialogues)
    epochs = stage.epochs or stage.steps * recipe.batch.dialogues / epoch.dialogues
    return StageWork(stage.name, steps, epoch.times(epochs))


def set_work(store: Store, recipe: Recipe, bytes_as_tokens: bool = False) -> Work:
    """One pass over a set.

    Raises:
        StampError: no manifest, no index, or a shard that is missing or of another size than the manifest says.
    """
    shards = read_manifest(store).shards
    with ThreadPoolExecutor(_ASKED) as pool:
        for shard, size in zip(shards, pool.map(lambda shard: store.size(shard.path), shards), strict=True):
            if size != shard.bytes:
                raise StampError(
                    f"{store}/{shard.path}: {size:,} bytes, the manifest says {shard.bytes:,}",
                    f"stamp-data verify {store}",
                )
    work = Work()
    for row in read_table(store, _COLUMNS).to_pylist():
        grid = (
            patch_grid(row["height"], row["width"], recipe.data.min_tokens, recipe.data.max_tokens).tokens
            if row["height"]
            else 0
        )
        texts = _text_tokens(row, bytes_as_tokens)
        per_visit = recipe.batch.dialogues_per_image
        for first in range(0, len(texts), per_visit):
            text = sum(texts[first : first + per_visit])
            mask = recipe.method.tokens_per_mask(grid) * sum(row["masks"][first : first + per_visit])
            count = min(per_visit, len(texts) - first)
            work += Work(count, 1 if grid else 0, text, grid, mask, math.ceil(text) + grid + mask)
    return work


def _text_tokens(row: dict[str, list[int]], bytes_as_tokens: bool) -> list[float]:
    """Text tokens of each dialogue of an index row, counted by the build or estimated from its characters."""
    if row["text_tokens"] is not None and not bytes_as_tokens:
        return [float(tokens) for tokens in row["text_tokens"]]
    per_token = 1.0 if bytes_as_tokens else CHARS_PER_TOKEN
    return [
        chars / per_token + turns * _TURN_TOKENS for chars, turns in zip(row["text_chars"], row["turns"], strict=True)
    ]
