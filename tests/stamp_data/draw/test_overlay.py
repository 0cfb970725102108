"""Overlays and colours: what is drawn where, and that a target keeps its colour."""

from __future__ import annotations

import numpy as np
from PIL import Image

from stamp_data.draw.overlay import Layer, overlaid, with_masks
from stamp_data.draw.palette import COLOURS, colours, rgb


def test_diff_marks_what_is_missed_and_what_is_added() -> None:
    mask = np.zeros((40, 40), np.uint8)
    mask[0:25, 0:20] = 1  # grid 4×4: row 2 is half covered
    labels = np.zeros((4, 4), np.uint8)
    labels[0:2, 0:2] = 254
    labels[3, 3] = 200
    white = Image.new("RGB", (40, 40), "white")
    drawn = np.asarray(overlaid(white, [Layer(mask, (0, 0, 0), labels)], "diff")).astype(int)
    assert drawn[23, 5, 0] - drawn[23, 5, 2] > 50  # missed: red
    assert drawn[35, 35, 2] - drawn[35, 35, 0] > 50  # added: blue
    assert (drawn[5, 5] == 255).all()


def test_colours_differ_within_a_picture_and_stay_with_the_target() -> None:
    names = [f"t{number}" for number in range(len(COLOURS))]
    assert len(set(colours(names))) == len(COLOURS)
    assert colours(names[:1]) == colours(names)[:1]
    assert len(colours([*names, "more"])) == len(names) + 1


def test_predictions_are_drawn_as_records_are() -> None:
    masks = np.zeros((2, 40, 40), bool)
    masks[0, 2:20, 2:20] = masks[1, 22:38, 22:38] = True
    grey = Image.new("RGB", (40, 40), "grey")
    layers = [Layer(mask.astype(np.uint8), rgb(colour)) for mask, colour in zip(masks, COLOURS, strict=False)]
    drawn = np.asarray(with_masks(grey, list(masks)))
    assert np.array_equal(drawn, overlaid(grey, layers, "mask"))
    assert len({tuple(drawn[place, place]) for place in (0, 10, 30)}) == 3


def test_colours_stay_visible_under_a_mask_and_pixels_of_two_are_striped() -> None:
    masks = np.zeros((2, 80, 80), np.uint8)
    masks[0, 10:60, 10:60] = masks[1, 30:70, 30:70] = 1
    red = Image.new("RGB", (80, 80), (200, 30, 30))
    colours = [rgb("#0072b2"), rgb("#009e73")]
    layers = [Layer(mask, colour) for mask, colour in zip(masks, colours, strict=True)]
    drawn = np.asarray(overlaid(red, layers, "mask")).astype(int)
    assert drawn[20, 20, 0] > drawn[20, 20, 2] + 80  # still red
    assert tuple(drawn[10, 30]) == colours[0] and drawn[8, 30].min() > 100  # a line, and white beside it
    within = {tuple(colour) for colour in drawn[35:55, 35:55].reshape(-1, 3)}
    assert len(within) == 2 and len({tuple(colour) for colour in drawn[15:25, 15:25].reshape(-1, 3)}) == 1
