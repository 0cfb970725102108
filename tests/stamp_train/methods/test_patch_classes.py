"""Names that the vision tower learns: labels against the masks' pixels, the loss against a plain one, whole runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open

from stamp_data.rle import decode
from stamp_data.shards.reader import ShardSet
from stamp_schemas import StampError
from stamp_train.backbones.load import check_folder, load_checkpoint
from stamp_train.backbones.presets import build_preset
from stamp_train.methods.losses import added
from stamp_train.methods.stamp.demo.patch_classes import UNNAMED, categories, name_patches
from stamp_train.recipes import resolve
from stamp_train.sequence.examples import LayoutOptions
from stamp_train.sequence.layout import Layout
from stamp_train.stream.examples import prepare_with
from stamp_train.stream.loader import stage_loader
from stamp_train.train.corpus import records_of
from stamp_train.train.folder import find
from stamp_train.train.network import build_network

from ..runs import log_of, make_shards, train, write_recipe
from ..stamping import settings


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("shards"))


def test_patches_are_named_by_what_covers_more_than_half(shards: Path) -> None:
    """A picture of 96x64 in 4x8 patches of 16x12 pixels, each counted."""
    grid, named = (4, 8), 0
    order = np.arange(32).reshape(2, 2, 4, 2).transpose(0, 2, 1, 3).ravel()
    with ShardSet(shards / "refcoco-unc" / "train") as records:
        names = sorted({target.categories[0] for loaded in records for target in loaded.record.targets})
        numbers = {name: number for number, name in enumerate(names)}
        for loaded in records:
            found = np.empty(32, np.int64)
            found[order] = name_patches(loaded.record, grid, numbers).numpy()
            masks = np.stack([decode(target.rle) for target in loaded.record.targets]).astype(float)
            shares = masks.reshape(-1, 4, 16, 8, 12).mean((2, 4)).reshape(-1, 32)
            for place, share in enumerate(shares.T):
                if share.max() > 0.51:
                    assert found[place] == numbers[loaded.record.targets[int(share.argmax())].categories[0]]
                    named += 1
                elif share.max() < 0.49:
                    assert found[place] == UNNAMED
            assert (name_patches(loaded.record, grid, {}) == UNNAMED).all()
    assert named > 30


def test_the_loss_is_a_mean_over_the_named_patches_of_the_whole_batch(shards: Path, tmp_path: Path) -> None:
    recipe = resolve(str(write_recipe(tmp_path)), [f"data.root={shards}", "method.demo.naming=0.5"]).recipe
    known = categories(records_of(recipe))
    assert known == sorted(known)
    network, processor = build_network(recipe)
    method = network.method
    assert list(method.demo.names) == known
    layout = Layout(processor.chat, method, LayoutOptions.of(network.config))
    feed = stage_loader(recipe, 1, prepare_with(processor), method, 0, 1, tmp_path)
    batches = ([layout(pack) for pack in batch.packs] for batch in feed)
    packs = next(
        packs for packs in batches if len(packs) > 1 and sum(method.counts(pack.targets)["names"] for pack in packs)
    )
    over = added(method.counts(pack.targets) for pack in packs)
    total, logits, wanted = 0.0, [], []
    for pack in packs:
        output = network(inputs=pack.inputs)
        total += float(method.losses(output, pack.targets)["names"][0].detach()) / over["names"]
        assert len(output.read["names"]) == len(pack.targets.image_labels) or not len(pack.targets.image_labels)
        logits.append(output.read["names"][: len(pack.targets.image_labels)])
        wanted.append(pack.targets.image_labels)
    expected = 0.5 * F.cross_entropy(torch.cat(logits), torch.cat(wanted), ignore_index=UNNAMED)
    assert over["names"] == int((torch.cat(wanted) != UNNAMED).sum())
    assert total == pytest.approx(float(expected.detach()), rel=1e-5)


def test_what_cannot_be_named_is_said(shards: Path, tmp_path: Path) -> None:
    recipe, root = str(write_recipe(tmp_path)), f"data.root={shards}"
    talk = resolve(
        recipe, [root, "method.demo.naming=1", "stages=[{name: a, steps: 1, sets: [{set: llava/train}]}]"]
    ).recipe
    with pytest.raises(StampError, match="targets of the sets have 0 categories"):
        build_network(talk)
    for frozen in ("model.freeze_vision=true", "model.tuning=lora"):
        with pytest.raises(StampError, match="naming trains the vision tower"):
            build_network(resolve(recipe, [root, "method.demo.naming=1", frozen]).recipe)
    plain = resolve(recipe, [root]).recipe
    network, processor = build_network(plain)
    network.save_pretrained(tmp_path / "plain")
    processor.save_pretrained(tmp_path / "plain")
    with pytest.raises(StampError, match="a layer that this checkpoint lacks"):
        build_network(resolve(recipe, [root, "method.demo.naming=1"]).recipe, tmp_path / "plain")


@pytest.mark.slow
def test_runs_that_name_are_the_same_on_two_processes_and_taken_up_again(shards: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    more = [word for override in ("method.demo.naming=1", "saving.keep=9") for word in ("--set", override)]
    whole, two = tmp_path / "whole", tmp_path / "two"
    for out, processes in ((whole, 1), (two, 2)):
        done = train(recipe, shards, out, *more, processes=processes)
        assert done.returncode == 0, done.stderr
    rows, others = log_of(whole), log_of(two)
    for row, other in zip(rows, others, strict=True):
        assert row["loss"] == pytest.approx(row["loss_text"] + row["loss_mask"] + row["loss_names"], rel=1e-6)
        for name in ("loss", "loss_names", "grad_norm"):
            assert other[name] == pytest.approx(row[name], rel=1e-4)
    assert rows[0]["loss_names"] > 0
    again = tmp_path / "again"
    shutil.copytree(whole, again)
    shutil.rmtree(again / "final")
    for late in find(again / "checkpoints")[2:]:
        shutil.rmtree(late)
    done = train(recipe, shards, again, *more, "--resume", "auto")
    assert done.returncode == 0, done.stderr
    assert log_of(again) == rows
    weights = "final/model.safetensors"
    assert (again / weights).read_bytes() == (whole / weights).read_bytes()


def test_a_layer_that_names_is_stored_under_the_name_that_it_always_had(tmp_path: Path) -> None:
    network, processor = build_preset("tiny", method=settings(head_words=4, names=("cross", "star")))
    network.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    with safe_open(tmp_path / "model.safetensors", "pt") as stored:
        assert "namer.1.weight" in stored.keys()  # noqa: SIM118 - not a dictionary
    check_folder(tmp_path)
    again = load_checkpoint(tmp_path)
    assert again.method.settings == network.method.settings
    for name, weight in network.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name
