"""Methods through the commands as users run them: train, evaluate, predict, talk, export."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stamp_train.methods import settings_of, settings_type
from stamp_train.predict import Segmenter

from ...warm import warm
from ..runs import make_shards, train
from .embedding.sams import write_sam

RECIPE = """
about: a few steps on a few small scenes
model: {preset: tiny, precision: float32, vocabulary: 400}
data: {min_tokens: 4, max_tokens: 16, threads: 1}
batch: {dialogues: 6, dialogues_per_image: 2, pack_tokens: 2000}
optimizer: {learning_rate: 2.0e-3}
method: {name: embedding}
stages:
  - {name: first, steps: 3, sets: [{set: refcoco-unc/train}, {set: llava/train}, {set: grefcoco-unc/train}]}
evaluation: {sets: [refcoco-unc/val], records: 2, pictures: 1}
saving: {every: 2, keep: 2}
threads: 1
"""
METHODS = {
    "text4seg": {"name": "text4seg", "label": "fixed"},
    "embedding": {"name": "embedding", "width": 16},
    "argenseg": {"name": "argenseg", "scales": [1, 2, 4, 8], "vocabulary": 64},
    "embedding-sam": {"name": "embedding", "head": "sam", "sam": "SAM"},
    "self1e": {"name": "self1e"},
    "self1e-published": {"name": "self1e", "attention": "published", "targets": "resized"},
}
LOSSES = {"text4seg": {"loss_text"}, "argenseg": {"loss_text", "loss_codes"}}
QUESTION = "Please segment the ball."


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("methods"))


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_a_model_of_every_method_is_trained_scored_asked_and_handed_on(name: str, shards: Path, tmp_path: Path) -> None:
    sam = str(write_sam(tmp_path / "sam"))
    method = {key: sam if value == "SAM" else value for key, value in METHODS[name].items()}
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.replace("{name: embedding}", json.dumps(method)), encoding="utf-8")

    run = tmp_path / "run"
    done = train(recipe, shards, run, "--json")
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout)
    assert measured["steps"] == 3 and measured["label_ciou"] > 0.3
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert LOSSES.get(name, {"loss_text", "loss_bce", "loss_dice"}) == {
        key for key in rows[0] if key.startswith("loss_")
    }
    (tmp_path / "sam" / "config.json").unlink()  # what a network began with is needed no more
    begun = ("--set", "model.preset=", "--set", f"model.start={run / 'final'}", "--set", "model.vocabulary=0")
    on = train(recipe, shards, tmp_path / "on", "--json", *begun, "--set", "stages.0.steps=1")
    assert on.returncode == 0, on.stderr

    modes = "free" if name == "text4seg" else "both"  # an untrained model writes masks without end
    evaluation = tmp_path / "evaluation"
    told = call(
        "eval", run, shards / "refcoco-unc" / "val", "--mode", modes, "--max-new-tokens", 8, "--out", evaluation
    )
    results = json.loads((evaluation / "results.json").read_text())
    assert results["card"]["model"]["method"]["name"] == method["name"]
    remarked = name in ("text4seg", "argenseg")
    assert any("ignored" in remark for remark in results["card"]["model"]["remarks"]) == remarked
    assert ("ignored" in told) == remarked

    exported = tmp_path / "exported"
    call("export", run, exported)
    card = (exported / "README.md").read_text(encoding="utf-8")
    assert settings_type(method["name"]).title in card
    segmenter = Segmenter.from_pretrained(exported)
    settings = segmenter.generator.model.method.settings
    assert settings == settings_of(segmenter.generator.model.config) and getattr(settings, "sam", "") == ""

    picture = next((shards.parent / "raw").rglob("*.jpg"))
    said = tmp_path / "said"
    forced = ["--force-mask"] if name != "text4seg" else []
    call("predict", exported, picture, "--text", QUESTION, *forced, "--max-new-tokens", 4, "--out", said)
    row = json.loads((said / "predictions.jsonl").read_text().splitlines()[0])
    assert len(row["masks"]) == len(forced)
    begin = f"It is{mask_in_words()}." if name == "text4seg" else "It is<|seg|>."
    answer = segmenter.segment(picture, QUESTION, begin=begin, max_new_tokens=4)
    assert answer.content.startswith("It is<|seg|>.") and len(answer.masks) == 1
    if name == "text4seg":
        [mask] = answer.masks
        assert mask.mean() == pytest.approx(0.25, abs=0.02) and mask[: len(mask) // 2 - 3, :3].all()
    chat = segmenter.chat(picture, max_new_tokens=4)
    for number in range(2):  # over one cache, and read again
        assert len(chat.say(QUESTION, begin=begin).masks) == 1
        assert ("<seg>" in chat.messages[-1]["content"][0]["text"]) == (name == "text4seg")
        chat.undo() if number else None
    call("chat", exported, picture, "--max-new-tokens", 4, said=f"{QUESTION}\n/quit\n")


def mask_in_words() -> str:
    """The upper left quarter."""
    upper, lower = " object *8| others *8\n", " others *16\n"
    return f"\n<seg>{(8 * upper).lstrip()}{8 * lower}</seg>"


def call(*arguments: object, said: str = "") -> str:
    done = warm.run("stamp-train", *map(str, arguments), timeout=300, said=said)
    assert done.returncode == 0, done.stderr
    return done.stdout
