"""One embedding for a mask: what is read, and what trains."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import torch

from stamp_schemas import UsageFault
from stamp_train.methods.embedding.settings import EmbeddingSettings
from stamp_train.methods.losses import total
from stamp_train.recipes import resolve
from stamp_train.sequence.layout import Layout
from stamp_train.train.network import build_network, save_network

from ..making import ONE, TWO, example, record, tiny
from .sams import SHAPE, write_sam

RECIPE = """
about: an adapter beside a new readout
model: {preset: tiny, precision: bf16, tuning: lora, lora: {rank: 4, alpha: 8}}
method: {name: embedding, head: sam, sam: SAM}
data: {root: nowhere, min_tokens: 4, max_tokens: 16, threads: 0}
stages: [{name: only, steps: 3, sets: [{set: refcoco-unc/train}]}]
"""


@pytest.mark.parametrize(("name", "before"), [("embedding", 1), ("embedding-at", 0)])
def test_one_row_is_read_for_each_mask_and_no_token_is_added(name: str, before: int) -> None:
    one = tiny(name)
    pack = Layout(one.chat, one.method)([example(one.method, record([TWO, ("<|seg|>",)]), (2, 3))])
    ids = pack.inputs.input_ids[0].tolist()
    segs = [row for row, token in enumerate(ids) if token == one.chat.seg_id]
    assert pack.inputs.mask_rows.tolist() == [row - before for row in segs]
    assert len(segs) == 3 and not (pack.inputs.structure.block > 0).any()
    assert one.method.settings.tokens_per_mask(1000) == 0


def test_a_seg_that_is_said_first_is_predicted_by_what_stands_before_the_answer() -> None:
    one = tiny("embedding")
    pack = Layout(one.chat, one.method)([example(one.method, record([("<|seg|>",)]), (2, 3))])
    [row] = pack.inputs.mask_rows.tolist()
    assert one.processor.tokenizer.decode(pack.inputs.input_ids[0, row - 9 : row + 2]) == "assistant\n<|seg|>"


def test_ignored_cells_count_in_no_loss() -> None:
    one = tiny("embedding")
    of = record([ONE])
    of.targets[0].ignore_rle = of.targets[0].rle
    pack = Layout(one.chat, one.method)([example(one.method, of, (2, 3))])
    ignored = (pack.targets.labels == 255).flatten()
    assert ignored.any()
    with torch.no_grad():
        outputs = one.model(inputs=pack.inputs)
        before = one.method.losses(outputs, pack.targets)
        outputs.read["masks"][ignored] += 7
        after = one.method.losses(outputs, pack.targets)
    assert all(torch.equal(before[name][0], after[name][0]) for name in ("bce", "dice"))


def test_adapters_leave_sams_encoder_alone_and_keep_its_decoder(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.replace("SAM", str(write_sam(tmp_path / "sam"))))
    recipe = resolve(str(path)).recipe
    network, processor = build_network(recipe)
    head = network.get_base_model().classifier
    trained = {name for name, weight in head.named_parameters() if weight.requires_grad}
    assert trained and not any("encoder." in name or "no_mask" in name for name in trained)
    method = network.get_base_model().method
    pack = Layout(processor.chat, method)([example(method, record([ONE, TWO]), (2, 3))])
    with torch.autocast("cpu", torch.bfloat16):
        outputs = network(inputs=pack.inputs)
    total(method.losses(outputs, pack.targets)).backward()
    assert all(weight.grad is not None for weight in network.parameters() if weight.requires_grad)
    save_network(network, processor, tmp_path)
    again = dict(build_network(recipe, tmp_path)[0].named_parameters())
    assert all(torch.equal(again[name], weight) for name, weight in network.named_parameters())


@pytest.mark.parametrize(
    ("told", "fault"),
    [
        ({"head": "sam"}, "head sam needs a SAM"),
        ({"sam": "here"}, "head dot has no SAM"),
        ({"width": 0}, "width"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(told: dict, fault: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=fault):
        msgspec.convert({"name": "embedding", **told}, EmbeddingSettings)


def test_the_shape_of_a_sam_is_read_from_its_folder(tmp_path: Path) -> None:
    settings = EmbeddingSettings(head="sam", sam=str(write_sam(tmp_path / "sam")))
    shape = settings.complete().shape
    assert shape is not None and shape["vision_config"]["image_size"] == SHAPE["vision_config"]["image_size"]
    for folder, fault in ((tmp_path / "nowhere", "no configuration"), (tmp_path, "not 'sam'")):
        (tmp_path / "config.json").write_text('{"model_type": "clip"}')
        with pytest.raises(UsageFault, match=fault):
            EmbeddingSettings(head="sam", sam=str(folder)).complete()
