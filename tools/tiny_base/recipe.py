"""What tiny-base is made by: `recipe.yaml`, read strictly."""

from __future__ import annotations

from pathlib import Path

import msgspec

from stamp_schemas import StampError
from stamp_schemas.recipe import Above, Amount, Count, Fraction, Part, Positive, Shape

DEFAULT = Path(__file__).with_name("recipe.yaml")


class Scenes(Part, frozen=True):
    """size: (width, height) in pixels. patches: most merged patches of a picture. train, held_out: how many of each, and the
    seeds that they are drawn from, which are no others' (demos and tests use small numbers)."""

    size: tuple[int, int]
    patches: Positive
    train: Positive
    train_seed: int
    held_out: Positive
    held_out_seed: int


class Rates(Part, frozen=True):
    """Learning rates: of matrices (Muon, scaled as AdamW's) and of all other weights (AdamW). They rise over `warmup` steps and
    fall as 1 / sqrt(step) after `steady` ones: a run has no end that a schedule could know of. decay: of matrices."""

    matrices: Above
    others: Above
    warmup: Positive
    steady: Positive
    decay: Amount


class Losses(Part, frozen=True):
    """Weights of what is learned beside the answers, see `naming.py`."""

    patches: Amount
    words: Amount
    things: Amount
    places: Amount
    boxes: Amount


class Recipe(Part, frozen=True):
    """shape: of the network. vocabulary: tokens. images, questions: of a step, per image. ahead: questions per image of
    one step in three, where they stand before the picture. looking: first steps, in which nothing is asked, and the
    tower learns what is seen at each patch, of twice as many images. begin: forms of questions that are asked from the
    start; the others join once these are answered right in a share of `ready`, on average. average: share that the
    average of the weights keeps at a step."""

    seed: int
    shape: Shape
    vocabulary: Positive
    scenes: Scenes
    images: Positive
    questions: Positive
    ahead: Positive
    looking: Count
    begin: tuple[str, ...]
    ready: Fraction
    rates: Rates
    losses: Losses
    average: Fraction


def read_recipe(path: Path = DEFAULT) -> Recipe:
    """The recipe in a file. StampError: it is missing, or not one."""
    try:
        return msgspec.yaml.decode(path.read_bytes(), type=Recipe)
    except (OSError, msgspec.MsgspecError) as fault:
        raise StampError(f"{path}: {fault}") from None
