"""What SAM is asked with: where the mask prompt lies, which points are drawn, and the published code's own golden outputs."""

import json
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stamp_train.methods.upsample import to_mask
from stamp_train.predict.refine import PRESETS
from stamp_train.predict.refine.frame import Frame
from stamp_train.predict.refine.prompts import confident_points, make_prompt, soft_prior

GOLDEN = Path(__file__).parents[2] / "data" / "golden"
CASES = json.loads((GOLDEN / "postprocess.json").read_text(encoding="utf-8"))
ARRAYS = np.load(GOLDEN / "postprocess.npz")
SIZES = [(480, 640), (640, 427), (200, 400), (900, 300), (77, 76), (612, 612), (256, 256), (3, 1000)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("axis", [0, 1])
def test_a_prompt_tells_each_cell_what_the_picture_has_there(size: tuple[int, int], axis: int) -> None:
    """A logit picture that says how far down (or right) each place is, read back cell by cell from the frame's geometry."""
    height, width = size
    rows, columns = 28, 37
    places = (np.arange((rows, columns)[axis]) + 0.5) / (rows, columns)[axis]
    ramp = np.broadcast_to(places[:, None] if axis == 0 else places, (rows, columns))
    prior = soft_prior(Frame(height, width, 1024, 256), torch.from_numpy(np.log(ramp / (1 - ramp)))).numpy()

    scale = 1024 / max(height, width)
    resized = max(int(height * scale + 0.5), 1), max(int(width * scale + 0.5), 1)
    for row, column in product(range(0, 256, 5), range(0, 256, 3)):
        down, right = (
            (4 * row + 2) / resized[0],
            (4 * column + 2) / resized[1],
        )  # the cell's centre as share of the picture
        if down > 1 or right > 1:
            assert prior[row, column] == pytest.approx(-6.9068, abs=1e-3), "padding is background"
        else:
            share = float(np.clip((down, right)[axis], places[0], places[-1]))
            assert prior[row, column] == pytest.approx(np.log(share / (1 - share)), abs=1e-3)


@pytest.mark.parametrize("size", [(200, 400), (900, 300), (131, 257)])
def test_prompt_pixels_and_answer_share_one_frame(size: tuple[int, int]) -> None:
    """A white object on black: where the network sees white, the prompt says foreground, and so does the way back."""
    logits = torch.full((12, 12), -5.0)
    logits[2:7, 5:11] = 5.0
    mask = to_mask(logits, *size)
    frame = Frame(*size, 1024, 256)
    prior = soft_prior(frame, logits)
    seen = frame.pixels(np.repeat(mask[..., None], 3, axis=-1).astype(np.uint8) * 255)
    assert seen.shape == (1, 3, 1024, 1024)
    white = torch.nn.functional.avg_pool2d(seen[:, :1], 4)[0, 0] > 0.25  # grey lies at 0.06, padding at 0, white at 2.2
    assert iou(white.numpy(), (prior > 0).numpy()) > 0.97
    assert iou((frame.restored(prior[None])[0] > 0).numpy(), mask) > 0.98


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return (one & other).sum() / (one | other).sum()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_published_preset_asks_as_the_published_code(case: dict) -> None:
    name = case["name"]
    height, width = ARRAYS[f"{name}/size"].tolist()
    logits = torch.from_numpy(ARRAYS[f"{name}/patch"].astype(np.float32) * 4 - 2)
    frame = Frame(height, width, 1024, 256)
    prompt = make_prompt(PRESETS["published"], frame, logits, np.ones((height, width), bool), case["seed"])
    if f"{name}/points_xy" not in ARRAYS:
        assert prompt is None
        return
    assert prompt is not None
    np.testing.assert_array_equal(prompt.prior.numpy(), ARRAYS[f"{name}/sam_logits"][0])
    resized = np.array([frame.resized[1] / width, frame.resized[0] / height])
    np.testing.assert_array_equal(prompt.points, ARRAYS[f"{name}/points_xy"] * resized)
    np.testing.assert_array_equal(prompt.labels, ARRAYS[f"{name}/point_labels"])
    assert prompt.box is None


@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    positive=st.integers(0, 12),
    negative=st.integers(0, 12),
    seed=st.integers(0, 99),
)
def test_points_lie_on_their_side_once(size: tuple[int, int], positive: int, negative: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random(size) < rng.random()
    logits = torch.from_numpy(rng.normal(size=(5, 7)))
    points, labels = confident_points(logits, mask, positive, negative, seed)
    assert labels.tolist() == [1] * min(positive, mask.sum()) + [0] * min(negative, (~mask).sum())
    x, y = points.astype(int).T
    np.testing.assert_array_equal(mask[y, x], labels == 1)
    assert len({*map(tuple, points.tolist())}) == len(points)
    again, _ = confident_points(logits, mask, positive, negative, seed)
    np.testing.assert_array_equal(points, again)


def test_another_seed_draws_other_points() -> None:
    mask = np.zeros((200, 300), bool)
    mask[50:150, 50:200] = True
    one, other = (confident_points(torch.zeros(4, 4), mask, 10, 10, seed)[0] for seed in (0, 1))
    assert (one != other).any()


def test_points_avoid_doubt() -> None:
    """The mask's left half is sure, its right half is not: a point there is 50 times less likely."""
    logits = torch.full((20, 40), -6.0)
    logits[5:15, 4:20], logits[5:15, 20:36] = 6.0, 0.04
    mask = to_mask(logits, 200, 400)
    points = np.concatenate([confident_points(logits, mask, 10, 0, seed)[0] for seed in range(40)])
    assert 0 < len(points) == 400
    assert (points[:, 0] > 205).sum() <= 30


@pytest.mark.parametrize("preset", ["stamp", "published"])
def test_a_single_pixel_is_asked_about(preset: str) -> None:
    logits = torch.full((30, 40), -3.0)
    logits[10, 20] = 3.0
    mask = np.zeros((30, 40), bool)
    mask[10, 20] = True
    prompt = make_prompt(replace(PRESETS[preset], box=True), Frame(30, 40, 1024, 256), logits, mask, seed=0)
    assert prompt is not None and prompt.box is not None
    scale = 1024 / 40
    np.testing.assert_allclose(prompt.box, [20 * scale, 10 * scale] * 2)
    np.testing.assert_allclose(prompt.points[0], [20 * scale, 10 * scale])
    assert prompt.labels.sum() == 1
