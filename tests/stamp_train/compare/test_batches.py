"""What methods have learned from is compared step by step, and a difference has a name."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from stamp_schemas import StampError
from stamp_train.compare.batches import check_equal
from stamp_train.compare.variants import available, recipe_of
from stamp_train.stream.order import Group
from stamp_train.stream.stages import step_plan

from ..runs import make_shards


def write_log(folder: Path, seen: Mapping[int, str]) -> Path:
    folder.mkdir()
    rows = [json.dumps({"step": step, "batch_digest": digest}) + "\n" for step, digest in seen.items()]
    (folder / "log.jsonl").write_text("".join(rows))
    return folder


def named(groups: Sequence[Group]) -> list[tuple[int, int, int]]:
    return sorted((group.shard, group.row, one) for group in groups for one in group.dialogues)


def test_equal_runs_have_one_digest_and_others_another(tmp_path: Path) -> None:
    one, other = (write_log(tmp_path / name, {1: "a", 2: "b"}) for name in ("one", "other"))
    third = write_log(tmp_path / "third", {1: "b", 2: "a"})
    assert check_equal({"one": one, "other": other}) == check_equal({"other": other}) != check_equal({"third": third})
    assert check_equal({}) == ""


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        ({1: "a", 2: "c"}, "step 2: stamp-fine saw batch b, text4seg-16 batch c"),
        ({1: "a"}, "step 2: stamp-fine saw batch b, text4seg-16 none"),
        ({1: "a", 2: "b", 3: "c"}, "step 3: stamp-fine saw none, text4seg-16 batch c"),
    ],
)
def test_a_difference_names_step_and_methods(seen: dict[int, str], told: str, tmp_path: Path) -> None:
    runs = {
        "stamp-fine": write_log(tmp_path / "one", {1: "a", 2: "b"}),
        "text4seg-16": write_log(tmp_path / "two", seen),
    }
    with pytest.raises(StampError, match=told):
        check_equal(runs)


def test_a_step_draws_the_same_dialogues_however_many_tokens_a_mask_has(tmp_path: Path) -> None:
    """With packs so small that methods fill another number of them."""
    shards = make_shards(tmp_path, ("refcoco",))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "about: a\nmodel: {preset: tiny}\ndata: {min_tokens: 4, max_tokens: 16}\n"
        "batch: {dialogues: 12, dialogues_per_image: 3, pack_tokens: 900}\n"
        "stages: [{name: a, steps: 3, sets: [{set: refcoco-unc/train}]}]\n"
    )
    plans = {
        name: [step_plan(recipe_of(str(recipe), [f"data.root={shards}"], name, 0).recipe, step) for step in (1, 2, 3)]
        for name in available()
    }
    packs = {name: [len(step.packed.packs[0]) for step in steps] for name, steps in plans.items()}
    assert len({tuple(counts) for counts in packs.values()}) > 1
    drawn = {name: [step.batch.digest for step in steps] for name, steps in plans.items()}
    assert len({tuple(digests) for digests in drawn.values()}) == 1
    for step in (step for steps in plans.values() for step in steps):  # and what is drawn is packed: each dialogue once
        packed = named([group for pack in step.packed.packs[0] for group in pack.groups])
        assert packed == named(step.batch.groups)
