"""Opening checkpoints: finished, of a run, of an adapter; and one clear line for each that cannot be opened."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from stamp_schemas import StampError, UsageFault
from stamp_train.predict import Segmenter
from stamp_train.predict.opening import load_folder, open_checkpoint, pick_device
from stamp_train.train.folder import find_checkpoint, fingerprint

from .runs import adapter_answer, adapter_run, base_model
from .talking import SEG, save_checkpoint, scene, talking_generator


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("opening") / "checkpoint")


def test_a_checkpoint_opens_as_it_was_saved(checkpoint: Path) -> None:
    model, processor = open_checkpoint(checkpoint)
    expected = talking_generator().model.state_dict()
    found = model.state_dict()
    assert set(found) == set(expected)
    assert all(torch.equal(found[name], expected[name]) for name in found)
    assert not model.training
    assert processor.image_processor.size == talking_generator().processor.image_processor.size


def test_dtypes(checkpoint: Path, tmp_path: Path) -> None:
    assert open_checkpoint(checkpoint, "cpu", "bfloat16")[0].dtype == torch.bfloat16
    half = shutil.copytree(checkpoint, tmp_path / "half")
    open_checkpoint(checkpoint, dtype="bfloat16")[0].save_pretrained(half)
    assert open_checkpoint(half, "cpu")[0].dtype == torch.float32
    assert load_folder(half)[0].dtype == torch.bfloat16
    with pytest.raises(UsageFault, match="no dtype 'int8'"):
        open_checkpoint(checkpoint, dtype="int8")


@pytest.mark.skipif(torch.cuda.is_available(), reason="has the device")
def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pick_device("cpu") == torch.device("cpu")
    for name, message in {
        "cuda": "no device 'cuda' here",
        "gpu": "no device 'gpu'",
        "meta": "no device 'meta' here",
    }.items():
        with pytest.raises(UsageFault, match=message):
            pick_device(name)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert pick_device().type == "mps"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device().type == "cuda"
    assert pick_device("cuda:1").index == 1
    with pytest.raises(UsageFault, match="no device 'cuda:2' here"):
        pick_device("cuda:2")


def without_added_tokens(folder: Path) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer["added_tokens"] = [t for t in tokenizer["added_tokens"] if t["content"] not in (SEG, "<|mask|>")]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    config.pop("added_tokens_decoder", None)
    config.pop("extra_special_tokens", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def changed_config(folder: Path, **values: object) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, **values}))


def without_head(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    kept = {name: tensor for name, tensor in weights.items() if not name.startswith("classifier")}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


def cut(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) // 2])

    return damage


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (shutil.rmtree, "no such checkpoint folder"),
    "no config": (lambda folder: (folder / "config.json").unlink(), "holds no model: no config.json"),
    "cut config": (cut("config.json"), "config.json: not a configuration: Input data was truncated"),
    "a config that is a list": (
        lambda folder: (folder / "config.json").write_text("[]"),
        "config.json: not a configuration",
    ),
    "another family": (
        lambda folder: changed_config(folder, model_type="llama"),
        "model type 'llama' is not supported",
    ),
    "no added tokens": (without_added_tokens, "the tokenizer has no <|seg|>, <|mask|>"),
    "no head": (without_head, "weights do not fit the model: 8 missing"),
    "cut weights": (cut("model.safetensors"), "model.safetensors: cut off: "),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "no weights: neither model.safetensors nor"),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), "no tokenizer: neither tokenizer.json nor"),
    "cut tokenizer": (cut("tokenizer.json"), "tokenizer.json: damaged"),
    "no image processor": (
        lambda folder: (folder / "preprocessor_config.json").unlink(),
        "preprocessor_config.json: cannot be read",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_checkpoint_at_fault_is_one_line(checkpoint: Path, tmp_path: Path, damage: str) -> None:
    folder = shutil.copytree(checkpoint, tmp_path / "copy")
    harm, message = DAMAGES[damage]
    harm(folder)
    with pytest.raises(StampError) as caught:
        Segmenter.from_pretrained(folder)
    told = caught.value.message
    assert told.startswith(str(folder)) and message in told and "\n" not in told


def test_weights_without_rows_for_the_tokens(checkpoint: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoint, tmp_path / "copy")
    rows = talking_generator().chat.control["<|mask|>"]
    weights = load_file(folder / "model.safetensors")
    for name in (name for name in weights if name.endswith(("embed_tokens.weight", "lm_head.weight"))):
        weights[name] = weights[name][:rows].clone()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["text_config"]["vocab_size"] = rows
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(StampError, match=r"embedding rows, none for .*<\|mask\|>"):
        Segmenter.from_pretrained(folder)


def test_a_run_gives_its_finished_model_else_its_newest_checkpoint(checkpoint: Path, tmp_path: Path) -> None:
    for name in ("checkpoints/step-000002", "checkpoints/step-000010", "checkpoints/step-000011", "final"):
        shutil.copytree(checkpoint, tmp_path / name)
    for name in ("step-000002", "step-000010"):  # the last one was cut short
        (tmp_path / "checkpoints" / name / "state.json").write_text("{}")
    assert find_checkpoint(tmp_path) == tmp_path / "final"
    shutil.rmtree(tmp_path / "final")
    assert find_checkpoint(tmp_path) == tmp_path / "checkpoints" / "step-000010"
    before = fingerprint(find_checkpoint(tmp_path))
    save_checkpoint(tmp_path / "checkpoints" / "step-000010")
    assert fingerprint(find_checkpoint(tmp_path)) != before


def test_an_adapter_opens_merged(tmp_path: Path) -> None:
    run: SimpleNamespace = adapter_run(tmp_path / "run")
    found = Segmenter.from_pretrained(tmp_path / "run").segment(scene(), "x", begin=SEG, max_new_tokens=0)
    expected, base = adapter_answer(run.network, run.processor), adapter_answer(run.base, run.processor)
    torch.testing.assert_close(torch.from_numpy(found.logits[0]), expected, atol=1e-5, rtol=1e-5)
    assert (expected - base).abs().max() > 0.01
    lost = shutil.copytree(run.checkpoint, tmp_path / "lost" / "a" / "b")
    with pytest.raises(StampError, match="an adapter away from its run"):
        Segmenter.from_pretrained(lost)


@pytest.mark.parametrize(("precision", "style"), [("float32", "default"), ("bf16", "published")])
def test_an_adapter_opens_away_from_its_run(precision: str, style: str, tmp_path: Path) -> None:
    """What it goes on is told by files of its own; as its recipe would have it, which is what older checkpoints need."""
    base = base_model(tmp_path / "base", tied=style == "default")
    changes = ("model.preset=", f"model.start={base}", f"model.precision={precision}", f"model.lora.style={style}")
    run = adapter_run(tmp_path / "run", *changes, "method.head=patch", "method.mask_positions=sequential")
    away = shutil.copytree(run.checkpoint, tmp_path / "away" / "a" / "b")
    model, processor = load_folder(away)
    assert model.dtype == (torch.bfloat16 if precision == "bf16" else torch.float32)
    assert model.method.settings == run.network.get_base_model().method.settings
    assert processor.image_processor.size == run.processor.image_processor.size
    record = run.checkpoint / "adapter/base.json"
    older = {key: value for key, value in json.loads(record.read_bytes()).items() if key in ("start", "digest")}
    record.write_text(json.dumps(older))
    expected = load_folder(run.checkpoint)[0].state_dict()
    found = model.state_dict()
    assert set(found) == set(expected) and all(torch.equal(found[name], expected[name]) for name in found)
    (away / "adapter/base.json").write_text(json.dumps(older))
    with pytest.raises(StampError, match="an adapter away from its run"):
        load_folder(away)


def test_the_names_of_the_package_cost_nothing_until_they_are_used() -> None:
    code = (
        "import sys, stamp_train.predict as predict\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
        "from stamp_train.predict import Chat, Request, Segmentation, Segmenter, question\n"
        "assert Segmenter.__module__ == 'stamp_train.predict.segmenter' and 'left dog' in question('left dog')\n"
        "assert not hasattr(predict, 'Segmenters')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
