"""Packs: nothing lost, nothing twice, equally many for every rank, of nearly equal length, from the index alone."""

from __future__ import annotations

import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stamp_schemas import UsageFault
from stamp_schemas.recipe import Batch
from stamp_train.sequence.layout import Layout
from stamp_train.stream.lengths import GroupTokens, Lengths, TokenCosts
from stamp_train.stream.mixture import Mixture
from stamp_train.stream.order import Group
from stamp_train.stream.pack import PackedStep, pack_batch
from stamp_train.stream.plan import Plan, PlanOptions

from .making import METHOD, write_set
from .test_plan import names

GROUPS = st.lists(st.tuples(st.integers(0, 1200), st.lists(st.integers(20, 2500), min_size=1, max_size=5)), max_size=30)


def groups_of(lengths: list[GroupTokens]) -> list[Group]:
    return [Group(0, 0, 0, 0, row, tuple(range(len(one.own)))) for row, one in enumerate(lengths)]


def empty_packs(step: PackedStep) -> int:
    return sum(not pack.groups for rank in step.packs for pack in rank)


def packed_names(step: PackedStep) -> list[tuple[int, int, int, int]]:
    return sorted(names([group for rank in step.packs for pack in rank for group in pack.groups]))


@settings(max_examples=60)
@given(shape=GROUPS, world=st.integers(1, 16), budget=st.integers(1, 20_000))
def test_every_dialogue_is_in_one_pack_within_the_budget(
    shape: list[tuple[int, list[int]]], world: int, budget: int
) -> None:
    lengths = [GroupTokens(shared, tuple(own)) for shared, own in shape]
    groups = groups_of(lengths)
    step = pack_batch(groups, lengths, world, budget)
    assert packed_names(step) == sorted(names(groups))
    assert len(step.packs) == world
    assert len({len(rank) for rank in step.packs}) == 1
    largest = max((one.shared + own for one in lengths for own in one.own), default=0)
    for pack in (pack for rank in step.packs for pack in rank):
        assert pack.tokens <= max(budget, largest)
        assert pack.tokens == sum(
            lengths[g.row].shared + sum(lengths[g.row].own[place] for place in g.dialogues) for g in pack.groups
        )
    assert {(group.row, place) for group, place, _ in step.too_long} == {
        (row, place)
        for row, one in enumerate(lengths)
        for place, own in enumerate(one.own)
        if one.shared + own > budget
    }
    assert step == pack_batch(groups, lengths, world, budget)


@given(shape=GROUPS.filter(bool), world=st.integers(1, 16))
def test_packs_are_empty_only_for_want_of_dialogues(shape: list[tuple[int, list[int]]], world: int) -> None:
    lengths = [GroupTokens(shared, tuple(own)) for shared, own in shape]
    step = pack_batch(groups_of(lengths), lengths, world, 10**6)
    dialogues, packs = sum(len(one.own) for one in lengths), sum(map(len, step.packs))
    assert empty_packs(step) == max(packs - dialogues, 0)


def test_the_union_over_64_ranks_is_the_plan(tmp_path: Path) -> None:
    plan = Plan([write_set(tmp_path / "a", [[5, 1, 3] * 4] * 6)], Mixture(passes=(2,)), PlanOptions(batch=48))
    lengths = Lengths(plan)
    assert plan.steps is not None
    for step in range(plan.steps):
        batch = plan.batch(step)
        for world in (1, 3, 64):
            packed = pack_batch(batch.groups, lengths(batch.groups), world, 24_576)
            assert packed_names(packed) == sorted(names(batch.groups))


@settings(max_examples=20)
@given(
    seed=st.integers(0, 2**16),
    world=st.integers(1, 64),
    kind=st.sampled_from([(1,), (0, 1, 2), (0, 1, 1, 1, 2, 3), ()]),
    most=st.integers(4, 16),
)
def test_padding_at_default_settings_is_at_most_a_twentieth(
    seed: int, world: int, kind: tuple[int, ...], most: int
) -> None:
    """Lengths as in RefCOCO, gRefCOCO, and with a tenth of text: pictures of 988 to 1,254 patches, so many masks each.

    Up to eight ranks with the paper's batch; beyond, with as many dialogues for each as eight have of it.
    """
    defaults = Batch()
    batch = max(defaults.dialogues, defaults.dialogues // 8 * world)
    rng = np.random.default_rng(seed)
    with TemporaryDirectory() as folder:
        shape = [rng.integers(1, most, 64).tolist() for _ in range(8)]
        sets = [write_set(Path(folder, "a"), shape, seed=seed, masks=kind or (1,))]
        if not kind:
            sets.append(write_set(Path(folder, "b"), [[1] * 256], seed=seed, pictures=False))
        plan = Plan(sets, Mixture(weights=(9, 1)[: len(sets)]), PlanOptions(seed=seed, batch=batch))
        lengths = Lengths(plan)
        batches = [plan.batch(step) for step in range(12)]
        packed = [pack_batch(one.groups, lengths(one.groups), world, defaults.pack_tokens) for one in batches]
    assert np.mean([one.padding for one in packed]) <= 0.05


def test_text_only_dialogues_are_packed_with_the_others(tmp_path: Path) -> None:
    sets = [write_set(tmp_path / "a", [[2] * 8] * 4), write_set(tmp_path / "b", [[1] * 8] * 4, pictures=False)]
    plan = Plan(sets, Mixture(weights=(1, 1)), PlanOptions(batch=32))
    batch = plan.batch(0)
    lengths = Lengths(plan)(batch.groups)
    assert {group.source for group, one in zip(batch.groups, lengths, strict=True) if not one.shared} == {1}
    step = pack_batch(batch.groups, lengths, 4, 24_576)
    assert empty_packs(step) == 0
    assert packed_names(step) == sorted(names(batch.groups))


def test_few_groups_are_cut_for_many_ranks_and_not_for_few() -> None:
    lengths = [GroupTokens(1000, (1000,) * 4)] * 4
    assert [
        len(pack.groups[0].dialogues)
        for rank in pack_batch(groups_of(lengths), lengths, 4, 9000).packs
        for pack in rank
    ] == [4] * 4
    step = pack_batch(groups_of(lengths), lengths, 8, 9000)
    assert [len(pack.groups[0].dialogues) for rank in step.packs for pack in rank] == [2] * 8
    assert step.padding == 0


def test_a_dialogue_that_is_too_long_has_a_pack_of_its_own() -> None:
    lengths = [GroupTokens(100, (50, 9000)), GroupTokens(100, (50,))]
    step = pack_batch(groups_of(lengths), lengths, 1, 1000)
    assert sorted(pack.tokens for rank in step.packs for pack in rank) == [300, 9100]
    assert [(group.row, place, tokens) for group, place, tokens in step.too_long] == [(0, 1, 9100)]


def test_senseless_sizes_are_refused() -> None:
    with pytest.raises(UsageFault, match="0 ranks"):
        pack_batch([], [], 0, 10)


def test_lengths_without_a_tokenizer_are_estimates_and_said_to_be(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    exact, rough = (
        Plan([write_set(tmp_path / name, [[2, 3], [4]], tokens=tokens)], options=PlanOptions(batch=9))
        for name, tokens in (("a", True), ("b", False))
    )
    with caplog.at_level(logging.WARNING):
        Lengths(exact)(exact.batch(0).groups)
        assert caplog.messages == []
        for _ in range(2):  # two stages of a run
            # told once in a process, so no other test's number
            lengths = Lengths(rough, TokenCosts(characters=2.75))
            lengths(rough.batch(0).groups)
            lengths(rough.batch(0).groups)
    (message,) = caplog.messages
    assert "at 2.75 characters a token" in message and "stamp-data build … --tokenizer FOLDER" in message


def test_lengths_are_those_of_the_layout(golden_processor: Any, image: Any, dialogue: Any) -> None:
    """With the tokens of the texts known, and the costs measured on the tokenizer, the estimate is the sequence's length."""
    chat = golden_processor.chat

    def count(text: str) -> int:
        return len(chat.answer_ids(text))

    header = {role: 1 + count(f"{role}\n") for role in ("system", "user", "assistant")}
    turn = header["user"] + 1 + count("\n")
    extra = header["assistant"] - header["user"]  # Qwen2-VL's own tokenizer has one token for either role
    costs = TokenCosts(
        system=header["system"] + count("You are a helpful assistant.") + 1 + count("\n"),
        turn=turn,
        header=header["user"],
    )
    talks = [[("the cup", "Sure: <|seg|>")], [("two", "One <|seg|> and <|seg|>."), ("why", "So.")]]
    for grid in ((3, 4), None):
        shown = talks if grid else [[("hello", "there")]]
        texts = [[text for pair in talk for text in pair] for talk in shown]
        made = [dialogue(f"d{n}", talk, grid, seed=n) for n, talk in enumerate(shown)]
        tokens = costs.group(
            12 if grid else 0,
            [sum(map(count, one)) + extra * len(one) // 2 for one in texts],
            [len(one) for one in texts],
            [sum(text.count("<|seg|>") for text in one) for one in texts],
        )
        assert Layout(chat, METHOD)([image(grid, made)]).inputs.input_ids.shape[1] == tokens.total


def test_dialogues_that_share_no_image_have_one_each() -> None:
    asked = (12, [30, 40], [2, 4], [1, 2])
    shared, apart = TokenCosts().group(*asked), TokenCosts(apart=True).group(*asked)
    assert apart.shared == 0 and apart.own == tuple(shared.shared + own for own in shared.own)
    alone = TokenCosts(apart=True).group(0, *asked[1:])
    assert alone == TokenCosts().group(0, *asked[1:])
