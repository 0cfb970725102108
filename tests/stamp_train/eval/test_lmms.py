"""The plug-in through lmms-eval's own registry and requests; skipped where lmms-eval is not installed."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stamp_train.predict import Segmenter

from .made_sets import save_lively

pytest.importorskip("lmms_eval.api.registry", reason="lmms-eval is not installed")
TASK, SPLIT = "mine", "test"
SHORT = {"max_new_tokens": 12, "do_sample": False, "temperature": 0, "until": []}


def picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (56, 84, 3), np.uint8))


DOCUMENTS: list[dict[str, Any]] = [
    {"pictures": [picture(0)], "question": "<image>What is this?"},
    {"pictures": [picture(1)], "question": "How many?"},
    {"pictures": [], "question": "And without a picture?"},
    {"pictures": [picture(2), picture(3)], "question": "Which of them?"},
]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_lively(tmp_path_factory.mktemp("checkpoint") / "lively")


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> Any:
    """Made as lmms-eval's evaluator makes it."""
    from lmms_eval.models import MODEL_REGISTRY_V2, get_model

    from stamp_train.eval.lmms import manifest

    MODEL_REGISTRY_V2.register_manifest(manifest(), overwrite=True)
    more = {"batch_size": 3, "max_batch_size": None, "device": "cpu"}
    model = get_model("stamp").create_from_arg_string(f"pretrained={checkpoint},dtype=float32", more)
    model.task_dict = {TASK: {SPLIT: DOCUMENTS}}
    return model


def request_for(number: int, kind: str, *between: Any, **options: Any) -> Any:
    from lmms_eval.api.instance import Instance

    document = DOCUMENTS[number]
    arguments = (document["question"], {**SHORT, **options}, lambda one: one["pictures"], *between, number, TASK, SPLIT)
    return Instance(kind, arguments, 0, {"task": TASK, "doc_id": number, "repeats": 1})


def test_answers_come_in_order(model: Any, checkpoint: Path) -> None:
    """Each as the model gives it alone, under its own options."""
    options = [{}, {"max_new_tokens": 3}, {}, {"until": ["<", "o"]}]
    asked = [request_for(number, "generate_until", **some) for number, some in enumerate(options)]
    found = model.generate_until(asked)
    alone = Segmenter.from_pretrained(checkpoint, "cpu")
    sheet = Image.new("RGB", (168, 56))
    sheet.paste(DOCUMENTS[3]["pictures"][0], (0, 0))
    sheet.paste(DOCUMENTS[3]["pictures"][1], (84, 0))
    pictures = [DOCUMENTS[0]["pictures"][0], DOCUMENTS[1]["pictures"][0], None, sheet]
    texts = ["What is this?", "How many?", "And without a picture?", "Which of them?"]
    for number, (image, text) in enumerate(zip(pictures, texts, strict=True)):
        whole = alone.segment(image, text, max_new_tokens=options[number].get("max_new_tokens", 12)).text
        for end in options[number].get("until", ()):
            whole = whole.partition(end)[0]
        assert found[number] == whole.strip()
    assert len(set(found)) > 2


def test_rounds_go_on_until_the_task_ends_them(model: Any) -> None:
    told = []

    def word(document: dict[str, Any], *, previous_output: list[str], round_idx: int, previous_round_info: Any) -> Any:
        told.append((round_idx, len(previous_output), previous_round_info))
        return document["pictures"], f"Round {round_idx}?", round_idx == 3, previous_output, round_idx

    (rounds,) = model.generate_until_multi_round([request_for(0, "generate_until_multi_round", partial(word))])
    assert told == [(1, 1, None), (2, 2, 1), (3, 3, 2)]
    assert len(rounds) == 3 and all(isinstance(one, str) for one in rounds)
    assert rounds[0] == model.generate_until([request_for(0, "generate_until")])[0]


def test_what_it_does_not_do(model: Any) -> None:
    from stamp_train.eval.lmms import one_picture

    with pytest.raises(NotImplementedError, match="generate_until"):
        model.loglikelihood([])
    with pytest.raises(TypeError, match="not at str"):
        one_picture(["film.mp4"])
