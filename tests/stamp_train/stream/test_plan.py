"""The order: every dialogue once per epoch, the same wherever one begins, in the proportions that were asked for."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stamp_schemas import StampError, UsageFault
from stamp_train.stream.mixture import Mixture
from stamp_train.stream.order import Group, key_of, permutation
from stamp_train.stream.plan import GlobalBatch, Plan, PlanOptions

from .making import write_set

SHAPES = st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=6), min_size=1, max_size=7)
Names = list[tuple[int, int, int, int]]


def names(groups: Sequence[Group]) -> Names:
    """Every dialogue as (set, shard, row, place), in order."""
    return [(group.source, group.shard, group.row, place) for group in groups for place in group.dialogues]


def all_names(plan: Plan) -> Names:
    return [
        (source, shard, row, place)
        for source, one in enumerate(plan.sets)
        for shard in range(len(one.shards))
        for row, count in enumerate(one.counts([shard])[0].tolist())
        for place in range(count)
    ]


def run(plan: Plan) -> list[GlobalBatch]:
    assert plan.steps is not None
    return [plan.batch(step) for step in range(plan.steps)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("made")


def make(folder: Path, shape: Sequence[Sequence[int]], name: str = "a") -> str:
    return write_set(folder / f"{name}-{key_of(str(shape)):x}", shape)


@settings(max_examples=40)
@given(
    shape=SHAPES,
    group=st.integers(1, 5),
    window=st.integers(1, 4),
    batch=st.integers(1, 40),
    seed=st.integers(0, 2**40),
)
def test_an_epoch_holds_every_dialogue_once(
    folder: Path, shape: list[list[int]], group: int, window: int, batch: int, seed: int
) -> None:
    options = PlanOptions(seed=seed, batch=batch, dialogues_per_image=group, window=window)
    plan = Plan([make(folder, shape)], Mixture(passes=(3,)), options)
    batches = run(plan)
    drawn = [name for one in batches for name in names(one.groups)]
    epoch = len(all_names(plan))
    for start in range(0, 3 * epoch, epoch):
        assert sorted(drawn[start : start + epoch]) == all_names(plan)
    assert [one.dialogues for one in batches[:-1]] == [batch] * (len(batches) - 1)
    assert all(len(one.dialogues) <= group for batch_ in batches for one in batch_.groups)


def test_a_record_is_drawn_in_as_few_groups_as_its_dialogues_allow(folder: Path) -> None:
    plan = Plan([make(folder, [[7, 4, 1], [9]])], options=PlanOptions(batch=10**6, dialogues_per_image=4))
    sizes: dict[tuple[int, int], list[int]] = {}
    for group in plan.batch(0).groups:
        sizes.setdefault((group.shard, group.row), []).append(len(group.dialogues))
    assert {place: sorted(found) for place, found in sizes.items()} == {
        (0, 0): [3, 4],
        (0, 1): [4],
        (0, 2): [1],
        (1, 0): [3, 3, 3],
    }


def test_epochs_and_seeds_differ(folder: Path) -> None:
    place = make(folder, [[3] * 6] * 5)

    def order(seed: int, epoch: int, source: str = place) -> Names:
        plan = Plan([source], Mixture(passes=(2,)), PlanOptions(seed=seed, batch=90))
        return names(plan.batch(epoch).groups)

    orders = [order(0, 0), order(0, 1), order(1, 0)]
    assert all(sorted(one) == sorted(orders[0]) for one in orders)
    assert orders[0] != orders[1] != orders[2] != orders[0]
    assert order(0, 0) == orders[0]


@settings(max_examples=30)
@given(
    shapes=st.lists(SHAPES, min_size=1, max_size=3),
    group=st.integers(1, 4),
    starts=st.lists(st.integers(0, 400), min_size=3, max_size=3),
    sizes=st.lists(st.integers(1, 50), min_size=3, max_size=3),
)
def test_any_position_gives_what_the_unbroken_stream_has_there(
    folder: Path, shapes: list[list[list[int]]], group: int, starts: list[int], sizes: list[int]
) -> None:
    """State is one number: a fresh plan with another batch size goes on exactly where any other stands."""
    places = [make(folder, shape, f"s{number}") for number, shape in enumerate(shapes)]
    mixture = Mixture(weights=tuple(range(1, len(places) + 1)))
    whole = names(Plan(places, mixture, PlanOptions(batch=500, dialogues_per_image=group, window=2)).batch(0).groups)
    for start, size in zip(starts, sizes, strict=True):
        fresh = Plan(places, mixture, PlanOptions(batch=size, dialogues_per_image=group, window=2))
        assert names(fresh.draw(start).groups) == whole[start : start + size]


@settings(max_examples=30)
@given(
    shapes=st.lists(SHAPES, min_size=2, max_size=4),
    weights=st.lists(st.sampled_from([0.3, 1, 2, 7.5]), min_size=4, max_size=4),
    group=st.integers(1, 4),
)
def test_proportions_hold_at_every_point(
    folder: Path, shapes: list[list[list[int]]], weights: list[float], group: int
) -> None:
    places = [make(folder, shape, f"w{number}") for number, shape in enumerate(shapes)]
    chosen = tuple(weights[: len(places)])
    plan = Plan(places, Mixture(weights=chosen), PlanOptions(batch=300, dialogues_per_image=group))
    drawn: Counter[int] = Counter()
    for position, name in enumerate(names(plan.batch(0).groups), 1):
        drawn[name[0]] += 1
        for source, weight in enumerate(chosen):
            assert abs(drawn[source] - position * weight / sum(chosen)) <= group * len(places)


@settings(max_examples=25)
@given(shapes=st.lists(SHAPES, min_size=2, max_size=3), passes=st.lists(st.integers(1, 3), min_size=3, max_size=3))
def test_passes_end_together_and_exactly(folder: Path, shapes: list[list[list[int]]], passes: list[int]) -> None:
    places = [make(folder, shape, f"p{number}") for number, shape in enumerate(shapes)]
    plan = Plan(places, Mixture(passes=tuple(passes[: len(places)])), PlanOptions(batch=7, window=2))
    drawn = Counter(name for batch in run(plan) for name in names(batch.groups))
    assert drawn == {name: passes[name[0]] for name in all_names(plan)}
    with pytest.raises(StampError, match="no step"):
        plan.batch(plan.steps or 0)
    assert plan.draw(plan.dialogues or 0).groups == ()


def test_a_set_given_twice_is_two_streams(folder: Path) -> None:
    place = make(folder, [[2] * 9] * 4)
    groups = Plan([place, place], options=PlanOptions(batch=144)).batch(0).groups
    first, second = ([name[1:] for name in names(groups) if name[0] == source] for source in (0, 1))
    assert sorted(first) == sorted(second)
    assert first != second


def test_another_set_in_the_mixture_leaves_a_stream_as_it_is(folder: Path) -> None:
    one, other = make(folder, [[2] * 9] * 4, "one"), make(folder, [[1] * 9] * 4, "other")
    alone = [name[1:] for name in names(Plan([one], options=PlanOptions(batch=40)).batch(0).groups)]
    mixed = names(Plan([other, one], Mixture(weights=(1, 1)), PlanOptions(batch=80)).batch(0).groups)
    assert [name[1:] for name in mixed if name[0] == 1][:36] == alone[:36]


def test_the_order_is_mixed_nearly_as_well_as_by_a_full_shuffle(folder: Path) -> None:
    """Mean distance of neighbours in the set's own order: a third of the set for a permutation of everything."""
    plan = Plan([make(folder, [[1] * 20] * 128)], options=PlanOptions(batch=2560))
    places = np.array([20 * group.shard + group.row for group in plan.batch(0).groups])
    assert 0.31 < np.abs(np.diff(places)).mean() / 2560 < 0.35


def test_the_digest_of_a_batch_ignores_how_it_is_cut_and_ordered(folder: Path) -> None:
    place = make(folder, [[4] * 6] * 3)
    batch = Plan([place], options=PlanOptions(batch=20)).batch(1)
    cut = [part for group in batch.groups for part in (group.cut(0, 1), group.cut(1, 9)) if part.dialogues]
    again = GlobalBatch(batch.step, batch.start, tuple(reversed(cut)), batch.sets)
    assert again.digest == batch.digest
    assert GlobalBatch(1, 20, batch.groups[1:], batch.sets).digest != batch.digest
    assert GlobalBatch(1, 20, batch.groups, ("other",)).digest != batch.digest


def test_the_digest_of_a_plan_names_the_order_and_not_the_batch(folder: Path) -> None:
    place, other = make(folder, [[4] * 6] * 3), make(folder, [[4] * 6] * 2)
    base = Plan([place]).digest
    assert Plan([place], options=PlanOptions(batch=12)).digest == base
    changed = [
        Plan([other]),
        Plan([place, place]),
        Plan([place], Mixture(passes=(2,))),
        *(
            Plan([place], options=PlanOptions(**one))
            for one in ({"seed": 1}, {"window": 2}, {"dialogues_per_image": 3})
        ),
    ]
    assert len({base, *(plan.digest for plan in changed)}) == 7


def test_another_process_draws_the_same(folder: Path) -> None:
    place = make(folder, [[3, 1, 4], [2, 6]])
    code = (
        "import sys; from stamp_train.stream.plan import Plan; plan = Plan([sys.argv[1]]); "
        "print(plan.digest, plan.batch(0).digest, sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, place], capture_output=True, text=True, check=True)
    plan = Plan([place])
    assert done.stdout.split(maxsplit=2) == [plan.digest, plan.batch(0).digest, "[]\n"]


@settings(max_examples=20)
@given(count=st.integers(0, 60), key=st.integers(0, 2**64 - 1))
def test_permutations_are_those_of_any_other_machine(count: int, key: int) -> None:
    def mixed(place: int) -> int:
        word = ((place + 1) * 0x9E3779B97F4A7C15 + key) % 2**64
        word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        word = (word ^ (word >> 27)) * 0x94D049BB133111EB % 2**64
        return word ^ (word >> 31)

    assert permutation(count, key).tolist() == sorted(range(count), key=mixed)


@pytest.mark.parametrize(
    ("mixture", "message"),
    [
        (Mixture(passes=(1,), weights=(1,)), "by passes and by weights"),
        (Mixture(passes=(1, 2)), "2 numbers for 1 sets"),
        (Mixture(weights=(0,)), "with the number 0"),
    ],
)
def test_a_mixture_that_does_not_fit_is_refused(folder: Path, mixture: Mixture, message: str) -> None:
    with pytest.raises(UsageFault, match=message):
        Plan([make(folder, [[1]])], mixture)


def test_sizes_are_checked() -> None:
    with pytest.raises(UsageFault, match="batch is 0"):
        PlanOptions(batch=0)
    with pytest.raises(UsageFault, match="without sets"):
        Plan([])


def test_describe_names_what_a_step_saw(refcoco: str, llava: str) -> None:
    plan = Plan([refcoco, llava], options=PlanOptions(batch=16))
    named = [plan.name(group) for group in plan.batch(1).groups]
    assert [one.set for one in named] == [plan.sets[group.source].name for group in plan.batch(1).groups]
    assert sum(len(one.dialogues) for one in named) == 16
    for one, group in zip(named, plan.batch(1).groups, strict=True):
        assert one.key == plan.sets[group.source].key(group.shard, group.row)
        assert [place for place, _, _ in one.dialogues] == list(group.dialogues)
        assert one.key.startswith("llava") or all(expression for _, _, expression in one.dialogues)
