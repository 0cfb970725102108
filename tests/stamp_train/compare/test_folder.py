"""Whose folder it is: what all runs share, the base that they begin with among it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import torch
from safetensors.torch import load_file, save_file

from stamp_schemas import UsageFault
from stamp_train.compare.folder import Asking, claim, shared
from stamp_train.recipes import resolve

from ..predict.runs import base_model
from ..runs import make_shards

RECIPE = """
about: from a base
model: {start: START, precision: float32}
data: {root: SHARDS}
stages: [{name: only, steps: 1, sets: [{set: refcoco-unc/train}]}]
evaluation: {sets: [refcoco-unc/val]}
"""


def test_weights_that_have_changed_since_are_another_base(tmp_path: Path) -> None:
    """Methods that were trained before and after would not begin with the same."""
    shards, base, out = make_shards(tmp_path, ("refcoco",)), base_model(tmp_path / "base", tied=True), tmp_path / "out"
    recipe = tmp_path / "small.yaml"
    recipe.write_text(RECIPE.replace("START", str(base)).replace("SHARDS", str(shards)))
    out.mkdir()
    (out / "comparison.json.7.part").write_text("{")  # of a call that was killed
    before = shared(resolve(str(recipe)), Asking())
    claim(out, before)
    claim(out, before)
    claim(out, msgspec.structs.replace(before, start=""))  # as where it is yet to be fetched
    path = base / "model.safetensors"
    save_file({name: weight + torch.ones(1) for name, weight in load_file(path).items()}, path, {"format": "pt"})
    after = shared(resolve(str(recipe)), Asking())
    with pytest.raises(UsageFault, match=r"weights of model\.start was .*, is "):
        claim(out, after)
    claim(out, after, overwrite=True)
    claim(out, after)
