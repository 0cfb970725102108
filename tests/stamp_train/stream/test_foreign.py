"""Tars without an index: the same records through webdataset, the same steps for every rank, a warning about resuming."""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest

from stamp_schemas import StampError, UsageFault
from stamp_train.stream.foreign import ForeignLoader
from stamp_train.stream.loader import LoaderOptions, StepBatch
from stamp_train.stream.plan import Plan, PlanOptions

from .making import METHOD, prepare
from .test_loader import content, load
from .test_records import flip

pytest.importorskip("webdataset")


def tars(folder: str | Path) -> list[str]:
    return [str(path) for path in sorted(Path(folder).glob("*.tar"))]


def foreign(places: list[str], **options: int) -> ForeignLoader:
    return ForeignLoader(places, prepare, METHOD, PlanOptions(batch=16), LoaderOptions(**options))


def test_a_pass_is_that_of_the_indexed_set(refcoco: str, llava: str) -> None:
    """Two whole batches of a pass and a half would be another pass: take as many dialogues as the sets have."""
    expected = content(load([refcoco, llava]))
    loader = ForeignLoader(tars(refcoco) + tars(llava), prepare, METHOD, PlanOptions(batch=len(expected)))
    step = next(iter(loader))
    assert content([step]) == expected
    assert (step.dialogues, step.draws) == (len(expected), len(expected))


def test_every_rank_forms_the_same_steps(refcoco: str) -> None:
    whole: list[StepBatch] = list(islice(foreign(tars(refcoco)), 3))
    shared = [list(islice(foreign(tars(refcoco), rank=rank, world=3), 3)) for rank in range(3)]
    for number, step in enumerate(whole):
        assert {steps[number].digest for steps in shared} == {step.digest}
        assert len({len(steps[number].packs) for steps in shared}) == 1
        assert content(steps[number] for steps in shared) == content([step])


def test_resuming_is_said_to_be_approximate(refcoco: str, caplog: pytest.LogCaptureFixture) -> None:
    loader = foreign(tars(refcoco))
    with caplog.at_level(logging.WARNING):
        assert foreign(tars(refcoco)).digest == loader.digest
        next(iter(loader))
        resumed = foreign(tars(refcoco))
        resumed.load_state_dict(loader.state_dict())
    step = next(iter(resumed))
    assert (step.step, step.draws) == (1, 32)
    assert any("resuming is approximate" in message for message in caplog.messages)
    assert any("resumed with a new pass" in message for message in caplog.messages)


def test_a_state_of_other_tars_is_refused(refcoco: str, llava: str) -> None:
    with pytest.raises(StampError, match="the saved position is of"):
        foreign(tars(refcoco)).load_state_dict(foreign(tars(llava)).state_dict())


def test_faults_are_one_line(refcoco: str, copy_of: Callable[[str], Path]) -> None:
    with pytest.raises(UsageFault, match="no tars"):
        foreign([])
    with pytest.raises(StampError, match="cannot be read"):
        next(iter(foreign(["/nowhere/a.tar"])))
    folder = copy_of(refcoco)
    shard = sorted(folder.glob("*.tar"))[0]
    shard.write_bytes(shard.read_bytes()[:-15_000])
    with pytest.raises(StampError, match="cannot be read"):
        list(islice(foreign([str(shard)]), 20))


def test_a_broken_picture_is_left_out_and_named(refcoco: str, copy_of: Callable[[str], Path], tmp_path: Path) -> None:
    folder = copy_of(refcoco)
    one = Plan([str(folder)]).sets[0]
    member = one.shard(0).members(1)[0]
    flip(folder / one.shards[0].path, member.offset)  # no JPEG any more
    loader = ForeignLoader(
        [str(folder / one.shards[0].path)],
        prepare,
        METHOD,
        PlanOptions(batch=one.shards[0].dialogues),
        LoaderOptions(quarantine=tmp_path / "quarantine.jsonl"),
    )
    names = content([next(iter(loader))])
    assert len(names) == one.shards[0].dialogues - one.counts([0])[0][1]
    assert one.key(0, 1) in (tmp_path / "quarantine.jsonl").read_text(encoding="utf-8")
