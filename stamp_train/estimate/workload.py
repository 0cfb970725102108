"""How much there is to compute in a stage, from the sets' indexes alone."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

from stamp_data.grid import patch_grid
from stamp_data.shards.set_index import SetIndex, ShardRows
from stamp_schemas import StampError
from stamp_schemas.recipe import Data, Recipe, Stage
from stamp_train.stream.lengths import TokenCosts, measure
from stamp_train.stream.stages import open_set, token_costs

_ASKED = 16  # shards whose size is asked for at a time, of a store that is far away
_TOGETHER = 64  # shards whose rows are read at a time


@dataclass(frozen=True)
class Work:
    """Tokens of the language model and visits to the vision tower.

    dialogues: how many are seen. visits: images encoded; one for up to `dialogues_per_image` dialogues. text, image, mask:
    tokens of each kind; those of images equal the merged patches that the tower encodes, and where they are in a sequence again
    that is for masks. longest: tokens of the largest visit, which a pack has to hold.
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


def stage_work(recipe: Recipe, stage: Stage) -> StageWork:
    """Steps and work of a stage. StampError: a set is not there, or is not complete."""
    epoch = Work()
    for use in stage.sets:
        epoch += set_work(SetIndex(open_set(recipe.data, use.set)), recipe).times(use.passes)
    if not epoch.dialogues:
        raise StampError(f"stage {stage.name}: its sets hold no dialogue")
    steps = stage.steps or math.ceil(stage.epochs * epoch.dialogues / recipe.batch.dialogues)
    epochs = stage.epochs or stage.steps * recipe.batch.dialogues / epoch.dialogues
    return StageWork(stage.name, steps, epoch.times(epochs))


def set_work(index: SetIndex, recipe: Recipe) -> Work:
    """One pass over a set. StampError: a shard that is missing, or of another size than the manifest says."""
    with ThreadPoolExecutor(_ASKED) as pool:
        sizes = pool.map(lambda shard: index.store.size(shard.path), index.shards)
        for shard, size in zip(index.shards, sizes, strict=True):
            if size != shard.bytes:
                raise StampError(
                    f"{index.store}/{shard.path}: {size:,} bytes, the manifest says {shard.bytes:,}",
                    f"stamp-data verify {index.store}",
                )
    work, costs, most = Work(), token_costs(recipe), recipe.batch.dialogues_per_image
    for first in range(0, len(index.shards), _TOGETHER):
        for rows in index.shard_rows(range(first, min(first + _TOGETHER, len(index.shards)))):
            for row, dialogues in enumerate(rows.dialogues.tolist()):
                image = _image_tokens(*rows.sizes[row].tolist(), recipe.data, costs.factor)
                for start in range(0, dialogues, most):
                    work += _visit(rows, row, range(start, min(start + most, dialogues)), costs, image)
    return work


def _visit(rows: ShardRows, row: int, dialogues: range, costs: TokenCosts, image: int) -> Work:
    """Some dialogues of a record that share its image."""
    total = measure(rows, row, dialogues, costs, image).total
    at = int(rows.starts[row])
    masks = int(rows.masks[at + dialogues.start : at + dialogues.stop].sum())
    mask = costs.mask(image) * masks if image else 0
    mask += image * (len(dialogues) - 1) if costs.apart else 0
    return Work(len(dialogues), 1 if image else 0, total - image - mask, image, mask, total)


@lru_cache(4096)
def _image_tokens(width: int, height: int, data: Data, factor: int) -> int:
    """Merged patches of an image, as large as the recipe shows it; 0 for none."""
    return patch_grid(height, width, data.min_tokens, data.max_tokens, factor).tokens if height else 0
