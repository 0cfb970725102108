"""The labels that a mask can be learnt as: every kind that there is, and the one that a recipe or a checkpoint learns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stamp_data.grid import coverage
from stamp_schemas import Grid, UsageFault
from stamp_schemas.manifest import PATCH
from stamp_schemas.recipe import Recipe
from stamp_schemas.record import FULL, IGNORE
from stamp_train.eval.cases import Mask
from stamp_train.methods import settings_of
from stamp_train.methods.contract import Settings
from stamp_train.methods.patches import SIDES, sampled_labels
from stamp_train.train.folder import RECIPE

SOFT, HARD, SAMPLED = RULES = ("soft", "hard", "sampled")


@dataclass(frozen=True)
class Representation:
    """Labels of one kind.

    rule: `soft`, the fraction of a patch that is covered; `hard`, whether that is above one half; `sampled`, as the published
    trainer has it (`stamp_train.methods.patches.sampled_labels`), one label per patch. side: labels per patch, along one side.
    """

    rule: str
    side: int

    @property
    def name(self) -> str:
        """Names it in results: `soft 4x4`."""
        return f"{self.rule} {self.side}x{self.side}"

    def labels(self, mask: Mask, patches: Grid, ignore: Mask | None = None) -> NDArray[np.uint8]:
        """Of a mask, bool [height, width], on a grid of patches: uint8 [rows * side, columns * side], 0 to `FULL`, or `IGNORE`.

        ignore: bool [height, width], pixels that count neither for nor against.
        """
        grid, pixels = Grid(patches.height * self.side, patches.width * self.side), mask.astype(np.uint8)
        soft = coverage(pixels, grid, None if ignore is None else ignore.astype(np.uint8))
        if self.rule == SOFT:
            return soft
        if self.rule == SAMPLED:
            hard = sampled_labels(pixels, (grid.height, grid.width))
        else:
            hard = np.where(2 * soft.astype(int) > FULL, FULL, 0).astype(np.uint8)
        hard[soft == IGNORE] = IGNORE
        return hard


def named(name: str) -> Representation:
    """The representation of a name."""
    rule, _, sides = name.partition(" ")
    return Representation(rule, int(sides.partition("x")[0]))


def representations(rule: str | None = None, side: int | None = None) -> list[Representation]:
    """Every representation, or those of a rule or a side; UsageFault if there is none."""
    sides = SIDES if side is None else [side]
    found = [Representation(one, each) for each in sides for one in RULES if one != SAMPLED or each == 1]
    found = [one for one in found if rule in (None, one.rule)]
    if not found:
        raise UsageFault(f"no {rule} labels with {side}x{side} to a patch", f"choose one of {', '.join(RULES)}")
    return found


@dataclass(frozen=True)
class Learnt:
    """What a model learns. min_tokens, max_tokens: bounds of its pictures' merged patches; factor: their side in pixels."""

    representation: Representation
    min_tokens: int
    max_tokens: int
    factor: int = PATCH


def learnt_by(path: Path) -> Learnt | None:
    """What a recipe (by name or file), a run or a checkpoint learns; None for none; StampError for one at fault."""
    from stamp_train.recipes import names, resolve

    if path.is_dir():
        recipe = path / RECIPE
        return _of_recipe(resolve(str(recipe)).recipe) if recipe.is_file() else _of_checkpoint(path)
    if str(path) in names() or path.suffix in (".yaml", ".yml"):
        return _of_recipe(resolve(str(path)).recipe)
    return None


def _of_recipe(recipe: Recipe) -> Learnt:
    from stamp_train.backbones.registry import recipe_backbone

    factor = recipe_backbone(recipe.model).factor
    return Learnt(_learned(recipe.method), recipe.data.min_tokens, recipe.data.max_tokens, factor)


def _learned(method: Settings) -> Representation:
    """UsageFault for methods whose labels are no coverage of patches."""
    cells = method.method().cells
    if cells is None:
        raise UsageFault(
            f"what method {method.name} learns is no coverage of patches",
            "leave it out: every kind of label is scored then",
        )
    return Representation(*cells)


def _of_checkpoint(path: Path) -> Learnt | None:
    """By the run that wrote it if it lies in one, else by its own configuration."""
    from stamp_train.train.folder import CONFIG, run_folder

    run = run_folder(path)
    if run is not None:
        return learnt_by(run)
    if not (path / CONFIG).is_file():
        return None
    from stamp_train.backbones.load import read_config
    from stamp_train.backbones.processor import StampProcessor
    from stamp_train.predict.opening import told

    with told(str(path)):
        method = settings_of(read_config(path))
        processor = StampProcessor.from_pretrained(path)
    return Learnt(_learned(method), *processor.bounds, processor.backbone.factor)
