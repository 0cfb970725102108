"""Statistics of what was annotated, counted by hand."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest

from stamp_data import rle
from stamp_data.annotate.change import Change
from stamp_data.annotate.stats import agreement, annotate_stats
from stamp_data.annotate.store import Store
from stamp_schemas import UsageFault
from stamp_schemas.annotated import DrawnMask, Made, Proposal

from ..raw import Command
from .making import box, drawn, image, mask, said


def proposed(
    name: str, edges: tuple[int, int, int, int], now: tuple[int, int, int, int] | None = None, **more: str
) -> DrawnMask:
    """A mask that a model proposed, as it is now."""
    return DrawnMask(name, box(*(now or edges)), proposal=Proposal("run/9", box(*edges)), **more)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    phrases = [
        said("p1", "as it was", ("m1",), status="accepted", made=Made(seconds=4)),
        said("p2", "mended", ("m2",), status="accepted", made=Made(seconds=6)),
        said("p3", "a cow", (), nothing="absent", status="accepted"),
        said("p4", "open", ("m4",), status="proposed"),
    ]
    masks = [
        proposed("m1", (0, 0, 10, 10)),
        msgspec.structs.replace(proposed("m2", (20, 0, 30, 10), (20, 0, 30, 20)), made=Made(seconds=5)),
        proposed("m3", (40, 0, 50, 10), role="rejected"),
        proposed("m4", (50, 0, 60, 10)),
    ]
    store = Store(tmp_path / "first", "Ada")
    store.change(image(), 0, Change({one.id: one for one in phrases}, {one.id: one for one in masks}))
    store.change(image("sub/b.jpg"), 0, drawn())
    (tmp_path / "first/c.jpg.json").write_text("{")
    return tmp_path / "first"


def test_what_became_of_it(folder: Path) -> None:
    found = annotate_stats(folder)
    assert (found.images, found.masks, found.nothing, found.seconds) == (2, 4, 1, 15.0)
    assert found.statuses == {"accepted": 4, "proposed": 1} and found.by == {"Ada": 4}
    assert (found.seconds_per_mask, found.seconds_per_phrase) == (5.0, 5.0)
    (model,) = found.proposals
    one = found.proposals[model]
    assert model == "run/9" and (one.unchanged, one.fixed, one.rejected, one.open) == (1, 1, 1, 1)
    assert one.rate == pytest.approx(1 / 3) and one.iou == pytest.approx(0.5)
    assert len(found.damaged) == 1 and "c.jpg.json" in found.damaged[0]


def test_two_annotators(folder: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "second", "Bob")
    phrases = [
        said("x", "As it was!", ("n1",), status="accepted"),
        said("y", "mended", (), nothing="absent", status="accepted"),
        said("z", "a cow", (), nothing="other", status="accepted"),
        said("w", "only Bob's", ("n1",), status="accepted"),
    ]
    store.change(image(), 0, Change({one.id: one for one in phrases}, {"n1": mask("n1", (0, 0, 10, 20))}))
    both = agreement(folder, tmp_path / "second")
    assert (both.phrases, both.only_first, both.only_second) == (3, 1, 1)
    assert both.iou == pytest.approx((0.5 + 0 + 1) / 3) and both.agreed == pytest.approx(2 / 3)


def test_the_command(folder: Path, stamp_data: Command) -> None:
    told = stamp_data("annotate", "stats", folder)
    assert told.returncode == 0 and "proposals of run/9: 33% accepted unchanged: 1; 1 fixed" in told.stdout
    held = json.loads(stamp_data("annotate", "stats", folder, folder, "--json").stdout)
    assert held["agreement"]["iou"] == 1 and held["accept_rate"]["run/9"] == pytest.approx(1 / 3)
    for wrong in (
        ("stats",),
        ("stats", folder, folder, folder),
        ("photos", "more"),
        ("stats", folder.parent / "nowhere"),
    ):
        assert stamp_data("annotate", *wrong).returncode == 2


def test_a_folder_without_any_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageFault, match="no annotations"):
        annotate_stats(tmp_path)


def test_who_made_a_proposal_is_kept_until_it_is_changed(tmp_path: Path) -> None:
    store = Store(tmp_path, "Ada")
    store.change(image(), 0, Change({}, {"m1": proposed("m1", (0, 0, 9, 9))}))
    assert store.open(image()).document.masks[0].made.by == "run/9"
    store.change(image(), 1, Change({}, {"m1": proposed("m1", (0, 0, 9, 9), (0, 0, 9, 10))}))
    one = store.open(image()).document.masks[0]
    assert one.made.by == "Ada" and one.proposal is not None
    assert np.array_equal(rle.decode(one.proposal.rle), rle.decode(box(0, 0, 9, 9)))
