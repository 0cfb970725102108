"""docs/reference/ is what `make reference` makes of the code, its examples hold, and nothing in it is left unsaid."""

from __future__ import annotations

import doctest

import pytest

from stamp_schemas.recipe import Recipe
from stamp_train.methods import METHODS, settings_type
from tools.reference.pages import FOLDER, PAGES, text
from tools.reference.python_api import modules
from tools.reference.recipe_keys import METHOD, keys, sections

ELSEWHERE = {"stamp_train.predict.segmenter"}  # takes a checkpoint: tests/stamp_train/predict/test_segmenter.py


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_that_of_the_code(name: str) -> None:
    assert (FOLDER / name).read_text(encoding="utf-8") == text(name), "stale: make reference"


def test_no_page_is_left_over() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(PAGES)


@pytest.mark.parametrize(
    "module", [one for one in modules() if one.__name__ not in ELSEWHERE], ids=lambda one: one.__name__
)
def test_examples_hold(module: object) -> None:
    found = doctest.testmod(module)  # type: ignore[arg-type]
    assert found.failed == 0


def test_there_are_examples() -> None:
    assert sum(doctest.testmod(module).attempted for module in modules() if module.__name__ not in ELSEWHERE) > 10


@pytest.mark.parametrize("struct", [Recipe, *map(settings_type, METHODS)], ids=lambda one: one.__name__)
def test_every_key_of_a_recipe_has_a_meaning(struct: type) -> None:
    prefix = "" if struct is Recipe else METHOD
    silent = [key for place, part in sections(struct, prefix) for key, _, _, said in keys(place, part) if not said]
    assert not silent, "say it in the docstring: `key: what it means.`"
