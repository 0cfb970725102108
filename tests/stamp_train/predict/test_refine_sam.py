"""SAM as refiner: the same masks from every library and file, one embedding per picture, and nothing else than that."""

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import AutoConfig, SamConfig, SamModel
from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

from stamp_train.methods.upsample import to_mask
from stamp_train.predict.refine import PRESETS, Preset, Refiner, load_refiner
from stamp_train.predict.refine.frame import Frame
from stamp_train.predict.refine.network import open_sam
from stamp_train.predict.refine.official import sam_settings, to_transformers
from stamp_train.predict.refine.prompts import make_prompt

from .tiny_sam import IMAGE_SIZE, PRIOR_SIDE, coarse, official_file, official_state, packaged, picture, tiny_sam

SIZES = [(60, 90), (110, 70), (200, 200), (32, 32)]
GRID = (9, 11)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sam")
    tiny_sam().save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def pth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return official_file(tiny_sam(), tmp_path_factory.mktemp("official") / "renamed.pth")


def opened(spec: str, **options: Any) -> Refiner:
    told: list[str] = []
    refiner = load_refiner(spec, say=told.append, **options)
    assert not told and refiner.name != "none"
    return refiner


def case(size: tuple[int, int], seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.bool_]]:
    logits = coarse(*GRID, seed)
    return picture(*size, seed), logits, to_mask(torch.from_numpy(logits), *size)


def loop(model: SamModel, preset: Preset, size: tuple[int, int], seed: int) -> NDArray[np.bool_]:
    """Refinement written out with transformers' own picture processor; the prompts have tests of their own."""
    image, logits, mask = case(size)
    shape = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    processor = SamImageProcessorPil(size={"longest_edge": IMAGE_SIZE}, pad_size=shape)
    inputs = processor(image, return_tensors="pt")
    prompt = make_prompt(preset, Frame(*size, IMAGE_SIZE, PRIOR_SIDE), torch.from_numpy(logits), mask, seed)
    assert prompt is not None
    low = prompt.prior[None, None]
    for number in range(preset.rounds):
        with torch.no_grad():
            answer = model(
                pixel_values=inputs["pixel_values"],
                input_points=torch.from_numpy(prompt.points).float()[None, None],
                input_labels=torch.from_numpy(prompt.labels)[None, None],
                input_boxes=None if prompt.box is None else torch.from_numpy(prompt.box).float()[None, None],
                input_masks=low,
                multimask_output=preset.multimask and number == 0,
            )
        low = answer.pred_masks[:, 0, :1]
    whole = processor.post_process_masks(
        low[None], inputs["original_sizes"], inputs["reshaped_input_sizes"], pad_size=shape
    )
    return whole[0][0, 0].numpy()


@pytest.mark.parametrize("size", SIZES)
def test_published_rounds_are_those_of_plain_transformers(
    folder: Path, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[int] = []
    monkeypatch.setattr(
        "stamp_train.predict.refine.refiner.make_prompt", lambda *given: seeds.append(given[-1]) or make_prompt(*given)
    )
    refined = opened(f"sam:{folder}", preset="published").refine(*case(size))
    expected = loop(SamModel.from_pretrained(folder), PRESETS["published"], size, seeds[0])
    assert refined.dtype == bool and refined.shape == size and 0 < refined.mean() < 1
    np.testing.assert_array_equal(refined, expected)


@pytest.mark.parametrize("preset", list(PRESETS))
def test_an_official_file_gives_the_masks_of_the_folder(folder: Path, pth: Path, preset: str) -> None:
    for size in SIZES:
        one, other = (opened(f"sam:{path}", preset=preset).refine(*case(size)) for path in (folder, pth))
        assert 0 < one.mean() < 1
        np.testing.assert_array_equal(one, other)


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The segment-anything package; its two uses of torchvision that a predictor meets are stood in for by Pillow."""
    if importlib.util.find_spec("segment_anything") is None:
        pytest.skip("segment-anything is not installed")
    if importlib.util.find_spec("torchvision") is None:
        for name in ("torchvision", "torchvision.ops", "torchvision.ops.boxes", "torchvision.transforms"):
            monkeypatch.setitem(sys.modules, name, ModuleType(name))
        functional = ModuleType("torchvision.transforms.functional")
        functional.to_pil_image = Image.fromarray
        functional.resize = lambda image, size: image.resize(size[::-1], Image.Resampling.BILINEAR)
        monkeypatch.setitem(sys.modules, functional.__name__, functional)
        sys.modules["torchvision.ops.boxes"].batched_nms = sys.modules["torchvision.ops.boxes"].box_area = None
    yield importlib.import_module("segment_anything")
    for name in [name for name in sys.modules if name.startswith("segment_anything")]:
        del sys.modules[name]


@pytest.mark.parametrize(("name", "layers", "hidden"), [("vit_b", 12, 768), ("vit_l", 24, 1024), ("vit_h", 32, 1280)])
def test_released_sizes_are_read_off_the_weights(package: ModuleType, name: str, layers: int, hidden: int) -> None:
    """The package's own three models, without memory, against transformers' model of the sizes that were read."""
    with torch.device("meta"):
        state = package.sam_model_registry[name]().state_dict()
        model = SamModel(SamConfig(**sam_settings(state)))
    assert (model.config.vision_config.num_hidden_layers, model.config.vision_config.hidden_size) == (layers, hidden)
    released = AutoConfig.for_model("sam").vision_config  # transformers' defaults are those of vit_b
    if name == "vit_b":
        assert model.config.vision_config.to_dict() == released.to_dict()
    expected = {key: value.shape for key, value in model.state_dict().items()}
    assert {key: value.shape for key, value in to_transformers(state).items()} == expected


def test_published_rounds_are_those_of_the_packages_predictor(
    package: ModuleType, pth: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`SamPredictor.set_image` and `.predict` three times over on the same file, as the published evaluation calls them."""
    seeds: list[int] = []
    monkeypatch.setattr(
        "stamp_train.predict.refine.refiner.make_prompt", lambda *given: seeds.append(given[-1]) or make_prompt(*given)
    )
    predictor = package.SamPredictor(packaged(official_state(tiny_sam())))
    for size in SIZES:
        image, logits, mask = case(size)
        refined = opened(f"sam:{pth}", preset="published").refine(image, logits, mask)
        predictor.set_image(image)
        frame = Frame(*size, IMAGE_SIZE, PRIOR_SIDE)
        prompt = make_prompt(PRESETS["published"], frame, torch.from_numpy(logits), mask, seeds[-1])
        assert prompt is not None
        points = prompt.points * np.array([size[1] / frame.resized[1], size[0] / frame.resized[0]])
        low = prompt.prior[None].numpy()
        for _ in range(3):
            masks, _, low = predictor.predict(points, prompt.labels, mask_input=low, multimask_output=False)
        assert 0 < masks[0].mean() < 1 and (refined != masks[0]).mean() < 1e-3


@pytest.mark.parametrize("boxes", [False, True])
@pytest.mark.parametrize("multimask", [False, True])
def test_answers_are_those_of_the_package(package: ModuleType, pth: Path, boxes: bool, multimask: bool) -> None:  # noqa: ARG001
    """Every kind of prompt that a preset may make of the same official weights, to the last digits."""
    ours, theirs = open_sam(str(pth), torch.device("cpu")), packaged(official_state(tiny_sam()))
    pixels = Frame(60, 90, IMAGE_SIZE, PRIOR_SIDE).pixels(picture(60, 90))
    points, labels = (
        80 * torch.rand(2, 5, 2, generator=torch.Generator().manual_seed(0)),
        torch.tensor([[1, 1, 0, 0, 1]] * 2),
    )
    priors = torch.from_numpy(np.stack([coarse(PRIOR_SIDE, PRIOR_SIDE, seed) for seed in (0, 1)]))
    corners = torch.tensor([[10.0, 8, 70, 60], [5, 5, 40, 30]]) if boxes else None
    with torch.no_grad():
        embedding = theirs.image_encoder(pixels)
        sparse, dense = theirs.prompt_encoder(points=(points, labels), boxes=corners, masks=priors[:, None])
        expected = theirs.mask_decoder(embedding, theirs.prompt_encoder.get_dense_pe(), sparse, dense, multimask)
    torch.testing.assert_close(ours.embed(pixels)[0], embedding, atol=1e-5, rtol=1e-5)
    found = ours.predict([embedding], priors, points, labels, corners, multimask)
    for mine, other in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-5)


def test_a_picture_is_embedded_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embedded: list[float] = []
    plain = SamModel.get_image_embeddings
    monkeypatch.setattr(
        SamModel,
        "get_image_embeddings",
        lambda self, pixels: embedded.append(float(pixels.sum())) or plain(self, pixels),
    )
    refiner = opened(f"sam:{folder}")
    size = (60, 90)
    pictures = [picture(*size, seed) for seed in (0, 1)]
    masks = [case(size, seed)[1:] for seed in range(3)]
    for logits, mask in masks:
        for image in pictures:
            refiner.refine(image.copy(), logits, mask)
    refiner.refine_all(pictures[0], *map(list, zip(*masks, strict=True)))
    assert len(embedded) == len(set(embedded)) == 2
    turned = pictures[0].reshape(90, 60, 3)  # the same bytes, another picture
    refiner.refine(turned, masks[0][0], to_mask(torch.from_numpy(masks[0][0]), 90, 60))
    assert len(embedded) == 3


@pytest.mark.parametrize("preset", list(PRESETS))
def test_masks_together_are_masks_alone(folder: Path, preset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where one has fewer pixels than points, one is empty, one covers all, and a pass does not hold them all."""
    monkeypatch.setattr("stamp_train.predict.refine.refiner.PROMPTS", 2)
    size = (60, 90)
    logits = [coarse(*GRID, seed) for seed in range(3)]
    speck = np.full(GRID, -3.0, np.float32)
    speck[4, 4] = 0.4
    logits += [speck, np.full(GRID, -3.0, np.float32), np.full(GRID, 3.0, np.float32)]
    masks = [to_mask(torch.from_numpy(picture), *size) for picture in logits]
    image = picture(*size)
    together = opened(f"sam:{folder}", preset=preset).refine_all(image, logits, masks)
    for number, refined in enumerate(together):
        alone = opened(f"sam:{folder}", preset=preset).refine(image, logits[number], masks[number])
        assert (refined != alone).mean() < 1e-3
    assert not together[4].any(), "empty stays empty"
    assert len({mask.tobytes() for mask in together}) >= 4


def test_same_seed_same_masks_another_seed_others(folder: Path) -> None:
    one, again, other = (opened(f"sam:{folder}", seed=seed).refine(*case((60, 90))) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


@pytest.mark.parametrize("size", [(1, 1), (2, 300), (500, 1)])
def test_the_thinnest_pictures(folder: Path, size: tuple[int, int]) -> None:
    logits = np.full((3, 3), 1.0, np.float32)
    refined = opened(f"sam:{folder}").refine(picture(*size), logits, np.ones(size, bool))
    assert refined.shape == size
