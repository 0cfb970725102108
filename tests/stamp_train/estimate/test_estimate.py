"""What a dry run reckons: sizes, tokens, padding, memory, operations, and what it finds missing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from stamp_cli.train_recipes import duration
from stamp_schemas import StampError, UsageFault
from stamp_schemas.recipe import Recipe
from stamp_train.backbones.lora import lora_config
from stamp_train.backbones.presets import build_preset
from stamp_train.estimate.architecture import architecture
from stamp_train.estimate.cost import memory, operations
from stamp_train.estimate.devices import DEVICES, Device, Machine, machine, recognised
from stamp_train.estimate.dryrun import dry_run
from stamp_train.estimate.workload import stage_work
from stamp_train.recipes import resolve

from ..methods.embedding.sams import write_sam
from ..runs import RECIPE, make_shards


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("recipes"))


def small(shards: Path, folder: Path, *overrides: str) -> Recipe:
    path = folder / "small.yaml"
    path.write_text(RECIPE, encoding="utf-8")
    return resolve(str(path), [f"data.root={shards}", *overrides]).recipe


def test_a_network_with_a_sam_is_counted_before_it_is_there(tmp_path: Path) -> None:
    sam = write_sam(tmp_path / "sam")
    asked = ["model.start=", "model.preset=tiny", "method.head=sam", f"method.sam={sam}"]
    recipe = resolve("embedding-2b", asked).recipe
    network, _ = build_preset("tiny", method=recipe.method.sized())
    head, sizes = list(network.classifier.parameters()), architecture(recipe)
    assert sizes.head == sum(weight.numel() for weight in head)
    assert sizes.frozen == sum(weight.numel() for weight in head if not weight.requires_grad) > 0
    assert sizes.trained(freeze_vision=False) == sizes.parameters - sizes.frozen
    lora = [*asked, "model.tuning=lora"]
    once, twice = (architecture(resolve("embedding-2b", [*lora, f"model.lora.rank={rank}"]).recipe) for rank in (1, 2))
    assert 2 * once.adapter - twice.adapter == sizes.head - sizes.frozen  # what does not grow with the rank
    (sam / "config.json").unlink()
    with pytest.raises(UsageFault, match=r"method\.sam: .* no configuration"):
        architecture(recipe)


def test_memory_is_of_what_a_pack_of_the_method_holds() -> None:
    def activations(*method: str) -> float:
        recipe = resolve("stamp-2b", [*method, "model.gradient_checkpointing=true"]).recipe
        return memory(recipe, architecture(recipe)).activations

    stamp, pixels = activations(), activations("method=embedding")
    small, large = (activations("method=text4seg", f"method.grid={grid}") for grid in (16, 32))
    assert pixels > stamp  # without mask tokens there are more images in a pack
    assert large > small > pixels  # written masks have logits over the vocabulary


def test_the_released_model_has_its_published_size() -> None:
    sizes = architecture(resolve("stamp-2b").recipe)
    assert sizes.parameters - sizes.head == 2_208_985_600  # the model card of Qwen2-VL-2B-Instruct


def test_what_an_adapter_trains_is_what_peft_would_train() -> None:
    from peft import get_peft_model

    from stamp_train.backbones.presets import build_preset

    overrides = ["model.start=", "model.preset=tiny", "model.tuning=lora", "model.lora={rank: 3}"]
    recipe = resolve("stamp-2b", overrides).recipe
    network, _ = build_preset("tiny")
    adapted = get_peft_model(network, lora_config(network, [1, 2], rank=3))
    sizes = {name: weight.numel() for name, weight in adapted.named_parameters() if weight.requires_grad}
    lora = sum(size for name, size in sizes.items() if "lora_" in name)
    found = architecture(recipe)
    assert found.adapter - found.head == lora


@pytest.mark.parametrize(
    "change",
    [
        ("model.preset=tiny",),
        ("model.preset=qwen2.5-tiny",),
        ("model.preset=qwen3-tiny",),
        ("method=self1e",),
        ("method=self1e", "method.attention=published"),
    ],
)
def test_tokens_are_those_that_the_layout_makes(shards: Path, tmp_path: Path, change: tuple[str, ...]) -> None:
    """Also for patches of 32 pixels from sets that were built for 28: what is estimated, and what packs are made by."""
    from stamp_train.sequence.layout import Layout
    from stamp_train.stream.examples import prepare_with
    from stamp_train.stream.loader import stage_loader
    from stamp_train.train.network import build_network

    recipe = small(shards, tmp_path, "stages.1.steps=0", "stages.1.epochs=1", *change)
    network, processor = build_network(recipe)
    layout = Layout(processor.chat, network.method, network.config.text_config.max_position_embeddings)
    packs = [
        layout(pack)
        for batch in stage_loader(recipe, 1, prepare_with(processor), network.method, 0, 1, tmp_path)
        for pack in batch.packs
    ]
    expected = stage_work(recipe, recipe.stages[1]).work
    patches = sum(int((pack.inputs.feature_rows >= 0).sum()) for pack in packs)
    total = sum(len(pack.inputs.structure) for pack in packs)
    blocks = sum(int((pack.inputs.structure.block > 0).sum()) for pack in packs)
    if recipe.method.looks_ahead:  # each dialogue has the image to itself, in whichever pack
        assert blocks == 0 and expected.image + expected.mask == patches
    else:
        assert expected.mask == pytest.approx(blocks, rel=0.01)
    assert expected.tokens == pytest.approx(total, rel=0.03)  # turns of bytes are reckoned two tokens too long


def test_steps_are_those_of_the_plan(shards: Path, tmp_path: Path) -> None:
    from stamp_train.stream.stages import stage_plan

    recipe = small(shards, tmp_path, "stages.1.steps=0", "stages.1.epochs=2.5")
    assert stage_work(recipe, recipe.stages[1]).steps == stage_plan(recipe, 1).steps


def test_a_dry_run_adds_up(shards: Path, tmp_path: Path) -> None:
    recipe = small(shards, tmp_path)
    one, two = (dry_run(recipe, DEVICES["h100"], count) for count in (1, 2))
    assert one.steps == 10
    assert [cost.stage.work.dialogues for cost in one.stages] == pytest.approx([48, 32])
    assert [cost.hours for cost in one.stages] > [cost.hours for cost in two.stages]
    assert one.memory == two.memory and one.memory.total > 0


def test_costs_are_those_of_this_machine_unless_another_is_named(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert machine("h100", None) == Machine("h100", DEVICES["h100"], 1)
    assert machine("h100", 8).count == 8
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("stamp_train.estimate.devices.usable_cores", lambda: 6)
    here = machine("", None)
    assert (here.name, here.count) == ("this machine's processor (6 cores)", 1)
    assert here.device.teraflops == pytest.approx(0.3) and here.device.memory > 0.1
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda _: SimpleNamespace(total_memory=24 * 2**30))
    for name, known in {"NVIDIA L40S": DEVICES["l40s"], "NVIDIA of tomorrow": Device(0, 24)}.items():
        monkeypatch.setattr("torch.cuda.get_device_name", lambda name=name: name)
        assert machine("", None) == Machine(name, known, 2)
    assert dry_run(small(shards, tmp_path), Device(0, 24), 2).hours is None


@pytest.mark.parametrize(
    ("hours", "shown"),
    [
        (None, "unknown"),
        (0.004, "14 s"),
        (2.5e-5, "0.09 s"),
        (0.02, "1.2 min"),
        (0.2, "12 min"),
        (1.0, "1.0 h"),
        (1234.56, "1,234.6 h"),
    ],
)
def test_times_under_an_hour_are_minutes(hours: float | None, shown: str) -> None:
    assert duration(hours) == shown


def test_padding_is_that_of_the_steps(shards: Path, tmp_path: Path) -> None:
    """Of every step, as there are fewer than the sample holds; waiting takes time."""
    from stamp_train.stream.stages import step_plan

    recipe = small(shards, tmp_path)
    alone, shared = (dry_run(recipe, DEVICES["h100"], count).stages for count in (1, 3))
    assert [cost.padding for cost in alone] == [0, 0]
    for cost, steps in zip(shared, (range(1, 7), range(7, 11)), strict=True):
        padding = [step_plan(recipe, step, ranks=3).packed.padding for step in steps]
        assert cost.padding == pytest.approx(sum(padding) / len(padding)) and cost.padding > 0
    for one, three in zip(alone, shared, strict=True):
        assert three.hours == pytest.approx(one.hours / 3 / (1 - three.padding))


def test_a_dry_run_lists_every_path_that_is_not_there(shards: Path, tmp_path: Path) -> None:
    recipe = small(shards, tmp_path, "stages.0.sets=[{set: nowhere/train}]", "evaluation.sets=[neither/val]")
    with pytest.raises(StampError) as fault:
        dry_run(recipe, DEVICES["cpu"], 1)
    assert "nowhere/train" in fault.value.message and "neither/val" in fault.value.message
    assert fault.value.hint.startswith("--set data.root=FOLDER") and "model" not in fault.value.hint


def test_a_hint_belongs_to_the_key_at_fault(shards: Path, tmp_path: Path) -> None:
    start = small(shards, tmp_path, "model.preset=", "model.start=./nowhere")
    with pytest.raises(StampError) as fault:
        dry_run(start, DEVICES["cpu"], 1)
    assert fault.value.message.startswith("model.start: ./nowhere: ")
    assert fault.value.hint.startswith("give the folder of a model")


def test_a_dry_run_sees_a_picture_that_no_pack_holds(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(StampError, match=r"batch\.pack_tokens"):
        dry_run(small(shards, tmp_path, "batch.pack_tokens=20"), DEVICES["cpu"], 1)


def test_frozen_or_adapted_weights_need_less_memory() -> None:
    full, frozen = resolve("stamp-2b").recipe, resolve("stamp-2b", ["model.freeze_vision=true"]).recipe
    adapted = resolve("stamp-2b", ["model.tuning=lora"]).recipe
    sizes = [memory(recipe, architecture(recipe)).training for recipe in (full, frozen, adapted)]
    assert sizes == sorted(sizes, reverse=True) and len(set(sizes)) == 3


def test_shares_of_weights_need_less_memory_than_copies() -> None:
    recipes = [resolve("stamp-2b", [f"engine={engine}"]).recipe for engine in ("ddp", "fsdp-zero2", "fsdp")]
    sizes = architecture(recipes[0])
    copies, zero2, full = (memory(recipe, sizes, 8) for recipe in recipes)
    assert copies.total > zero2.total > full.total
    assert full.training == zero2.training == pytest.approx(copies.training / 8)
    assert copies == memory(recipes[0], sizes, 64)


@pytest.mark.parametrize("change", [(), ("model.freeze_vision=true",)])
def test_operations_are_those_that_torch_counts(change: tuple[str, ...], shards: Path, tmp_path: Path) -> None:
    """Counted matrix product by matrix product; those of attention, which torch does not count on a CPU, left out here too."""
    from torch.utils.flop_counter import FlopCounterMode

    from stamp_train.sequence.layout import Layout
    from stamp_train.stream.examples import prepare_with
    from stamp_train.stream.loader import stage_loader
    from stamp_train.train.engine import open_accelerator
    from stamp_train.train.network import build_network
    from stamp_train.train.step import StepRunner

    wide = (
        "model.shape={hidden: 256, heads: 8, kv_heads: 4, vision_width: 128, vision_heads: 4}",
        "method.loss=published",
    )
    recipe = small(
        shards, tmp_path, *wide, "method.head=patch", *change
    )  # with this loss every token has an output row
    network, processor = build_network(recipe)
    layout = Layout(
        processor.chat, network.method, network.config.text_config.max_position_embeddings, text_labels="all"
    )
    batch = next(iter(stage_loader(recipe, 1, prepare_with(processor), network.method, 0, 1, tmp_path)))
    runner = StepRunner(open_accelerator(recipe), network, layout, network.method, "auto")
    with FlopCounterMode(display=False) as counter:
        result = runner.gradients(batch.packs, 1.0, "test")
    sizes = architecture(recipe, network.config)
    expected = operations(recipe, replace(sizes, layers=0, vision_layers=0), result.work)
    assert counter.get_total_flops() == pytest.approx(expected, rel=0.02)
    assert operations(recipe, sizes, result.work) > expected


def test_devices_are_recognised_by_what_their_drivers_call_them() -> None:
    names = {
        "NVIDIA A100-SXM4-40GB": "a100-40",
        "NVIDIA A100 80GB PCIe": "a100-80",
        "NVIDIA A800-SXM4-80GB": "a800",
        "NVIDIA H100 80GB HBM3": "h100",
        "NVIDIA H200": "h200",
        "NVIDIA B200": "b200",
        "NVIDIA L40S": "l40s",
        "NVIDIA GeForce RTX 4090": "rtx4090",
        "AMD Instinct MI300X": "mi300x",
    }
    assert {name: recognised(name) for name in names} == {name: DEVICES[key] for name, key in names.items()}
    assert [recognised(name) for name in ("NVIDIA H100 PCIe", "NVIDIA L40", "NVIDIA GeForce RTX 4090 D", "")] == [
        None
    ] * 4


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(UsageFault) as fault:
        machine("h1000", None)
    assert all(known in fault.value.hint for known in DEVICES)
