"""The published label rule, against what the published code gave, and on its way through the stream."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from stamp_data.grid import rle_coverage
from stamp_data.rle import decode
from stamp_data.shards.members import Parsed
from stamp_data.shards.reader import ShardSet
from stamp_schemas import RLE, Grid
from stamp_schemas.record import FULL, IGNORE
from stamp_train.methods.patches import check_coverage, sampled_labels
from stamp_train.methods.stamp.losses import LOSSES
from stamp_train.recipes import resolve
from stamp_train.stream.examples import ExampleMaker, prepare_with
from stamp_train.stream.loader import stage_loader
from stamp_train.train.network import build_network

from ..runs import make_shards, write_recipe
from ..stamping import stamp
from ..stream.making import prepare

GOLDEN = np.load(Path(__file__).parents[2] / "data/golden/labels.npz")
NAMES = sorted({name.partition("/")[0] for name in GOLDEN.files})


@pytest.mark.parametrize("name", NAMES)
def test_sampled_labels_are_those_of_the_published_code(name: str) -> None:
    shape = tuple(GOLDEN[f"{name}/shape"].tolist())
    mask = np.unpackbits(GOLDEN[f"{name}/mask_packed"], count=shape[0] * shape[1]).reshape(shape)
    rows, columns = GOLDEN[f"{name}/grid"].tolist()
    made = sampled_labels(mask, (rows, columns))
    ideal = GOLDEN[f"{name}/labels_all_sampled"] != 0
    assert set(np.unique(made)) <= {0, FULL}
    assert not (
        made[~ideal]
    ).any()  # rounding only ever loses a patch, and which ones depends on the processor's kernel
    assert np.array_equal(made != 0, GOLDEN[f"{name}/labels"] != 0)


def test_only_the_published_losses_sample() -> None:
    assert {name: loss.label_rule for name, loss in LOSSES.items()} == {
        "default": "coverage",
        "paper": "coverage",
        "published": "sampled",
    }


def centres(rle: RLE, rows: int, columns: int) -> np.ndarray:
    """Which cells have only mask in the two by two pixels around their centre; cells are of even whole sizes."""
    mask = coco_mask.decode({"size": list(rle.size), "counts": rle.counts.encode()})
    down, across = mask.shape[0] // rows, mask.shape[1] // columns
    cells = mask.reshape(rows, down, columns, across)[:, down // 2 - 1 : down // 2 + 1]
    return cells[..., across // 2 - 1 : across // 2 + 1].all(axis=(1, 3))


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("labels"))


def test_the_published_loss_is_fed_sampled_labels(shards: Path, tmp_path: Path) -> None:
    """96x64 pixels in 3x2 patches: every centre lies between whole pixels, where rounding loses nothing."""
    found = {}
    for loss in ("published", "paper"):
        recipe = resolve(
            str(write_recipe(tmp_path)),
            [f"data.root={shards}", f"method.loss={loss}", "method.head=patch", "stages.1.steps=8"],
        ).recipe
        network, processor = build_network(recipe)
        feed = stage_loader(recipe, 1, prepare_with(processor), network.method, 0, 1, tmp_path)
        examples = [example for batch in islice(feed, 8) for pack in batch.packs for example in pack]
        found[loss] = {one.name: one.labels for example in examples for one in example.dialogues}
    with ShardSet(shards / "grefcoco-unc" / "train") as records:
        loaded = [records.record(row) for row in records.rows]
    masks = {f"{r.key}/{d.id}": [r.targets[t].rle for t in d.targets] for r in loaded for d in r.dialogues}
    assert set(found["published"]) <= set(masks) and sum(map(len, found["published"].values())) > 20
    for name, labels in found["published"].items():
        for label, exact, rle in zip(labels, found["paper"][name], masks[name], strict=True):
            assert np.array_equal(label, centres(rle, 2, 3) * FULL)
            assert np.array_equal(exact, rle_coverage(rle, Grid(2, 3)))


def test_sampling_keeps_what_is_to_be_ignored(shards: Path) -> None:
    with ShardSet(shards / "refcoco-unc" / "train") as records:
        loaded = records.load(records.rows[0])
    left = np.zeros((64, 96), np.uint8, order="F")
    left[:, :48] = 1
    packed = coco_mask.encode(left)
    for target in loaded.record.targets:
        target.ignore_rle = RLE((64, 96), packed["counts"].decode())
    example = ExampleMaker(prepare, stamp(1, "published"))(
        Parsed(loaded.record, memoryview(loaded.image or b""), None), [0]
    )
    label = example.dialogues[0].labels[0]
    rows, columns = label.shape
    assert columns > 2
    assert (label[:, : columns // 2] == IGNORE).all()
    whole = sampled_labels(decode(loaded.record.targets[loaded.record.dialogues[0].targets[0]].rle), (rows, columns))
    assert np.array_equal(label[:, -(columns // 2) :], whole[:, -(columns // 2) :])


def test_labels_as_they_come_from_a_shard_make_no_warning(recwarn: pytest.WarningsRecorder) -> None:
    """They are a view of bytes, of which torch warns on the terminal."""
    label = np.frombuffer(bytes(range(6)), np.uint8).reshape(2, 3)
    torch.set_warn_always(True)
    try:
        found = check_coverage(label, (2, 3), 1, "a dialogue")
    finally:
        torch.set_warn_always(False)
    assert found.flatten().tolist() == [0, 1, 2, 3, 4, 5]
    assert not list(recwarn)
