"""DeepSpeed's file and the recipe: what the one leaves open the other fills in, and where they differ one line says so."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stamp_schemas import UsageFault
from stamp_train.estimate.architecture import architecture
from stamp_train.estimate.cost import memory
from stamp_train.recipes import resolve
from stamp_train.recipes.deepspeed import check_deepspeed, deepspeed_config

AUTO = "auto"
USUAL: dict[str, Any] = {  # of the files that come with transformers' examples
    "bf16": {"enabled": AUTO},
    "fp16": {"enabled": AUTO, "loss_scale": 0},
    "optimizer": {"type": "AdamW", "params": {"lr": AUTO, "betas": AUTO, "eps": AUTO, "weight_decay": AUTO}},
    "scheduler": {"type": "WarmupDecayLR", "params": {"total_num_steps": AUTO, "warmup_num_steps": AUTO}},
    "zero_optimization": {"stage": 3, "overlap_comm": True, "reduce_bucket_size": AUTO, "sub_group_size": 1e9},
    "gradient_accumulation_steps": AUTO,
    "gradient_clipping": AUTO,
    "steps_per_print": 2000,
    "train_batch_size": AUTO,
    "train_micro_batch_size_per_gpu": AUTO,
}


def options(file: Path | str, *more: str) -> list[str]:
    return ["engine=deepspeed", f"deepspeed={file}", *more]


def config(tmp_path: Path, given: Any, *more: str) -> dict[str, Any]:
    file = tmp_path / "ds.json"
    file.write_text(json.dumps(given), encoding="utf-8")
    return deepspeed_config(resolve("stamp-2b", options(file, *more)).recipe)


def test_what_is_auto_is_the_recipes_or_left_out(tmp_path: Path) -> None:
    found = config(tmp_path, USUAL, "optimizer.clip=0.5")
    assert found["zero_optimization"] == {"stage": 3, "overlap_comm": True, "sub_group_size": 1e9}
    assert found["gradient_clipping"] == 0.5
    assert found["bf16"] == {"enabled": True} and "enabled" not in found["fp16"]
    assert found["steps_per_print"] == 2000
    assert found["gradient_accumulation_steps"] == found["train_micro_batch_size_per_gpu"] == 1
    assert not {"optimizer", "scheduler", "train_batch_size"} & set(found)
    assert AUTO not in json.dumps(found)
    full = config(tmp_path, USUAL, "model.precision=float32")
    assert "enabled" not in full["bf16"]


def test_without_a_file_it_is_stage_2() -> None:
    assert deepspeed_config(resolve("stamp-2b", ["engine=deepspeed"]).recipe)["zero_optimization"] == {"stage": 2}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"train_batch_size": 96}, "train_batch_size is 96"),
        ({"gradient_accumulation_steps": 4}, "gradient_accumulation_steps is 4"),
        ({"gradient_clipping": 0.3}, "gradient_clipping is 0.3"),
        ({"bf16": {"enabled": False}}, "bf16.enabled is false"),
        ({"fp16": {"enabled": True}}, "fp16.enabled is true"),
        ({"torch_autocast": {"enabled": True}}, "torch_autocast.enabled is true"),
        ({"optimizer": {"type": "Lamb"}}, 'optimizer.type is "Lamb"'),
        ({"optimizer": {"type": "AdamW", "params": {"lr": 1e-3}}}, "optimizer.params.lr is 0.001"),
        ({"scheduler": {"type": "WarmupCosineLR"}}, 'scheduler.type is "WarmupCosineLR"'),
        ({"scheduler": []}, "scheduler is not a JSON object"),
        ({"data_types": []}, "data_types is not a JSON object"),
        ({"zero_optimization": {"stage": 0}}, "stage is 0"),
        ({"zero_optimization": {}}, "stage is null"),
        ({"zero_optimization": {"stage": 3, "offload_param": {"device": "nvme"}}}, "offload_param.device nvme"),
        ({"zero_optimization": {"stage": 2, "compute_grad_norm": False}}, "compute_grad_norm"),
    ],
)
def test_what_contradicts_the_recipe_is_refused(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageFault) as fault:
        config(tmp_path, {**USUAL, **change})
    assert said in fault.value.message and "ds.json" in fault.value.message and "\n" not in fault.value.message


@pytest.mark.parametrize("text", ["", "[1]", "{", None])
def test_a_file_that_is_none_is_refused(text: str | None, tmp_path: Path) -> None:
    file = tmp_path / "ds.json"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    with pytest.raises(UsageFault, match=r"ds\.json"):
        deepspeed_config(resolve("stamp-2b", options(file)).recipe)


def test_a_file_for_another_engine_is_refused() -> None:
    with pytest.raises(UsageFault, match="set engine: deepspeed"):
        resolve("stamp-2b", ["deepspeed=ds.json"])


def test_what_is_not_installed_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = resolve("stamp-2b", ["engine=deepspeed"]).recipe
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    check_deepspeed(resolve("stamp-2b").recipe)
    with pytest.raises(UsageFault, match="not installed") as fault:
        check_deepspeed(recipe)
    assert "[deepspeed]" in fault.value.hint


def test_every_stage_shares_more(tmp_path: Path) -> None:
    """And stage 3 needs about what FSDP2 does, which shares the same."""
    sizes = architecture(resolve("stamp-2b").recipe)
    needed = []
    for zero in ({"stage": 1}, {"stage": 2}, {"stage": 3}, {"stage": 3, "offload_optimizer": {"device": "cpu"}}):
        (tmp_path / "ds.json").write_text(json.dumps({"zero_optimization": zero}), encoding="utf-8")
        needed.append(memory(resolve("stamp-2b", options(tmp_path / "ds.json")).recipe, sizes, 8).total)
    assert needed == sorted(needed, reverse=True) and len(set(needed)) == 4
    assert needed[2] == pytest.approx(memory(resolve("stamp-2b", ["engine=fsdp"]).recipe, sizes, 8).total, rel=0.1)


def test_a_wrong_file_is_one_line_and_no_run(tmp_path: Path) -> None:
    (tmp_path / "ds.json").write_text('{"zero_optimization": {"stage": 3}, "train_batch_size": 8}', encoding="utf-8")
    command = [sys.executable, "-m", "stamp_cli.train", "run", "tiny", "--processes", "2", "--out", "out"]
    settings = [word for one in options("ds.json") for word in ("--set", one)]
    done = subprocess.run([*command, *settings], capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False)
    assert done.returncode == 2 and done.stdout == ""
    error, hint = done.stderr.splitlines()
    assert (
        error == "error: ds.json: train_batch_size is 8, but the recipe decides that (batch: by dialogues and tokens)"
    )
    assert hint.startswith("hint: ")
    assert not (tmp_path / "out").exists()
