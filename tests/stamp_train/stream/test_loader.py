"""The loader: the same batches and pixels for every number of ranks and threads, from anywhere, after any stop."""

from __future__ import annotations

import copy
import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from stamp_data.grid import patch_grid
from stamp_data.shards.set_index import SetIndex
from stamp_data.shards.stores import open_store
from stamp_data.shards.stores.cache import ShardCache
from stamp_schemas import StampError, UsageFault
from stamp_train.sequence.examples import ImageExample
from stamp_train.sequence.layout import Layout
from stamp_train.stream.loader import LoaderOptions, StepBatch, StreamLoader
from stamp_train.stream.mixture import Mixture
from stamp_train.stream.pack import pack_batch
from stamp_train.stream.plan import GlobalBatch, Plan, PlanOptions

from ...serving import Handler, serve
from ..stamping import stamp
from .making import MAX_TOKENS, METHOD, MIN_TOKENS, prepare, write_vast_set
from .test_records import flip

Copy = Callable[[str], Path]
Dialogues = dict[str, Any]


def load(places: Iterable[str | SetIndex], *, batch: int = 16, start: int = 0, **options: Any) -> list[StepBatch]:
    """All steps of one pass from a position on."""
    loader = StreamLoader(
        Plan(list(places), options=PlanOptions(batch=batch)), prepare, METHOD, LoaderOptions(**options)
    )
    loader.load_state_dict({"plan": loader.plan.digest, "draws": start})
    return list(loader)


def content(steps: Iterable[StepBatch]) -> Dialogues:
    """Everything of every dialogue of some steps: messages, coverage, pixels, in a form that compares."""
    found: Dialogues = {}
    for step in steps:
        for pack in step.packs:
            for example in pack:
                pixels = None if example.pixel_values is None else example.pixel_values.numpy().tobytes()
                for one in example.dialogues:
                    assert one.name not in found
                    coverage = [array.tobytes() for array in one.labels]
                    found[one.name] = (list(one.messages), coverage, pixels, example.grid_thw)
    return found


@pytest.fixture(scope="module")
def reference(refcoco: str, llava: str) -> list[StepBatch]:
    return load([refcoco, llava], threads=0)


def test_a_pass_holds_every_dialogue_once_and_ends(reference: list[StepBatch], refcoco: str, llava: str) -> None:
    plan = Plan([refcoco, llava], options=PlanOptions(batch=16))
    assert [step.whole.step for step in reference] == list(range(plan.steps or 0))
    assert len(content(reference)) == plan.dialogues
    assert [step.whole.dialogues for step in reference[:-1]] == [16] * (len(reference) - 1)
    assert [step.whole.digest for step in reference] == [plan.batch(step.whole.step).digest for step in reference]
    assert reference[-1].whole.end == plan.dialogues


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("ahead", [0, 40])
def test_threads_and_read_ahead_change_nothing(
    reference: list[StepBatch], refcoco: str, llava: str, threads: int, ahead: int
) -> None:
    steps = load([refcoco, llava], threads=threads, ahead=ahead)
    assert [step.whole.digest for step in steps] == [step.whole.digest for step in reference]
    for ours, theirs in zip(steps, reference, strict=True):
        assert list(content([ours]).items()) == list(content([theirs]).items())


def test_http_and_cache_change_nothing(reference: list[StepBatch], refcoco: str, llava: str, tmp_path: Path) -> None:
    expected = content(reference)
    cache = ShardCache(tmp_path / "cache", 10**8)
    with serve(Path(refcoco)) as (url, handler):
        assert content(load([url, llava])) == expected
        assert content(load([SetIndex(open_store(place, cache=cache)) for place in (url, llava)])) == expected
        before = len([line for line in handler.requests if ".tar" in line])
        assert content(load([SetIndex(open_store(place, cache=cache)) for place in (url, llava)])) == expected
        assert len([line for line in handler.requests if ".tar" in line]) == before


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(world=st.integers(1, 16), budget=st.sampled_from([1, 150, 400, 24_576]))
def test_any_number_of_ranks_and_any_budget_see_the_same(
    reference: list[StepBatch], refcoco: str, llava: str, world: int, budget: int
) -> None:
    plan = Plan([refcoco, llava], options=PlanOptions(batch=16))
    first: list[StepBatch] = []
    for rank in range(world):
        options = LoaderOptions(rank=rank, world=world, token_budget=budget, threads=0, ahead=0)
        first += islice(StreamLoader(plan, prepare, METHOD, options), 2)
    assert {step.whole.digest for step in first} == {step.whole.digest for step in reference[:2]}
    for number in (0, 1):
        assert len({len(step.packs) for step in first if step.whole.step == number}) == 1
    assert content(first) == content(reference[:2])


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stops=st.lists(st.integers(1, 4), max_size=4))
def test_a_stopped_stream_goes_on_as_if_it_had_not(
    reference: list[StepBatch], refcoco: str, llava: str, stops: list[int]
) -> None:
    """Stopped after some steps, again and again, each time with threads at work on the next ones."""
    state: dict[str, Any] = {}
    found: list[StepBatch] = []
    for count in [*stops, len(reference)]:
        plan = Plan([refcoco, llava], options=PlanOptions(batch=16))
        loader = StreamLoader(plan, prepare, METHOD, LoaderOptions(threads=2))
        if state:
            loader.load_state_dict(state)
        found += islice(loader, count)
        state = json.loads(json.dumps(loader.state_dict()))
    assert [step.whole.digest for step in found] == [step.whole.digest for step in reference]
    assert content(found) == content(reference)


def test_another_batch_goes_on_from_the_same_state(reference: list[StepBatch], refcoco: str, llava: str) -> None:
    rest = load([refcoco, llava], batch=10, start=reference[2].whole.end)
    assert content([*reference[:3], *rest]) == content(reference)


def test_the_state_is_two_small_things(refcoco: str) -> None:
    loader = StreamLoader(Plan([refcoco], options=PlanOptions(batch=10)), prepare, METHOD)
    assert loader.state_dict() == {"plan": loader.plan.digest, "draws": 0}
    next(iter(loader))
    assert loader.state_dict()["draws"] == 10


def test_the_state_of_another_plan_is_refused(refcoco: str) -> None:
    loader = StreamLoader(Plan([refcoco]), prepare, METHOD)
    other = Plan([refcoco], options=PlanOptions(seed=1))
    with pytest.raises(StampError, match=f"is of plan {other.digest}, this is plan {loader.plan.digest}"):
        loader.load_state_dict({"plan": other.digest, "draws": 5})


def test_a_rank_outside_the_world_is_refused() -> None:
    with pytest.raises(UsageFault, match="rank 2 of 2"):
        LoaderOptions(rank=2, world=2)


def test_two_processes_see_what_one_sees(reference: list[StepBatch], refcoco: str, llava: str) -> None:
    code = """
import sys, json, importlib.util
from blake3 import blake3
spec = importlib.util.spec_from_file_location("making", sys.argv[1])
making = importlib.util.module_from_spec(spec); spec.loader.exec_module(making)
from stamp_train.stream.loader import LoaderOptions, StreamLoader
from stamp_train.stream.plan import Plan, PlanOptions
plan = Plan(sys.argv[3:], options=PlanOptions(batch=16))
names, packs, digests = {}, [], []
for step in StreamLoader(plan, making.prepare, making.METHOD, LoaderOptions(rank=int(sys.argv[2]), world=2)):
    digests.append(step.whole.digest)
    packs.append(len(step.packs))
    for example in (example for pack in step.packs for example in pack):
        pixels = b"" if example.pixel_values is None else example.pixel_values.numpy().tobytes()
        names |= {one.name: blake3(pixels).hexdigest() for one in example.dialogues}
print(json.dumps([names, packs, digests]))
"""
    making = Path(__file__).with_name("making.py")
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(making), str(rank), refcoco, llava], stdout=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    (one, packs, digests), (other, packs_too, digests_too) = (
        json.loads(process.communicate()[0]) for process in running
    )
    assert digests == digests_too == [step.whole.digest for step in reference]
    assert packs == packs_too
    assert not one.keys() & other.keys()
    from blake3 import blake3

    assert one | other == {name: blake3(found[2] or b"").hexdigest() for name, found in content(reference).items()}


# --- how far a rank reads ahead ---------------------------------------------------------------------------------------


def planned_ahead(plan: Plan, options: LoaderOptions, take: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many steps are planned beyond the one at hand, whenever one of the first `take` is handed out."""
    drawn: list[int] = []

    def draw(start: int) -> GlobalBatch:
        drawn.append(start)
        assert len(drawn) < 1000  # without a bound it would never end
        return Plan.draw(plan, start)

    monkeypatch.setattr(plan, "draw", draw)
    return [
        len(drawn) - number for number, _ in enumerate(islice(StreamLoader(plan, prepare, METHOD, options), take), 1)
    ]


def test_a_rank_without_a_dialogue_plans_no_further_than_the_others_read(
    refcoco: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three ranks, two dialogues a step, a plan without end: the third has nothing to read, ever."""
    for rank in range(3):
        plan = Plan([refcoco], Mixture(weights=(1,)), PlanOptions(batch=2))
        options = LoaderOptions(rank=rank, world=3, ahead=5, threads=0)
        beyond = planned_ahead(plan, options, 20, monkeypatch)
        assert max(beyond) == 5
    steps = [load([refcoco], batch=2, rank=rank, world=3, ahead=5) for rank in range(3)]
    assert len({tuple(step.whole.digest for step in one) for one in steps}) == 1
    held = [len([example for step in one for pack in step.packs for example in pack]) for one in steps]
    assert held[0] > 0 and held[2] == 0


def test_64_ranks_of_a_step_of_96_plan_no_further_on_ten_million_dialogues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the plan alone: nothing is read. All ranks share its packing, which is what takes the time."""
    vast = write_vast_set(tmp_path, shards=490, records=5_120, dialogues=4)
    plan = Plan([vast], Mixture(weights=(1,)))
    assert plan.sets[0].dialogues > 10**7
    known: dict[Any, Any] = {}

    def pack_once(groups: Any, *rest: Any) -> Any:
        if groups not in known:
            known[groups] = pack_batch(groups, *rest)
        return known[groups]

    monkeypatch.setattr("stamp_train.stream.loader.pack_batch", pack_once)
    monkeypatch.setattr(StreamLoader, "_read", lambda *_: (ImageExample([]), []))
    for rank in range(64):
        beyond = planned_ahead(plan, LoaderOptions(rank=rank, world=64, threads=0), 2, monkeypatch)
        assert 0 < max(beyond) <= LoaderOptions().ahead
    assert len(known) <= 2 + LoaderOptions().ahead


# --- what an example holds -------------------------------------------------------------------------------------------


def examples(steps: Iterable[StepBatch]) -> list[ImageExample]:
    return [example for step in steps for pack in step.packs for example in pack]


@pytest.mark.parametrize("side", [1, 4])
def test_examples_can_be_laid_out(golden_processor: Any, refcoco: str, llava: str, side: int) -> None:
    """Through the real processor: grids, coverage and messages are what the layout asks for."""
    golden_processor = copy.deepcopy(golden_processor)  # others share it
    golden_processor.image_processor.size = {"shortest_edge": 16 * 784, "longest_edge": 64 * 784}

    def real(image: Image.Image) -> tuple[Tensor, tuple[int, int, int]]:
        found = golden_processor.images([image])[0]
        return found.pixel_values, found.grid_thw

    plan = Plan([refcoco, llava], options=PlanOptions(batch=12))
    step = next(iter(StreamLoader(plan, real, stamp(side), LoaderOptions())))
    layout = Layout(golden_processor.chat, stamp(side))
    packed = [layout(pack) for pack in step.packs]
    assert sum(len(one.dialogues) for one in packed) == 12
    assert all(one.targets.labels.shape[1] == side**2 for one in packed)


def test_labels_of_another_grid_come_from_the_masks(refcoco: str) -> None:
    """Stored labels are used at their own grid; computed ones would be the same there."""
    stored = examples(load([refcoco]))

    def doubled(image: Image.Image) -> tuple[Tensor, tuple[int, int, int]]:
        grid = patch_grid(image.height, image.width, MIN_TOKENS, MAX_TOKENS)
        return torch.zeros(1), (1, 4 * grid.height, 4 * grid.width)

    plan = Plan([refcoco], options=PlanOptions(batch=16))
    finer = examples(StreamLoader(plan, doubled, METHOD))
    compared = 0
    for one, other in zip(stored, finer, strict=True):
        for coarse, fine in zip(one.dialogues, other.dialogues, strict=True):
            for small, large in zip(coarse.labels, fine.labels, strict=True):
                mean = large.astype(float).reshape(small.shape[0], 2, small.shape[1], 2).mean(axis=(1, 3))
                assert np.abs(mean - small)[small != 255].max(initial=0) <= 1.5
                compared += 1
    assert compared > 50


# --- bad records -----------------------------------------------------------------------------------------------------


@pytest.fixture
def damaged(refcoco: str, copy_of: Copy) -> tuple[str, str]:
    """A copy with one damaged picture, and the key of its record."""
    folder = copy_of(refcoco)
    one = SetIndex(str(folder))
    flip(folder / one.shards[1].path, int(one.shard(1).spans[4, 0, 0]) + 700)
    return str(folder), one.key(1, 4)


def test_a_bad_record_is_replaced_and_nothing_moves(refcoco: str, damaged: tuple[str, str], tmp_path: Path) -> None:
    folder, key = damaged
    path = tmp_path / "quarantine.jsonl"
    clean = load([refcoco], threads=0)
    found = load([folder], threads=3, quarantine=path)
    stand_in = SetIndex(folder).key(1, 0)  # the shard has five records: after the last comes the first
    replaced = 0
    for ours, theirs in zip(examples(found), examples(clean), strict=True):
        names = [one.name for one in theirs.dialogues]
        if names[0].startswith(f"{key}/"):
            replaced += 1
            assert all(one.name.startswith(f"{stand_in}/") for one in ours.dialogues)
            assert len(ours.dialogues) == len(names)
            assert ours.grid_thw is not None
        else:
            assert [one.name for one in ours.dialogues] == names
            assert torch.equal(ours.pixel_values, theirs.pixel_values)  # type: ignore[arg-type]
    assert replaced > 0
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [(row["key"], row["reason"], row["shard"], row["row"], row["replacement"]) for row in rows] == [
        (key, "damaged", "shard-000001.tar", 4, stand_in)
    ]
    load([folder], quarantine=path)  # a restart names nothing again
    assert len(path.read_text(encoding="utf-8").splitlines()) == 1


def test_every_thread_count_and_rank_replaces_alike(damaged: tuple[str, str]) -> None:
    one = [example.dialogues[0].name for example in examples(load([damaged[0]], threads=0))]
    assert [example.dialogues[0].name for example in examples(load([damaged[0]], threads=4))] == one
    both = [name for rank in (0, 1) for name in map(_first, examples(load([damaged[0]], rank=rank, world=2)))]
    assert {name.partition("/")[0] for name in both} == {name.partition("/")[0] for name in one}


def _first(example: ImageExample) -> str:
    return example.dialogues[0].name


def test_too_many_bad_records_stop_the_run(damaged: tuple[str, str], tmp_path: Path) -> None:
    path = tmp_path / "quarantine.jsonl"
    with pytest.raises(
        StampError, match=rf"1 of \d+ records were bad, more than max_bad_ratio=0.0 allows.*{damaged[1]}"
    ):
        load([damaged[0]], max_bad_ratio=0.0, quarantine=path)
    assert damaged[1] in path.read_text(encoding="utf-8")


def test_a_shard_without_a_good_record_stops_the_run(refcoco: str) -> None:
    def refuse(image: Image.Image) -> tuple[Tensor, tuple[int, int, int]]:
        raise ValueError(f"no picture of {image.size} for me")

    loader = StreamLoader(Plan([refcoco]), refuse, METHOD)
    with pytest.raises(StampError, match=r"shard-\d+\.tar: no record can be used, .*no picture of"):
        next(iter(loader))


def test_a_missing_shard_stops_the_run_from_a_thread(refcoco: str, copy_of: Copy) -> None:
    folder = copy_of(refcoco)
    for shard in sorted(folder.glob("*.tar"))[:1]:
        shard.unlink()
    with pytest.raises(StampError, match=r"shard-000000\.tar: no such file"):
        load([str(folder)], threads=3)


def test_a_dialogue_over_the_budget_is_named_once(refcoco: str, caplog: pytest.LogCaptureFixture) -> None:
    plan = Plan([refcoco], Mixture(passes=(2,)), PlanOptions(batch=16))
    with caplog.at_level(logging.WARNING):
        list(StreamLoader(plan, prepare, METHOD, LoaderOptions(token_budget=100)))
        told = [message for message in caplog.messages if "more than token_budget=100" in message]
        caplog.clear()
        list(StreamLoader(plan, prepare, METHOD, LoaderOptions(token_budget=100, rank=1, world=2)))
    assert 0 < len(told) == len(set(told))
    assert all(message.startswith("refcoco-unc-train-") for message in told)
    assert not [message for message in caplog.messages if "token_budget" in message]  # told by rank 0


def test_an_iteration_that_is_left_waits_for_no_store(refcoco: str) -> None:
    """Readers that are patient with a store that has gone away give up with the one who wanted their records."""

    def slow(handler: Handler) -> None:
        time.sleep(0.02)
        handler.file(Path(handler.translate_path(handler.path)))

    with serve(Path(refcoco), answer=slow) as (url, handler):
        plan = Plan([SetIndex(open_store(url, patience=30))], options=PlanOptions(batch=4))
        steps = iter(StreamLoader(plan, prepare, METHOD, LoaderOptions(threads=1, ahead=8)))
        next(steps)
        handler.failures = 10**6
        asked = len(handler.requests)
        while len(handler.requests) < asked + 2:
            time.sleep(0.01)
        began = time.monotonic()
        steps.close()
        assert time.monotonic() - began < 5
        handler.failures = 0
        assert plan.name(plan.batch(0).groups[0]).key  # and the store goes on as before
