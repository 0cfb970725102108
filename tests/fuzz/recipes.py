"""Readers of the training side: recipes. Those of checkpoints have their place here, too."""

from __future__ import annotations

from pathlib import Path

from stamp_train.recipes import resolve

from .harness import WHOLE, Reader
from .mutations import TEXT

RECIPE = Path(__file__).parents[2] / "stamp_train/recipes/tiny.yaml"


def write(root: Path) -> Path:
    path = root / "mine.yaml"
    path.write_bytes(RECIPE.read_bytes())
    return path


def read(path: Path) -> str:
    resolve(str(path))
    return WHOLE


READERS = [Reader("recipe", write, read, TEXT, 100)]
