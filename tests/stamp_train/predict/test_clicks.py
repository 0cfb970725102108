"""SAM asked by places and boxes, held against transformers' own way of asking."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from stamp_schemas import UsageFault
from stamp_train.predict.clicks import SamClicks, open_clicks
from stamp_train.predict.refine.frame import Frame
from stamp_train.predict.refine.network import Sam

from .tiny_sam import IMAGE_SIZE, PRIOR_SIDE, picture, tiny_sam


def test_three_masks_the_best_first() -> None:
    model, pixels = tiny_sam(), picture(60, 90)
    found = SamClicks(Sam(model))(pixels, [(30.0, 20.0), (40.0, 25.0)], [(80.0, 50.0)], [])
    frame = Frame(60, 90, IMAGE_SIZE, PRIOR_SIDE)
    scale = torch.tensor([IMAGE_SIZE / 90, 85 / 60])  # 60 rows become 85
    with torch.no_grad():
        said = model(
            pixel_values=frame.pixels(pixels),
            input_points=torch.tensor([[[[30.0, 20.0], [40.0, 25.0], [80.0, 50.0]]]]) * scale,
            input_labels=torch.tensor([[[1, 1, 0]]]),
            multimask_output=True,
        )
    order = said.iou_scores[0, 0].argsort(descending=True)
    expected = [(frame.restored(said.pred_masks[0, 0, number][None])[0] > 0).numpy() for number in order]
    assert len(found) == 3 and all(mask.shape == (60, 90) and mask.dtype == bool for mask in found)
    for mask, wanted in zip(found, expected, strict=True):
        assert (mask == wanted).mean() > 0.999


def test_boxes_and_what_is_kept() -> None:
    network, pixels = Sam(tiny_sam()), picture(60, 90)
    clicks, looked = SamClicks(network), []
    embed = network.embed
    network.embed = lambda given: looked.append(1) or embed(given)  # type: ignore[func-returns-value,method-assign]
    clicks.prepare(pixels)
    boxed = clicks(pixels, [], [], [(50.0, 40.0), (10.0, 5.0)])
    again = clicks(pixels, [], [], [(10.0, 5.0), (50.0, 40.0)])
    assert all(np.array_equal(one, other) for one, other in zip(boxed, again, strict=True))
    assert len(looked) == 1


def test_what_is_not_there(tmp_path: Path) -> None:
    for spec in ("sam", "sam2=x", "sam="):
        with pytest.raises(UsageFault, match="no such help"):
            open_clicks(spec, torch.device("cpu"))
    with pytest.raises(UsageFault, match="no SAM weights there") as caught:
        open_clicks(f"sam={tmp_path}", torch.device("cpu"))
    assert "sam=PATH" in caught.value.hint
    tiny_sam().save_pretrained(tmp_path / "sam")
    assert len(open_clicks(f"sam={tmp_path / 'sam'}", torch.device("cpu"))(picture(20, 30), [(3.0, 4.0)], [], [])) == 3
