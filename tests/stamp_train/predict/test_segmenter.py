"""The Python API: the generator's own answers, in order, at the picture's size, whatever is at fault beside them."""

from __future__ import annotations

import doctest
import gc
import io
import logging
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from stamp_schemas import StampError, UsageFault
from stamp_train.generation.sampling import GenerationOptions
from stamp_train.predict import Request, Segmentation, Segmenter, question, requests, segmenter
from stamp_train.sequence.errors import StampModelError

from .talking import SEG, TEXTS, save_checkpoint, scene, talking_generator

SHORT = {"max_new_tokens": 12}


@pytest.fixture
def talking() -> Segmenter:
    return Segmenter(talking_generator())


@pytest.fixture
def dog(tmp_path: Path) -> Path:
    path = tmp_path / "dog.png"
    scene().save(path)
    return path


def by_hand(logits: torch.Tensor, height: int, width: int) -> np.ndarray[Any, Any]:
    """Bilinear interpolation between cell centres, one pixel at a time."""
    cells = (1 / (1 + np.exp(-logits.double().numpy()))).astype(np.float64)
    found = np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            row = min(max((y + 0.5) * cells.shape[0] / height - 0.5, 0), cells.shape[0] - 1)
            column = min(max((x + 0.5) * cells.shape[1] / width - 0.5, 0), cells.shape[1] - 1)
            top, left = int(row), int(column)
            bottom, right = min(top + 1, cells.shape[0] - 1), min(left + 1, cells.shape[1] - 1)
            down, across = row - top, column - left
            upper = cells[top, left] * (1 - across) + cells[top, right] * across
            lower = cells[bottom, left] * (1 - across) + cells[bottom, right] * across
            found[y, x] = upper * (1 - down) + lower * down
    return found


def same(one: Segmentation, other: Segmentation) -> bool:
    """But for pixels so near the threshold that another batch, whose sums are rounded otherwise, may turn them over."""
    masks = len(one.masks) == len(other.masks) and all(
        np.array_equal(mask[sure], its[sure])
        for mask, its, smooth in zip(one.masks, other.masks, one.probabilities, strict=True)
        for sure in [abs(smooth - 0.5) > 1e-6]
    )
    return masks and (one.text, one.content, one.finish) == (other.text, other.content, other.finish)


def test_the_documentation_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path / "checkpoint")
    scene().save(tmp_path / "dog.jpg")
    monkeypatch.chdir(tmp_path)
    for module in (segmenter, requests):
        result = doctest.testmod(module)
        assert result.attempted > 0 and result.failed == 0


def test_an_answer_is_the_generators_with_masks_at_the_pictures_size(talking: Segmenter, dog: Path) -> None:
    found = talking.segment(dog, TEXTS[1], begin=f"It is {SEG}", max_new_tokens=20)
    options = GenerationOptions(begin=f"It is {SEG}", max_new_tokens=20)
    expected = talking_generator().ask(scene(), TEXTS[1], options)
    assert (found.text, found.content, found.finish) == (expected.text, expected.content, expected.finish)
    assert found.image_size == (84, 112)
    assert len(found.masks) == found.content.count(SEG) >= 1
    for mask, smooth, logits in zip(found.masks, found.probabilities, expected.masks, strict=True):
        exact = by_hand(logits, 84, 112)
        assert mask.dtype == bool and mask.shape == (84, 112)
        np.testing.assert_allclose(smooth, exact, atol=1e-5)
        sure = abs(exact - 0.5) > 1e-4
        assert np.array_equal(mask[sure], exact[sure] > 0.5)
        assert 0 < mask.sum() < mask.size


@pytest.mark.parametrize("batch_size", [1, 3, 16])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_answers_come_in_order_whatever_the_batch(
    talking: Segmenter, dog: Path, batch_size: int, temperature: float
) -> None:
    other = scene(60, 90, shift=5)
    asked = [
        Request(dog, TEXTS[0]),
        Request(other, TEXTS[1]),
        Request(dog, TEXTS[2]),
        Request(None, TEXTS[3]),
        Request(other, TEXTS[3]),
    ]
    options = {**SHORT, "temperature": temperature, "seed": 7}
    found = list(talking.segment_all(asked, batch_size=batch_size, **options))
    expected = list(talking.segment_all(asked, batch_size=5, **options))
    assert all(map(same, found, expected))
    if temperature == 0:
        assert all(same(one, talking.segment(r.image, r.text, **SHORT)) for one, r in zip(found, asked, strict=True))
    assert [one.image_size for one in found] == [(84, 112), (90, 60), (84, 112), None, (90, 60)]
    assert len({one.content for one in found}) > 1


def test_requests_about_one_picture_share_its_encoding(
    talking: Segmenter, dog: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = talking_generator().model
    encoded = []
    encode = model.encode_images
    monkeypatch.setattr(
        model, "encode_images", lambda pixels, grids: encoded.append(len(grids)) or encode(pixels, grids)
    )
    asked = [Request(dog, text) for text in TEXTS] + [Request(scene(56, 56), "x")]
    assert len(list(talking.segment_all(asked, batch_size=2, **SHORT))) == 5
    assert sum(encoded) == 2


def test_requests_are_read_as_they_are_needed(talking: Segmenter) -> None:
    read = []

    def endless() -> Any:
        for number in range(10**9):
            read.append(number)
            yield Request(scene(56, 56), f"{number}?")

    found = talking.segment_all(endless(), batch_size=2, max_new_tokens=1)
    next(found)
    assert len(read) <= 3


def test_a_request_at_fault_keeps_no_other_from_its_answer(talking: Segmenter, dog: Path, tmp_path: Path) -> None:
    (tmp_path / "no.jpg").write_bytes(b"no picture")
    (tmp_path / "cut.png").write_bytes(dog.read_bytes()[:-40])
    long = "a" * 9000  # past the tiny model's positions
    asked = [
        Request(dog, TEXTS[0]),
        Request(tmp_path / "no.jpg", TEXTS[0]),
        Request(tmp_path / "cut.png", TEXTS[0]),
        Request(tmp_path / "gone.jpg", TEXTS[0]),
        Request(Image.new("RGB", (3000, 10)), TEXTS[0], "the fence"),
        Request(dog, long),
        Request(np.zeros((4, 4), np.uint8), TEXTS[0]),
        Request(dog, TEXTS[1]),
    ]
    found = list(talking.outcomes(asked, **SHORT))
    assert [isinstance(one, StampError) for one in found] == [False, True, True, True, True, True, True, False]
    for place in (0, 7):
        assert same(found[place], talking.segment(dog, asked[place].text, **SHORT))
    told = [str(one) for one in found[1:7]]
    parts = [
        "no.jpg: not a JPEG",
        "cut.png: ",
        "gone.jpg: no such file",
        "the fence: ",
        "dog.png: position",
        "uint8 [4, 4]",
    ]
    for line, part in zip(told, parts, strict=True):
        assert part in line and "\n" not in line and "image 0" not in line
    with pytest.raises(StampError, match="no such file"):
        list(talking.segment_all([Request(tmp_path / "gone.jpg", "x")], **SHORT))


def test_a_picture_of_too_many_pixels_is_refused(talking: Segmenter, tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.png"
    Image.new("1", (10_000, 8_500)).save(bomb)
    assert bomb.stat().st_size < 100_000
    with pytest.raises(StampError, match=r"bomb\.png: 10000×8500 pixels"):
        talking.segment(bomb, "x", **SHORT)


def test_a_batch_that_memory_does_not_suffice_for_is_halved(
    talking: Segmenter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = [Request(scene(56, 56, shift), "x", f"picture {shift}") for shift in range(4)]
    expected = list(talking.segment_all(asked, **SHORT))
    generator = talking_generator()
    batch = generator.batch
    first = generator.processor.images([scene(56, 56, 0)])[0].pixel_values

    def small(replies: Any, options: Any) -> Any:
        if len(replies) > 1 or not torch.equal(replies[0].source.pixel_values, first):
            raise RuntimeError("MPS backend out of memory (MPS allocated: 17 GB)")  # no OutOfMemoryError there
        return batch(replies, options)

    monkeypatch.setattr(generator, "batch", small)
    with caplog.at_level(logging.WARNING):
        found = list(talking.outcomes(asked, **SHORT))
    assert same(found[0], expected[0])
    assert "out of memory with a batch of 4; going on with 2" in caplog.text
    alone = [one for one in found if isinstance(one, StampError)]
    assert alone and all("out of memory with this alone" in str(one) and "picture" in str(one) for one in alone)


def test_nothing_of_a_failed_pass_is_held_while_the_next_runs(
    talking: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = talking_generator()
    generate = generator.generate
    held: list[weakref.ref[torch.Tensor]] = []

    def failing(images: Any, prompts: Any, options: Any = None) -> Any:
        gc.disable()
        try:
            assert not any(tensor() is not None for tensor in held)
            if len(images) == 1 and images[0].size == (56, 56):
                return generate(images, prompts, options)
            cache = torch.zeros(8)
            held.append(weakref.ref(cache))
            raise StampModelError("out of memory with this alone", where="image 0")
        finally:
            gc.enable()

    monkeypatch.setattr(generator, "generate", failing)
    asked = [Request(scene(60, 56), "x", "large"), Request(scene(56, 56), "x"), Request(scene(56, 56), "y")]
    found = list(talking.outcomes(asked, **SHORT))
    assert [isinstance(one, StampError) for one in found] == [True, False, False] and len(held) == 3
    assert str(found[0]) == "large: out of memory with this alone"


def test_other_errors_are_not_taken_for_faults_of_a_request(
    talking: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("shapes do not agree")

    monkeypatch.setattr(talking_generator(), "generate", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        list(talking.outcomes([Request(scene(), "x"), Request(scene(), "y")], **SHORT))


def test_an_answer_without_a_mask_gets_one_only_by_force(talking: Segmenter) -> None:
    told = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "the cup"}]}
    begun = [told, {"role": "assistant", "content": "No."}]
    asked = [Request(scene(), "the cup"), Request(scene(), begun), Request(None, "the cup")]
    options = {"max_new_tokens": 0}
    plain = list(talking.segment_all(asked, **options))
    assert [len(one.masks) for one in plain] == [0, 0, 0]
    forced = list(talking.segment_all(asked, force_mask=True, **options))
    assert [len(one.masks) for one in forced] == [1, 1, 0]
    assert [one.forced for one in forced] == [True, True, False]
    assert [one.content for one in forced] == [SEG, f"No.{SEG}", ""]
    assert forced[1].text == "No."
    alone = GenerationOptions(begin=SEG, max_new_tokens=0)
    expected = talking_generator().ask(scene(), "the cup", alone).masks[0].numpy()
    for one in forced[:2]:
        np.testing.assert_allclose(one.logits[0], expected, atol=1e-5)


def test_masks_that_the_model_draws_are_not_forced(talking: Segmenter) -> None:
    options = {"begin": f"{SEG} and {SEG}", "max_new_tokens": 0}
    plain, forced = (talking.segment(scene(), "x", force_mask=force, **options) for force in (False, True))
    assert same(plain, forced) and not forced.forced and len(forced.masks) == 2


class Inverting:
    """A refiner whose work shows."""

    name, failed = "inverting", 0

    def __init__(self) -> None:
        self.seen: list[tuple[tuple[int, ...], int]] = []

    def refine(self, image: Any, logits: Any, mask: Any) -> Any:
        return self.refine_all(image, [logits], [mask])[0]

    def refine_all(self, image: Any, logits: Any, masks: Any) -> Any:
        self.seen.append((image.shape, len(logits)))
        return [~mask for mask in masks]


def test_masks_are_refined_once_per_answer_and_probabilities_are_not() -> None:
    options = {"begin": f"{SEG}{SEG}", "max_new_tokens": 0}
    plain = Segmenter(talking_generator()).segment(scene(), "x", **options)
    refiner = Inverting()
    refined = Segmenter(talking_generator(), refiner=refiner).segment(scene(), "x", **options)
    assert refiner.seen == [((84, 112, 3), 2)]
    for before, after in zip(plain.masks, refined.masks, strict=True):
        assert np.array_equal(before, ~after)
    assert all(map(np.array_equal, plain.probabilities, refined.probabilities))


def test_published_upsampling_is_nearest_of_the_hard_mask() -> None:
    options = {"begin": SEG, "max_new_tokens": 0}
    found = Segmenter(talking_generator(), upsampling="published").segment(scene(), "x", **options)
    hard = Image.fromarray((found.logits[0] > 0).astype(np.uint8) * 255)
    assert np.array_equal(found.masks[0], np.asarray(hard.resize((112, 84), Image.Resampling.NEAREST)) > 0)
    with pytest.raises(UsageFault, match="no upsampling 'cubic'"):
        Segmenter(talking_generator(), upsampling="cubic")


@pytest.mark.parametrize("kind", ["tensor", "array", "bytes", "tiff bytes", "tiff"])
def test_a_picture_may_come_in_any_usual_form(talking: Segmenter, tmp_path: Path, kind: str) -> None:
    picture = scene()
    pixels, png, tiff = np.asarray(picture).copy(), io.BytesIO(), io.BytesIO()
    picture.save(png, "PNG")
    picture.save(tiff, "TIFF")
    (tmp_path / "scene.tiff").write_bytes(tiff.getvalue())
    forms: dict[str, Any] = {"tensor": torch.from_numpy(pixels), "array": pixels, "bytes": png.getvalue(),
                             "tiff bytes": tiff.getvalue(), "tiff": tmp_path / "scene.tiff"}  # fmt: skip
    found, expected = (talking.segment(form, "x", begin=SEG, max_new_tokens=0) for form in (forms[kind], picture))
    assert np.array_equal(found.logits[0], expected.logits[0])


@pytest.mark.parametrize(
    "wrong",
    [torch.zeros(3, 8, 8), np.zeros((8, 8), np.uint8), b"no picture", 7, torch.zeros(8, 8, 3, dtype=torch.bfloat16)],
)
def test_a_picture_that_is_none_is_one_line(talking: Segmenter, wrong: Any) -> None:
    with pytest.raises(StampError, match="picture") as fault:
        talking.segment(wrong, "x", begin=SEG, max_new_tokens=0)
    assert "\n" not in str(fault.value)


def test_a_photo_is_turned_upright_and_decoded_pixels_are_not(talking: Segmenter, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the top is on the right: to be turned by 90 degrees clockwise
    upright = scene()
    stored = upright.transpose(Image.Transpose.ROTATE_90)
    stored.save(tmp_path / "photo.png", exif=exif)
    turned = talking.segment(tmp_path / "photo.png", "x", begin=SEG, **SHORT)
    assert turned.image_size == (84, 112) == turned.masks[0].shape
    assert same(turned, talking.segment(upright, "x", begin=SEG, **SHORT))
    with Image.open(tmp_path / "photo.png") as opened:
        assert talking.segment(opened, "x", **SHORT).image_size == (112, 84)
    assert same(talking.segment(np.asarray(upright), "x", begin=SEG, **SHORT), turned)


def test_the_overlay_shows_each_mask_in_its_colour(talking: Segmenter) -> None:
    found = talking.segment(scene(), "x", begin=SEG, max_new_tokens=0)
    before, after = np.asarray(scene(), int), np.asarray(found.overlay(), int)
    changed = abs(before - after).sum(-1) > 0
    inside = found.masks[0]
    assert changed[inside].all()
    far = np.asarray(Image.fromarray(inside).resize((28, 21), Image.Resampling.BOX).resize((112, 84))) == 0
    assert (
        not (changed & far & ~inside).sum() > 0.3 * (~inside).sum()
    )  # the outline alone, and the white beside it, lies beyond
    with pytest.raises(UsageFault):
        talking.segment(None, "x", **SHORT).overlay()


def test_options_that_cannot_be(talking: Segmenter) -> None:
    with pytest.raises(UsageFault, match="temperature=-1"):
        talking.segment(scene(), "x", temperature=-1)


def test_a_question_is_the_papers() -> None:
    assert question("red [class_name]") == "Please segment only the red [class_name] in the image."
