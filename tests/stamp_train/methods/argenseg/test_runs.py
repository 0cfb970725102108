"""Whole runs: in shards over two processes, taken up again, under an adapter, and by codes that lie beside the sets."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from safetensors.torch import save_file

from ...runs import log_of, make_shards, train
from .vaes import SCALES, tiny_weights

RECIPE = """
about: a few steps on a few small scenes
model: {preset: tiny, precision: float32, vocabulary: 400}
data: {min_tokens: 4, max_tokens: 16, threads: 1}
batch: {dialogues: 6, dialogues_per_image: 2, pack_tokens: 2000}
optimizer: {learning_rate: 2.0e-3}
method: {name: argenseg, scales: [1, 2, 4], vocabulary: 32}
stages:
  - {name: first, steps: 3, sets: [{set: refcoco-unc/train}, {set: llava/train}]}
saving: {every: 2, keep: 2}
threads: 1
"""
VAR = ("method.codec=var", "method.softmax=joint", "method.attention=scales", "method.positions=plane")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("runs"), ("refcoco", "llava"))


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


@pytest.mark.slow
def test_shards_resumption_and_adapters_change_nothing_that_they_should_not(
    shards: Path, recipe: Path, tmp_path: Path
) -> None:
    one = train(recipe, shards, tmp_path / "one")
    assert one.returncode == 0, one.stderr
    two = train(recipe, shards, tmp_path / "two", "--set", "engine=fsdp", processes=2)
    assert two.returncode == 0, two.stderr
    for left, right in zip(log_of(tmp_path / "one"), log_of(tmp_path / "two"), strict=True):
        for name in ("loss_text", "loss_codes"):
            assert left[name] == pytest.approx(right[name], abs=1e-4)
    shutil.copytree(tmp_path / "one", tmp_path / "again")
    shutil.rmtree(tmp_path / "again/final")
    shutil.rmtree(tmp_path / "again/checkpoints/step-000003")
    again = train(recipe, shards, tmp_path / "again", "--resume", "auto")
    assert again.returncode == 0, again.stderr
    weights = [(tmp_path / name / "final/model.safetensors").read_bytes() for name in ("one", "again")]
    assert weights[0] == weights[1]
    start = f"model.start={tmp_path / 'one/final'}"
    changed = ("model.preset=", "model.vocabulary=0", start, "model.tuning=lora", "model.lora.rank=4")
    adapted = train(recipe, shards, tmp_path / "adapted", *(part for key in changed for part in ("--set", key)))
    assert adapted.returncode == 0, adapted.stderr
    assert (tmp_path / "adapted/final/model.safetensors").is_file()


@pytest.mark.slow
def test_a_run_by_a_network_as_codec_reads_the_codes_that_were_made_for_it(
    shards: Path, recipe: Path, tmp_path: Path
) -> None:
    from stamp_train.methods.argenseg.making import make_codes

    vae = tmp_path / "vae.safetensors"
    save_file(tiny_weights(), vae, {"scales": ",".join(map(str, SCALES))})
    keys = [part for key in (*VAR, f"method.file={vae}") for part in ("--set", key)]
    without = train(recipe, shards, tmp_path / "run", *keys)
    assert without.returncode == 1 and "no codes of codec" in without.stderr, without.stderr
    assert "hint: stamp-train codes CODEC" in without.stderr and "Traceback" not in without.stderr
    make_codes(str(vae), [str(shards / "refcoco-unc/train")], tried=0)
    done = train(recipe, shards, tmp_path / "run", *keys)
    assert done.returncode == 0, done.stderr
    assert len(log_of(tmp_path / "run")) == 3
