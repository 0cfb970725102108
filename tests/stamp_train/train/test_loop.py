"""The loop in one process: gradients that do not depend on the split, rows, checkpoints, and what stops a run."""

from __future__ import annotations

import json
import random
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from stamp_data.writing import replace_folder
from stamp_schemas import StampError
from stamp_schemas.recipe import Saving
from stamp_train.backbones.load import load_checkpoint
from stamp_train.backbones.presets import build_preset
from stamp_train.methods.contract import Method
from stamp_train.recipes import Resolved, resolve
from stamp_train.sequence.examples import ImageExample
from stamp_train.sequence.layout import Layout
from stamp_train.train.checkpoint import CheckpointWriter, copied, read_optimizer
from stamp_train.train.folder import Progress, find, read_progress
from stamp_train.train.machine import native_bfloat16
from stamp_train.train.network import build_network
from stamp_train.train.panel import watching
from stamp_train.train.resume import find_start
from stamp_train.train.step import StepRunner, seed_step

from ..conftest import make_dialogue, make_image
from ..runs import log_of, make_shards, run, train, write_recipe
from ..stamping import stamp

TURNS = [("where is it", "there: <|seg|>."), ("and that", "no"), ("both", "<|seg|> and <|seg|>"), ("what", "a thing")]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("loop"))


@pytest.fixture(autouse=True)
def _exact() -> Iterator[None]:
    """A run makes kernels deterministic for its process; the tests of other modules should not notice."""
    yield
    torch.use_deterministic_algorithms(False)


def small(shards: Path, folder: Path, *overrides: str) -> Resolved:
    return resolve(str(write_recipe(folder)), [f"data.root={shards}", *overrides])


# --- gradients --------------------------------------------------------------------------------------------------------


def images() -> list[ImageExample]:
    """Three pictures of different grids with four dialogues each, and a text."""
    made = []
    for number, grid in enumerate([(2, 3), (3, 2), (1, 4)]):
        dialogues = [
            make_dialogue(f"{number}-{place}", [turn], grid, seed=10 * number + place, side=4)
            for place, turn in enumerate(TURNS)
        ]
        made.append(make_image(grid, dialogues, seed=number))
    return [*made, make_image(None, [make_dialogue("text", [("hello", "good day")], None)])]


def alone(image: ImageExample) -> list[ImageExample]:
    """k = 1: the picture once for each of its dialogues."""
    return [ImageExample([dialogue], image.pixel_values, image.grid_thw) for dialogue in image.dialogues]


def gradients(packs: list[list[ImageExample]], method: Method | None = None) -> tuple[dict[str, torch.Tensor], Any]:
    network, processor = build_preset("tiny")
    network.train()
    method = method or network.method
    layout = Layout(processor.chat, method, network.config.text_config.max_position_embeddings)
    runner = StepRunner(Accelerator(cpu=True), network, layout, method, "auto")
    result = runner.gradients(packs, 1e9, "test")
    return {name: weight.grad for name, weight in network.named_parameters() if weight.grad is not None}, result


WHOLE = [images()]
SPLITS = {
    "every picture alone": [[image] for image in images()],
    "two packs": [images()[:1], images()[1:]],
    "k = 1, one pack": [[one for image in images() for one in alone(image)]],
    "k = 1, every dialogue alone": [[one] for image in images() for one in alone(image)],
    "with an empty pack": [images(), []],
}


@pytest.mark.parametrize("split", SPLITS)
def test_any_split_gives_the_same_gradient(split: str) -> None:
    expected, whole = gradients(WHOLE)
    found, result = gradients(SPLITS[split])
    assert set(found) == set(expected)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-5)
    assert result.losses == pytest.approx(whole.losses, abs=1e-5)
    assert result.grad_norm == pytest.approx(whole.grad_norm, rel=1e-5)


def test_a_rank_without_a_pack_knows_the_names_of_the_losses() -> None:
    network, processor = build_preset("tiny")
    layout = Layout(processor.chat, network.method)
    result = StepRunner(Accelerator(cpu=True), network.train(), layout, network.method, "auto").gradients(
        [[]], 1e9, "test"
    )
    assert result.losses == {"text": 0.0, "mask": 0.0} and result.loss == 0.0


def test_losses_of_single_packs_depend_on_the_split_as_published() -> None:
    expected, _ = gradients(WHOLE, stamp(loss="published"))
    found, _ = gradients(SPLITS["two packs"], stamp(loss="published"))
    assert any(not torch.allclose(found[name], expected[name], rtol=1e-3) for name in expected)


def test_the_norm_is_clipped() -> None:
    network, processor = build_preset("tiny")
    runner = StepRunner(
        Accelerator(cpu=True),
        network,
        Layout(processor.chat, network.method, network.config.text_config.max_position_embeddings),
        network.method,
        "auto",
    )
    result = runner.gradients(WHOLE, 0.5, "test")
    norm = torch.cat([weight.grad.flatten() for weight in network.parameters() if weight.grad is not None]).norm()
    assert result.grad_norm > 0.5
    assert float(norm) == pytest.approx(0.5, rel=1e-4)


def test_random_numbers_are_a_function_of_seed_step_and_rank() -> None:
    def drawn(*where: int) -> tuple[float, float]:
        seed_step(*where)
        return float(torch.rand(())), random.random()

    assert drawn(1, 2, 0) == drawn(1, 2, 0)
    assert len({drawn(1, 2, 0), drawn(1, 2, 1), drawn(1, 3, 0), drawn(2, 2, 0)}) == 4


# --- a run ------------------------------------------------------------------------------------------------------------

# Of the recipe in runs.py: 10 steps over two stages. Another machine's kernels may differ in the last digits. What a step sees
# follows from the sets' digests, so that a change of their bytes alone gives another curve.
GOLDEN = [7.5283, 7.2335, 6.9924, 6.8288, 6.7301, 6.6029, 6.6377, 6.4102, 6.1829, 6.0439]


def test_the_curve_is_the_golden_one_and_the_folder_is_complete(shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    metrics = run(small(shards, tmp_path), out)
    rows = log_of(out)
    assert [round(row["loss"], 4) for row in rows] == pytest.approx(GOLDEN, abs=2e-4)
    assert [(row["step"], row["stage"]) for row in rows] == [(n, "first" if n < 7 else "second") for n in range(1, 11)]
    assert all(row["loss"] == row["loss_text"] + row["loss_mask"] for row in rows)
    assert all(row["dialogues"] == 8 and len(row["batch_digest"]) == 32 for row in rows)
    assert set(metrics) == {"ciou", "label_ciou", "text_accuracy"}
    assert [path.name for path in find(out / "checkpoints")] == ["step-000008", "step-000010"]
    assert resolve(str(out / "recipe.yaml")).recipe == small(shards, tmp_path).recipe
    assert (out / "predictions" / "00.png").read_bytes().startswith(b"\x89PNG")
    final = load_checkpoint(out / "final")
    last, _ = build_network(small(shards, tmp_path).recipe, find(out / "checkpoints")[-1])
    for name, weight in final.state_dict().items():
        assert torch.equal(weight, last.state_dict()[name])


@pytest.mark.parametrize("change", [("model.tuning=lora", "model.lora.rank=4"), ("model.freeze_vision=true",)])
def test_adapters_and_frozen_towers_resume_exactly(change: tuple[str, ...], shards: Path, tmp_path: Path) -> None:
    """With the adapter's dropout, whose draws must be the same after a restart."""
    recipe = small(
        shards, tmp_path, *change, "evaluation.sets=[]", "saving.keep=9", "model.gradient_checkpointing=true"
    )
    run(recipe, tmp_path / "whole")
    start = tmp_path / "whole" / "checkpoints" / "step-000004"
    run(recipe, tmp_path / "rest", start)
    assert log_of(tmp_path / "rest") == log_of(tmp_path / "whole")[4:]
    files = [(tmp_path / name / "final" / "model.safetensors").read_bytes() for name in ("whole", "rest")]
    assert files[0] == files[1]
    trained = load_checkpoint(tmp_path / "whole" / "final").model.visual.state_dict()
    fresh = build_network(small(shards, tmp_path).recipe)[0].model.visual.state_dict()
    assert all(torch.equal(trained[name], fresh[name]) for name in fresh)


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_batch(shards: Path, tmp_path: Path) -> None:
    recipe = small(shards, tmp_path, "optimizer.learning_rate=1e30", "optimizer.warmup=0", "saving.every=1")
    with pytest.raises(StampError) as fault:
        run(recipe, tmp_path / "run")
    rows = log_of(tmp_path / "run")
    assert fault.value.message.startswith(f"step {len(rows) + 1} (")
    assert "refcoco-unc-train-" in fault.value.message or "llava-train-" in fault.value.message
    assert all(np.isfinite(row["loss"]) for row in rows)
    assert read_progress(find(tmp_path / "run" / "checkpoints")[-1]).step == len(rows)


def test_resume_finds_the_newest_and_refuses_strangers(tmp_path: Path) -> None:
    assert find_start(tmp_path, "auto") is None
    with pytest.raises(StampError, match="not a checkpoint"):
        find_start(tmp_path, str(tmp_path))


def test_a_checkpoint_of_another_plan_is_refused(shards: Path, tmp_path: Path) -> None:
    run(small(shards, tmp_path, "stages.0.steps=3"), tmp_path / "run")
    start = find(tmp_path / "run" / "checkpoints")[0]
    with pytest.raises(StampError, match="plan"):
        run(small(shards, tmp_path, "seed=7", "stages.0.steps=9"), tmp_path / "other", start)


# --- checkpoints ------------------------------------------------------------------------------------------------------


def saved(writer: CheckpointWriter, step: int, **metrics: float) -> None:
    def model(folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(bytes(1000))

    progress = Progress(step=step, stage=0, stage_step=step, stream={"draws": step}, metrics=metrics)
    writer.write(progress, {"state": {0: torch.full((1000,), float(step))}}, model)
    writer.wait()


def test_the_newest_and_the_best_checkpoints_stay(tmp_path: Path) -> None:
    writer = CheckpointWriter(tmp_path, Saving(keep=2, best="ciou"))
    for step, ciou in enumerate([0.1, 0.8, 0.3, 0.5, 0.2], start=1):
        saved(writer, step, ciou=ciou)
    writer.close()
    assert [read_progress(path).step for path in find(tmp_path)] == [2, 4, 5]
    assert torch.equal(read_optimizer(find(tmp_path)[0])["state"][0], torch.full((1000,), 2.0))


def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path: Path) -> None:
    writer = CheckpointWriter(tmp_path, Saving(keep=2))
    saved(writer, 1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))  # the optimizer's file is larger
    try:
        with pytest.raises(StampError, match="step-000002: not written") as fault:
            saved(writer, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "step-000001" in fault.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["step-000001"]
    saved(writer, 3)
    writer.close()
    assert len(find(tmp_path)) == 2


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    def fill(text: str) -> Any:
        return lambda folder: (folder / "file").write_text(text)

    def fail(folder: Path) -> None:
        (folder / "file").write_text("half")
        raise OSError("no")

    replace_folder(tmp_path / "one", fill("first"))
    with pytest.raises(OSError, match="no"):
        replace_folder(tmp_path / "one", fail)
    assert (tmp_path / "one" / "file").read_text(encoding="utf-8") == "first"
    replace_folder(tmp_path / "one", fill("second"))
    assert (tmp_path / "one" / "file").read_text(encoding="utf-8") == "second"
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_a_copy_keeps_what_is_tied_and_lets_go_of_the_original() -> None:
    shared = torch.ones(3)
    copy = copied({"a": shared, "b": [shared, 5]})
    shared.zero_()
    assert copy["a"] is copy["b"][0]
    assert copy["a"].tolist() == [1.0, 1.0, 1.0] and copy["b"][1] == 5


def test_without_a_terminal_a_run_is_told_in_lines(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with watching() as watch:
        run(small(shards, tmp_path), tmp_path / "run", watch=watch)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("step ")]
    assert lines[0].startswith("step 1/10, 10%, elapsed ") and ": stage first, loss " in lines[0]
    assert lines[-1].startswith("step 10/10, ") and ": stage second" in lines[-1]
    assert "ciou" in lines[-1] and "dialogues/s" in lines[-1]


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_prints_one_object_for_programs(shards: Path, tmp_path: Path) -> None:
    done = train(write_recipe(tmp_path), shards, tmp_path / "run", "--json")
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)) == {"steps", "ciou", "label_ciou", "text_accuracy", "seconds"}
    assert "run/final" in done.stderr.splitlines()[-1]


def test_half_precision_keeps_whole_weights_until_the_end(shards: Path, tmp_path: Path) -> None:
    half = ("--set", "model.precision=bf16", "--set", "optimizer.learning_rate=1e-3")
    out = tmp_path / "run"
    done = train(write_recipe(tmp_path), shards, out, *half)
    assert done.returncode == 0, done.stderr
    rows = log_of(out)
    assert rows[-1]["loss"] < rows[0]["loss"]
    kept = load_checkpoint(find(out / "checkpoints")[-1])
    assert {weight.dtype for weight in kept.parameters()} == {torch.float32}
    used = torch.bfloat16 if native_bfloat16() else torch.float32
    assert {weight.dtype for weight in load_checkpoint(out / "final").parameters()} == {used}
    assert ("all is computed in float32" in done.stderr) == (used == torch.float32)
    done = train(write_recipe(tmp_path), shards, out, "--set", "optimizer.learning_rate=2e-3", "--resume", "auto")
    assert done.returncode == 0, done.stderr
    assert "changed since the run began: optimizer.learning_rate: 0.001 -> 0.002" in done.stderr
