"""SAM and SAM 2 asked by places and boxes, held against transformers' own way of asking."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from stamp_schemas import StampError, UsageFault
from stamp_train.predict.pointing import SamClicks, open_clicks
from stamp_train.predict.pointing.embeddings import Embeddings
from stamp_train.predict.pointing.second import SecondSam
from stamp_train.predict.refine.frame import Frame
from stamp_train.predict.refine.network import Sam

from ..tiny_sam import IMAGE_SIZE, PRIOR_SIDE, picture, tiny_sam
from ..tiny_sam2 import SIDE, tiny_sam2, tiny_sam2_with_memory

INSIDE, OUTSIDE, BOX = [(30.0, 20.0), (40.0, 25.0)], [(80.0, 50.0)], [(50.0, 40.0), (10.0, 5.0)]
SAME = 0.995  # of the pixels: embeddings are kept in half precision


def first(seed: int = 0) -> Sam:
    return Sam(tiny_sam(seed))


def second(seed: int = 0) -> SecondSam:
    return SecondSam(tiny_sam2(seed))


KINDS = pytest.mark.parametrize("kind", [first, second])


def hold(found: Sequence[Any], expected: Sequence[Any]) -> None:
    assert len(found) == 3 and all(mask.shape == (60, 90) and mask.dtype == bool for mask in found)
    assert any(0.02 < mask.mean() < 0.98 for mask in found)
    for mask, wanted in zip(found, expected, strict=True):
        assert (mask == wanted).mean() > SAME


def test_sam_gives_three_masks_the_best_first() -> None:
    pixels = picture(60, 90)
    frame = Frame(60, 90, IMAGE_SIZE, PRIOR_SIDE)
    scale = torch.tensor([IMAGE_SIZE / 90, 85 / 60])  # 60 rows become 85
    with torch.no_grad():
        said = tiny_sam()(
            pixel_values=frame.pixels(pixels),
            input_points=torch.tensor([[[*INSIDE, *OUTSIDE]]]) * scale,
            input_labels=torch.tensor([[[1, 1, 0]]]),
            multimask_output=True,
        )
    order = said.iou_scores[0, 0].argsort(descending=True)
    expected = [(frame.restored(said.pred_masks[0, 0, number][None])[0] > 0).numpy() for number in order]
    hold(SamClicks(first())(pixels, INSIDE, OUTSIDE, []), expected)


@pytest.mark.parametrize("box", [[], BOX])
def test_sam_2_gives_three_masks_the_best_first(box: list[tuple[float, float]]) -> None:
    """The authors draw the picture out to a square, and masks back from their own coarse square in one step."""
    pixels = picture(60, 90)
    stretched = F.interpolate(
        torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255, (SIDE, SIDE), mode="bilinear", antialias=True
    )
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    scale = torch.tensor([SIDE / 90, SIDE / 60])
    corners = (torch.tensor([[10.0, 5.0], [50.0, 40.0]]) * scale).reshape(1, 1, 4)
    with torch.no_grad():
        said = tiny_sam2()(
            pixel_values=(stretched - mean[:, None, None]) / deviation[:, None, None],
            input_points=torch.tensor([[[*INSIDE, *OUTSIDE]]]) * scale,
            input_labels=torch.tensor([[[1, 1, 0]]]),
            input_boxes=corners if box else None,
            multimask_output=True,
        )
    masks = F.interpolate(said.pred_masks[0], (60, 90), mode="bilinear", align_corners=False)[0] > 0
    expected = [masks[number].numpy() for number in said.iou_scores[0, 0].argsort(descending=True)]
    hold(SamClicks(second())(pixels, INSIDE, OUTSIDE, box), expected)


@KINDS
def test_boxes_and_what_is_seen_once(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    network, pixels, looked = kind(), picture(60, 90), []
    embed = network.embed
    monkeypatch.setattr(network, "embed", lambda given: (looked.append(1), embed(given))[1])
    clicks = SamClicks(network)
    clicks.prepare(pixels)
    boxed, again = clicks(pixels, [], [], BOX), clicks(pixels, [], [], BOX[::-1])
    assert all(np.array_equal(one, other) for one, other in zip(boxed, again, strict=True))
    assert len(looked) == 1
    clicks(pixels.copy(), INSIDE, [], [])  # the same picture, decoded again
    assert len(looked) == 1
    clicks(picture(60, 90, seed=1), INSIDE, [], [])
    assert len(looked) == 2


@KINDS
def test_what_was_seen_survives_a_restart_and_gives_the_same_masks(
    kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels, kept = picture(60, 90), Embeddings(tmp_path / "seen")
    fresh = SamClicks(kind(), kept)(pixels, INSIDE, OUTSIDE, [])
    network = kind()
    monkeypatch.setattr(network, "embed", lambda _: pytest.fail("it looked again"))
    again = SamClicks(network, Embeddings(tmp_path / "seen"))(pixels, INSIDE, OUTSIDE, [])
    assert all(np.array_equal(one, other) for one, other in zip(fresh, again, strict=True))
    assert len(list((tmp_path / "seen").iterdir())) == 1
    SamClicks(kind(seed=1), kept).prepare(pixels)  # other weights have seen nothing yet
    SamClicks(kind(), kept).prepare(picture(60, 90, seed=1))
    assert len(list((tmp_path / "seen").iterdir())) == 3


def test_one_digest_for_the_same_weights_wherever_they_lie(tmp_path: Path) -> None:
    tiny_sam().save_pretrained(tmp_path / "here")
    tiny_sam().save_pretrained(tmp_path / "there")
    device, digests = torch.device("cpu"), set()
    for name in ("here", "there"):
        kept = Embeddings(tmp_path / f"seen-{name}")
        open_clicks(f"sam={tmp_path / name}", device, kept).prepare(picture(20, 30))
        digests |= {path.name for path in kept.folder.iterdir()}
    assert len(digests) == 1 and first().digest() != second().digest()


def test_a_device_that_fails_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    network = first()

    def fail(_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 7 GiB")

    monkeypatch.setattr(network, "embed", fail)
    with pytest.raises(StampError, match=r"^SAM failed: CUDA out of memory\.") as caught:
        SamClicks(network)(picture(20, 30), INSIDE, [], [])
    assert "--device cpu" in caught.value.hint


def test_the_kind_is_told_by_the_configuration(tmp_path: Path) -> None:
    pixels, device = picture(60, 90), torch.device("cpu")
    for name, model in (("one", tiny_sam()), ("two", tiny_sam2()), ("video", tiny_sam2_with_memory())):
        model.save_pretrained(tmp_path / name)
        found = open_clicks(f"sam={tmp_path / name}", device)(pixels, INSIDE, [], [])
        assert len(found) == 3
        if name == "two":
            known = SamClicks(second())(pixels, INSIDE, [], [])
            assert all(np.array_equal(one, other) for one, other in zip(found, known, strict=True))


def test_what_is_not_there(tmp_path: Path) -> None:
    device = torch.device("cpu")
    for spec in ("sam", "sam2=x", "sam="):
        with pytest.raises(UsageFault, match="no such help"):
            open_clicks(spec, device)
    with pytest.raises(UsageFault, match="no SAM weights there") as caught:
        open_clicks(f"sam={tmp_path}", device)
    assert "sam=PATH" in caught.value.hint and "sam2" in caught.value.hint
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(UsageFault, match="of type 'bert', not SAM or SAM 2"):
        open_clicks(f"sam={tmp_path}", device)
    tiny_sam2().config.save_pretrained(tmp_path)
    with pytest.raises(UsageFault, match="no SAM weights there"):
        open_clicks(f"sam={tmp_path}", device)
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(UsageFault, match="no SAM weights there"):
        open_clicks(f"sam={tmp_path}", device)
