"""Names for methods, and the recipe that each is trained by."""

from __future__ import annotations

import msgspec
import pytest

from stamp_schemas import UsageFault
from stamp_train.compare.variants import available, chosen, plain, recipe_of
from stamp_train.methods import METHODS, VARIANTS

RECIPES = ("compare-tiny", "compare-2b")


def test_all_stands_for_every_variant_whose_method_is_there() -> None:
    assert chosen(["all"]) == available()
    assert {VARIANTS[name]["name"] for name in available()} <= set(METHODS)
    assert {"stamp-patch", "stamp-fine", "text4seg-16", "text4seg-24", "embedding-dot"} <= set(available())


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ([], "no methods to compare"),
        (["stamp-fin"], "no variant 'stamp-fin'"),
        (["stamp-fine", "stamp-fine"], "stamp-fine is named twice"),
        (["stamp-fine", "all"], "stamp-fine is named twice"),
    ],
)
def test_a_call_that_means_nothing_is_refused(names: list[str], told: str) -> None:
    with pytest.raises(UsageFault, match=told):
        chosen(names)


def test_a_variant_whose_method_is_not_there_is_refused_and_not_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(VARIANTS, "dream-8", {"name": "dream", "size": 8})
    assert "dream-8" not in available()
    with pytest.raises(UsageFault, match="dream-8: method dream is not in this version"):
        chosen(["stamp-fine", "dream-8"])


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("name", available())
def test_recipes_of_variants_differ_in_method_and_seed_alone(recipe: str, name: str) -> None:
    shared, own = plain(recipe).recipe, recipe_of(recipe, [], name, 7).recipe
    assert own.seed == 7
    assert msgspec.to_builtins(own.method) == {**msgspec.to_builtins(type(own.method)()), **VARIANTS[name]}
    for field in type(shared).__struct_fields__:
        if field not in ("method", "seed"):
            assert getattr(own, field) == getattr(shared, field), field


def test_a_comparison_sets_the_method_itself() -> None:
    for override in ("method.head=patch", "method=text4seg"):
        with pytest.raises(UsageFault, match="sets the method itself"):
            plain("compare-tiny", [override])
