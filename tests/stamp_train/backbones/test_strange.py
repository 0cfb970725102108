"""Folders that are no checkpoints, or damaged ones: one line of every command that opens one, and nothing of theirs is run."""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from stamp_cli import console
from stamp_cli.train import app
from stamp_schemas import StampError
from stamp_schemas.recipe import Saving
from stamp_train.predict.opening import load_folder
from stamp_train.recipes import Resolved, resolve
from stamp_train.train.checkpoint import CheckpointWriter, copied, read_optimizer
from stamp_train.train.checksums import CHECKSUMS
from stamp_train.train.engine import load_moments
from stamp_train.train.folder import Progress, read_progress
from stamp_train.train.loop import Run
from stamp_train.train.network import build_network, save_network
from stamp_train.train.optimizer import make_optimizer

from ..runs import make_shards, write_recipe

STEP = Path("checkpoints", "step-000002")
FUZZED = int(os.environ.get("STAMP_FUZZ", "60"))  # folders


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("strange"))


@pytest.fixture(scope="module")
def recipe(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Resolved:
    return resolve(str(write_recipe(tmp_path_factory.mktemp("recipe"))), [f"data.root={shards}", "evaluation.sets=[]"])


@pytest.fixture(scope="module")
def good(recipe: Resolved, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder as two steps leave it, but without checksums, which would tell of any damage before it is met."""
    run = tmp_path_factory.mktemp("good") / "run"
    run.mkdir()
    (run / "recipe.yaml").write_text(recipe.yaml(), encoding="utf-8")
    network, processor = build_network(recipe.recipe)
    optimizer = make_optimizer(recipe.recipe, network)
    for weight in network.parameters():
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    writer = CheckpointWriter(run / "checkpoints", Saving())
    progress = Progress(step=2, stage=0, stage_step=2, stream={"plan": "another", "draws": 16})
    writer.write(progress, copied(optimizer.state_dict()), lambda folder: save_network(network, processor, folder))
    writer.close()
    (run / STEP / CHECKSUMS).unlink()
    return run


@pytest.fixture
def run(good: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "run"))


# --- strange ones, and every command ----------------------------------------------------------------------------------


class _Code:
    """A pickle of this makes whoever loads it write a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return Path.touch, (self.target,)


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"weight": _Code(folder / "ran")}, folder / "pytorch_model.bin")


def outside(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder.parent / "model.safetensors")
    weights = {"lm_head.weight": "../model.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weights}))


def truncated(folder: Path) -> None:
    os.truncate(folder / "model.safetensors", 1000)


def no_header(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\xff" * 100)


def edit(name: str, **values: object) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / name).write_text(json.dumps({**json.loads((folder / name).read_text(encoding="utf-8")), **values}))

    return damage


def replace(name: str, text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(text) and None


EDGES = {"shortest_edge": 10**12, "longest_edge": 10**12}
STRANGE = {
    "weights that are pickles": pickled,
    "an index that leads out of the folder": outside,
    "cut weights": truncated,
    "weights that are none": no_header,
    "a config of another model": edit("config.json", text_config={"hidden_size": 64, "num_hidden_layers": 1}),
    "a config of wrong types": edit("config.json", vision_config=[1]),
    "a million layers": edit("config.json", text_config={"num_hidden_layers": 10**9}),
    "a config nested without end": replace("config.json", "[" * 100_000),
    "another family": edit("config.json", model_type="llama"),
    "a tokenizer that is none": replace("tokenizer.json", "[]"),
    "huge patches": edit("preprocessor_config.json", patch_size=10**9),
    "huge pictures": edit("preprocessor_config.json", size=EDGES, min_pixels=10**12, max_pixels=10**12),
    "no numbers": edit("preprocessor_config.json", image_std=[0, 0, 0]),
}


def call(*words: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit code and errors of `stamp-train WORDS…`."""
    monkeypatch.setattr(sys, "argv", ["stamp-train", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        console.run(app())
    return int(ended.value.code or 0), capsys.readouterr().err


@pytest.mark.parametrize("damage", STRANGE.values(), ids=STRANGE.keys())
def test_every_command_says_one_line_of_a_strange_checkpoint(
    damage: Callable[[Path], None],
    run: Path,
    shards: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = run / STEP
    damage(folder)
    picture = run / "picture.png"
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(picture)
    commands: list[tuple[object, ...]] = [
        ("predict", folder, picture, "--expression", "it", "--out", run / "answers"),
        ("eval", folder, shards / "refcoco-unc" / "val", "--out", run / "eval"),
        ("export", folder, run / "exported"),
        ("chat", folder, picture),
        ("run", run / "recipe.yaml", "--out", run, "--resume", folder),
    ]
    for command in commands:
        code, said = call(*command, monkeypatch=monkeypatch, capsys=capsys)
        errors = [line for line in said.splitlines() if line.startswith("error: ")]
        assert (code, len(errors)) == (1, 1), (command[0], said)
        assert str(folder) in errors[0] and len(errors[0]) < 600, (command[0], errors)
        assert "Traceback" not in said
    assert not (folder / "ran").exists() and not (run / "exported").exists()
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("state.json", "{", "state.json: damaged: "),
        ("state.json", "[" * 100_000, "state.json: damaged: "),
        ("state.json", " " * 2_000_000, "state.json: damaged: "),
        ("state.json", '{"step": -1, "stage": 0, "stage_step": 0, "stream": {}}', "state.json: damaged: "),
        ("state.json", '{"step": 2, "stage": 7, "stage_step": 0, "stream": {}}', "is of stage 8, the recipe has 2"),
        ("state.json", '{"step": 2, "stage": 0, "stage_step": 77, "stream": {}}', "77 steps of stage first are done"),
        (
            "state.json",
            '{"step": 2, "stage": 0, "stage_step": 2, "stream": {"plan": "a"}}',
            "position is damaged: None",
        ),
        ("state.json", '{"step": 2, "stage": 0, "stage_step": 2, "stream": {"plan": "a", "draws": 3}}', "is of plan a"),
        ("optimizer.pt", "", "optimizer.pt: damaged: "),
        ("optimizer.pt", "PK\x03\x04", "optimizer.pt: damaged: "),
    ],
)
def test_a_state_that_is_damaged_or_of_another_run_is_one_line(
    name: str, text: str, said: str, run: Path, recipe: Resolved, tmp_path: Path
) -> None:
    (run / STEP / name).write_text(text)
    with pytest.raises(StampError) as fault:
        Run(recipe, tmp_path / "out", run / STEP).train()
    assert said in fault.value.message and "\n" not in fault.value.message
    torch.use_deterministic_algorithms(False)


def of_code(state: dict[str, Any], folder: Path) -> Any:
    return {**state, "more": _Code(folder / "ran")}


def of_other_shapes(state: dict[str, Any], _: Path) -> Any:
    return {**state, "state": {number: {**one, "exp_avg": torch.ones(3)} for number, one in state["state"].items()}}


def of_fewer_weights(state: dict[str, Any], _: Path) -> Any:
    (group,) = state["param_groups"]
    return {**state, "param_groups": [{**group, "params": group["params"][:-1]}]}


def of_nothing(_: dict[str, Any], __: Path) -> Any:
    return [1, 2]


def without_moments(state: dict[str, Any], _: Path) -> Any:
    return {**state, "state": [3]}


@pytest.mark.parametrize("change", [of_code, of_other_shapes, of_fewer_weights, of_nothing, without_moments])
def test_moments_of_something_else_are_one_line_and_no_code_of_theirs_runs(
    change: Callable[[dict[str, Any], Path], Any], run: Path, recipe: Resolved
) -> None:
    folder = run / STEP
    torch.save(change(read_optimizer(folder), folder), folder / "optimizer.pt")
    with pytest.raises(StampError) as fault:
        load_moments(
            make_optimizer(recipe.recipe, build_network(recipe.recipe)[0]), read_optimizer(folder), str(folder)
        )
    assert fault.value.message.startswith(str(folder)) and "\n" not in fault.value.message
    assert not (folder / "ran").exists()


def test_a_damaged_log_is_one_line_with_its_place(run: Path, recipe: Resolved) -> None:
    for text, said in (("{}\n", "a row without a step"), ('{"step": 1}\n{"st\n', "log.jsonl:2: damaged")):
        (run / "log.jsonl").write_text(text)
        with pytest.raises(StampError, match=said):
            Run(recipe, run, run / STEP)
    torch.use_deterministic_algorithms(False)


# --- any damage ------------------------------------------------------------------------------------------------------

ODD = [
    None,
    True,
    -1,
    7,
    10**6,
    10**12,
    0.5,
    1e308,
    "",
    "x",
    "../../secret",
    "a" * 400,
    [],
    [1],
    {},
    {"a": 1},
    "\x00",
]


def changed(value: Any, rng: random.Random) -> Any:
    """A JSON value with something in it lost or of another kind."""
    if isinstance(value, dict | list) and value and rng.random() < 0.8:
        copy: Any = value.copy()
        key = rng.choice(list(copy)) if isinstance(copy, dict) else rng.randrange(len(copy))
        if rng.random() < 0.15:
            del copy[key]
        else:
            copy[key] = changed(copy[key], rng)
        return copy
    return rng.choice(ODD)


def damaged(data: bytes, name: str, rng: random.Random) -> bytes:
    """Bytes changed, cut off, put in or zeroed; of a JSON file mostly a value."""
    if name.endswith(".json") and rng.random() < 0.6:
        return json.dumps(changed(json.loads(data), rng)).encode()
    place = rng.randrange(len(data) if rng.random() < 0.3 else min(len(data), 4000))
    ways = (
        data[:place],
        data[:place] + rng.randbytes(rng.choice((1, 8))) + data[place + 1 :],
        data[:place] + bytes(300) + data[place + 300 :],
        data[:place] + rng.randbytes(5) + data[place:],
    )
    return rng.choice(ways)


def test_damage_anywhere_is_at_worst_one_line(run: Path, recipe: Resolved) -> None:
    """Opened to answer, and to go on from, with STAMP_FUZZ folders instead of 60."""
    rng, folder = random.Random(0), run / STEP
    whole = {path: path.read_bytes() for path in sorted(folder.iterdir())}
    network = build_network(recipe.recipe)[0]

    def go_on() -> None:
        read_progress(folder)
        load_moments(make_optimizer(recipe.recipe, network), read_optimizer(folder), str(folder))
        build_network(recipe.recipe, folder)

    told: list[str] = []
    for number in range(FUZZED):
        path = rng.choice(list(whole))
        path.write_bytes(damaged(whole[path], path.name, rng))
        try:
            if path.name in ("state.json", "optimizer.pt") or number % 2:
                go_on()
            else:
                load_folder(folder)
        except StampError as fault:
            told.append(fault.message)
        path.write_bytes(whole[path])
    assert len(told) > FUZZED / 4
    assert not [message for message in told if "\n" in message]
    go_on()
