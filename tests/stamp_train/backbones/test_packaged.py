"""The models that come with the package, called by their names: a plain Qwen2-VL that looks and answers, and one that draws."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, Qwen2VLForConditionalGeneration

from stamp_data.synth.phrases import kinds_present, members
from stamp_data.synth.render import render
from stamp_data.synth.scene import Stream, generator, sample_scene
from stamp_data.synth.wording import noun
from stamp_schemas import UsageFault
from stamp_train.backbones.base import base_of, fetch, find, packaged
from stamp_train.backbones.folder import is_base
from stamp_train.backbones.load import check_folder
from stamp_train.backbones.processor import make_images
from stamp_train.backbones.qwen2_vl import QWEN2_VL
from stamp_train.predict import Segmenter, question
from stamp_train.train.checksums import find_faults
from stamp_train.train.folder import find_checkpoint

NAME, DRAWS = "tiny-base", "tiny"
SEED, SIZE = 31_337, (256, 192)  # no scenes that it has learned from, nor those that its card speaks of


@pytest.fixture(scope="module")
def folder() -> Path:
    found = packaged(NAME)
    assert found is not None
    return found


def test_it_is_small_whole_and_plain(folder: Path) -> None:
    check_folder(folder)
    assert is_base(folder)
    assert find_faults(folder) == []
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 8_000_000
    model, report = Qwen2VLForConditionalGeneration.from_pretrained(folder, dtype="auto", output_loading_info=True)
    assert model.dtype == torch.bfloat16
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert sum(weight.numel() for weight in model.parameters()) <= 4_000_000


def test_its_card_says_how_it_was_made_and_what_it_can(folder: Path) -> None:
    card = (folder / "README.md").read_text()
    assert "python -m tools.tiny_base" in card and "no photographs" in card
    rights = {kind: float(right) for kind, right in re.findall(r"\*\*(\w+)\*\* \| ([\d.]+)", card)}
    assert all(rights[kind] >= 0.9 for kind in ("colour", "shape", "place"))


def test_it_answers_questions_about_scenes_that_it_has_not_seen(folder: Path) -> None:
    model = Qwen2VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    images = make_images(QWEN2_VL, 4, 48)
    right = []
    for number in range(12):
        scene = sample_scene(generator(SEED, Stream.SCENE, number), SIZE)
        picture = render(scene, generator(SEED, Stream.PAINT, number)).picture
        seen = images(images=[picture], return_tensors="pt")
        for kind in kinds_present(scene):
            things = members(scene, kind)
            if len(things) > 1 or bool(kind.colour) == bool(kind.shape):
                continue
            thing = scene.things[min(things)]
            asked, wanted = ("color", thing.colour) if kind.shape else ("shape", thing.shape)
            pads = "<|image_pad|>" * (int(seen["image_grid_thw"].prod()) // 4)
            text = (
                f"<|im_start|>user\n<|vision_start|>{pads}<|vision_end|>What {asked} is the {noun(kind)}?"
                "<|im_end|>\n<|im_start|>assistant\n"
            )
            ids = tokenizer(text, return_tensors="pt", add_special_tokens=False).input_ids
            types = (ids == model.config.image_token_id).int()
            said = model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), mm_token_type_ids=types, max_new_tokens=6,
                do_sample=False, **seen,
            )  # fmt: skip
            right.append(tokenizer.decode(said[0, ids.shape[1] :], skip_special_tokens=True) == wanted)
    assert len(right) >= 20
    assert sum(right) / len(right) >= 0.85


def test_its_name_is_known_wherever_a_model_is_named(folder: Path) -> None:
    assert find(NAME) == fetch(NAME) == find_checkpoint(Path(NAME)) == folder
    assert base_of(NAME, folder).start == NAME  # not a path of this machine


def test_a_folder_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(NAME).mkdir()
    assert packaged(NAME) is None
    assert find(NAME) == Path(NAME)


@pytest.mark.parametrize("name", ["", ".", "..", "../weights/tiny-base", "tiny-bass", "no/tiny-base"])
def test_nothing_else_is_in_the_package(name: str) -> None:
    assert packaged(name) is None


def test_a_wrong_name_is_told_of_it() -> None:
    with pytest.raises(UsageFault) as fault:
        find("tiny-bass")
    assert NAME in fault.value.hint


def test_the_one_that_draws_is_small_and_whole() -> None:
    found = packaged(DRAWS)
    assert found is not None
    check_folder(found)
    assert sum(file.stat().st_size for file in found.iterdir()) <= 8_000_000
    assert f'base_model: "{NAME}"' in (found / "README.md").read_text()


def test_it_draws_what_it_is_asked_for_in_scenes_that_it_has_not_seen() -> None:
    segmenter, overlaps = Segmenter.from_pretrained(DRAWS, "cpu"), []
    for number in range(12):
        scene = sample_scene(generator(SEED, Stream.SCENE, number), SIZE)
        drawing = render(scene, generator(SEED, Stream.PAINT, number))
        kind = next(kind for kind in kinds_present(scene) if kind.colour and kind.shape)
        true = np.max([drawing.shown[thing] for thing in members(scene, kind)], axis=0) >= 0.5
        answer = segmenter.segment(drawing.picture, question(f"the {noun(kind)}"))
        drawn = np.logical_or.reduce([np.zeros_like(true), *answer.masks])
        overlaps.append((drawn & true).sum() / (drawn | true).sum())
    assert np.mean(overlaps) >= 0.5
