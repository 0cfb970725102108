"""Upsampling: each method against an independent computation, and what only one of them is to do."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from stamp_data.grid import coverage, patch_grid
from stamp_data.synth.render import render
from stamp_data.synth.scene import Stream, generator, sample_scene
from stamp_schemas import UsageFault
from stamp_train.methods.upsample import METHODS, probabilities, to_mask
from stamp_train.sequence.errors import StampModelError

GOLDEN = Path(__file__).parents[2] / "data" / "golden"
SIDES = st.integers(1, 5)
SIZES = st.tuples(st.integers(1, 24), st.integers(1, 24))
CASES = np.load(GOLDEN / "postprocess.npz")


@given(shape=st.tuples(SIDES, SIDES), size=SIZES, seed=st.integers(0, 9))
def test_bilinear_is_linear_between_centres(shape: tuple[int, int], size: tuple[int, int], seed: int) -> None:
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    expected = torch.empty(size)
    for row, column in product(range(size[0]), range(size[1])):
        expected[row, column] = bilinear(logits.sigmoid(), (row + 0.5) / size[0], (column + 0.5) / size[1])
    torch.testing.assert_close(probabilities(logits, *size), expected, atol=1e-5, rtol=0)


def bilinear(picture: Tensor, down: float, right: float) -> float:
    """Value at a place (0 to 1 from edge to edge) between the centres of four cells; outside them the nearest counts."""
    value = 0.0
    y, x = (max(0.0, place * length - 0.5) for place, length in zip((down, right), picture.shape, strict=True))
    for row, column in product((int(y), int(y) + 1), (int(x), int(x) + 1)):
        share = (1 - abs(y - row)) * (1 - abs(x - column))
        value += share * float(picture[min(row, picture.shape[0] - 1), min(column, picture.shape[1] - 1)])
    return value


@pytest.mark.parametrize("fraction", [0.05, 0.25, 0.45, 0.55, 0.75, 0.95])
def test_bilinear_finds_the_edge_within_a_patch(fraction: float) -> None:
    """A straight edge through the third of four patches of 8 pixels; hard labels are up to 4 pixels off."""
    coverage = torch.tensor([1.0, 1.0, fraction, 0.0]).expand(4, 4)
    mask = to_mask(torch.logit(coverage, eps=1e-6), 64, 32)
    assert mask.shape == (64, 32)
    assert np.unique(mask.sum(1)).tolist() == [pytest.approx(16 + 8 * fraction, abs=1)]


@pytest.mark.parametrize("name", sorted({name.partition("/")[0] for name in CASES.files}))
def test_published_is_what_the_published_code_gave(name: str) -> None:
    height, width = CASES[f"{name}/size"].tolist()
    expected = np.unpackbits(CASES[f"{name}/upsampled_packed"], count=height * width).reshape(height, width)
    logits = torch.from_numpy(CASES[f"{name}/patch"]).float() - 0.5
    assert np.array_equal(to_mask(logits, height, width, "published"), expected == 1)
    assert torch.equal(probabilities(logits, height, width, "published"), torch.from_numpy(expected).float())


@given(shape=st.tuples(SIDES, SIDES), size=SIZES, seed=st.integers(0, 9))
def test_published_cuts_before_it_enlarges(shape: tuple[int, int], size: tuple[int, int], seed: int) -> None:
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    logits[0, 0] = 0  # not above 0
    rows, columns = (np.arange(new) * old // new for new, old in zip(size, shape, strict=True))
    expected = (logits.numpy() > 0)[rows][:, columns]
    assert np.array_equal(to_mask(logits, *size, "published"), expected)


@given(shape=st.tuples(SIDES, SIDES), size=SIZES, seed=st.integers(0, 9))
def test_guided_is_a_colour_fit_around_every_cell(shape: tuple[int, int], size: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (*size, 3), np.uint8)
    logits = rng.normal(0, 2, shape)
    expected = guided_filter(1 / (1 + np.exp(-logits)), image / 255)
    found = probabilities(torch.from_numpy(logits), *size, "guided", image)
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-3)


def guided_filter(cells: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """The same in loops and double precision: [h, w] and [height, width, 3] to [height, width]."""
    (h, w), (height, width) = cells.shape, colours.shape[:2]

    def part(row: int, column: int) -> tuple[slice, slice]:
        """Pixels that a cell touches."""
        ends = [(i * n // k, -(-(i + 1) * n // k)) for i, n, k in ((row, height, h), (column, width, w))]
        return slice(*ends[0]), slice(*ends[1])

    def near(row: int, column: int) -> list[tuple[int, int]]:
        rows, columns = range(max(row - 1, 0), min(row + 2, h)), range(max(column - 1, 0), min(column + 2, w))
        return list(product(rows, columns))

    def spread(values: np.ndarray) -> np.ndarray:
        grid = torch.from_numpy(values).float()
        places = product(range(height), range(width))
        drawn = [bilinear(grid, (row + 0.5) / height, (column + 0.5) / width) for row, column in places]
        return np.array(drawn).reshape(height, width)

    fits = np.zeros((h, w, 4))
    for row, column in product(range(h), range(w)):
        pixels = [colours[part(*cell)].reshape(-1, 3) for cell in near(row, column)]
        centres = np.array([one.mean(0) for one in pixels])
        shares = np.array([cells[cell] for cell in near(row, column)])
        middle = centres.mean(0)
        variance = np.mean([one.T @ one / len(one) for one in pixels], axis=0) - np.outer(middle, middle)
        covariance = (centres * shares[:, None]).mean(0) - middle * shares.mean()
        slope = np.linalg.inv(variance + 1e-4 * np.eye(3)) @ covariance
        fits[row, column] = *slope, shares.mean() - slope @ middle
    fits = np.array([[np.mean([fits[cell] for cell in near(r, c)], axis=0) for c in range(w)] for r in range(h)])
    *slopes, offset = (spread(fits[..., channel]) for channel in range(4))
    filtered = np.clip(sum(s * colours[..., k] for k, s in enumerate(slopes)) + offset, 0, 1)
    lost = [[cells[row, column] - filtered[part(row, column)].mean() for column in range(w)] for row in range(h)]
    return np.clip(filtered + spread(np.array(lost)), 0, 1)


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


@pytest.mark.parametrize("number", range(3))
def test_guided_follows_the_edges_of_a_scene(number: int) -> None:
    """Labels as predictions, 256 cells: the outline of things that show is found within the cells."""
    scene = sample_scene(generator(7, Stream.SCENE, number), (320, 240))
    drawing = render(scene, generator(7, Stream.PAINT, number))
    image = np.asarray(drawing.picture)
    guided: list[float] = []
    for shown in drawing.shown:
        truth = shown > 0.5
        grid = patch_grid(240, 320, 256, 256)
        logits = torch.logit(torch.from_numpy(coverage(truth.astype(np.uint8), grid)) / 254, eps=1e-6)
        found = {method: iou(to_mask(logits, 240, 320, method, image), truth) for method in METHODS}
        assert found["published"] < found["guided"] > found["bilinear"] + 0.02
        guided.append(found["guided"])
    assert sum(guided) / len(guided) > 0.93


def test_guided_keeps_a_small_thing_that_shares_its_colours() -> None:
    """Grey on grey, less than a cell: nothing shows, so it is to stay where its cell is, and as large as it is there."""
    image = np.full((64, 64, 3), 128, np.uint8)
    cells = torch.zeros(8, 8)
    cells[4, 4] = 0.9
    mask = to_mask(torch.logit(cells, eps=1e-6), 64, 64, "guided", image)
    assert mask.sum() > 16
    outside = mask.copy()
    outside[32:40, 32:40] = False
    assert not outside.any()


def test_logits_of_any_precision_give_single_precision() -> None:
    logits, image = torch.tensor([[-2.0, 1.0], [0.5, 3.0]]), np.zeros((6, 8, 3), np.uint8)
    for method in METHODS:
        expected = probabilities(logits, 6, 8, method, image)
        assert expected.shape == (6, 8)
        for dtype in (torch.bfloat16, torch.float64):
            found = probabilities(logits.to(dtype), 6, 8, method, image)
            assert found.dtype == expected.dtype == torch.float32
            torch.testing.assert_close(found, expected)


def test_faults_say_what_to_pass() -> None:
    logits = torch.zeros(2, 2)
    with pytest.raises(UsageFault, match=r"'bicubic'.*bilinear, published, guided"):
        probabilities(logits, 4, 6, "bicubic")
    with pytest.raises(StampModelError, match=r"4×6 was given no picture.*pass image"):
        to_mask(logits, 4, 6, "guided")
    with pytest.raises(StampModelError, match=r"4×6 was given one of 6×4×3"):
        to_mask(logits, 4, 6, "guided", np.zeros((6, 4, 3), np.uint8))
