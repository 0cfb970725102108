"""Exported models: the same masks, the same words with the stock class, and a card that says where they come from."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import msgspec
import peft
import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoTokenizer, Qwen2VLForConditionalGeneration

from stamp_schemas import StampError, UsageFault
from stamp_train.backbones.load import start_from
from stamp_train.backbones.lora import lora_config
from stamp_train.backbones.presets import preset_config
from stamp_train.backbones.processor import StampProcessor
from stamp_train.eval.card import Card, Settings, checkpoint_digest
from stamp_train.eval.results import RESULTS_SCHEMA, Results, SetResult
from stamp_train.predict import Segmenter
from stamp_train.predict.opening import load_folder
from stamp_train.publish.export import export
from stamp_train.recipes import resolve

from ..predict.runs import adapter_answer, adapter_run
from ..predict.talking import SEG, save_checkpoint, scene, talking_generator
from ..stamping import PUBLISHED


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("export") / "checkpoint")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    folder = tmp_path_factory.mktemp("export") / "run"
    return SimpleNamespace(folder=folder, **vars(adapter_run(folder)))


def test_a_plain_model_comes_back_bit_by_bit(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert export(checkpoint, out) == checkpoint
    before, after = (Segmenter.from_pretrained(path) for path in (checkpoint, out))
    options = {"begin": f"It is {SEG}", "max_new_tokens": 12}
    one, other = (segmenter.segment(scene(), "the cup", **options) for segmenter in (before, after))
    assert one.content == other.content
    for mine, theirs in zip(one.logits, other.logits, strict=True):
        assert (mine == theirs).all()
    assert {path.name for path in out.iterdir()} >= {
        "README.md",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "tokenizer.json",
    }
    assert not list(tmp_path.glob(".*"))


def test_an_adapter_is_merged(run: SimpleNamespace, tmp_path: Path) -> None:
    source = export(run.folder, tmp_path / "out")
    assert source == run.checkpoint
    found = Segmenter.from_pretrained(tmp_path / "out").segment(scene(), "x", begin=SEG, max_new_tokens=0)
    expected, base = adapter_answer(run.network, run.processor), adapter_answer(run.base, run.processor)
    torch.testing.assert_close(torch.from_numpy(found.logits[0]), expected, atol=1e-5, rtol=1e-5)
    assert (expected - base).abs().max() > 0.01
    assert not list((tmp_path / "out").glob("*adapter*"))


def test_an_adapter_by_itself_goes_on_its_base_model(tmp_path: Path) -> None:
    """In the layout of the published 7B one: embeddings, output matrix and head in full, cut to the tokenizer."""
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    processor = talking_generator().processor
    config = preset_config("tiny", processor.tokenizer)
    config.tie_word_embeddings = config.text_config.tie_word_embeddings = False
    del config.stamp
    config.text_config.vocab_size = rows = len(processor.tokenizer) + 30
    torch.manual_seed(1)
    Qwen2VLForConditionalGeneration(config).save_pretrained(base)
    processor.save_pretrained(base)
    model = start_from(base, PUBLISHED)
    model.resize_token_embeddings(rows - 30)
    adapted = peft.get_peft_model(model, lora_config(model, [], style="published", rank=4, alpha=8))
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name or "modules_to_save" in name:
                weight.normal_(0, 0.2)
    adapted.save_pretrained(adapter)
    expected = adapter_answer(adapted, processor)

    with pytest.raises(StampError, match=r"an adapter without its model .*--base"):
        export(adapter, tmp_path / "out")
    with pytest.raises(StampError, match=r"adapter: no config\.json"):
        export(adapter, tmp_path / "out", base=adapter)
    export(adapter, tmp_path / "out", base=base)
    found = Segmenter.from_pretrained(tmp_path / "out").segment(scene(), "x", begin=SEG, max_new_tokens=0)
    torch.testing.assert_close(torch.from_numpy(found.logits[0]), expected, atol=1e-5, rtol=1e-5)
    assert "| adapter on | base |" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


def test_stock_transformers_says_the_same_words(checkpoint: Path, tmp_path: Path) -> None:
    export(checkpoint, tmp_path / "out")
    stock, report = AutoModelForImageTextToText.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not report["missing_keys"] and not report["mismatched_keys"]
    assert all(key.startswith("classifier.") for key in report["unexpected_keys"])
    chat = talking_generator().chat
    messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "the cup"}]}]
    ids = chat.encode(messages, generation_prompt=True).ids
    pixels = StampProcessor.from_pretrained(tmp_path / "out").images([scene()])[0]
    _, height, width = pixels.grid_thw
    at = ids.index(chat.image_id)
    ids[at : at + 1] = [chat.image_id] * (height * width // 4)
    given = torch.tensor([ids])
    said = stock.eval().generate(
        input_ids=given,
        attention_mask=torch.ones_like(given),
        mm_token_type_ids=(given == chat.image_id).int(),
        pixel_values=pixels.pixel_values,
        image_grid_thw=torch.tensor([pixels.grid_thw]),
        do_sample=False,
        max_new_tokens=12,
    )[0, len(ids) :]
    found = Segmenter.from_pretrained(tmp_path / "out").segment(scene(), "the cup", max_new_tokens=12)
    assert chat.tokenizer.decode(said, clean_up_tokenization_spaces=False) == found.content
    assert AutoTokenizer.from_pretrained(tmp_path / "out").convert_tokens_to_ids(SEG) == chat.seg_id


def test_the_card_tells_recipe_data_and_scores(run: SimpleNamespace, tmp_path: Path) -> None:
    (run.folder / "evaluations.jsonl").write_text('{"step": 3, "metrics": {"ciou": 0.12345, "text_accuracy": 0.5}}\n')
    export(run.folder, tmp_path / "stamp-small")
    card = (tmp_path / "stamp-small" / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlibrary_name: transformers\n")
    for told in (
        "# stamp-small",
        'Segmenter.from_pretrained("stamp-small")',
        checkpoint_digest(run.checkpoint),
        "random weights (tiny)",
        "| only (3 steps) | refcoco-unc/train | 1 | not at hand when this was written |",
        "LoRA, merged, layers in float32",
        "| weights | float32 |",
        "| metric | after step 3 |",
        "| ciou | 0.1235 |",
        "about: an adapter on random weights",
    ):
        assert told in card, told


def test_the_card_tells_which_precision_was_used(checkpoint: Path, tmp_path: Path) -> None:
    """A run's recipe.yaml holds what was used, which is float32 where a machine would emulate bfloat16."""
    run = tmp_path / "run"
    for used, stored in (("bf16", torch.bfloat16), ("float32", torch.float32)):
        model, processor = load_folder(checkpoint, stored)
        for part in (model, processor):
            part.save_pretrained(run / "final")
        sets = ["data.root=nowhere", f"model.precision={used}"]
        (run / "recipe.yaml").write_text(resolve("tiny", sets).yaml(), encoding="utf-8")
        export(run, tmp_path / used)
        card = (tmp_path / used / "README.md").read_text(encoding="utf-8")
        name = str(stored).removeprefix("torch.")
        assert f"| weights | {name} |" in card
        assert f"all weights but the vision tower's, layers in {name}." in card


def test_a_folder_in_use_is_left_alone(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(checkpoint, out)
    (out / "mine.txt").write_text("x")
    with pytest.raises(UsageFault, match="is there already"):
        export(checkpoint, out)
    assert (out / "mine.txt").is_file()
    export(checkpoint, out, overwrite=True)
    assert not (out / "mine.txt").exists()
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "thesis.tex").write_text("x")
    with pytest.raises(UsageFault, match="something other than a model"):
        export(checkpoint, tmp_path / "work", overwrite=True)
    for taken in (checkpoint, checkpoint.parent):
        with pytest.raises(UsageFault, match="holds the checkpoint itself"):
            export(checkpoint, taken, overwrite=True)


def test_a_checkpoint_that_cannot_be_opened_leaves_nothing(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(StampError, match="no such checkpoint folder"):
        export(tmp_path / "gone", tmp_path / "out")
    with pytest.raises(StampError, match="not the results of an evaluation"):
        export(checkpoint, tmp_path / "out", [checkpoint / "config.json"])
    with pytest.raises(UsageFault, match="No such file"):
        export(checkpoint, tmp_path / "out", [tmp_path / "gone.json"])
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StampError, match="not written"):
        export(checkpoint, tmp_path / "file" / "out")


def results_of(digest: str) -> Results:
    """Results of one set, made up."""
    settings = {
        "checkpoint": "runs/tiny/final",
        "checkpoint_digest": digest,
        "prompt": "fixed",
        "upsampling": "bilinear",
        "seed": 4,
    }
    empty = {"list": [], "dict": {}, "str": "", "int": 0}
    for field in msgspec.structs.fields(Settings):
        kind = str(field.type.__name__ if isinstance(field.type, type) else field.type).partition("[")[0]
        settings.setdefault(field.name, empty.get(kind))
    card = Card(decoding="greedy", threshold="", masks="", no_target="", settings=Settings(**settings), model=None)
    scores = {"free": {"stamp": {"ciou": 0.51234, "giou": 0.6}, "lisa": {"ciou": 0.5}}}
    one = SetResult(
        name="refcoco-unc/val",
        dataset="",
        split_by="",
        split="",
        digest="",
        cases=8,
        masks=8,
        damaged=0,
        scores=scores,
        flags={},
    )
    return Results(RESULTS_SCHEMA, card, {}, [one], [])


def test_the_card_takes_scores_of_this_model_only(checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_bytes(msgspec.json.encode(results_of(checkpoint_digest(checkpoint))))
    export(checkpoint, tmp_path / "out", [path])
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "| refcoco-unc/val | 8 | free | stamp | 0.5123 | 0.6000 |" in card
    assert "| refcoco-unc/val | 8 | free | lisa | 0.5000 | – |" in card
    assert "Questions `fixed`, greedy, bilinear upsampling, seed 4" in card
    path.write_bytes(msgspec.json.encode(results_of("another")))
    with pytest.raises(UsageFault, match="results of another model"):
        export(checkpoint, tmp_path / "other", [path])
