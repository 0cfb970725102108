"""What `export` writes `build` takes as it lies there: splits, expressions and targets are those of before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stamp_data.build.jobs import Job, run_job
from stamp_data.executors.local import LocalExecutor
from stamp_data.export import export_sets
from stamp_data.rle import decode
from stamp_data.shards.manifest import find_sets
from stamp_data.shards.reader import ShardSet
from stamp_data.shards.stores import Store
from stamp_data.synth import synthesize
from stamp_schemas import StampError


def built(out: Path, root: Path, *names: str) -> Path:
    for _ in run_job(Job(names=names, root=root, out=out, min_tokens=4, max_tokens=16), LocalExecutor(1), print):
        pass
    return out


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sets of four splits, no two things of a picture called the same."""
    root = tmp_path_factory.mktemp("fit")
    synthesize(root / "raw", images=30, size=(96, 64))
    return built(root / "shards", root / "raw", "refcoco+", "grefcoco")


def split_of(store: Store) -> str:
    return Path(store.place).name


def contents(folder: Path) -> dict[str, set[tuple[str, bytes]]]:
    """By split: every picture's expressions with the pixels that they mean, and its distinct targets."""
    found: dict[str, set[tuple[str, bytes]]] = {}
    for one in find_sets(folder):
        with ShardSet(one) as records:
            split = found.setdefault(split_of(one), set())
            for loaded in records:
                picture = loaded.row.image_xxh3
                masks = [decode(target.rle).tobytes() for target in loaded.record.targets]
                split |= {(f"{picture} target", mask) for mask in masks}
                for dialogue in loaded.record.dialogues:
                    meant = b"".join(masks[number] for number in dialogue.targets)
                    split.add((f"{picture} {dialogue.expression}", meant))
    return found


def targets(folder: Path) -> int:
    total = 0
    for one in find_sets(folder):
        with ShardSet(one) as records:
            total += sum(len(records.record(row).targets) for row in records.rows)
    return total


@pytest.mark.parametrize("form", ["coco", "labelme", "label_studio", "masks", "saco"])
def test_a_set_comes_back_with_its_splits_and_targets(form: str, shards: Path, tmp_path: Path) -> None:
    sets = find_sets(shards / "refcoco+-unc")
    report = export_sets(sets, form, tmp_path / "out")
    assert report.losses == []
    again = built(tmp_path / "again", tmp_path / "out", form)
    assert sorted(map(split_of, find_sets(again))) == ["testA", "testB", "train", "val"]
    assert contents(again) == contents(shards / "refcoco+-unc")
    assert targets(again) == targets(shards / "refcoco+-unc") > 35


def test_polygons_come_back_as_the_same_targets(shards: Path, tmp_path: Path) -> None:
    """Their outlines are not the pixels, but as many things are asked for in as many ways."""
    export_sets(find_sets(shards / "refcoco+-unc"), "labelme", tmp_path / "out", polygons=True)
    again = built(tmp_path / "again", tmp_path / "out", "labelme")
    assert targets(again) == targets(shards / "refcoco+-unc")


def test_several_coco_sets_are_named(shards: Path, tmp_path: Path) -> None:
    """Each has splits of the same names, so one of them has to be chosen."""
    export_sets(find_sets(shards), "coco", tmp_path / "out")
    with pytest.raises(StampError) as fault:
        built(tmp_path / "again", tmp_path / "out", "coco")
    assert f"--root {tmp_path / 'out/refcoco+-unc'}" in str(fault.value)
    assert np.all(
        [split_of(one) for one in find_sets(built(tmp_path / "again", tmp_path / "out/grefcoco-unc", "coco"))]
    )
