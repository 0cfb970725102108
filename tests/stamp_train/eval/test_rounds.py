"""Joined dialogues while they are scored: each answer with its own words and masks, behind the true answers before it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from stamp_data import rle as rles
from stamp_data.shards.members import Parsed
from stamp_data.shards.reader import ShardSet
from stamp_schemas import Dialogue
from stamp_schemas.record import Round
from stamp_train.backbones.presets import build_preset
from stamp_train.eval.cases import CaseSet
from stamp_train.methods.text4seg.settings import Text4SegSettings
from stamp_train.sequence.layout import Layout
from stamp_train.stream.examples import ExampleMaker, prepare_with

from ..runs import make_shards
from .made_sets import save_lively
from .test_heldout import forced, while_training

JOINED = "grefcoco-unc/train"


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("rounds"), ("grefcoco",), rounds=3)


def rounds_of(dialogue: Dialogue) -> list[Round]:
    return [Round("", dialogue.expression)] if dialogue.rounds is msgspec.UNSET else dialogue.rounds


def test_each_answer_is_a_case_with_its_own_words_and_masks(shards: Path) -> None:
    source = CaseSet(shards / JOINED)
    referred = 0
    for row in source.rows:
        record, wordings = source.shards.record(row), source.wordings(row)
        cases = iter(source.load(row).cases)
        for dialogue in record.dialogues:
            targets = iter(dialogue.targets)
            several = len(rounds_of(dialogue)) > 1
            for number, one in enumerate(rounds_of(dialogue)):
                case = next(cases)
                assert (case.expression, case.round) == (one.said, (number + 1) * several)
                assert len(case.messages) == 2 * number + 1
                answer = dialogue.messages[2 * number + 1]
                for truth in case.truths:
                    true = rles.decode(record.targets[next(targets)].rle).astype(bool)
                    assert np.array_equal(truth.mask, true)
                assert len(case.truths) == answer.masks
                assert len(wordings[case.id]) > 1
                assert answer.content[0].text in wordings[case.id]
                referred += bool(one.reference)
        assert not list(cases)
    assert referred
    assert len(source) == sum(len(rounds_of(one)) for row in source.rows for one in source.shards.record(row).dialogues)


def test_scores_while_training_are_those_of_an_evaluation(shards: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    checkpoint = save_lively(tmp_path / "lively")
    scores = while_training(checkpoint, shards / JOINED)
    assert forced(checkpoint, shards / JOINED, tmp_path / "out", max_tokens=16) == pytest.approx(
        scores["ciou"], abs=1e-3
    )
    assert scores["ciou"] > 0.01
    assert scores["label_ciou"] > 0.4


def test_masks_in_words_have_the_words_of_their_round(shards: Path) -> None:
    model, processor = build_preset("tiny", method=Text4SegSettings(label="expression"))
    processor.bound(4, 16)
    make, layout = ExampleMaker(prepare_with(processor), model.method), Layout(processor.chat, model.method)
    with ShardSet(shards / JOINED) as found:
        for loaded in found:
            dialogues = loaded.record.dialogues
            parsed = Parsed(loaded.record, memoryview(loaded.image or b""), loaded.labels)
            example = make(parsed, range(len(dialogues)))
            for dialogue, laid in zip(dialogues, example.dialogues, strict=True):
                answers = zip(rounds_of(dialogue), dialogue.messages[1::2], strict=True)
                said = [one.said for one, answer in answers for _ in range(answer.masks)]
                assert list(laid.expressions) == said
                for words, target, text in zip(said, dialogue.targets, layout.masks_in_words(laid), strict=True):
                    assert (words in text) == (loaded.record.targets[target].area > 0)
