"""Statistics of what was annotated, counted by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from stamp_data import rle
from stamp_data.annotate.change import Change
from stamp_data.annotate.stats import agreement, annotate_stats
from stamp_data.annotate.store import Store
from stamp_schemas import UsageFault
from stamp_schemas.annotated import (
    DrawnMask,
    Made,
    Proposal,
    ProposedText,
    Reviewed,
    ReviewedPhrase,
    ReviewedRecord,
)

from ..raw import Command
from .making import HEIGHT, WIDTH, box, drawn, image, mask, said


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


def test_words_of_a_model_and_of_a_set(tmp_path: Path) -> None:
    """Two of three phrases that a model worded are accepted, one in other words; and one of a set's two, in other words."""
    store = Store(tmp_path, "Ada")
    of_model = [ProposedText("run/9", f"thing {number}") for number in range(3)]
    phrases = [
        said("p1", "thing 0", proposal=of_model[0], status="accepted"),
        said("p2", "another thing", proposal=of_model[1], status="accepted"),
        said("p3", "half of", proposal=of_model[2]),
        said("p4", "nobody's but Ada's", status="accepted"),
        said("p5", "the cup", status="accepted"),
        said("p6", "a saucer", status="proposed"),
    ]
    shown = [ReviewedPhrase("1", "p5", "the cpu", []), ReviewedPhrase("2", "p6", "a saucer", [])]
    reviewed = Reviewed(1, "", [ReviewedRecord("refcoco-unc/val", "1", "", [], shown)])
    store.change(image(), 0, Change({one.id: one for one in phrases}, {"m1": mask()}, reviewed=reviewed))
    found = annotate_stats(tmp_path).proposals
    assert {name: (one.worded, one.reworded) for name, one in found.items()} == {
        "run/9": (1, 1), "refcoco-unc/val": (0, 1),
    }  # fmt: skip
    assert all(one.rate is None for one in found.values())  # that is of masks


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


def annotated(folder: Path, random: np.random.Generator, by: str) -> None:
    """Twenty pictures with phrases, masks and proposals as they fall."""
    store = Store(folder, by)
    for number in range(20):
        masks, phrases = {}, {}
        for name in (f"m{k}" for k in range(6)):
            edges, now = (tuple(random.integers(0, 20, 2)) + tuple(random.integers(24, 44, 2)) for _ in range(2))
            kept = random.random() < 0.4
            role = str(random.choice(["target", "target", "target", "rejected"]))
            one = DrawnMask(name, box(*(edges if kept else now)), role, made=Made(seconds=float(random.integers(0, 9))))
            model = str(random.choice(["run/9", "sam", ""]))
            masks[name] = msgspec.structs.replace(one, proposal=Proposal(model, box(*edges)) if model else None)
        there = [name for name, one in masks.items() if one.role == "target"]
        for name in (f"p{k}" for k in range(8)):
            text, made = f"Phrase {random.integers(6)}", Made(seconds=float(random.integers(0, 5)))
            named = tuple(str(one) for one in random.permutation(there)[: random.integers(0, 3)])
            status = random.choice(["new", "accepted", "accepted", "needs work"])
            nothing = None if named else "absent"
            phrases[name] = said(name, text, named, nothing=nothing, status=str(status), made=made)
        store.change(image(f"{number}.png"), 0, Change(phrases, masks))


def test_against_a_computation_of_its_own(tmp_path: Path) -> None:
    """From the JSON files alone, with pixels: seconds, rates and IoU over pictures that are drawn by lot."""
    random = np.random.default_rng(5)
    for name in ("ada", "bob"):
        annotated(tmp_path / name, random, name)
    pages = {
        name: [json.loads(path.read_text()) for path in sorted((tmp_path / name).glob("*.json"))]
        for name in ("ada", "bob")
    }

    def pixels(held: dict[str, Any]) -> Any:
        return coco_mask.decode({"size": held["size"], "counts": held["counts"].encode()}).astype(bool)

    spent, decided, same, fixed = [], 0, 0, []
    for page in pages["ada"]:
        named = {name for one in page["phrases"] if one.get("status") == "accepted" for name in one.get("masks", [])}
        for drawing in page["masks"]:
            role = drawing.get("role", "target")
            if role != "rejected" and drawing["made"].get("seconds"):
                spent.append(drawing["made"]["seconds"])
            if drawing.get("proposal", {}).get("model") != "sam" or (role != "rejected" and drawing["id"] not in named):
                continue
            decided += 1
            one, other = pixels(drawing["rle"]), pixels(drawing["proposal"]["rle"])
            if role != "rejected" and (one == other).all():
                same += 1
            elif role != "rejected":
                fixed.append((one & other).sum() / (one | other).sum())
    found = annotate_stats(tmp_path / "ada")
    assert found.seconds_per_mask == pytest.approx(float(np.median(spent)), abs=0.05)
    assert found.proposals["sam"].rate == pytest.approx(same / decided) and same and fixed
    assert found.proposals["sam"].iou == pytest.approx(float(np.mean(fixed)))

    def areas(name: str) -> dict[tuple[str, str], Any]:
        all_areas: dict[tuple[str, str], Any] = {}
        for page in pages[name]:
            held = {drawing["id"]: pixels(drawing["rle"]) for drawing in page["masks"]}
            for one in page["phrases"]:
                if one.get("status") == "accepted":
                    key = page["image"]["path"], one["text"].lower()
                    area = all_areas.setdefault(key, np.zeros((HEIGHT, WIDTH), bool))
                    for drawing in one.get("masks", []):
                        area |= held[drawing]
        return all_areas

    ada, bob = areas("ada"), areas("bob")
    ious = {}
    for key in ada.keys() & bob.keys():
        union = (ada[key] | bob[key]).sum()
        ious[key] = (ada[key] & bob[key]).sum() / union if union else 1.0
    both = agreement(tmp_path / "ada", tmp_path / "bob")
    assert {(pair.image, pair.phrase): pytest.approx(pair.iou) for pair in both.pairs} == ious
    assert both.iou == pytest.approx(float(np.mean(list(ious.values())))) and len(ious) > 20
    assert both.agreed == pytest.approx(np.mean([iou >= 0.5 for iou in ious.values()]))
    assert (both.only_first, both.only_second) == (len(ada) - len(ious), len(bob) - len(ious))


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
        ("stats", folder, "--by", "Bob"),  # who reads it as a filter is not to be left in that belief
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
