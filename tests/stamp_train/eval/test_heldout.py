"""Scores on held-out records while training: those of an evaluation that gives the true answers, ignore regions included."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from stamp_data.instructions import wording
from stamp_data.shards.reader import ShardSet
from stamp_train.backbones.load import load_checkpoint
from stamp_train.backbones.presets import build_preset
from stamp_train.backbones.processor import StampProcessor
from stamp_train.eval.heldout import HeldOut, Sums, right_tokens
from stamp_train.eval.representation import Representation
from stamp_train.eval.session import Asked, Session
from stamp_train.methods.text4seg.settings import Text4SegSettings
from stamp_train.methods.upsample import METHODS
from stamp_train.sequence.layout import Layout

from ..runs import make_shards, train, write_recipe
from .made_sets import decoded, dialogue, save_lively, square, target, write_set

VAL = "refcoco-unc/val"


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("shards"), ("refcoco",))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return save_lively(tmp_path_factory.mktemp("checkpoint") / "lively")


def forced(checkpoint: Path, shards: Path, out: Path, **more: Any) -> float:
    """cIoU of `stamp-train eval --mode forced`."""
    session = Session(Asked(checkpoint=checkpoint, shards=[shards], out=out, mode="forced", **more))
    session.work(lambda *_: None)
    return session.results()[0].sets[0].scores["forced"]["stamp"]["ciou"]


def oracle(shards: Path, out: Path) -> float:
    """cIoU of `stamp-train eval --oracle` with the labels of the checkpoint."""
    kinds = [Representation("soft", 4)]
    session = Session(Asked(checkpoint=None, shards=[shards], out=out, labels=kinds, min_tokens=4, max_tokens=16))
    session.work(lambda *_: None)
    return session.results()[0].sets[0].scores["soft 4x4"]["stamp"]["ciou"]


def while_training(checkpoint: Path, shards: Path) -> dict[str, float]:
    processor = StampProcessor.from_pretrained(checkpoint)
    processor.bound(most=16)
    model = load_checkpoint(checkpoint)
    layout = Layout(processor.chat, model.method, model.config.text_config.max_position_embeddings)
    return HeldOut([shards], 100, layout, model.method, processor).evaluate(model, Accelerator(cpu=True))[0]


def test_scores_are_those_of_an_evaluation(shards: Path, checkpoint: Path, tmp_path: Path) -> None:
    """Packed passes without a cache on the one side, cached ones on the other: a pixel on the edge may fall to either."""
    ciou = while_training(checkpoint, shards / VAL)["ciou"]
    assert forced(checkpoint, shards / VAL, tmp_path / "out", max_tokens=16) == pytest.approx(ciou, abs=1e-3)
    assert ciou > 0.01


def test_records_whose_written_masks_are_too_long_are_left_out(shards: Path, caplog: pytest.LogCaptureFixture) -> None:
    model, processor = build_preset("tiny", method=Text4SegSettings(label="fixed"))
    processor.bound(4, 16)

    def held_out(positions: int) -> int:
        layout = Layout(processor.chat, model.method, max_position=positions)
        return len(HeldOut([shards / VAL], 4, layout, model.method, processor).records)

    assert held_out(8192) > 0 and not caplog.records
    assert held_out(300) == 0 and "is left out: its masks, written out" in caplog.text


def test_ignored_pixels_are_in_no_score(checkpoint: Path, tmp_path: Path) -> None:
    """Several answers in a dialogue, an empty mask, and regions that are to be ignored, over the truth and beside it."""
    mask, beside = square(2, 2, 9), square(9, 9, 15)
    asked = [
        dialogue("a", "it", [0, 1], "Where?", "Here <|seg|>.", "And?", "<|seg|>"),
        dialogue("b", "no", [2], "?", "<|seg|>"),
    ]
    truths = {"plain": [None] * 3, "ignored": [beside, square(0, 0, 20), square(4, 4, 12)]}
    found = {}
    for name, ignored in truths.items():
        targets = [target(str(i), one, ignored[i]) for i, one in enumerate((mask, square(12, 4, 8), mask & False))]
        shards = write_set(tmp_path / name / "val", [(targets, asked), (targets[:2], asked[:1])])
        found[name] = while_training(checkpoint, shards)
        ciou = forced(checkpoint, shards, tmp_path / name / "out", max_tokens=16)
        assert found[name]["ciou"] == pytest.approx(ciou, abs=1e-3) and 0 < ciou < 1
        assert found[name]["label_ciou"] == pytest.approx(oracle(shards, tmp_path / name / "labels"), abs=1e-9)
    assert abs(found["plain"]["ciou"] - found["ignored"]["ciou"]) > 0.01
    assert found["plain"]["text_accuracy"] == found["ignored"]["text_accuracy"]


@pytest.mark.slow
def test_the_last_scores_of_a_run_are_those_of_its_model(shards: Path, tmp_path: Path) -> None:
    """By the two commands, on a set that has regions to be ignored as ReasonSeg has."""
    targets = [target("a", square(2, 2, 9), square(9, 9, 15)), target("b", square(12, 4, 8), square(0, 0, 20))]
    asked = [dialogue(name, "it", [number], "Where?", "Here: <|seg|>.") for number, name in enumerate("ab")]
    made = write_set(shards / "made/val", [(targets, asked)] * 3)
    changes = (
        "evaluation.sets=[made/val]",
        "evaluation.records=100",
        "stages=[{name: one, steps: 20, sets: [{set: made/val}]}]",
        "optimizer.learning_rate=1e-2",
    )
    run = tmp_path / "run"
    done = train(write_recipe(tmp_path), shards, run, *(word for change in changes for word in ("--set", change)))
    assert done.returncode == 0, done.stderr
    last = json.loads((run / "evaluations.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    assert 0.01 < last["metrics"]["ciou"] < 1
    assert forced(run, made, tmp_path / "out") == pytest.approx(last["metrics"]["ciou"], abs=1e-3)


@pytest.mark.parametrize("upsampling", METHODS)
def test_a_model_that_answers_its_labels_reaches_their_score(shards: Path, upsampling: str) -> None:
    network, processor = build_preset("tiny")
    layout = Layout(processor.chat, network.method, network.config.text_config.max_position_embeddings)
    held_out = HeldOut([shards / VAL], 2, layout, network.method, processor, upsampling)

    class Oracle(torch.nn.Module):
        """Answers with the targets of the pack."""

        def forward(self, inputs: Any, attention: str) -> Any:  # noqa: ARG002 - the network's signature
            pack = layout([next(waiting).example])
            share = (pack.targets.labels.float() / 254).clamp(1e-6, 1 - 1e-6)
            text = torch.nn.functional.one_hot(pack.targets.text_ids, 400).float()
            return type(network(inputs=inputs))(text, {"mask": torch.logit(share)}, inputs.masks, "oracle")

    waiting = iter(held_out.records)
    metrics, samples = held_out.evaluate(Oracle(), Accelerator(cpu=True), samples=3)
    assert metrics["text_accuracy"] == 1.0
    assert metrics["ciou"] == metrics["label_ciou"] > 0.3
    assert len(samples) == 3
    image = np.asarray(samples[0].image)
    labels = held_out.records[0].example.dialogues[0].labels[0]
    assert np.array_equal(samples[0].line.mask(), decoded(labels, *image.shape[:2], upsampling, image))


def test_another_wording_of_an_answer_is_right_too(shards: Path) -> None:
    """Only up to where it parts from the one that stands there; and the expression has one wording alone."""
    chat = build_preset("tiny")[1].chat
    with ShardSet(shards / VAL) as records:
        one = records.record(records.rows[0]).dialogues[0]
    tokens = right_tokens(one, "paper", chat)
    said = chat.tokenizer.decode([token for token, _ in tokens])
    assert said == "".join(part.text for part in one.messages[-1].content) + "<|im_end|>"
    assert all(token in right for token, right in tokens)
    first = {chat.tokenizer.decode([token]) for token in tokens[0][1]}
    assert first == {answer[0] for answer in wording("paper").phrase.answers}
    seg = next(place for place, (token, _) in enumerate(tokens) if token == chat.seg_id)
    assert tokens[seg - 2][1] == {tokens[seg - 2][0]}
    assert right_tokens(one, "published", chat)[0][1] == {tokens[0][0]}


def test_metrics_sum_before_they_divide() -> None:
    assert Sums(1, 4, 3, 4, 1, 2).metrics() == {"ciou": 0.25, "label_ciou": 0.75, "text_accuracy": 0.5}
