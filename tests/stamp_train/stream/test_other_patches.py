"""Sets that were built for patches of one size, and models that have another."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from stamp_data.build.jobs import Job, run_job
from stamp_data.executors.local import LocalExecutor
from stamp_data.shards.members import Parsed
from stamp_data.shards.set_index import SetIndex
from stamp_data.synth import synthesize
from stamp_data.verify.sets import verify_set
from stamp_schemas import UsageFault
from stamp_train.backbones.presets import byte_tokenizer
from stamp_train.backbones.processor import StampProcessor, make_images
from stamp_train.backbones.qwen3_vl import QWEN3_VL
from stamp_train.stream.examples import ExampleMaker, prepare_with

from ..stamping import stamp


def build(job: Job) -> None:
    executor = LocalExecutor(1)
    try:
        for _ in run_job(job, executor, lambda *_: None):
            pass
    finally:
        executor.close()


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """One set of 120x72 pictures for either factor: 4x3 merged patches of 28 pixels, 4x2 of 32."""
    folder = tmp_path_factory.mktemp("patches")
    synthesize(folder / "raw", images=20, size=(120, 72))
    job = Job(
        names=("refcoco",), root=folder / "raw", out=folder / "28", splits=("train",), min_tokens=4, max_tokens=16
    )
    build(job)
    build(msgspec.structs.replace(job, out=folder / "32", factor=32))
    return {factor: folder / str(factor) / "refcoco-unc" / "train" for factor in (28, 32)}


def records(folder: Path) -> list[Parsed]:
    index = SetIndex(str(folder))
    return [index.parsed(shard, row) for shard, entry in enumerate(index.shards) for row in range(entry.records)]


def test_a_set_says_its_patches_and_is_verified_by_them(sets: dict[int, Path]) -> None:
    for factor, grid in ((28, (3, 4)), (32, (2, 4))):
        manifest = SetIndex(str(sets[factor])).manifest
        assert manifest.settings.pixels_per_patch == factor
        assert (b'"factor"' in (sets[factor] / "manifest.json").read_bytes()) == (factor != 28)  # as sets always were
        assert {
            (one.record.grid.height, one.record.grid.width) for one in records(sets[factor]) if one.record.grid
        } == {grid}
        assert not verify_set(sets[factor])


def test_labels_of_other_patches_come_from_the_masks(sets: dict[int, Path]) -> None:
    """At one label per patch the set for 32 has them as they are; from that for 28 the same ones are derived."""
    prepare = prepare_with(StampProcessor(byte_tokenizer(), make_images(QWEN3_VL, 4, 16), QWEN3_VL))
    make = ExampleMaker(prepare, stamp(1))
    for near, far in zip(records(sets[28]), records(sets[32]), strict=True):
        assert near.record.key == far.record.key and far.labels is not None
        every = range(len(far.record.dialogues))
        derived, stored = make(near, every), make(far, every)
        assert stored.grid_thw == derived.grid_thw == (1, 4, 8)
        targets = [target for dialogue in far.record.dialogues for target in dialogue.targets]
        found = [[label for one in image.dialogues for label in one.labels] for image in (derived, stored)]
        for target, one, other in zip(targets, *found, strict=True):
            assert np.array_equal(one, other) and np.array_equal(other, far.labels[target])


def test_patches_that_no_model_has_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageFault, match="merged patches of 30 pixels"):
        build(Job(names=("refcoco",), root=tmp_path, out=tmp_path, factor=30))
