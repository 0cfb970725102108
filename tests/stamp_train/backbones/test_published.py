"""Published base models, in the hub's own layout: every recipe begins from them, and what comes of it is used."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from stamp_schemas import StampError
from stamp_train.backbones.base import find, read_base
from stamp_train.backbones.folder import digest
from stamp_train.backbones.load import check_folder, open_adapted, read_config, start_from
from stamp_train.backbones.processor import StampProcessor, open_images, open_tokenizer
from stamp_train.backbones.registry import backbone_of
from stamp_train.estimate.checks import check_recipe
from stamp_train.methods import default_settings
from stamp_train.predict.opening import load_folder
from stamp_train.publish.export import export
from stamp_train.recipes import Resolved, resolve
from stamp_train.sequence.examples import DialogueExample, ImageExample
from stamp_train.sequence.layout import Layout
from stamp_train.sequence.tokens import add_tokens, prepare_rows
from stamp_train.train.folder import find as find_checkpoints
from stamp_train.train.loop import Run

from ..hub import GOLDEN, KINDS, MROPE, make_base
from ..runs import log_of, make_shards

SETS = ("refcoco", "refcoco+", "refcocog", "refclef", "grefcoco", "reason_seg", "llava")
SMALL = [
    "data.min_tokens=4", "data.max_tokens=16", "data.threads=0", "batch.dialogues=4", "batch.pack_tokens=700", "threads=1",
    "model.precision=float32", "method.head_width=16",
]  # fmt: skip
RECIPES = {  # what each begins from: among them every kind, flat or nested
    "stamp-2b": ("qwen2-vl-2b", False, ()),
    "stamp-2b-uni": ("qwen2.5-vl-3b", True, ()),
    "stamp-2b-reason": ("qwen2-vl-2b", True, ()),
    "stamp-7b-lora": ("qwen2-vl-7b", False, ("model.lora.rank=4",)),
    "stamp-7b-lora on 2.5": ("qwen2.5-vl-7b", False, ("model.lora.rank=4", "model.lora.style=default")),
    "stamp-qwen3-2b": ("qwen3-vl-4b", False, ()),
    "stamp-qwen3-8b-lora": ("qwen3-vl-8b", True, ("model.lora.rank=4",)),
}
EXPORTED = ("qwen2-vl-2b", "qwen2.5-vl-7b", "qwen3-vl-4b")
TIMEOUT = 240
CALLS = """
import io, json, sys
from stamp_cli.train import main
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["stamp-train", *arguments]
    sys.stdin = io.TextIOWrapper(io.BytesIO(b"What is this?\\n"))
    code = 0
    try:
        main()
    except SystemExit as ended:
        code = ended.code or 0
    assert code == 0, (arguments, code)
"""


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("published"), SETS)


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Each kind of base model, made once."""
    folder, made = tmp_path_factory.mktemp("bases"), dict[tuple[str, bool], Path]()

    def get(kind: str, nested: bool = False) -> Path:
        if (kind, nested) not in made:
            made[kind, nested] = make_base(folder / f"{kind}-{'nested' if nested else 'flat'}", kind, nested=nested)
        return made[kind, nested]

    return get


@pytest.fixture(autouse=True)
def _exact() -> Iterator[None]:
    """A run makes kernels deterministic for its process; the tests of other modules should not notice."""
    yield
    torch.use_deterministic_algorithms(False)


def small(name: str, shards: Path, base: Path, *more: str) -> Resolved:
    """A recipe with its own stages and sets, two steps of each, on small pictures."""
    name = name.split()[0]
    stages = range(len(resolve(name).recipe.stages))
    steps = [f"stages.{number}.{key}" for number in stages for key in ("epochs=0", "steps=2")]
    return resolve(name, [f"model.start={base}", f"data.root={shards}", *SMALL, *steps, *more])


@pytest.fixture(scope="module")
def adapted(shards: Path, bases: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(run, its base) of a LoRA run without its finished model."""
    base = shutil.copytree(bases("qwen2-vl-7b"), tmp_path_factory.mktemp("adapted") / "base")
    Run(small("stamp-7b-lora", shards, base, "model.lora.rank=4"), base.parent / "run").train()
    shutil.rmtree(base.parent / "run" / "final")
    return base.parent / "run", base


@pytest.mark.parametrize("nested", [False, True], ids=["flat", "nested"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_base_opens_tied_or_not_as_in_transformers(bases: Callable[..., Path], kind: str, nested: bool) -> None:
    folder = bases(kind, nested)
    check_folder(folder)
    model = start_from(folder, dtype=torch.float32).eval()
    stock = transformers.AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    for one in (model, stock):
        tied = one.lm_head.weight.data_ptr() == one.get_input_embeddings().weight.data_ptr()
        assert tied is KINDS[kind][1]
    ids = torch.arange(20)[None] + 40
    with torch.no_grad():
        assert torch.equal(model(input_ids=ids).logits, stock(input_ids=ids).logits)


@pytest.mark.parametrize("kind", KINDS)
def test_a_packed_pass_says_what_transformers_says(bases: Callable[..., Path], kind: str) -> None:
    """Of an image through the published processor, and of two dialogues about it that are packed together."""
    folder = bases(kind)
    stock = transformers.AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    network = start_from(folder, dtype=torch.float32).eval()
    tokenizer = open_tokenizer(folder)
    prepare_rows(network, add_tokens(tokenizer, network.method.settings.tokens), len(tokenizer))
    processor = StampProcessor(tokenizer, open_images(folder, network.backbone), network.backbone)
    processor.bound(4, 16)
    picture = Image.effect_noise((150, 90), 80).convert("RGB")
    size = {name: tokens * network.backbone.factor**2 for name, tokens in (("shortest_edge", 4), ("longest_edge", 16))}
    given = Qwen2VLImageProcessorPil.from_pretrained(folder)(images=[picture], return_tensors="pt", size=size)
    pixels = processor.images([picture])[0]
    assert torch.equal(given["pixel_values"], pixels.pixel_values)
    asked = [
        [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}] for text in ("a", "the cup")
    ]
    image = ImageExample([DialogueExample(str(i), said) for i, said in enumerate(asked)], *vars(pixels).values())
    batch = Layout(processor.chat, network.method, text_labels="all")([image]).inputs
    branch = batch.structure.branch
    for number in (1, 2):
        ids = batch.input_ids[:, (branch == 0) | (branch == number)]
        typed = {"mm_token_type_ids": (ids == processor.chat.image_id).int()}
        mine = torch.isin(batch.text_rows, (branch == number).nonzero()[:, 0])
        with torch.no_grad():
            said = stock(input_ids=ids, **given, **typed).logits[0, -1 - int(mine.sum()) : -1]
            for backend in ("sdpa", "segments", "flex"):
                logits = network(inputs=batch, attention=backend).text_logits[mine]
                torch.testing.assert_close(
                    logits[:, :400], said[:, :400], atol=1e-5, rtol=0
                )  # new tokens have other rows


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_runs_and_goes_on(shards: Path, bases: Callable[..., Path], tmp_path: Path, name: str) -> None:
    """Two steps of each stage; then from the first checkpoint, to the same weights."""
    kind, nested, more = RECIPES[name]
    recipe, out = small(name, shards, bases(kind, nested), *more), tmp_path / "run"
    check_recipe(recipe.recipe)
    Run(recipe, out).train()
    log, weights = log_of(out), (out / "final" / "model.safetensors").read_bytes()
    assert len(log) == 2 * len(recipe.recipe.stages)
    first, *others = find_checkpoints(out / "checkpoints")
    for folder in (*others, out / "final"):
        shutil.rmtree(folder)
    Run(recipe, out, first).train()
    assert log_of(out) == log
    assert (out / "final" / "model.safetensors").read_bytes() == weights


@pytest.mark.slow
def test_all_commands_say_nothing_but_their_own_lines(shards: Path, bases: Callable[..., Path], tmp_path: Path) -> None:
    """Of whole models, then of adapters: in one interpreter, which takes longer to start than all that they do."""
    Image.new("RGB", (96, 64), "teal").save(tmp_path / "photo.png")
    ask = ["photo.png", "--expression", "left dog", "--force-mask", "--max-new-tokens", "4"]
    calls, begun = [], (("stamp-2b", "qwen2-vl-2b"), ("stamp-7b-lora", "qwen2.5-vl-7b"))
    for recipe, kind in begun:
        resolved = small(recipe, shards, bases(kind), "model.lora.rank=4")
        (tmp_path / f"{recipe}.yaml").write_text(resolved.yaml(), encoding="utf-8")
        at = f"of-{recipe}"
        run = ["run", f"{recipe}.yaml", "--out", f"{at}/out"]
        val = str(shards / "refcoco-unc" / "val")
        calls += [
            [*run, "--dry-run", "--device", "cpu", "--devices", "1"],
            run,
            ["predict", f"{at}/out/checkpoints/step-000002", *ask, "--out", f"{at}/answers"],
            ["eval", f"{at}/out", val, "--max-new-tokens", "4", "--out", f"{at}/scores"],
            ["chat", f"{at}/out", "photo.png", "--max-new-tokens", "4", "--out", f"{at}/talk"],
            ["export", f"{at}/out", f"{at}/model"],
            ["export", f"{at}/out", f"{at}/words", "--text-only"],
            ["predict", f"{at}/model", *ask, "--out", f"{at}/again"],
        ]
    done = subprocess.run(
        [sys.executable, "-c", CALLS, json.dumps(calls)],
        cwd=tmp_path, capture_output=True, text=True, timeout=TIMEOUT, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ours = [
        *(f"{recipe}: " for recipe, _ in begun),
        *("step ", "hint: ", "cases (", "photo.png: ", "no mask: ", "cut off: "),
        *("sets were built", "of-stamp", "refco", "refclef", "grefcoco"),
    ]
    assert not [line for line in done.stderr.splitlines() if not line.startswith(tuple(ours))], done.stderr


def test_an_adapter_knows_its_base(shards: Path, adapted: tuple[Path, Path], tmp_path: Path) -> None:
    run, base = adapted
    checkpoint = find_checkpoints(run / "checkpoints")[-1]
    known = read_base(checkpoint / "adapter")
    assert known is not None and known.start == str(base.resolve()) and known.digest == digest(base)
    expected = load_folder(checkpoint)[0].state_dict()
    alone = shutil.copytree(checkpoint / "adapter", tmp_path / "alone")  # what it says suffices: no run, no recipe
    found = open_adapted(alone).state_dict()
    assert all(torch.equal(found[name], weight) for name, weight in expected.items())
    moved = base.rename(tmp_path / "elsewhere")
    try:
        with pytest.raises(StampError, match=rf"{base}: no such folder .*--base FOLDER") as fault:
            load_folder(checkpoint)
        assert "\n" not in str(fault.value)
        found = load_folder(checkpoint, base=moved)[0].state_dict()
        assert all(torch.equal(found[name], weight) for name, weight in expected.items())
        again = Run(small("stamp-7b-lora", shards, moved, "model.lora.rank=4"), run, checkpoint)
        again.train()
        shutil.rmtree(run / "final")
    finally:
        moved.rename(base)


def test_another_base_is_refused(adapted: tuple[Path, Path], shards: Path, tmp_path: Path) -> None:
    """Of the same shapes; and one that differs in a single tensor."""
    run, base = adapted
    checkpoint = find_checkpoints(run / "checkpoints")[-1]
    other = make_base(tmp_path / "other", "qwen2-vl-7b", seed=1)
    touched = shutil.copytree(base, tmp_path / "touched")
    file = touched / "model-00002-of-00002.safetensors"
    weights = load_file(file)
    name = next(name for name in weights if weights[name].ndim == 2)
    weights[name] = weights[name] * 1.01
    save_file(weights, file, metadata={"format": "pt"})
    for wrong in (other, touched):
        with pytest.raises(StampError, match=r"not the model that .* was trained on"):
            load_folder(checkpoint, base=wrong)
        with pytest.raises(StampError, match=r"not the model that .* was trained on"):
            export(checkpoint, tmp_path / "out", base=wrong)
        with pytest.raises(StampError, match=r"not the model that .* was trained on"):
            Run(small("stamp-7b-lora", shards, wrong, "model.lora.rank=4"), run, checkpoint)


def test_a_base_goes_with_an_adapter_alone(adapted: tuple[Path, Path]) -> None:
    run, base = adapted
    with pytest.raises(StampError, match="a whole model"):
        load_folder(GOLDEN, base=base)
    with pytest.raises(StampError, match="only a part of a run's checkpoint"):
        load_folder(find_checkpoints(run / "checkpoints")[-1] / "adapter", base=base)


@pytest.mark.parametrize("start", ["base", "./base", "/nowhere/base", "~/nowhere", "tests/none", "a/b/c", "x y/z"])
def test_what_looks_like_a_path_is_not_looked_up_at_the_hub(start: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[3])
    with pytest.raises(StampError, match="no such folder"):
        find(start)


def test_a_name_that_is_not_in_the_cache_fails_the_dry_run(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    recipe = small("stamp-2b", shards, Path("nobody/no-such-model")).recipe
    with pytest.raises(StampError, match=r"model\.start: nobody/no-such-model: .*not in the cache") as fault:
        check_recipe(recipe)
    assert "hf download nobody/no-such-model" in fault.value.hint and "data.root" not in str(fault.value)


# --- what a dry run finds in a folder -----------------------------------------------------------------------------------


def _edit(name: str, **values: Any) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps({**json.loads(path.read_bytes()), **values}))

    return change


def _cut(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-100])


def _pointer(name: str) -> Callable[[Path], object]:
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3989163248\n"
    return lambda folder: (folder / name).write_text(text)


def _without(*names: str) -> Callable[[Path], object]:
    return lambda folder: [(folder / name).unlink() for name in names]


def _placed_wrongly(folder: Path) -> None:
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_bytes())
    index["weight_map"]["visual.extra.weight"] = "model-00001-of-00002.safetensors"
    path.write_text(json.dumps(index))


def _outside(folder: Path) -> None:
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": {"lm_head.weight": "../other/model.safetensors"}}))


SECOND = "model-00002-of-00002.safetensors"
DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no shard": (_without(SECOND), f"index.json: names {SECOND}, which is not there"),
    "no index": (_without("model.safetensors.index.json"), "no weights: .* there is model-00001-of-00002.safetensors"),
    "a pointer": (_pointer(SECOND), f"{SECOND}: a Git LFS pointer"),
    "a tokenizer that is a pointer": (_pointer("tokenizer.json"), "tokenizer.json: a Git LFS pointer"),
    "a cut shard": (_cut(SECOND), rf"{SECOND}: cut off: [\d,]+ of [\d,]+ bytes"),
    "an empty shard": (lambda folder: (folder / SECOND).write_bytes(b""), f"{SECOND}: an empty file"),
    "noise": (lambda folder: (folder / SECOND).write_bytes(b"\xff" * 99), f"{SECOND}: not a safetensors file"),
    "a header that is none": (
        lambda folder: (folder / SECOND).write_bytes((2).to_bytes(8, "little") + b"[]"),
        f"{SECOND}: not a safetensors file",
    ),
    "a tensor elsewhere": (_placed_wrongly, "holds visual.extra.weight, which it does not"),
    "a file outside": (_outside, "names '../other/model.safetensors', which is no file beside it"),
    "no tokenizer": (_without("tokenizer.json", "vocab.json"), "no tokenizer"),
    "no image processor": (_without("preprocessor_config.json"), "preprocessor_config.json: cannot be read"),
    "another width": (_edit("config.json", intermediate_size=80), "6 of another shape"),
    "a layer more": (_edit("config.json", num_hidden_layers=3, max_window_layers=3), "12 missing"),
    "a layer less": (_edit("config.json", num_hidden_layers=1, max_window_layers=1), "12 unexpected"),
    "untied": (_edit("config.json", tie_word_embeddings=False), r"1 missing \(lm_head.weight\)"),
    "another family": (_edit("config.json", model_type="llava"), "model type 'llava' is not supported"),
    "quantised": (_edit("config.json", quantization_config={"quant_method": "awq"}), r"quantised \(awq\)"),
    "heads of no width": (_edit("config.json", num_attention_heads=0), "config.json: cannot be opened"),
    "a config that is none": (_edit("config.json", vision_config=[]), "config.json: not a configuration"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_dry_run_looks_into_the_base(bases: Callable[..., Path], shards: Path, tmp_path: Path, damage: str) -> None:
    folder = shutil.copytree(bases("qwen2-vl-2b"), tmp_path / "base")
    harm, message = DAMAGES[damage]
    harm(folder)
    with pytest.raises(StampError, match=rf"^model\.start: .*{message}") as fault:
        check_recipe(small("stamp-2b", shards, folder).recipe)
    assert "\n" not in fault.value.message and "data.root" not in fault.value.hint


@pytest.mark.skipif(torch.cuda.is_available(), reason="has the backends")
def test_a_dry_run_names_all_that_is_at_fault(bases: Callable[..., Path], shards: Path) -> None:
    recipe = small("stamp-7b-lora", Path("nowhere"), bases("qwen2-vl-2b"), "model.attention=flash").recipe
    with pytest.raises(StampError) as fault:
        check_recipe(recipe)
    for part in (
        "refcoco-unc/train",
        "--set data.root=FOLDER",
        "model.lora.style: ",
        "model.attention: ",
        "needs CUDA",
    ):
        assert part in fault.value.message
    with pytest.raises(StampError, match=r"model\.attention: .*no backward pass"):
        check_recipe(small("stamp-2b", shards, bases("qwen2-vl-2b"), "model.attention=flex").recipe)


# --- other versions of transformers -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def exported(shards: Path, bases: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A finished model of each family, and its words alone."""
    folder, made = tmp_path_factory.mktemp("exported"), {}
    for kind in EXPORTED:
        Run(small("stamp-2b-reason", shards, bases(kind)), folder / kind).train()
        made[kind] = folder / kind / "final"
        made[f"{kind} in words"] = folder / f"{kind}-words"
        export(made[kind], made[f"{kind} in words"], text_only=True)
    return made


@pytest.mark.parametrize("kind", EXPORTED)
def test_files_say_what_both_generations_of_transformers_read(exported: dict[str, Path], kind: str) -> None:
    for folder in (exported[kind], exported[f"{kind} in words"]):
        config, told = json.loads((folder / "config.json").read_bytes()), read_config(folder)
        text, tied = config["text_config"], KINDS[kind][1]
        assert config["tie_word_embeddings"] is text["tie_word_embeddings"] is tied
        assert (
            text["rope_scaling"]["mrope_section"] == text["rope_parameters"]["mrope_section"] == MROPE[told.model_type]
        )
        assert (
            text["rope_theta"]
            == text["rope_parameters"]["rope_theta"]
            == told.text_config.rope_parameters["rope_theta"]
        )
        assert text["rope_scaling"].get("mrope_interleaved") == told.text_config.rope_parameters.get(
            "mrope_interleaved"
        )
        tokenizer = json.loads((folder / "tokenizer_config.json").read_bytes())
        assert not isinstance(tokenizer.get("extra_special_tokens"), list) and tokenizer["additional_special_tokens"]
        images = json.loads((folder / "preprocessor_config.json").read_bytes())
        area = backbone_of(told.model_type).factor ** 2
        assert (images["min_pixels"], images["max_pixels"]) == (4 * area, 16 * area)
        assert (folder / "chat_template.jinja").is_file()
    words = json.loads((exported[f"{kind} in words"] / "config.json").read_bytes())
    assert words["architectures"] == [backbone_of(words["model_type"]).classes[1]]
    assert "stamp" not in words
    names = load_file(exported[f"{kind} in words"] / "model.safetensors")
    assert not [name for name in names if name.startswith("classifier")]
    with pytest.raises(StampError, match="a model without a mask head"):
        load_folder(exported[f"{kind} in words"])


LOGITS = """
import json, sys
import torch, transformers
from transformers import AutoModelForImageTextToText, AutoTokenizer
found = {"version": transformers.__version__}
for folder in sys.argv[1:]:
    model, report = AutoModelForImageTextToText.from_pretrained(folder, output_loading_info=True, dtype=torch.float32)
    assert not report["missing_keys"], report["missing_keys"]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    said = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "the left dog"}]}]
    text = tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(text.replace("<|image_pad|>", 6 * "<|image_pad|>"), return_tensors="pt").input_ids
    numbers = 6 * model.config.vision_config.patch_size ** 2
    pixels = torch.linspace(-1, 1, 24 * numbers).view(24, numbers)
    typed = {"mm_token_type_ids": (ids == model.config.image_token_id).int()} if transformers.__version__ >= "5" else {}
    with torch.no_grad():
        logits = model.eval()(
            input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=pixels,
            image_grid_thw=torch.tensor([[1, 4, 6]]), **typed,
        ).logits
    found[folder] = [ids.tolist(), logits[0, -1].tolist(), sorted(tokenizer.all_special_tokens)]
print(json.dumps(found))
"""


def test_an_older_transformers_says_the_same(exported: dict[str, Path]) -> None:
    """That of an environment which STAMP_OLDER_PYTHON names, such as one with transformers 4.57."""
    older = os.environ.get("STAMP_OLDER_PYTHON")
    if not older:
        pytest.skip("STAMP_OLDER_PYTHON names no interpreter with another transformers")
    folders = list(map(str, exported.values()))
    told = [
        json.loads(subprocess.run([python, "-c", LOGITS, *folders], capture_output=True, text=True, check=True).stdout)
        for python in (sys.executable, older)
    ]
    ours, theirs = told
    assert ours.pop("version") != theirs.pop("version")
    for folder in folders:
        (ids, logits, special), (other_ids, other_logits, other_special) = ours[folder], theirs[folder]
        assert ids == other_ids and special == other_special
        assert logits == pytest.approx(other_logits, abs=1e-5)


@pytest.mark.parametrize("kind", ["qwen2-vl-2b", "qwen3-vl-4b"])
@pytest.mark.parametrize("published", [False, True], ids=["ours", "published"])
def test_the_chat_template_is_that_of_the_encoder(
    bases: Callable[..., Path], tmp_path: Path, kind: str, published: bool
) -> None:
    """Ours is written where a tokenizer has none; for texts without control tokens all three say the same."""
    tokenizer, folder = open_tokenizer(bases(kind)), bases(kind)
    add_tokens(tokenizer, default_settings().tokens)
    backbone = backbone_of(read_config(folder).model_type)
    processor = StampProcessor(tokenizer, open_images(folder, backbone), backbone)
    template = json.loads((folder / "chat_template.json").read_bytes())["chat_template"]
    tokenizer.chat_template = template if published else None
    processor.save_pretrained(tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    talks: list[list[dict[str, Any]]] = [
        [{"role": "user", "content": "Hello"}],
        [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "the left dog"}]},
            {"role": "assistant", "content": "It is <|seg|>."},
            {"role": "user", "content": "and the cup"},
        ],
    ]
    for talk in talks:
        for prompt in (False, True):
            text = tokenizer.apply_chat_template(talk, tokenize=False, add_generation_prompt=prompt)
            ids = processor.chat.encode(talk, generation_prompt=prompt).ids
            assert tokenizer(text, add_special_tokens=False)["input_ids"] == ids
